"""Which computed values are checked before a batch writes them, so that one record cannot stop it.

A contract limits the values of a source, not what a SELECT makes of them: a price times a quantity may have more digits
than its column, or than an engine computes with (DuckDB multiplies two NUMBER(18, …) in 18 digits, and raises an error
beyond). Copies of columns need no check. Nothing here runs SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.ddl import KEEPS_SUPERSEDED
from pipeline_assets.contracts.names import sql_name
from pipeline_assets.engine import ValueCheck, checked
from pipeline_assets.pipeline.fetch import touched_condition
from pipeline_assets.pipeline.resolved import BATCH_ID, FileTable, ResolvedPipeline, Source
from pipeline_assets.pipeline.selects import PROVENANCE

_DIGITS = 18  # that every engine computes with exactly
# Larger terms of a sum count as this much: beyond every limit, and a sum of them still has fewer than 38 digits.
_MOST = 10 ** (_DIGITS + 2)
_NUMBERS = ("number", "integer")


def value_check(
    pipeline: ResolvedPipeline,
    source: Source,
    rows_over: Callable[[FileTable, Sequence[str], Mapping[str, str]], str],
) -> ValueCheck | None:
    """The records of a source with a computed value that does not fit its column, in any of its tables.

    `rows_over` is the SELECT of a table over other relations, with further columns of the records of its rows.
    """
    outputs = (*pipeline.tables, *pipeline.lake_outputs)
    tables = [table for table in outputs if table.grain is source and _computed_columns(table)]
    if not tables:
        return None
    record = (*PROVENANCE, "_IS_NEW", "_ROW")
    touched, batch = touched_condition(pipeline, source), f"'' AS {BATCH_ID}"
    relations = {source.relation: _wide_rows(source.contract, checked(source.name.upper()), touched, (*record, batch))}
    if source.items and source.items_relation:
        # Published records have no lists.
        element, columns = source.items.within(source.contract), (*record, "_POSITION")
        relations[source.items_relation] = _wide_rows(element, checked(source.items.name.upper()), "_IS_NEW", columns)
    selects: list[str] = []
    reasons: list[str] = []
    for table in tables:
        rows = rows_over(_with_bounded_sums(table), ("_ROW",), relations)
        selects.append(_misfit_select(table, rows, len(reasons) + 1))
        reasons += _misfit_reasons(table)
    append = any(table.write in KEEPS_SUPERSEDED for table in tables)
    return ValueCheck(" UNION ALL ".join(selects), tuple(reasons), append)


def _computed_columns(table: FileTable) -> list[tuple[Column, str, str]]:
    """(column, condition of a value that does not fit, what fits) of the columns that are computed from records."""
    return [
        (column, *limit)
        for column in table.contract.columns
        if (limit := _limit(table.contract, column))
        and table.select.copy_of(column.name) is None
        and table.select.sources_of(column.name)
    ]


def _misfit_reasons(table: FileTable) -> list[str]:
    """A sentence for each of the computed columns."""
    return [
        f"{table.contract.table}.{column.name}: {fits} was expected; the value computed from this record does not fit."
        for column, _, fits in _computed_columns(table)
    ]


def _with_bounded_sums(table: FileTable) -> FileTable:
    """The table with sums that cannot overflow and are at least as large: of absolute values, each bounded."""
    return replace(table, select=table.select.with_bounded_sums(_MOST))


def _misfit_select(table: FileTable, rows: str, first: int) -> str:
    """SELECT `_ROW` and `_MISFIT` of ROWS with a value that does not fit; the number of the first reason is `first`."""
    conditions = [condition for _, condition, _ in _computed_columns(table)]
    cases = " ".join(f"WHEN {condition} THEN {number}" for number, condition in enumerate(conditions, first))
    return f"SELECT _ROW, CASE {cases} END AS _MISFIT FROM ({rows}) AS MADE WHERE {' OR '.join(conditions)}"


def _wide_rows(contract: Contract, relation: str, condition: str, extra: Sequence[str]) -> str:
    """SELECT the rows of a relation, with numbers so wide that the product of two of them is exact."""
    columns = ", ".join((*map(_wide, contract.columns), *extra))
    return f"SELECT {columns} FROM {relation} WHERE {condition}"


def _wide(column: Column) -> str:
    if column.logical_type not in _NUMBERS or column.is_float:
        return sql_name(column.name)
    precision, scale = column.precision_and_scale
    name = sql_name(column.name)
    return f"CAST({name} AS NUMBER({max(precision, _DIGITS + 1)},{scale})) AS {name}"


def _limit(contract: Contract, column: Column) -> tuple[str, str] | None:
    """(condition of a value that does not fit, what fits); None for types that take every value."""
    if column.logical_type == "string" and column.max_length:
        return (
            f"LENGTH({sql_name(column.name)}) > {column.max_length}",
            f"a text of at most {column.max_length} characters",
        )
    if column.logical_type not in _NUMBERS or column.physical_type in ("DOUBLE", "FLOAT"):
        return None
    precision, scale = (_DIGITS, 0) if contract.form == "parquet" else column.precision_and_scale
    digits = (min(precision, _DIGITS) if scale < _DIGITS else precision) - scale
    return f"ABS({sql_name(column.name)}) >= {10**digits}", f"a number with at most {digits} digits before the point"
