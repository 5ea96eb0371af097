"""The way of one batch: from landed objects to published tables.

    discover -> read and validate -> look published rows up -> settle -> stage -> publish -> hand out

A run lists its zones and takes every object version that the ledger does not know. All results are first staged
in the lake below `staging/<batch>/`, the tables among them are published in one warehouse transaction, and files
for others (`staging/<batch>/publish/<key>`) are moved to their final key after it. So what lies in `staging/` is
the only trace that a killed run can leave, and it says what to do: a published batch's files are still handed
out, any other's are deleted.

Nothing here knows a pipeline's name. A pipeline gives its datasets and a function that works on a `Work`.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.arrow import arrow_schema
from pipeline_assets.contracts.ddl import Table, target_table
from pipeline_assets.engine import BadRecord, FileOutcome, Session, SourceFile
from pipeline_assets.errors import ObjectChangedError, RowAccountingError
from pipeline_assets.lake import LandedObject, Zone
from pipeline_assets.lake.objects import as_utc_naive
from pipeline_assets.operations.alerts import Alert
from pipeline_assets.operations.platform import Platform
from pipeline_assets.sqlfiles import load_sql
from pipeline_assets.warehouse import ledger
from pipeline_assets.warehouse.publication import Load, Mart, Publication, Published, StagedFile, publish
from pipeline_assets.warehouse.quarantine import (
    WaitingRecord,
    quarantine_id,
    rejected_objects,
    waiting_records,
)
from pipeline_assets.warehouse.schema import (
    STAGE_FILE_LEDGER,
    STAGE_KEYS,
    STAGE_QUARANTINE,
    STAGE_RELEASED,
    tables_for,
)

logger = logging.getLogger("pipeline_assets")
STAGING = "staging/"
_HAND_OUT = "publish/"
_WRITE_ROWS = 50_000


@dataclass(frozen=True)
class Dataset:
    """Landed files of one shape."""

    contract: Contract
    zone: Zone

    @property
    def name(self) -> str:
        return self.contract.name


@dataclass(frozen=True)
class Pipeline:
    """What a batch needs to know of a pipeline.

    `datasets` are read in this order, so one that others refer to comes first. `transform` settles the inputs
    and says what to load, derive and hand out. `targets` are the contracts of the tables it publishes.
    """

    name: str
    bucket: str
    datasets: tuple[Dataset, ...]
    targets: tuple[Contract, ...]
    transform: Callable[[Work], None]


@dataclass(frozen=True)
class Request:
    """What a run was asked for: `reprocess` takes known objects again, `replay` quarantined ones.

    `replay_ids` narrows a replay to some quarantined records; None means all of the pipeline.
    """

    reprocess: bool = False
    replay: bool = False
    replay_ids: tuple[str, ...] | None = None


@dataclass
class BatchReport:
    """What one batch did. `rows` always keeps read == loaded + superseded + quarantined."""

    batch_id: str | None = None
    new: int = 0
    known: int = 0
    loaded: int = 0
    rejected: int = 0
    requeued: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("read", "loaded", "superseded", "quarantined"), 0)
    )
    released: int = 0
    bytes_read: int = 0
    handed_out: list[str] = field(default_factory=list)
    staged_rows: dict[str, int] = field(default_factory=dict)
    table_rows: dict[str, int] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    unknown_columns: dict[str, list[str]] = field(default_factory=dict)
    missing_columns: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class _Found:
    """The objects of one run, by dataset."""

    new: dict[str, list[LandedObject]]
    known: int
    waiting: dict[str, list[WaitingRecord]]
    planned_on: int
    published_rows: dict[str, int]

    def without(self, changed: set[str]) -> _Found:
        kept = {name: [o for o in objects if o.uri not in changed] for name, objects in self.new.items()}
        return replace(self, new=kept)

    @property
    def objects(self) -> list[LandedObject]:
        return [landed for objects in self.new.values() for landed in objects]

    def __bool__(self) -> bool:
        return bool(self.objects) or any(self.waiting.values())


class Work:
    """What a pipeline's transform works on: one batch with its inputs read and validated."""

    def __init__(
        self, platform: Platform, pipeline: Pipeline, batch_id: str, started_at: datetime, folder: Path
    ) -> None:
        self.batch_id = batch_id
        self.started_at = started_at
        self.statements: list[str] = []
        self.loads: list[Load] = []
        self.marts: list[Mart] = []
        self.hand_outs: list[str] = []
        self._platform = platform
        self._pipeline = pipeline
        self._folder = folder
        self._staged: list[tuple[Path, str]] = []
        self.session: Session
        self.published_rows: dict[str, int] = {}

    def look_up(self, keys: str, published: Mapping[str, tuple[str, Contract]]) -> None:
        """Bring the published rows that this batch touches to the engine.

        Args:
            keys: SQL file whose rows (KEY_NAME, KEY_VALUE) go to OPS.STAGE_KEYS for the time of the look-up.
            published: relation name in the engine -> SQL file over the warehouse and the table's contract.
        """
        paths = {name: self._folder / f"{name}.parquet" for name in published}
        empty = not any(self.published_rows[target_table(contract).qualified] for _, contract in published.values())
        schemas = {name: _published_schema(contract) for name, (_, contract) in published.items()}
        if empty:
            for name, path in paths.items():
                _write_parquet(path, schemas[name], ())
        else:
            key = self._stage("keys", self.write(keys, "keys"))
            bucket, warehouse = self._pipeline.bucket, self._platform.warehouse
            self.send_staged()
            with warehouse.look([bucket]) as unit:
                if key.rows:
                    unit.copy(STAGE_KEYS.qualified, warehouse.stage(bucket), [key.key])
                for name, (sql, _) in published.items():
                    unit.to_parquet(load_sql(sql).text, schemas[name], paths[name])
                self.statements += unit.statements
        for name, path in paths.items():
            self.session.table(name, path)

    def known(self, dataset: str, select: str) -> None:
        """Add published rows to an input, from a SELECT over relations that were looked up."""
        path = self._folder / f"{dataset}-known.parquet"
        self.session.write(select, path, "parquet")
        self.session.known(dataset, path)

    def settle(self, dataset: str) -> None:
        """References and versions; proves that no row got lost on the way.

        Raises:
            RowAccountingError: the rows do not add up.
        """
        self.session.settle(dataset)
        outcomes = self.session.outcomes(dataset)
        counted = sum(outcome.loaded for outcome in outcomes)
        found = self.session.count(f"SELECT 1 AS ONE FROM {dataset} WHERE _IS_NEW")
        if counted != found or any(outcome.loaded < 0 for outcome in outcomes):
            raise RowAccountingError(
                f"{dataset}: {counted} rows should be left after validation and {found} are; nothing was published."
            )

    def view(self, name: str, sql: str) -> None:
        """Name the result of a SQL file for the statements that follow."""
        self.statements.append(load_sql(sql).text)
        self.session.view(name, load_sql(sql).text)

    def write(self, sql: str, name: str) -> tuple[Path, int]:
        """Write the rows of a SQL file as Parquet on the local disk."""
        path = self._folder / f"{name}.parquet"
        self.statements.append(load_sql(sql).text)
        return path, self.session.write(load_sql(sql).text, path, "parquet")

    def load(self, contract: Contract, select: str) -> None:
        """Merge the rows of a SELECT (contract columns, `_SOURCE_*`, `_RESCUED`) into the contract's table."""
        columns = ", ".join((*contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_RESCUED"))
        path = self._folder / f"{contract.name}.parquet"
        rows = self.session.write(f"SELECT {columns} FROM ({select}) AS ROWS_TO_LOAD", path, "parquet")
        self.loads.append(Load(contract, self._stage(contract.name, (path, rows))))

    def derive(self, contract: Contract, *, outdated: str, select: str, source: str) -> None:
        """Keep a mart current; see `pipeline_assets.warehouse.publication.Mart`."""
        self.marts.append(Mart(contract, load_sql(outdated).text, load_sql(select).text, source))

    def hand_out_csv(self, sql: str, key: str) -> int:
        """Give the rows of a SQL file to others as one CSV, after publication; no row, no file."""
        path = self._folder / "hand-out.csv"
        self.statements.append(load_sql(sql).text)
        rows = self.session.write(load_sql(sql).text, path, "csv")
        if rows:
            self._staged.append((path, f"{STAGING}{self.batch_id}/{_HAND_OUT}{key}"))
            self.hand_outs.append(key)
        return rows

    def send_staged(self) -> None:
        """Bring what was staged on the local disk into the lake."""
        for path, key in self._staged:
            self._platform.lake.publish(path, self._pipeline.bucket, key)
        self._staged.clear()

    def _stage(self, name: str, written: tuple[Path, int]) -> StagedFile:
        path, rows = written
        key = f"{STAGING}{self.batch_id}/{name}.parquet"
        self._staged.append((path, key))
        return StagedFile(key, rows)

    def stage_rows(self, name: str, table: Table, rows: Iterator[Sequence[object]]) -> StagedFile:
        """Stage rows of one of the platform's own tables."""
        path = self._folder / f"{name}.parquet"
        return self._stage(name, (path, _write_parquet(path, arrow_schema(table), rows)))


def run_batch(platform: Platform, pipeline: Pipeline, run_id: str, request: Request = Request()) -> BatchReport:
    """Take everything that landed for a pipeline up to its marts, as one batch.

    Raises:
        PipelineError: the state is as before; the next run finishes the job.
    """
    with platform.exclusive(pipeline.name):
        platform.warehouse.prepare(tables_for(pipeline.targets))
        with platform.warehouse.unit() as unit:
            ledger.register_pipeline(unit, pipeline.name)
        _sweep(platform, pipeline)
        found = _discover(platform, pipeline, request)
        report = BatchReport(new=len(found.objects), known=found.known, table_rows=found.published_rows)
        if not found:
            return report
        changed: set[str] = set()
        while True:
            try:
                _attempt(platform, pipeline, run_id, found.without(changed), report)
                break
            except ObjectChangedError as overwritten:
                logger.warning("%s", overwritten)
                changed.add(overwritten.uri)
        report.requeued = sorted(changed)
        return report


def _sweep(platform: Platform, pipeline: Pipeline) -> None:
    """Finish or undo what a killed run left in the lake and on the local disk."""
    shutil.rmtree(platform.scratch / pipeline.name, ignore_errors=True)
    left = {o.key.removeprefix(STAGING).partition("/")[0] for o in platform.lake.list(pipeline.bucket, STAGING)}
    if not left:
        return
    with platform.warehouse.look() as unit:
        published = {batch_id: ledger.is_published(unit, batch_id) for batch_id in sorted(left)}
    for batch_id, was_published in published.items():
        logger.warning("Batch %s was interrupted; %s.", batch_id, "finishing it" if was_published else "undoing it")
        _finish(platform, pipeline.bucket, batch_id, hand_out=was_published)


def _finish(platform: Platform, bucket: str, batch_id: str, *, hand_out: bool) -> list[str]:
    """Hand out the files of a published batch and clear its staging prefix."""
    prefix = f"{STAGING}{batch_id}/"
    handed_out = []
    if hand_out:
        for landed in list(platform.lake.list(bucket, prefix + _HAND_OUT)):
            target = landed.key.removeprefix(prefix + _HAND_OUT)
            handed_out.append(platform.lake.move(bucket, landed.key, target))
    platform.lake.delete_prefix(bucket, prefix)
    return handed_out


def _discover(platform: Platform, pipeline: Pipeline, request: Request) -> _Found:
    """List the zones and ask the ledger; what lies there and is not known is new."""
    listed = {dataset.name: list(dataset.zone.objects(platform.lake)) for dataset in pipeline.datasets}
    with platform.warehouse.look() as unit:
        planned_on = ledger.published_batches(unit, pipeline.name)
        known = {d.name: ledger.known_objects(unit, pipeline.name, d.name) for d in pipeline.datasets}
        retaken = rejected_objects(unit, pipeline.name) if request.replay and request.replay_ids is None else set()
        new: dict[str, list[LandedObject]] = {}
        for name, objects in listed.items():
            new[name] = sorted(
                (
                    o
                    for o in objects
                    if request.reprocess or o.identity not in known[name] or (o.uri, o.etag) in retaken
                ),
                key=lambda o: o.version,
            )
        waiting = {d.name: _waiting(unit, pipeline, d, request, new) for d in pipeline.datasets}
        rows = {
            table: int(unit.scalar(f"SELECT COUNT(*) FROM {table}"))
            for table in (target_table(contract).qualified for contract in pipeline.targets)
        }
    taken = sum(len(objects) for objects in new.values())
    return _Found(new, sum(map(len, listed.values())) - taken, waiting, planned_on, rows)


def _waiting(
    unit: ledger.Unit,
    pipeline: Pipeline,
    dataset: Dataset,
    request: Request,
    new: Mapping[str, Sequence[LandedObject]],
) -> list[WaitingRecord]:
    """Quarantined records to read again: on a replay all, else those whose missing reference may have come."""
    if request.replay:
        codes = None
    else:
        references = [column.reference for column in dataset.contract.columns if column.reference]
        codes = sorted({reference.reason_code for reference in references if new.get(reference.dataset)})
        if not codes:
            return []
    read_anyway = {(o.uri, o.etag) for o in new[dataset.name]}
    records = waiting_records(unit, pipeline.name, dataset.name, codes, request.replay_ids)
    return [record for record in records if (record.uri, record.etag) not in read_anyway]


def _attempt(platform: Platform, pipeline: Pipeline, run_id: str, found: _Found, report: BatchReport) -> None:
    started_at = platform.clock()
    batch_id = uuid.uuid4().hex[:12]
    with _scratch(platform.scratch / pipeline.name / batch_id) as folder:
        work = Work(platform, pipeline, batch_id, started_at, folder)
        work.published_rows = found.published_rows
        try:
            with platform.engine.session(folder, platform.policy) as session:
                work.session = session
                for dataset in pipeline.datasets:
                    session.read(dataset.name, dataset.contract, list(_sources(platform, found, dataset, folder)))
                pipeline.transform(work)
                outcomes = {dataset.name: session.outcomes(dataset.name) for dataset in pipeline.datasets}
                staged = _stage_memory(work, pipeline, run_id, outcomes, platform.clock())
            for landed in platform.lake.changed(found.objects):
                raise ObjectChangedError(landed.uri)
            work.send_staged()
            publication = Publication(
                pipeline=pipeline.name,
                batch_id=batch_id,
                run_id=run_id,
                bucket=pipeline.bucket,
                planned_on=found.planned_on,
                loads=work.loads,
                marts=work.marts,
                **staged,
            )
            published = publish(platform.warehouse, publication, platform.clock())
        except ObjectChangedError:
            # Any other failure leaves the staging prefix to the sweep of the next run, which looks up whether the
            # batch was published after all.
            platform.lake.delete_prefix(pipeline.bucket, f"{STAGING}{batch_id}/")
            raise
    report.handed_out = _finish(platform, pipeline.bucket, batch_id, hand_out=True)
    _fill_report(report, work, published, found, outcomes)
    _alert(platform, pipeline, outcomes)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sources(platform: Platform, found: _Found, dataset: Dataset, folder: Path) -> Iterator[SourceFile]:
    for landed in found.new[dataset.name]:
        yield SourceFile(platform.lake.fetch(landed, folder), landed)
    by_object: dict[tuple, list[WaitingRecord]] = defaultdict(list)
    for record in found.waiting[dataset.name]:
        by_object[(record.uri, record.etag, record.modified, record.columns)].append(record)
    for number, ((uri, etag, modified, columns), records) in enumerate(by_object.items()):
        path = folder / f"waiting-{dataset.name}-{number}.csv"
        with open(path, "w", encoding="utf-8", newline="") as file:
            header = io.StringIO()
            csv.writer(header, lineterminator="\n").writerow(columns)
            file.write(header.getvalue())
            file.writelines(record.raw + "\n" for record in records)
        landed = LandedObject(uri, etag, 0, modified.replace(tzinfo=UTC))
        yield SourceFile(path, landed, tuple((record.quarantine_id, record.line) for record in records))


def _stage_memory(
    work: Work, pipeline: Pipeline, run_id: str, outcomes: Mapping[str, Sequence[FileOutcome]], at: datetime
) -> dict[str, StagedFile]:
    """Stage what the platform will remember: ledger rows, quarantined records, released ones."""
    landed = [(name, outcome) for name, found in outcomes.items() for outcome in found if not outcome.waiting]
    for name, outcome in landed:
        if outcome.read != outcome.loaded + outcome.superseded + outcome.quarantined:
            raise RowAccountingError(f"{name}: the rows of {outcome.landed.uri} do not add up; nothing was published.")
    ledger_rows = (
        (
            pipeline.name,
            name,
            outcome.landed.uri,
            outcome.landed.etag,
            outcome.landed.size,
            as_utc_naive(outcome.landed.modified),
            "rejected" if outcome.rejection else "loaded",
            outcome.read,
            outcome.loaded,
            outcome.superseded,
            outcome.quarantined,
            work.batch_id,
            run_id,
            at,
        )
        for name, outcome in landed
    )
    bad = (
        _quarantine_row(pipeline.name, name, record, run_id, at)
        for name in outcomes
        for record in work.session.bad_records(name)
        if record.quarantine_id is None
    )
    released = ((key,) for found in outcomes.values() for outcome in found for key in outcome.released)
    return {
        "ledger": work.stage_rows("ledger", STAGE_FILE_LEDGER, ledger_rows),
        "quarantine": work.stage_rows("quarantine", STAGE_QUARANTINE, bad),
        "released": work.stage_rows("released", STAGE_RELEASED, released),
    }


def _quarantine_row(pipeline: str, dataset: str, record: BadRecord, run_id: str, at: datetime) -> tuple:
    landed = record.landed
    return (
        quarantine_id(pipeline, dataset, landed.uri, landed.etag, record.line, record.code),
        pipeline,
        dataset,
        landed.uri,
        landed.etag,
        record.line,
        record.code,
        record.reason,
        record.raw,
        run_id,
        at,
        None,
        None,
        as_utc_naive(landed.modified),
        json.dumps(record.columns),
    )


def _fill_report(
    report: BatchReport,
    work: Work,
    published: Published,
    found: _Found,
    outcomes: Mapping[str, Sequence[FileOutcome]],
) -> None:
    landed = [outcome for result in outcomes.values() for outcome in result if not outcome.waiting]
    report.batch_id = work.batch_id
    report.rejected = sum(outcome.rejection is not None for outcome in landed)
    report.loaded = len(landed) - report.rejected
    for name in report.rows:
        report.rows[name] = sum(getattr(outcome, name) for outcome in landed)
    report.released = sum(len(outcome.released) for result in outcomes.values() for outcome in result)
    report.bytes_read = sum(o.size for o in found.objects)
    report.staged_rows = {target_table(load.contract).qualified: load.file.rows for load in work.loads}
    report.table_rows = published.table_rows
    report.statements = work.statements + published.statements
    for outcome in landed:
        if outcome.unknown_columns:
            report.unknown_columns[outcome.landed.uri] = list(outcome.unknown_columns)
        if outcome.missing_columns and not outcome.rejection:
            report.missing_columns[outcome.landed.uri] = list(outcome.missing_columns)


def _alert(platform: Platform, pipeline: Pipeline, outcomes: Mapping[str, Sequence[FileOutcome]]) -> None:
    for name, result in outcomes.items():
        for outcome in result:
            if outcome.rejection is not None:
                facts = {
                    "dataset": name,
                    "object": outcome.landed.uri,
                    "code": outcome.rejection.code,
                    "remedy": "pipeline-assets quarantine list shows the reason",
                }
                subject = f"{outcome.landed.uri} was rejected whole ({outcome.rejection.code})"
                platform.alerts.send(Alert("error", pipeline.name, subject, facts), platform.clock())


def _published_schema(contract: Contract):
    names = (*contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT")
    return arrow_schema(target_table(contract), names)


def _write_parquet(path: Path, schema, rows) -> int:
    """Write rows in slices; returns their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    written, rows = 0, iter(rows)
    with pq.ParquetWriter(path, schema) as writer:
        while slice_ := [row for _, row in zip(range(_WRITE_ROWS), rows, strict=False)]:
            columns = zip(*slice_, strict=True)
            arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            written += len(slice_)
    return written
