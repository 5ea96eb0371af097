"""The query that types and validates the records of one group of files, generated from their contract.

Layer by layer: clean the text, cast it, believe or refuse the cast, find the first rule that is broken. It is
Snowflake SQL over a relation RAW with text columns C0, C1, … and is transpiled for the engine that runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.validation import Rule, cast_column, cleaned, rules, text_column, try_cast, typed
from pipeline_assets.errors import RejectedObjectError


@dataclass(frozen=True)
class Columns:
    """How the columns of a file meet those of its contract."""

    positions: dict[str, int]
    unknown: tuple[str, ...]
    unknown_positions: tuple[int, ...]
    missing: tuple[str, ...]


def match_columns(contract: Contract, header: Sequence[str]) -> Columns:
    """Match by name, in any order.

    Raises:
        RejectedObjectError: a required column is missing; the message is the difference.
    """
    positions = {name: index for index, name in enumerate(header)}
    unknown = tuple(name for name in header if name not in contract.column_names)
    missing = tuple(name for name in contract.column_names if name not in positions)
    if lost := [name for name in contract.required if name in missing]:
        raise RejectedObjectError(
            f"Required columns are missing: {', '.join(lost)}. "
            f"Expected {', '.join(contract.column_names)}; found {', '.join(header)}"
            + (f"; not in the contract: {', '.join(unknown)}." if unknown else "."),
            code="missing_column",
            remedy=f"Deliver the file with these columns, or change the contract {contract.name}.",
        )
    return Columns(
        {name: positions[name] for name in contract.column_names if name in positions},
        unknown,
        tuple(positions[name] for name in unknown),
        missing,
    )


def validation_select(contract: Contract, columns: Columns, extra: Sequence[str], *, tidy: bool = False) -> str:
    """SELECT <typed columns>, <extra>, _FAULT FROM RAW.

    `_FAULT` is the index into `rules(contract)`, from 1, of the first broken rule, or NULL. `extra` are columns
    of RAW that pass through. `tidy` promises that no value starts or ends with a blank.
    """
    null_text = contract.dialect.null_text
    texts = [
        f"{cleaned(column, f'C{columns.positions[column.name]}', null_text, tidy=tidy)} AS {text_column(column.name)}"
        if column.name in columns.positions
        else f"CAST(NULL AS VARCHAR) AS {text_column(column.name)}"
        for column in contract.columns
    ]
    numbers = [column for column in contract.columns if column.logical_type in ("number", "integer")]
    casts = ["*", *(f"{try_cast(column)} AS {cast_column(column.name)}" for column in numbers)]
    values = ["*"] + [
        f"{typed(column, cast_column(column.name) if column in numbers else None)} AS {column.name}"
        for column in contract.columns
    ]
    return (
        f"SELECT {', '.join((*contract.column_names, *extra))}, {_fault(rules(contract))} AS _FAULT "
        f"FROM (SELECT {', '.join(values)} FROM (SELECT {', '.join(casts)} "
        f"FROM (SELECT {', '.join((*texts, *extra))} FROM RAW) AS CLEANED) AS CASTED) AS TYPED"
    )


def _fault(found: Sequence[Rule]) -> str:
    """Which rule is broken is asked only of rows that look broken."""
    if not found:
        return "CAST(NULL AS INTEGER)"
    suspect = " OR ".join(f"({rule.suspect})" for rule in found)
    cases = " ".join(f"WHEN {rule.broken} THEN {index}" for index, rule in enumerate(found, 1))
    return f"CASE WHEN COALESCE({suspect}, FALSE) THEN CASE {cases} END END"


def explain(rule: Rule, contract: Contract, found: str | None, kind: str | None = None) -> str:
    """The sentence that goes to the quarantine; a personal value is not repeated in it.

    `kind` says what was found where it was no text at all.
    """
    if kind:
        return f"{rule.column}: {rule.expectation} was expected; found {kind}."
    kept, personal = (
        any(getattr(column, name) for column in contract.columns if column.name == rule.column)
        for name in ("keep_blanks", "personal")
    )
    nothing = ("", contract.dialect.null_text)
    if found is None or not found.strip() or (found if kept else found.strip(" ")) in nothing:
        return f"{rule.column}: {rule.expectation} was expected, nothing found."
    shown = "a value that is personal data" if personal else f'"{found[:100]}"'
    return f"{rule.column}: {rule.expectation} was expected, {shown} found."


def referring(contract: Contract) -> list[Column]:
    """The columns with a reference; engines number them from 1, and an orphan's rule is the negative number."""
    return [column for column in contract.columns if column.reference]


def explain_orphan(column: Column, found: str) -> tuple[str, str]:
    """(code, reason) of a row without its parent; a personal value is not repeated."""
    assert column.reference is not None
    shown = "this value, which is personal data," if column.personal else f'"{found}"'
    return column.reference.reason_code, f"{column.name}: no {column.reference.dataset} row has {shown} yet."
