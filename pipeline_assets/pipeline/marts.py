"""Which rows of a mart a batch makes anew, as statements around its SELECT.

Outdated are the values of its `refresh_by` columns that touched rows of its tables give: published rows before the
batch is written, and new rows after it. Missing is every row whose values the mart does not have, so that a mart that
was added later fills itself. Values are compared as NULL-safe: a group without a category is a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from pipeline_assets.pipeline.fetch import staged_table
from pipeline_assets.pipeline.resolved import FileTable, MartTable, ResolvedPipeline


@dataclass(frozen=True)
class MartRefresh:
    """The statements that refresh one mart, in the order in which they run.

    `before` runs while the batch is staged and not written yet, `after` when the tables are written, `late` when the
    marts that this one is made from are; then `missing` gives the rows to insert. A mart whose SELECT, known by its
    `digest`, is another than the last time is emptied first, so that all of its rows are missing.
    """

    mart: MartTable
    before: tuple[str, ...]
    after: tuple[str, ...]
    late: tuple[str, ...]
    missing: str
    digest: str


def refreshes(pipeline: ResolvedPipeline, batch_id: str) -> list[MartRefresh]:
    """How a batch refreshes each mart of a pipeline; marts that others are made from come first."""
    return [_refresh(pipeline, mart, batch_id) for mart in pipeline.marts]


def _digest(pipeline: ResolvedPipeline, mart: MartTable) -> str:
    """What a mart is made by: its SELECT, and those of the marts that it reads."""
    read = [_digest(pipeline, other) for other in pipeline.marts if other.qualified in mart.select.relations]
    text = "\n".join((mart.select.text, *mart.contract.column_names, *read))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _refresh(pipeline: ResolvedPipeline, mart: MartTable, batch_id: str) -> MartRefresh:
    digest = _digest(pipeline, mart)
    if mart.declared.refresh == "full":
        empty = (f"DELETE FROM {mart.qualified}",)
        return MartRefresh(mart, (), (), empty, mart.select.reading({}), digest)
    delete = tuple(_delete(mart, outdated) for outdated in _outdated(pipeline, mart))
    # Rows of another mart that this batch has made, those included whose values only older versions had.
    late = [
        _delete(mart, outdated)
        for other in pipeline.marts
        if other.qualified in mart.select.relations
        for made in [f"SELECT M.* FROM {other.qualified} AS M WHERE M._BATCH_ID = '{batch_id}'"]
        for outdated in mart.select.values_of(mart.declared.refresh_columns, other.qualified, made)
    ]
    return MartRefresh(mart, delete, delete, tuple(late), _missing(mart), digest)


def _outdated(pipeline: ResolvedPipeline, mart: MartTable) -> list[str]:
    """For each table that a mart reads, SELECT the values of its refresh columns that touched rows of it give."""
    columns = mart.declared.refresh_columns
    return [
        outdated
        for relation in mart.select.relations
        for outdated in mart.select.values_of(columns, relation, _touched_rows(pipeline, relation))
    ]


def _touched_rows(pipeline: ResolvedPipeline, relation: str) -> str | None:
    """SELECT the rows of a table that a batch touches; None where it touches all of them."""
    for table in pipeline.tables:
        if table.qualified == relation:
            return _touched_rows_of_table(pipeline, table)
    other = next(mart for mart in pipeline.marts if mart.qualified == relation)
    if other.declared.refresh == "full":
        return None
    same = _same("M", "O", other.declared.refresh_columns)
    outdated = " UNION ".join(_outdated(pipeline, other))
    return f"SELECT M.* FROM {relation} AS M WHERE EXISTS (SELECT 1 FROM ({outdated}) AS O WHERE {same})"


def _touched_rows_of_table(pipeline: ResolvedPipeline, table: FileTable) -> str | None:
    if table.write == "full_refresh":
        return None
    if table.write == "append":
        objects = f"SELECT URI, ETAG FROM OPS.STAGE_FILE_LEDGER WHERE DATASET = '{table.grain.name}'"
        return f"SELECT T.* FROM {table.qualified} AS T WHERE (T._SOURCE_URI, T._SOURCE_ETAG) IN ({objects})"
    staged, keys = staged_table(pipeline, table.grain)
    mine = ", ".join(f"T.{name}" for name in table.record_key)
    row = mine if len(keys) == 1 else f"({mine})"
    return f"SELECT T.* FROM {table.qualified} AS T WHERE {row} IN (SELECT {', '.join(keys)} FROM {staged})"


def _delete(mart: MartTable, outdated: str) -> str:
    same = _same(mart.contract.table, "OUTDATED", mart.declared.refresh_columns)
    return f"DELETE FROM {mart.qualified} USING ({outdated}) AS OUTDATED WHERE {same}"


def _missing(mart: MartTable) -> str:
    """SELECT the rows of a mart that it lacks.

    Where all refresh columns come from one table unchanged, only its rows with such values are read; the SELECT would
    be made for all rows otherwise.
    """
    columns = mart.declared.refresh_columns
    copies = [mart.select.copy_of(name) for name in columns]
    relations = {copy[0] for copy in copies if copy}
    relation = next(iter(relations), "")
    if len(relations) == 1 and all(copies) and mart.select.starts_from(relation):
        same = " AND ".join(
            f"EQUAL_NULL(HAS.{name}, T.{copy[1]})" for name, copy in zip(columns, copies, strict=True) if copy
        )
        lacking = (
            f"SELECT T.* FROM {relation} AS T WHERE NOT EXISTS (SELECT 1 FROM {mart.qualified} AS HAS WHERE {same})"
        )
        return mart.select.reading({relation: lacking})
    same = _same("HAS", "MADE", columns)
    return (
        f"SELECT MADE.* FROM ({mart.select.reading({})}) AS MADE "
        f"WHERE NOT EXISTS (SELECT 1 FROM {mart.qualified} AS HAS WHERE {same})"
    )


def differences(mart: MartTable) -> str:
    """SELECT the groups of a mart whose rows are not what its SELECT gives now, rows that came twice included.

    Grand totals would not do: a row under a wrong date leaves them as they are.
    """
    names = ", ".join(mart.contract.column_names)
    grouping = mart.select.grouping
    groups = [
        name for name in mart.contract.column_names if grouping and name in grouping
    ] or mart.contract.column_names
    return (
        f"SELECT DISTINCT {', '.join(groups)} FROM (SELECT {names} FROM ("
        f"SELECT {names}, 1 AS _EXPECTED, 0 AS _FOUND FROM ({mart.select.text}) AS EXPECTED "
        f"UNION ALL SELECT {names}, 0 AS _EXPECTED, 1 AS _FOUND FROM {mart.qualified}) AS BOTH_SIDES "
        f"GROUP BY {names} HAVING SUM(_EXPECTED) <> SUM(_FOUND)) AS UNMATCHED"
    )


def _same(one: str, other: str, columns: tuple[str, ...]) -> str:
    return " AND ".join(f"EQUAL_NULL({one}.{name}, {other}.{name})" for name in columns)
