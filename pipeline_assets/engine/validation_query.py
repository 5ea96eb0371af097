"""The query that types and validates the records of one group of files, generated from their contract.

It works in layers: clean the text, cast it, accept or reject the cast, find the first broken rule. It is Snowflake SQL
over a relation RAW with text columns C0, C1, … and is transpiled for the engine that runs it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.names import sql_name
from pipeline_assets.contracts.validation import (
    BLANKS,
    DOES_NOT_FIT,
    FLOATS,
    Rule,
    cleaned,
    float_count,
    layers,
    rules,
    text_column,
)
from pipeline_assets.errors import RejectedObjectError

_WORDS = "[A-Za-z_][A-Za-z0-9_]*([ -][A-Za-z0-9_]+)*"
_IDENTIFIER = re.compile(rf"{_WORDS}((\[\])?[.]{_WORDS})*")  # a name, or a path of keys


@dataclass(frozen=True)
class Columns:
    """How the columns of a file map to those of its contract."""

    positions: dict[str, int]
    unknown: tuple[str, ...]
    unknown_positions: tuple[int, ...]
    missing: tuple[str, ...]


def displayed_names(names: Sequence[str], known: Sequence[str] = ()) -> str:
    """Names of columns for messages; those that are no identifiers may be values, so they are counted only.

    With `known`, none is shown unless half of them are known: else the names may be a record in place of a header.
    """
    is_header = not known or _is_header(names, known)
    shown = [name for name in names if is_header and _IDENTIFIER.fullmatch(name)]
    if hidden := len(names) - len(shown):
        shown.append(
            f"{hidden} {'that are no identifiers' if is_header else 'fields of a record in place of a header'}"
        )
    return ", ".join(shown)


def _is_header(names: Sequence[str], known: Sequence[str]) -> bool:
    return 2 * len(set(names).intersection(known)) >= len(names)


def match_columns(contract: Contract, header: Sequence[str]) -> Columns:
    """Match columns by name, in any order.

    Raises:
        RejectedObjectError: a required column is missing; the message describes the difference.
    """
    positions = {name: index for index, name in enumerate(header)}
    unknown = tuple(name for name in header if name not in contract.column_names)
    missing = tuple(name for name in contract.column_names if name not in positions)
    if missing_required := [name for name in contract.required if name in missing]:
        raise RejectedObjectError(
            f"Required columns are missing: {', '.join(missing_required)}. "
            f"Expected {', '.join(contract.column_names)}; found {displayed_names(header, contract.column_names)}"
            + (
                f"; not in the contract: {displayed_names(unknown)}."
                if _is_header(header, contract.column_names)
                else "."
            ),
            code="missing_column",
            remedy=f"Deliver the file with these columns, or change the contract {contract.name}.",
        )
    return Columns(
        {name: positions[name] for name in contract.column_names if name in positions},
        unknown,
        tuple(positions[name] for name in unknown),
        missing,
    )


def validation_select(
    contract: Contract, columns: Columns, extra: Sequence[str], *, trimmed: bool = False, typed_row: str = ""
) -> str:
    """SELECT <typed columns>, <extra>, _FAULT FROM RAW.

    `_FAULT` is the index into `rules(contract)`, from 1, of the first broken rule, or NULL. `extra` are columns
    of RAW that pass through. `trimmed` promises that no value starts or ends with a blank; the texts of rows for which
    the predicate `typed_row` is true are not cleaned. Contracts with floats also have the column `FLOATS`.
    """
    floats = [f"{float_count(contract)} AS {FLOATS}"] if contract.floats else []
    selected = ", ".join((*map(sql_name, (*contract.column_names, *extra)), *floats))
    return (
        f"SELECT {selected}, {_fault(rules(contract))} AS _FAULT "
        f"FROM {typed_rows(contract, columns, extra, trimmed=trimmed, typed_row=typed_row)}"
    )


def typed_rows(
    contract: Contract, columns: Columns, extra: Sequence[str], *, trimmed: bool = False, typed_row: str = ""
) -> str:
    """The records of RAW with everything that rules are about: cleaned texts and typed values."""
    null_text = contract.dialect.null_text
    texts = [
        f"{cleaned(column, f'C{columns.positions[column.name]}', null_text, trimmed=trimmed, typed_row=typed_row)} "
        f"AS {text_column(column.name)}"
        if column.name in columns.positions
        else f"CAST(NULL AS VARCHAR) AS {text_column(column.name)}"
        for column in contract.columns
    ]
    rows = f"(SELECT {', '.join((*texts, *map(sql_name, extra)))} FROM RAW) AS CLEANED"
    for number, layer in enumerate(layers(contract)):
        if layer:
            rows = f"(SELECT {', '.join(('*', *layer))} FROM {rows}) AS LAYER_{number}"
    return rows


def _fault(contract_rules: Sequence[Rule]) -> str:
    """The index of the first broken rule; the exact tests run only on rows that a cheaper test suspects."""
    if not contract_rules:
        return "CAST(NULL AS INTEGER)"
    suspect = " OR ".join(f"({rule.suspect})" for rule in contract_rules)
    cases = " ".join(f"WHEN {rule.broken} THEN {index}" for index, rule in enumerate(contract_rules, 1))
    return f"CASE WHEN COALESCE({suspect}, FALSE) THEN CASE {cases} END END"


def explain(rule: Rule, contract: Contract, value: str | None, kind: str | None = None) -> str:
    """The sentence that is stored in quarantine; no value is repeated that is personal or that no column declares.

    `kind` describes the JSON value if it is not a text.
    """
    if kind:
        return f"{rule.column}: {rule.expectation} was expected; found {kind}."
    keep_blanks, personal = (
        any(getattr(column, name) for column in contract.columns if column.name == rule.column)
        for name in ("keep_blanks", "personal")
    )
    empty_texts = ("", contract.dialect.null_text)
    if value is None or not value.strip() or (value if keep_blanks else value.strip(BLANKS)) in empty_texts:
        return f"{rule.column}: {rule.expectation} was expected, nothing found."
    if rule.column not in contract.column_names:  # the list in records of JSON
        return f"{rule.column}: {rule.expectation} was expected; found a text or a number."
    displayed = "a value that is personal data" if personal else f'"{value[:100]}"'
    return f"{rule.column}: {rule.expectation} was expected, {displayed} found."


def referring(contract: Contract) -> list[Column]:
    """The columns with a reference; engines number them from 1, and the rule of an orphan is the negative number."""
    return [column for column in contract.columns if column.reference]


def explain_orphan(column: Column, value: str) -> tuple[str, str]:
    """(code, reason) of a row without its parent; a personal value is not repeated in the reason."""
    assert column.reference is not None
    displayed = "this value, which is personal data," if column.personal else f'"{value}"'
    return column.reference.reason_code, f"{column.name}: no {column.reference.dataset} row has {displayed} yet."


def explain_misfit(contract: Contract, rule: int, misfits: Sequence[str]) -> tuple[str, str] | None:
    """(code, reason) of a record with a computed value that does not fit; None if `rule` is another one.

    The rules of `misfits` are numbered after the references, negative as well.
    """
    number = -rule - len(referring(contract))
    return (DOES_NOT_FIT, misfits[number - 1]) if number > 0 else None
