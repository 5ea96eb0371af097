"""Publish a batch: data, marts, ledger and quarantine in one transaction.

Everything to be written lies in the lake as Parquet, under the batch's staging prefix. COPY brings it into staging
tables, counts are compared, and DML does the rest, so the number of statements does not depend on the number of
files. Rows are merged by DELETE and INSERT rather than MERGE: the embedded warehouse (fakesnow 0.12) cannot run
MERGE in a transaction that has already written, and inside one transaction the effect is the same.

Two runs may plan at once. The first statement counts the publication in the pipeline's own row, if the count is still
what it was when the batch was planned; the later of two publications finds another count and stops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import Table, stage_table, target_table
from pipeline_assets.errors import PublicationConflictError, RowAccountingError, WarehouseError
from pipeline_assets.warehouse.connection import Loading, Transaction, Warehouse, tagged
from pipeline_assets.warehouse.ledger import claim_publication, is_published
from pipeline_assets.warehouse.schema import (
    FILE_LEDGER,
    QUARANTINE,
    STAGE_FILE_LEDGER,
    STAGE_QUARANTINE,
    STAGE_RELEASED,
)

# JSON that a reader let through may be none to Snowflake: PARSE_JSON refuses a key that an object has twice, and one
# such record would fail its batch in every run. Of such keys the last counts ('d'; fakesnow keeps both), and what
# cannot be parsed at all stays text.
_RESCUED = "COALESCE(TRY_PARSE_JSON(_RESCUED, 'd'), TO_VARIANT(_RESCUED))"
_BY_COPY = Loading()  # for the few rows that the platform keeps itself; a pipe would take longer to ask


@dataclass(frozen=True)
class StagedFile:
    """A Parquet file in the lake and the rows that must come out of it."""

    key: str
    rows: int


@dataclass(frozen=True)
class Load:
    """Rows to write into a contract's table.

    `upsert` replaces the rows of every record in `replaced_by`, a staging table whose columns are named second in `on`,
    beside those of the table: a record that yields no row any more loses those that it had. `append` replaces the rows
    of every object of `dataset` that the batch took. `full_refresh` replaces all rows, unless there are none to write.
    """

    contract: Contract
    file: StagedFile
    write: str = "upsert"
    replaced_by: str = ""
    on: tuple[tuple[str, str], ...] = ()
    dataset: str = ""

    @property
    def stage(self) -> Table:
        return stage_table(self.contract, self.write)


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
    """Everything that one batch writes to the warehouse."""

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


@dataclass
class Published:
    """Rows in each table after the publication, and the SQL that ran."""

    table_rows: dict[str, int] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)


def publish(warehouse: Warehouse, publication: Publication, at: datetime) -> Published:
    """Publish a batch or nothing of it.

    Args:
        at: the time of publication, UTC, without a time zone.

    Raises:
        PublicationConflictError: another batch of the pipeline was published since this one was planned.
        RowAccountingError: fewer or more rows arrived in staging than were written.
        WarehouseError: a statement failed; the transaction was rolled back.
    """
    published = Published()
    with tagged(publication.pipeline, publication.run_id):
        files = [(load.stage, load.file.key, load.file.rows) for load in publication.loads]
        warehouse.loading.ahead(warehouse.database, files)
        try:
            with warehouse.transaction([publication.bucket]) as transaction:
                published.statements = transaction.statements
                _claim(transaction, publication, at)
                _publish(transaction, warehouse, publication, published, at)
        except WarehouseError:
            # The connection may have been lost after COMMIT was sent: what happened is looked up, never assumed.
            if not _was_committed(warehouse, publication.batch_id):
                raise
    return published


def _was_committed(warehouse: Warehouse, batch_id: str) -> bool:
    with warehouse.read_only() as transaction:
        return is_published(transaction, batch_id)


def _claim(transaction: Transaction, publication: Publication, at: datetime) -> None:
    if not claim_publication(transaction, publication.pipeline, publication.planned_on):
        raise PublicationConflictError(
            f"Another run of {publication.pipeline} published first.",
            remedy="Run again: it plans over its result.",
        )
    transaction.execute(
        "INSERT INTO OPS.BATCHES (BATCH_ID, PIPELINE, RUN_ID, PUBLISHED_AT) VALUES (%s, %s, %s, %s)",
        (publication.batch_id, publication.pipeline, publication.run_id, at),
    )


def _publish(
    transaction: Transaction, warehouse: Warehouse, publication: Publication, published: Published, at: datetime
) -> None:
    stage = warehouse.stage(publication.bucket)
    for table, file in (
        (STAGE_FILE_LEDGER, publication.ledger),
        (STAGE_QUARANTINE, publication.quarantine),
        (STAGE_RELEASED, publication.released),
    ):
        _fill(transaction, _BY_COPY, stage, table, file)
    for load in publication.loads:
        _fill(transaction, warehouse.loading, stage, load.stage, load.file)
    _remake_changed(transaction, publication.marts)
    for mart in reversed(publication.marts):
        _run(transaction, mart.before)
    for load in publication.loads:
        _replace(transaction, load)
    for load in publication.loads:
        _insert(transaction, load, publication.batch_id, at)
    for mart in reversed(publication.marts):
        _run(transaction, mart.after)
    for mart in publication.marts:
        _run(transaction, mart.late)
        _complete(transaction, mart, publication.batch_id, at)
    _remember(transaction, publication, at)
    for table in [load.stage for load in publication.loads] + [STAGE_FILE_LEDGER, STAGE_QUARANTINE, STAGE_RELEASED]:
        transaction.execute(f"DELETE FROM {table.qualified}")
    for contract in [load.contract for load in publication.loads] + [mart.contract for mart in publication.marts]:
        table = target_table(contract).qualified
        published.table_rows[table] = int(transaction.scalar(f"SELECT COUNT(*) FROM {table}"))


def _run(transaction: Transaction, statements: Sequence[str]) -> None:
    for statement in statements:
        transaction.execute(statement)


def _remake_changed(transaction: Transaction, marts: Sequence[Mart]) -> None:
    """Empty the marts that another SELECT has made, so that all of their rows are missing; and note the new one."""
    if not marts:
        return
    known = dict(transaction.rows("SELECT TABLE_NAME, SELECT_DIGEST FROM OPS.MARTS"))
    for mart in marts:
        name = target_table(mart.contract).qualified
        if known.get(name) == mart.digest:
            continue
        transaction.execute(f"DELETE FROM {name}")
        transaction.execute("DELETE FROM OPS.MARTS WHERE TABLE_NAME = %s", (name,))
        transaction.execute("INSERT INTO OPS.MARTS (TABLE_NAME, SELECT_DIGEST) VALUES (%s, %s)", (name, mart.digest))


def _fill(transaction: Transaction, loading: Loading, stage: str, table: Table, file: StagedFile) -> None:
    """Bring one staged file into its staging table and count."""
    transaction.execute(f"DELETE FROM {table.qualified}")
    loaded = loading.fill(transaction, table, stage, file.key) if file.rows else 0
    found = int(transaction.scalar(f"SELECT COUNT(*) FROM {table.qualified}"))
    if not loaded == found == file.rows:
        raise RowAccountingError(
            f"{table.qualified}: {file.rows} rows were written, {loaded} copied and {found} found; "
            "nothing was published.",
            remedy="Run again; if it persists, look at the staged file.",
        )


def _replace(transaction: Transaction, load: Load) -> None:
    """Delete what the staged rows replace; the engine has already decided which version is the newest."""
    target = target_table(load.contract).qualified
    if load.write == "append":
        transaction.execute(
            f"DELETE FROM {target} USING OPS.STAGE_FILE_LEDGER AS S WHERE S.DATASET = %s "
            f"AND {load.contract.table}._SOURCE_URI = S.URI AND {load.contract.table}._SOURCE_ETAG = S.ETAG",
            (load.dataset,),
        )
        return
    if load.write == "full_refresh":
        if load.file.rows:
            transaction.execute(f"DELETE FROM {target}")
        return
    key, staged = ", ".join(load.contract.key), load.stage.qualified
    twice = int(
        transaction.scalar(f"SELECT COUNT(*) FROM (SELECT {key} FROM {staged} GROUP BY {key} HAVING COUNT(*) > 1)")
    )
    if twice:
        raise RowAccountingError(f"{staged}: {twice} keys are staged more than once; nothing was published.")
    same = " AND ".join(f"{load.contract.table}.{mine} = S.{theirs}" for mine, theirs in load.on)
    transaction.execute(f"DELETE FROM {target} USING {load.replaced_by} AS S WHERE {same}")


def _insert(transaction: Transaction, load: Load, batch_id: str, at: datetime) -> None:
    target = target_table(load.contract).qualified
    columns = ", ".join((*load.contract.column_names, *(["_SOURCE_ETAG"] if load.write == "append" else [])))
    transaction.execute(
        f"INSERT INTO {target} ({columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT, _RESCUED, _BATCH_ID, _LOADED_AT) "
        f"SELECT {columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT, {_RESCUED}, %s, %s FROM {load.stage.qualified}",
        (batch_id, at),
    )


def _complete(transaction: Transaction, mart: Mart, batch_id: str, at: datetime) -> None:
    columns = ", ".join(mart.contract.column_names)
    transaction.execute(
        f"INSERT INTO {target_table(mart.contract).qualified} ({columns}, _SOURCE_URI, _BATCH_ID, _LOADED_AT) "
        f"SELECT {columns}, %s, %s, %s FROM ({mart.missing}) AS MISSING",
        (mart.source, batch_id, at),
    )


def _remember(transaction: Transaction, publication: Publication, at: datetime) -> None:
    """Ledger and quarantine; an object taken again replaces what was remembered of it."""
    same = "{0}.PIPELINE = S.PIPELINE AND {0}.DATASET = S.DATASET"
    transaction.execute(
        "DELETE FROM OPS.QUARANTINE USING OPS.STAGE_FILE_LEDGER AS S "
        f"WHERE {same.format('QUARANTINE')} AND QUARANTINE.SOURCE_URI = S.URI "
        "AND QUARANTINE.SOURCE_ETAG = S.ETAG AND QUARANTINE.REPLAYED_AT IS NULL"
    )
    # A record that was loaded on a replay and is bad again on reprocessing is one record still.
    transaction.execute(
        "DELETE FROM OPS.QUARANTINE USING OPS.STAGE_QUARANTINE AS S WHERE QUARANTINE.QUARANTINE_ID = S.QUARANTINE_ID"
    )
    # An object that was refused whole and has been delivered again is no concern any more.
    transaction.execute(
        "UPDATE OPS.QUARANTINE SET REPLAYED_AT = %s, REPLAY_RUN_ID = %s FROM OPS.STAGE_FILE_LEDGER AS S "
        f"WHERE {same.format('QUARANTINE')} AND QUARANTINE.SOURCE_URI = S.URI AND S.STATUS = 'loaded' "
        "AND QUARANTINE.LINE_NUMBER IS NULL AND QUARANTINE.REPLAYED_AT IS NULL",
        (at, publication.run_id),
    )
    transaction.execute(
        f"DELETE FROM OPS.FILE_LEDGER USING OPS.STAGE_FILE_LEDGER AS S WHERE {same.format('FILE_LEDGER')} "
        "AND FILE_LEDGER.URI = S.URI AND FILE_LEDGER.ETAG = S.ETAG AND FILE_LEDGER.SIZE_BYTES = S.SIZE_BYTES"
    )
    for table, staged in ((FILE_LEDGER, STAGE_FILE_LEDGER), (QUARANTINE, STAGE_QUARANTINE)):
        columns = ", ".join(name for name, *_ in table.columns)
        transaction.execute(f"INSERT INTO {table.qualified} ({columns}) SELECT {columns} FROM {staged.qualified}")
    transaction.execute(
        "UPDATE OPS.QUARANTINE SET REPLAYED_AT = %s, REPLAY_RUN_ID = %s FROM OPS.STAGE_RELEASED AS S "
        "WHERE QUARANTINE.QUARANTINE_ID = S.QUARANTINE_ID AND QUARANTINE.REPLAYED_AT IS NULL",
        (at, publication.run_id),
    )
    for name, value in publication.watermarks.items():
        transaction.execute(
            "DELETE FROM OPS.WATERMARKS WHERE PIPELINE = %s AND NAME = %s", (publication.pipeline, name)
        )
        transaction.execute(
            "INSERT INTO OPS.WATERMARKS (PIPELINE, NAME, VALUE, BATCH_ID, MOVED_AT) VALUES (%s, %s, %s, %s, %s)",
            (publication.pipeline, name, value, publication.batch_id, at),
        )
