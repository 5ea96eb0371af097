"""The query that types and validates the records of one group of files, generated from their contract.

Three layers: clean the text, type it, find the first rule that is broken. It is Snowflake SQL over a relation
RAW with text columns C0, C1, … and is transpiled for the engine that runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.validation import Rule, cleaned, rules, text_column, typed
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


def validation_select(contract: Contract, columns: Columns, extra: Sequence[str]) -> str:
    """SELECT <typed columns>, <extra>, _FAULT FROM RAW.

    `_FAULT` is the index into `rules(contract)`, from 1, of the first broken rule, or NULL. `extra` are columns
    of RAW that pass through.
    """
    passed = ", ".join(extra)
    texts = ", ".join(
        f"{cleaned(column, f'C{columns.positions[column.name]}')} AS {text_column(column.name)}"
        if column.name in columns.positions
        else f"CAST(NULL AS VARCHAR) AS {text_column(column.name)}"
        for column in contract.columns
    )
    values = ", ".join(f"{typed(column)} AS {column.name}" for column in contract.columns)
    names = ", ".join(contract.column_names)
    return (
        f"SELECT {names}, {passed}, {_fault(rules(contract))} AS _FAULT "
        f"FROM (SELECT *, {values} FROM (SELECT {texts}, {passed} FROM RAW) AS CLEANED) AS TYPED"
    )


def _fault(found: Sequence[Rule]) -> str:
    if not found:
        return "CAST(NULL AS INTEGER)"
    return "CASE " + " ".join(f"WHEN {rule.broken} THEN {index}" for index, rule in enumerate(found, 1)) + " END"


def explain(rule: Rule, contract: Contract, found: str | None) -> str:
    """The sentence that goes to the quarantine; a personal value is not repeated in it."""
    if found is None or not found.strip():
        return f"{rule.column}: {rule.expectation} was expected, nothing found."
    shown = "a value that is personal data" if contract.column(rule.column).personal else f'"{found[:100]}"'
    return f"{rule.column}: {rule.expectation} was expected, {shown} found."
