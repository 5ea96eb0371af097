"""Publish a batch: data, marts, ledger and quarantine in one transaction.

The batch is in the lake as Parquet, under its staging prefix. COPY loads it into staging tables, counts are compared,
and DML does the rest, so the number of statements does not depend on the number of files. Rows are merged by DELETE and
INSERT: the embedded warehouse (fakesnow 0.12) cannot run MERGE in a transaction that has already written, and within a
transaction the effect is the same. Two runs may plan at once: the first statement increments the pipeline's count of
batches only if it is still what it was at planning time, so the later publication stops.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import DISTINCT_ROW, Table, observation_key, staging_table, target_table
from pipeline_assets.contracts.names import bindable, free_alias, sql_name, sql_names
from pipeline_assets.errors import PublicationConflictError, RowAccountingError, WarehouseError
from pipeline_assets.progress import progress
from pipeline_assets.warehouse.connection import Loading, Warehouse, tagged
from pipeline_assets.warehouse.distinct_rows import missing_rows
from pipeline_assets.warehouse.ledger import claim_publication, is_published
from pipeline_assets.warehouse.schema import ops_sql, ops_table
from pipeline_assets.warehouse.select_digests import changed_selects, store_digest
from pipeline_assets.warehouse.transaction import Params, Transaction

# Snowflake may not parse JSON that a reader accepted: PARSE_JSON rejects duplicate keys, and one such record would fail
# its batch in every run. With 'd' the last of duplicate keys counts (fakesnow keeps both); what cannot be parsed at all
# stays text.
_RESCUED = "COALESCE(TRY_PARSE_JSON(_RESCUED, 'd'), TO_VARIANT(_RESCUED))"
_OWN_STAGING = ("STAGE_FILE_LEDGER", "STAGE_QUARANTINE", "STAGE_RELEASED")
# For the platform's own tables, few rows for which a pipe would take longer, and for tables that a run creates.
_BY_COPY = Loading()


@dataclass(frozen=True)
class StagedFile:
    """A Parquet file in the lake and its number of rows."""

    key: str
    rows: int


@dataclass(frozen=True)
class Load:
    """Rows to write into a contract's table.

    `upsert` deletes the rows of every record in the staging table `replaced_by` before it inserts, so a record that no
    longer yields a row loses its earlier rows; `on` are pairs of (column of the table, column of `replaced_by`).
    `append` replaces the rows of every object of `dataset` in the batch, and those of the same key and object, if the
    contract has a key. `append_distinct` inserts the rows that the table lacks, see `distinct_rows`. `full_refresh`
    replaces all rows, unless there are none to write. A table that is not `piped` has no pipe and is loaded by COPY.
    """

    contract: Contract
    file: StagedFile
    write: str = "upsert"
    replaced_by: str = ""
    on: tuple[tuple[str, str], ...] = ()
    dataset: str = ""
    piped: bool = True

    @property
    def stage(self) -> Table:
        return staging_table(self.contract, self.write)


@dataclass(frozen=True)
class Mart:
    """A table made from others, and the statements that refresh it (`pipeline_assets.pipeline.marts.MartRefresh`)."""

    contract: Contract
    source: str
    missing: str
    digest: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    late: tuple[str, ...] = ()


@dataclass(frozen=True)
class Publication:
    """Everything that one batch writes to the warehouse; `engine_seconds` is how long the engine took for it."""

    pipeline: str
    batch_id: str
    run_id: str
    bucket: str
    planned_on: int
    loads: Sequence[Load]
    marts: Sequence[Mart]
    ledger: StagedFile
    quarantine: StagedFile
    released: StagedFile
    watermarks: Mapping[str, str] = field(default_factory=dict)
    engine_seconds: float = 0


@dataclass
class PublicationResult:
    """The rows of each table after the publication, the SQL that ran, and its seconds, without those of the commit."""

    table_rows: dict[str, int] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    seconds: float = 0


def publish(warehouse: Warehouse, publication: Publication, at: datetime) -> PublicationResult:
    """Publish a whole batch or nothing.

    Args:
        at: the time of publication, UTC, without a time zone.

    Raises:
        PublicationConflictError: another batch of the pipeline was published since this one was planned.
        RowAccountingError: fewer or more rows arrived in staging than were written.
        WarehouseError: a statement failed; the transaction was rolled back.
    """
    published = PublicationResult()
    with tagged(publication.pipeline, publication.run_id):
        files = [(load.stage, load.file.key, load.file.rows) for load in publication.loads if load.piped]
        warehouse.loading.preload(warehouse.database, files)
        try:
            with (
                progress(f"Publishing {publication.pipeline}"),
                warehouse.transaction([publication.bucket]) as transaction,
            ):
                started = time.monotonic()
                published.statements = transaction.statements
                _claim(transaction, publication)
                _publish(transaction, warehouse, publication, published, at)
                published.seconds = time.monotonic() - started
                _record(transaction, publication, published, at)
        except WarehouseError:
            # The connection may have been lost after COMMIT was sent, so query whether the batch was committed.
            if not _was_committed(warehouse, publication.batch_id):
                raise
    return published


def _was_committed(warehouse: Warehouse, batch_id: str) -> bool:
    with warehouse.read_only() as transaction:
        return is_published(transaction, batch_id)


def _claim(transaction: Transaction, publication: Publication) -> None:
    if not claim_publication(transaction, publication.pipeline, publication.planned_on):
        raise PublicationConflictError(
            f"Another run of {publication.pipeline} published first.",
            remedy="Run again: the new run plans over its result.",
        )


def _record(transaction: Transaction, publication: Publication, published: PublicationResult, at: datetime) -> None:
    transaction.execute(
        ops_sql("record_batch"),
        {
            "batch_id": publication.batch_id,
            "pipeline": publication.pipeline,
            "run_id": publication.run_id,
            "at": at,
            "engine_seconds": round(publication.engine_seconds, 3),
            "warehouse_seconds": round(published.seconds, 3),
        },
    )


def _publish(
    transaction: Transaction, warehouse: Warehouse, publication: Publication, published: PublicationResult, at: datetime
) -> None:
    stage = warehouse.stage(publication.bucket)
    for name, file in zip(
        _OWN_STAGING, (publication.ledger, publication.quarantine, publication.released), strict=True
    ):
        _fill(transaction, _BY_COPY, stage, ops_table(name), file)
    for load in publication.loads:
        _fill(transaction, warehouse.loading if load.piped else _BY_COPY, stage, load.stage, load.file)
    _empty_changed_marts(transaction, publication.marts)
    for mart in reversed(publication.marts):
        _run_all(transaction, mart.before)
    for load in publication.loads:
        _replace(transaction, load)
    for load in publication.loads:
        _insert(transaction, load, publication.batch_id, at)
    for mart in reversed(publication.marts):
        _run_all(transaction, mart.after)
    for mart in publication.marts:
        _run_all(transaction, mart.late, {"batch_id": publication.batch_id})
        _insert_missing(transaction, mart, publication.batch_id, at)
    _write_platform_tables(transaction, publication, at)
    for table in [*(load.stage for load in publication.loads), *map(ops_table, _OWN_STAGING)]:
        transaction.execute(f"DELETE FROM {table.qualified}")
    for contract in [load.contract for load in publication.loads] + [mart.contract for mart in publication.marts]:
        name = target_table(contract).qualified
        published.table_rows[name] = int(transaction.scalar(f"SELECT COUNT(*) FROM {name}"))


def _run_all(transaction: Transaction, statements: Sequence[str], params: Params | None = None) -> None:
    for statement in statements:
        transaction.execute(statement, params)


def _empty_changed_marts(transaction: Transaction, marts: Sequence[Mart]) -> None:
    """Empty the marts whose SELECT has changed, so that all of their rows are rebuilt; store the new digest."""
    if not marts:
        return
    digests = {target_table(mart.contract).qualified: mart.digest for mart in marts}
    for name in changed_selects(transaction, digests):
        transaction.execute(f"DELETE FROM {name}")
        store_digest(transaction, name, digests[name])


def _fill(transaction: Transaction, loading: Loading, stage: str, table: Table, file: StagedFile) -> None:
    """Load one staged file into its staging table and compare the counts."""
    transaction.execute(f"DELETE FROM {table.qualified}")
    with progress(f"Loading {file.rows:,} rows into {table.qualified}"):
        loaded = loading.fill(transaction, table, stage, file.key) if file.rows else 0
    counted = int(transaction.scalar(f"SELECT COUNT(*) FROM {table.qualified}"))
    if not loaded == counted == file.rows:
        raise RowAccountingError(
            f"{table.qualified}: {file.rows} rows were written, {loaded} copied and {counted} found; "
            "nothing was published.",
            remedy="Run again; if it persists, inspect the staged file.",
        )


def _replace(transaction: Transaction, load: Load) -> None:
    """Delete the rows that the staged ones replace; the engine has already chosen the newest version."""
    target = target_table(load.contract).qualified
    if load.write == "append":
        table, s = bindable(sql_name(load.contract.table)), free_alias("S", load.contract.table)
        same_time = f" AND {table}._SOURCE_MODIFIED_AT = {s}.LAST_MODIFIED" if load.contract.key else ""
        transaction.execute(
            f"DELETE FROM {bindable(target)} USING OPS.STAGE_FILE_LEDGER AS {s} WHERE {s}.DATASET = %s "
            f"AND {table}._SOURCE_URI = {s}.URI AND {table}._SOURCE_ETAG = {s}.ETAG{same_time}",
            (load.dataset,),
        )
        if load.contract.key:
            # A record that was in quarantine replaces the one of its key and object.
            key = observation_key(load.contract)
            _replace_by_key(transaction, load, load.stage.qualified, key, tuple((name, name) for name in key))
        return
    if load.write == "append_distinct":
        return
    if load.write == "full_refresh":
        if load.file.rows:
            transaction.execute(f"DELETE FROM {target}")
        return
    _replace_by_key(transaction, load, load.replaced_by, load.contract.key, load.on)


def _replace_by_key(
    transaction: Transaction, load: Load, replaced_by: str, key: Sequence[str], on: Sequence[tuple[str, str]]
) -> None:
    """Require one staged row per key, and delete the rows that those of a staging table replace."""
    staged, columns = load.stage.qualified, sql_names(key)
    duplicates = int(
        transaction.scalar(
            f"SELECT COUNT(*) FROM (SELECT {columns} FROM {staged} GROUP BY {columns} HAVING COUNT(*) > 1)"
        )
    )
    if duplicates:
        raise RowAccountingError(f"{staged}: {duplicates} keys are staged more than once; nothing was published.")
    table, s = sql_name(load.contract.table), free_alias("S", load.contract.table)
    same = " AND ".join(f"{table}.{sql_name(column)} = {s}.{sql_name(other)}" for column, other in on)
    transaction.execute(f"DELETE FROM {target_table(load.contract).qualified} USING {replaced_by} AS {s} WHERE {same}")


def _insert(transaction: Transaction, load: Load, batch_id: str, at: datetime) -> None:
    target = target_table(load.contract).qualified
    added, rows = {
        "append": (("_SOURCE_ETAG",), load.stage.qualified),
        "append_distinct": (
            tuple(name for name, *_ in DISTINCT_ROW),
            f"({missing_rows(load.contract, load.stage.qualified, target)}) AS MISSING",
        ),
    }.get(load.write, ((), load.stage.qualified))
    target, rows = bindable(target), bindable(rows)
    columns = bindable(sql_names((*load.contract.column_names, *added)))
    transaction.execute(
        f"INSERT INTO {target} ({columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT, _RESCUED, _BATCH_ID, _LOADED_AT) "
        f"SELECT {columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT, {_RESCUED}, %s, %s FROM {rows}",
        (batch_id, at),
    )


def _insert_missing(transaction: Transaction, mart: Mart, batch_id: str, at: datetime) -> None:
    target, columns = bindable(target_table(mart.contract).qualified), bindable(sql_names(mart.contract.column_names))
    transaction.execute(
        f"INSERT INTO {target} ({columns}, _SOURCE_URI, _BATCH_ID, _LOADED_AT) "
        f"SELECT {columns}, %s, %s, %s FROM ({bindable(mart.missing)}) AS MISSING",
        (mart.source, batch_id, at),
    )


def _write_platform_tables(transaction: Transaction, publication: Publication, at: datetime) -> None:
    """Write ledger, quarantine and watermarks; an object that was processed again replaces its earlier rows."""
    replayed = {"at": at, "run_id": publication.run_id}
    transaction.execute(ops_sql("delete_waiting"))
    transaction.execute(ops_sql("keep_discarded"))
    transaction.execute(ops_sql("delete_quarantined_again"))
    transaction.execute(ops_sql("close_loaded_rejections"), replayed)
    transaction.execute(ops_sql("close_replaced_records"), {"at": at})
    transaction.execute(ops_sql("keep_arrivals"))
    transaction.execute(ops_sql("delete_ledger_rows"))
    transaction.execute(ops_sql("mark_replaced_versions"), {"at": at})
    for name in ("FILE_LEDGER", "QUARANTINE"):
        table, staged = ops_table(name), ops_table(f"STAGE_{name}")
        columns = ", ".join(column for column, *_ in table.columns)
        transaction.execute(f"INSERT INTO {table.qualified} ({columns}) SELECT {columns} FROM {staged.qualified}")
    transaction.execute(ops_sql("close_loaded_records"), replayed)
    for name, value in publication.watermarks.items():
        key = {"pipeline": publication.pipeline, "name": name}
        transaction.execute(ops_sql("delete_watermark"), key)
        transaction.execute(
            ops_sql("insert_watermark"), {**key, "value": value, "batch_id": publication.batch_id, "at": at}
        )
