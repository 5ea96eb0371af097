"""Compare the keys of a table with those of its source: late rows are extracted, and rows that are gone are marked.

The published keys are read before those of the source, and the time between the two is the version of what differs. So
a key that the source lacks was deleted: a row that is inserted later was not published when its keys were read, and one
that is inserted again has a newer version. Keys are compared in DuckDB, which needs a fixed amount of memory.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.arrow import arrow_schema
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.contracts.names import bindable, sql_name, sql_names
from pipeline_assets.engine.validation_query import match_columns, validation_select
from pipeline_assets.reviews.extract import Extracted, changed_rows, finished, marked, notes_of, ordered_columns
from pipeline_assets.reviews.files import write_file
from pipeline_assets.reviews.key_ranges import (
    bounds_statement,
    differing_ranges,
    ranges_of,
    ranges_statement,
    width_for,
    within,
)
from pipeline_assets.reviews.manifest import Watermark
from pipeline_assets.reviews.metadata import DELETED, ListedTable
from pipeline_assets.reviews.position import quoted, rows_with
from pipeline_assets.reviews.schema import column_name
from pipeline_assets.reviews.source import Source
from pipeline_assets.reviews.types import MappedColumn
from pipeline_assets.sqlfiles import transpile

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from pipeline_assets.reviews.watermark import TableState
    from pipeline_assets.warehouse import Warehouse

logger = logging.getLogger("pipeline_assets")
_MEMORY = "256MB"
_KEYS_AT_A_TIME, _COMPOSITE_KEYS_AT_A_TIME = 10_000, 500  # SQLite has a limit for the depth of conditions
_FEW_ROWS = 20  # of which a comparison may mark all
_INTEGERS = {"mysql": "SIGNED", "sqlite": "BIGINT"}


@dataclass(frozen=True)
class PublishedRows:
    """The rows of a table in the warehouse that are not deleted: those of `relation` for which `condition` is true.

    `contract` is that of its records.
    """

    contract: Contract
    relation: str
    condition: str


@dataclass(frozen=True)
class Comparison:
    """What a comparison landed or has to land. `at` is its time; empty if it has to be repeated.

    `refused` is the number of rows that the source lacks, and that are kept for the reason in `refusal`.
    """

    at: str
    extracted: Extracted | None = None
    refused: int = 0
    refusal: str = ""


def is_due(table: ListedTable, state: TableState, now: datetime, hours: float) -> bool:
    """Whether the keys are to be compared; `now` is the time of the source. Without a first extract they are not."""
    if not table.is_keyed or state.watermark is None:
        return False
    return not state.reconciled_at or now - datetime.fromisoformat(state.reconciled_at) >= timedelta(hours=hours)


def compare(
    source: Source,
    table: ListedTable,
    published: PublishedRows,
    warehouse: Warehouse,
    since: Watermark | None,
    folder: Path,
    batch_id: str,
    *,
    source_name: str,
    lag_seconds: float,
    delete_share: float,
) -> Comparison:
    """Extract what differs between a table and its source, but for what an extract since the watermark has.

    Raises:
        ConfigurationError, SourceError: as `extract_table`.
        WarehouseError: the published rows cannot be read.
    """
    columns = source.columns(table.name)
    changed = changed_rows(source, ordered_columns(table, columns), since, lag_seconds)
    key = _mapped_key(published.contract, columns)
    at = _iso(source.times().utc)
    ranges, rows = _differing(source, table, published, warehouse, key)
    if ranges == []:
        return Comparison(at)
    ours, theirs = folder / "published-keys.parquet", folder / "source-keys.parquet"
    read = _read_published_keys(warehouse, published, ranges, ours)
    at = _iso(source.times().utc)
    _read_source_keys(source, table, key, ranges, theirs)
    invalid: Counter[str] = Counter()
    late: list[tuple[Path, int]] = []
    marked_files: list[tuple[Path, int]] = []
    with _differences(published.contract, key, theirs, ours, is_typed=table.format == "parquet") as database:
        gone = database.execute("SELECT COUNT(*) FROM GONE").fetchall()[0][0]
        refusal = _refusal(table, gone, read if rows is None else rows, delete_share)
        if changed:  # else the next extract has every row
            late = _extract_missing(source, table, columns, key, changed, database, folder, invalid)
        if table.marks_deleted and not refusal:
            marked_files = _extract_gone(warehouse, published, database, folder)
    notes = notes_of(invalid)
    if gone and not table.marks_deleted:
        notes = (*notes, f"{gone} rows are no longer in the source")
        logger.info("%s rows of %s are no longer in the source.", f"{gone:,}", table.name)
    extracted = None
    if files := [*late, *marked_files]:
        deleted, until = sum(rows for _, rows in marked_files), Watermark(snapshot_at=at)
        extracted = finished(source_name, table, batch_id, "corrections", None, until, columns, files, notes, deleted)
    return Comparison("", extracted, gone, refusal) if refusal else Comparison(at, extracted)


def _mapped_key(contract: Contract, columns: Sequence[MappedColumn]) -> list[MappedColumn]:
    by_name = {column_name(column.column): column for column in columns}
    return [by_name[name] for name in contract.key]


def _differing(
    source: Source, table: ListedTable, published: PublishedRows, warehouse: Warehouse, key: Sequence[MappedColumn]
) -> tuple[list[tuple[int, int]] | None, int | None]:
    """The ranges whose keys differ, and the number of published rows; None of both if the key has no ranges."""
    name = quoted(source.dialect, key[0].name)
    types = (key[0].column.physical_type, published.contract.column(published.contract.key[0]).physical_type)
    is_integer = all(re.fullmatch(r"NUMBER\([0-9]+,0\)", physical_type) for physical_type in types)
    if len(key) > 1 or not is_integer or key[0].expression != name:
        return None, None
    relation, condition = quoted(source.dialect, table.name), f"{name} IS NOT NULL"
    (bounds,) = source.rows(bounds_statement(name, relation, condition))
    if any(isinstance(bound, str | bytes | float) for bound in bounds):  # SQLite keeps any value in any column
        return None, None
    own_name = sql_name(published.contract.key[0])
    with warehouse.read_only() as transaction:
        (own_bounds,) = transaction.rows(bounds_statement(own_name, published.relation, published.condition))
        width = width_for([*bounds, *own_bounds])
        own = ranges_of(transaction.rows(ranges_statement(own_name, published.relation, published.condition, width)))
    statement = ranges_statement(name, relation, condition, width, _INTEGERS[source.dialect])
    theirs = ranges_of(source.rows(statement))
    return differing_ranges(theirs, own, width), sum(count for count, *_ in own.values())


def _read_published_keys(
    warehouse: Warehouse, published: PublishedRows, ranges: Sequence[tuple[int, int]] | None, path: Path
) -> int:
    """Write the published keys in some ranges, or all, to a file; returns their number."""
    names = sql_names(published.contract.key)
    condition = published.condition if ranges is None else f"{published.condition} AND {within(names, ranges)}"
    schema = arrow_schema(target_table(published.contract), published.contract.key)
    with warehouse.read_only() as transaction:
        sql = f"SELECT {sql_names(schema.names)} FROM {published.relation} WHERE {condition}"
        return transaction.to_parquet(sql, schema, path)


def _read_source_keys(
    source: Source,
    table: ListedTable,
    key: Sequence[MappedColumn],
    ranges: Sequence[tuple[int, int]] | None,
    path: Path,
) -> None:
    """Write the keys of the source in some ranges, or all, to a file; none if there are none."""
    condition = "" if ranges is None else within(quoted(source.dialect, key[0].name), ranges)
    with closing(source.read(table.name, key, condition, path.parent, Counter())) as read:
        write_file(path, read)


@contextmanager
def _differences(
    contract: Contract, key: Sequence[MappedColumn], theirs: Path, ours: Path, *, is_typed: bool
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the tables MISSING and GONE: keys as texts, of the source and as they are published.

    Those of the source are typed as when they are loaded; a key that would not be loaded is in neither.
    """
    import duckdb

    texts = [f"C{number}" for number in range(len(key))]
    record = replace(contract, columns=tuple(contract.column(name) for name in contract.key))
    values = ", ".join(
        f"CAST({sql_name(column.name) if theirs.exists() else 'NULL'} AS VARCHAR) AS {text}"
        for column, text in zip(key, texts, strict=True)
    )
    found = f"read_parquet({_literal(theirs)})" if theirs.exists() else "(SELECT 1 LIMIT 0)"
    select = validation_select(
        record, match_columns(record, record.column_names), texts, typed_row="TRUE" if is_typed else ""
    )
    same = " AND ".join(f"S.{sql_name(name)} = P.{sql_name(name)}" for name in record.key)
    published_texts = ", ".join(f"CAST({sql_name(name)} AS VARCHAR)" for name in record.key)
    config: dict[str, Any] = {"memory_limit": _MEMORY, "temp_directory": str(ours.with_name("duckdb")), "threads": 1}
    with duckdb.connect(str(ours.with_name("keys.duckdb")), config=config) as database:
        database.execute(f"CREATE VIEW RAW AS SELECT {values} FROM {found}")
        database.execute(f"CREATE TABLE SOURCE AS SELECT * FROM ({transpile(select, 'duckdb')}) WHERE _FAULT IS NULL")
        database.execute(f"CREATE VIEW PUBLISHED AS SELECT * FROM read_parquet({_literal(ours)})")
        database.execute(
            f"CREATE TABLE MISSING AS SELECT {', '.join(texts)} FROM SOURCE AS S ANTI JOIN PUBLISHED AS P ON {same}"
        )
        database.execute(
            f"CREATE TABLE GONE AS SELECT {published_texts} FROM PUBLISHED AS P ANTI JOIN SOURCE AS S ON {same}"
        )
        yield database


def _extract_missing(
    source: Source,
    table: ListedTable,
    columns: Sequence[MappedColumn],
    key: Sequence[MappedColumn],
    changed: str,
    database: duckdb.DuckDBPyConnection,
    folder: Path,
    invalid: Counter[str],
) -> list[tuple[Path, int]]:
    """The file with the rows of MISSING that the next extract does not have, and its number of rows."""
    path, rows = folder / f"corrections.{table.format}", 0

    def batches() -> Generator[pa.RecordBatch, None, None]:
        nonlocal rows
        for keys in _keys(database, "MISSING", _KEYS_AT_A_TIME if len(key) == 1 else _COMPOSITE_KEYS_AT_A_TIME):
            condition = f"({rows_with(source.dialect, key, keys)}) AND ({changed}) IS NOT TRUE"
            for batch in source.read(table.name, columns, condition, folder, invalid):
                yield marked(table, batch)
                rows += batch.num_rows

    with closing(batches()) as read:
        write_file(path, read)
    return [(path, rows)] if rows else []


def _extract_gone(
    warehouse: Warehouse, published: PublishedRows, database: duckdb.DuckDBPyConnection, folder: Path
) -> list[tuple[Path, int]]:
    """Files with the published rows of GONE, marked as deleted, and their numbers of rows."""
    contract = published.contract
    schema = arrow_schema(target_table(contract), contract.column_names)
    values = ", ".join(f"TRUE AS {name}" if name == DELETED else sql_name(name) for name in contract.column_names)
    keys = ", ".join(
        f"CAST(CAST(F.VALUE[{number}] AS VARCHAR) AS {contract.column(name).physical_type})"
        for number, name in enumerate(contract.key)
    )
    key = sql_names(contract.key)
    sql = (
        f"SELECT {bindable(values)} FROM {bindable(published.relation)} WHERE {bindable(published.condition)} "
        f"AND {bindable(key if len(contract.key) == 1 else f'({key})')} IN "
        f"(SELECT {keys} FROM TABLE(FLATTEN(INPUT => PARSE_JSON(%(keys)s))) AS F)"
    )
    files = []
    with warehouse.read_only() as transaction:
        for number, some in enumerate(_keys(database, "GONE", _KEYS_AT_A_TIME)):
            path = folder / f"deleted-{number}.parquet"
            if rows := transaction.to_parquet(sql, schema, path, {"keys": json.dumps(some)}):
                files.append((path, rows))
    return files


def _keys(database: duckdb.DuckDBPyConnection, relation: str, count: int) -> Iterator[list[tuple[str, ...]]]:
    rows = database.cursor().execute(f"SELECT * FROM {relation}")
    while keys := rows.fetchmany(count):
        yield keys


def _refusal(table: ListedTable, gone: int, rows: int, share: float) -> str:
    """Why no row is marked: too many are gone, as when a source is empty because its copy failed. Else empty."""
    if not table.marks_deleted or rows < _FEW_ROWS or gone <= share * rows:
        return ""
    return (
        f"The source lacks {gone:,} of the {rows:,} rows of {table.name}, more than the share that may be marked as "
        f"deleted ({share:g}): no row is marked. Check the source; if they were deleted there, raise "
        "PIPELINE_REVIEWS_DELETE_SHARE for a run."
    )


def _iso(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
