"""Spark SQL that compares the versions of a key, and finds rows that are left out: orphans and misfits."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline_assets.contracts.names import spark_name
from pipeline_assets.engine.spark.inputs import SparkInput
from pipeline_assets.engine.validation_query import referring


def ranked(spark_input: SparkInput, order: str, is_old: str, misfits: str) -> str:
    """The rows of an input with `_RULE` (negative if left out), `_IS_OLD` and `_RANK` (1 is the newest version).

    `misfits` is a SELECT of `_ROW` and `_RULE`, or empty.
    """
    key, joins, left_out = [spark_name(name) for name in spark_input.contract.key], [], []
    for number, column in enumerate(referring(spark_input.contract), 1):
        assert column.reference is not None
        if column.reference.on_missing == "load":
            continue
        child = spark_name(column.name)
        joins.append(
            f"LEFT JOIN (SELECT DISTINCT {spark_name(column.reference.column)} AS _KEY, TRUE AS _EXISTS FROM "
            f"{spark_name(column.reference.dataset)}) AS r{number} ON r{number}._KEY = b.{child}"
        )
        left_out.append(f"WHEN b._IS_NEW AND b.{child} IS NOT NULL AND r{number}._EXISTS IS NULL THEN -{number}")
    if misfits:
        joins.append(f"LEFT JOIN ({misfits}) AS m ON m._ROW = {_row(key, 'b.')}")
        left_out.append("ELSE m._RULE")
    cases = " ".join(
        left_out if any(case.startswith("WHEN") for case in left_out) else ["WHEN FALSE THEN 0", *left_out]
    )
    rule = f"CASE {cases} END" if left_out else "CAST(NULL AS INT)"
    rank = "1"
    if key:
        newest = newest_first_by_place(spark_input, order)
        whole = " AND ".join(f"{column} IS NOT NULL" for column in key)
        rank = (
            f"CASE WHEN {whole} THEN ROW_NUMBER() OVER (PARTITION BY {', '.join(key)}, _RULE IS NULL, _IS_OLD "
            f"ORDER BY {newest}) ELSE 1 END"
        )
    return (
        f"SELECT *, CASE WHEN _IS_OLD THEN 2 ELSE {rank} END AS _RANK FROM "
        f"(SELECT b.*, {rule} AS _RULE, {is_old} AS _IS_OLD FROM {spark_input.name}__all AS b {' '.join(joins)})"
    )


def newest_first_by_place(spark_input: SparkInput, order: str) -> str:
    """The order of the versions of a key, and of versions that are equal in it by their place."""
    waiting = in_list(file for file, split in spark_input.splits.items() if split.waiting)
    return f"{order}, _FILE IN ({waiting}), _FILE DESC, _SPLIT DESC, _RECORD DESC"


def checked_rows(spark_input: SparkInput, every_version: bool) -> str:
    """The ranked rows that a value check reads, with `_ROW`."""
    newest = "" if every_version else " AND _RANK = 1"
    row = _row(map(spark_name, spark_input.contract.key), "")
    return f"SELECT *, {row} AS _ROW FROM {spark_input.name}__ranked WHERE _RULE IS NULL{newest}"


def in_list(numbers: Iterable[int]) -> str:
    """Numbers for IN."""
    return ", ".join(str(number) for number in sorted(numbers)) or "-1"


def _row(key: Iterable[str], alias: str) -> str:
    """The identity of a row as text; published rows, which have no place in a file, are identified by their key."""
    published = ", ".join(("'P'", *(f"{alias}{column}" for column in key)))
    landed = ", ".join(f"{alias}{name}" for name in ("_FILE", "_SPLIT", "_RECORD"))
    return f"CASE WHEN {alias}_IS_NEW THEN CONCAT_WS(':', {landed}) ELSE CONCAT_WS(':', {published}) END"
