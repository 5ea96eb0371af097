"""Statements around a mart's SELECT that rebuild the rows a batch has outdated.

Outdated are the values of its `refresh_by` columns in touched rows of its tables: published rows before the batch is
written, and new rows after it. Missing is every row with values that the mart does not have, so a mart that was added
later fills itself. Values are compared NULL-safely: rows without a category are a group too.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from pipeline_assets.contracts.ddl import literal, staging_table
from pipeline_assets.contracts.names import bindable, free_alias, sql_name, sql_names
from pipeline_assets.pipeline.fetch import touched_records_table
from pipeline_assets.pipeline.resolved import FileTable, MartTable, ResolvedPipeline

# Stands for the batch while a SELECT is rewritten, as sqlglot cannot read a bound value in Snowflake's SQL.
_BATCH = literal("\ue000batch_id\ue001")


@dataclass(frozen=True)
class MartRefresh:
    """The statements that refresh one mart, in the order in which they run; they are the same for every batch.

    `before` runs when the batch is staged but not written, `after` when the tables are written, `late`, which binds
    `batch_id`, when the marts that this one reads are written; then `missing` selects the rows to insert. If the SELECT
    has changed since the last refresh (its `digest` differs), the mart is emptied first, so that all of its rows are
    missing.
    """

    mart: MartTable
    before: tuple[str, ...]
    after: tuple[str, ...]
    late: tuple[str, ...]
    missing: str
    digest: str


def refreshes(pipeline: ResolvedPipeline) -> list[MartRefresh]:
    """How a batch refreshes each mart of a pipeline; a mart comes after the marts that it reads."""
    return [_refresh(pipeline, mart) for mart in pipeline.marts]


def _digest(pipeline: ResolvedPipeline, mart: MartTable) -> str:
    """A digest of a mart's SELECT, and of those of the marts that it reads."""
    digests = [_digest(pipeline, other) for other in pipeline.marts if other.qualified in mart.select.relations]
    text = "\n".join((mart.select.text, *mart.contract.column_names, *digests))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _refresh(pipeline: ResolvedPipeline, mart: MartTable) -> MartRefresh:
    digest = _digest(pipeline, mart)
    if mart.declared.refresh == "full":
        empty = (f"DELETE FROM {bindable(mart.qualified)}",)
        return MartRefresh(mart, (), (), empty, mart.select.over({}), digest)
    delete = tuple(_delete_outdated(mart, outdated) for outdated in _outdated(pipeline, mart))
    # Rows of another mart that this batch has rebuilt, also where only older versions had their values.
    late = [
        bindable(_delete_outdated(mart, outdated)).replace(_BATCH, "%(batch_id)s")
        for other in pipeline.marts
        if other.qualified in mart.select.relations
        for batch_rows in [f"SELECT M.* FROM {other.qualified} AS M WHERE M._BATCH_ID = {_BATCH}"]
        for outdated in mart.refresh_select.distinct_values(mart.declared.refresh_columns, other.qualified, batch_rows)
    ]
    return MartRefresh(mart, delete, delete, tuple(late), _missing_rows(mart), digest)


def _outdated(pipeline: ResolvedPipeline, mart: MartTable) -> list[str]:
    """For each table that a mart reads, SELECT the values of the refresh columns that its touched rows give."""
    columns = mart.declared.refresh_columns
    return [
        outdated
        for relation in mart.select.relations
        for outdated in mart.refresh_select.distinct_values(columns, relation, _touched_rows(pipeline, relation))
    ]


def _touched_rows(pipeline: ResolvedPipeline, relation: str) -> str | None:
    """SELECT the rows of a table that a batch touches; None if it touches all of them."""
    for table in pipeline.tables:
        if table.qualified == relation:
            return _touched_rows_of_table(pipeline, table)
    other = next(mart for mart in pipeline.marts if mart.qualified == relation)
    if other.declared.refresh == "full":
        return None
    equal = _null_safe_equal("M", "O", other.declared.refresh_columns)
    outdated = " UNION ".join(_outdated(pipeline, other))
    return f"SELECT M.* FROM {relation} AS M WHERE EXISTS (SELECT 1 FROM ({outdated}) AS O WHERE {equal})"


def _touched_rows_of_table(pipeline: ResolvedPipeline, table: FileTable) -> str | None:
    if table.write == "full_refresh":
        return None
    if table.write == "append":
        staged = staging_table(table.contract, table.write).qualified
        # Records that were in quarantine are staged, though their objects are not in the ledger's staging table.
        objects = (
            f"SELECT URI, ETAG FROM OPS.STAGE_FILE_LEDGER WHERE DATASET = '{table.grain.name}' "
            f"UNION SELECT _SOURCE_URI, _SOURCE_ETAG FROM {staged}"
        )
        return f"SELECT T.* FROM {table.qualified} AS T WHERE (T._SOURCE_URI, T._SOURCE_ETAG) IN ({objects})"
    if table.write == "append_distinct":
        return f"SELECT S.* FROM {staging_table(table.contract, table.write).qualified} AS S"
    staged, keys = touched_records_table(pipeline, table.grain)
    key_columns = sql_names(table.record_key, "T")
    row = key_columns if len(keys) == 1 else f"({key_columns})"
    return f"SELECT T.* FROM {table.qualified} AS T WHERE {row} IN (SELECT {sql_names(keys)} FROM {staged})"


def _delete_outdated(mart: MartTable, outdated: str) -> str:
    table, other = mart.contract.table, free_alias("OUTDATED", mart.contract.table)
    equal = _null_safe_equal(sql_name(table), other, mart.declared.refresh_columns)
    return f"DELETE FROM {mart.qualified} USING ({outdated}) AS {other} WHERE {equal}"


def _missing_rows(mart: MartTable) -> str:
    """SELECT the rows of a mart that it lacks.

    If all refresh columns come unchanged from one table, only that table's rows with missing values are read, so that
    the SELECT does not run over all rows.
    """
    columns = mart.declared.refresh_columns
    copies = [mart.refresh_select.copy_of(name) for name in columns]
    relations = {copy[0] for copy in copies if copy}
    relation = next(iter(relations), "")
    if len(relations) == 1 and all(copies) and mart.refresh_select.starts_from(relation):
        equal = " AND ".join(
            f"EQUAL_NULL(HAS.{sql_name(name)}, T.{sql_name(copy[1])})"
            for name, copy in zip(columns, copies, strict=True)
            if copy
        )
        lacking = (
            f"SELECT T.* FROM {relation} AS T WHERE NOT EXISTS (SELECT 1 FROM {mart.qualified} AS HAS WHERE {equal})"
        )
        return mart.select.over({relation: lacking})
    equal = _null_safe_equal("HAS", "MADE", columns)
    return (
        f"SELECT MADE.* FROM ({mart.select.over({})}) AS MADE "
        f"WHERE NOT EXISTS (SELECT 1 FROM {mart.qualified} AS HAS WHERE {equal})"
    )


def rebuild_statements(mart: MartTable, stream: str) -> tuple[str, str]:
    """DELETE and INSERT that rebuild a history for the keys in a stream of its observations; a task runs them."""
    changed = f"SELECT DISTINCT {sql_names(mart.declared.refresh_columns)} FROM {stream}"
    columns = sql_names(mart.contract.column_names)
    insert = (
        f"INSERT INTO {mart.qualified} ({columns}, _SOURCE_URI, _LOADED_AT) "
        f"SELECT {columns}, '{' '.join(mart.select.relations)}', SYSDATE() FROM ({_missing_rows(mart)}) AS MISSING"
    )
    return _delete_outdated(mart, changed), insert


def difference_query(mart: MartTable) -> str:
    """SELECT the groups of a mart whose rows differ from what its SELECT gives now, duplicate rows included.

    Comparing grand totals would not be enough: a row under a wrong date does not change them.
    """
    names = sql_names(mart.contract.column_names)
    grouping = mart.grouping
    groups = [
        name for name in mart.contract.column_names if grouping and name in grouping
    ] or mart.contract.column_names
    return (
        f"SELECT DISTINCT {sql_names(groups)} FROM (SELECT {names} FROM ("
        f"SELECT {names}, 1 AS _EXPECTED, 0 AS _FOUND FROM ({mart.select.text}) AS EXPECTED "
        f"UNION ALL SELECT {names}, 0 AS _EXPECTED, 1 AS _FOUND FROM {mart.qualified}) AS BOTH_SIDES "
        f"GROUP BY {names} HAVING SUM(_EXPECTED) <> SUM(_FOUND)) AS UNMATCHED"
    )


def _null_safe_equal(one: str, other: str, columns: tuple[str, ...]) -> str:
    return " AND ".join(f"EQUAL_NULL({one}.{sql_name(name)}, {other}.{sql_name(name)})" for name in columns)
