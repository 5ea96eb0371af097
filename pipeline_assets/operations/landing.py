"""The way of one batch: from landed objects to published tables.

    discover -> read and validate -> look published rows up -> settle -> stage -> publish -> hand out

A run lists its zones and takes every object version that the ledger does not know. All results are first staged
in the lake below `staging/<batch>/`, the tables among them are published in one warehouse transaction, and files
for others and of lake tables (`staging/<batch>/publish/<key>`) are moved to their final key after it. So what lies in
`staging/` is the only trace that a killed run can leave, and it says what to do: a published batch's files are still
handed out, any other's are deleted.

Nothing here knows a pipeline's name. A pipeline gives its datasets and a function that works on a `Work`.
"""

from __future__ import annotations

import json
import logging
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.engine import BadRecord, FileOutcome, SourceFile
from pipeline_assets.engine.waiting import write_waiting
from pipeline_assets.errors import ObjectChangedError, RowAccountingError
from pipeline_assets.lake import KnownObjects, LandedObject
from pipeline_assets.lake.objects import as_utc_naive
from pipeline_assets.operations.alerts import Alert
from pipeline_assets.operations.pipeline import BatchReport, Dataset, Pipeline, Request
from pipeline_assets.operations.platform import Platform
from pipeline_assets.operations.work import CATALOG, HAND_OUT, RELEASE, REMOVE, STAGING, Work
from pipeline_assets.warehouse import ledger
from pipeline_assets.warehouse.connection import tagged
from pipeline_assets.warehouse.publication import Publication, Published, StagedFile, publish
from pipeline_assets.warehouse.quarantine import WaitingRecord, quarantine_id, rejected_objects, waiting_records
from pipeline_assets.warehouse.schema import STAGE_FILE_LEDGER, STAGE_QUARANTINE, STAGE_RELEASED, tables_for

logger = logging.getLogger("pipeline_assets")


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


def run_batch(platform: Platform, pipeline: Pipeline, run_id: str, request: Request | None = None) -> BatchReport:
    """Take everything that landed for a pipeline up to its marts, as one batch.

    Raises:
        PipelineError: the state is as before; the next run finishes the job.
    """
    request = request or Request()
    platform.engine.pick(0, request.engine)  # an engine that is not there is told before any work
    with platform.exclusive(pipeline.name, pipeline.bucket) as still_held, tagged(pipeline.name, run_id):
        platform.warehouse.prepare(tables_for(pipeline.targets))
        with platform.warehouse.unit() as unit:
            ledger.register_pipeline(unit, pipeline.name)
        _sweep(platform, pipeline)
        found = _discover(platform, pipeline, request)
        report = BatchReport(new=len(found.objects), known=found.known, table_rows=found.published_rows)
        changed: set[str] = set()
        while remaining := found.without(changed):
            try:
                _attempt(platform, pipeline, run_id, request, remaining, report, still_held)
                break
            except ObjectChangedError as overwritten:
                logger.warning("%s", overwritten)
                changed.add(overwritten.uri)
        report.requeued = sorted(changed)
        return report


def _sweep(platform: Platform, pipeline: Pipeline) -> None:
    """Finish or undo what a killed run left in the lake and on the local disk."""
    shutil.rmtree(platform.scratch / pipeline.name, ignore_errors=True)
    staged = (o.key.removeprefix(STAGING).partition("/") for o in platform.lake.list(pipeline.bucket, STAGING))
    left = {batch_id for batch_id, folder, _ in staged if folder}  # a file beside the batches is somebody else's
    if not left:
        return
    with platform.warehouse.look() as unit:
        published = {batch_id: ledger.is_published(unit, batch_id) for batch_id in sorted(left)}
    for batch_id, was_published in published.items():
        logger.warning("Batch %s was interrupted; %s.", batch_id, "finishing it" if was_published else "undoing it")
        _finish(platform, pipeline, batch_id, hand_out=was_published)


def _finish(platform: Platform, pipeline: Pipeline, batch_id: str, *, hand_out: bool) -> list[str]:
    """Show readers of the lake what a published batch staged for them, and clear its staging prefix."""
    bucket, prefix = pipeline.bucket, f"{STAGING}{batch_id}/"
    handed_out = []
    if hand_out:
        for phase in (REMOVE, RELEASE, HAND_OUT):
            for landed in sorted(platform.lake.list(bucket, prefix + phase), key=lambda landed: landed.key):
                target = landed.key.removeprefix(prefix + phase)
                if phase == REMOVE:
                    platform.lake.delete([platform.lake.uri(bucket, target), landed.uri])
                else:
                    handed_out.append(platform.lake.move(bucket, landed.key, target))
        for noted in list(platform.lake.list(bucket, prefix + CATALOG)):
            _register(platform, pipeline, noted)
    platform.lake.delete_prefix(bucket, prefix)
    return handed_out


def _register(platform: Platform, pipeline: Pipeline, noted: LandedObject) -> None:
    """Make the partitions known that a batch wrote; its note of them goes last, so a killed run is made up for."""
    with _scratch(platform.scratch / pipeline.name / "catalog") as folder:
        partitions = json.loads(platform.lake.fetch(noted, folder).read_text(encoding="utf-8"))
    (table,) = (table for table in pipeline.lake_tables if table.contract.name == noted.key.rpartition("/")[2])
    platform.catalog.register(table, partitions)


def _discover(platform: Platform, pipeline: Pipeline, request: Request) -> _Found:
    """Ask the ledger and list the zones; what lies there and is not known is new.

    The warehouse is let go of while the zones are listed, and asked again only for records that have to wait no longer.
    """
    zones = {dataset.name: dataset.zone for dataset in pipeline.datasets}
    with _scratch(platform.scratch / pipeline.name / "discovery") as folder, KnownObjects(folder) as known:
        with platform.warehouse.look() as unit:
            planned_on = ledger.published_batches(unit, pipeline.name)
            if not request.reprocess:
                known.add(ledger.fingerprints(unit, pipeline.name))
            retaken = rejected_objects(unit, pipeline.name, request.replay_ids) if request.replay else set()
            rows = {
                table: int(unit.scalar(f"SELECT COUNT(*) FROM {table}"))
                for table in (target_table(contract).qualified for contract in pipeline.targets)
            }
        arrived = known.arrivals(platform.lake, zones, retaken)
    return _Found(arrived.new, arrived.known, _waiting(platform, pipeline, request, arrived.new), planned_on, rows)


def _waiting(
    platform: Platform, pipeline: Pipeline, request: Request, new: Mapping[str, Sequence[LandedObject]]
) -> dict[str, list[WaitingRecord]]:
    """Quarantined records to read again: on a replay all, else those that miss a reference, with whatever is new."""
    waiting: dict[str, list[WaitingRecord]] = {dataset.name: [] for dataset in pipeline.datasets}
    wanted: dict[str, list[str] | None] = {}
    for dataset in pipeline.datasets:
        codes = sorted({column.reference.reason_code for column in dataset.contract.columns if column.reference})
        if request.replay or (codes and any(new.values())):
            wanted[dataset.name] = None if request.replay else codes
    if wanted:
        with platform.warehouse.look() as unit:
            for name, codes in wanted.items():
                read_anyway = {(o.uri, o.etag) for o in new[name]}
                records = waiting_records(unit, pipeline.name, name, codes, request.replay_ids)
                waiting[name] = [record for record in records if (record.uri, record.etag) not in read_anyway]
    return waiting


def _attempt(
    platform: Platform,
    pipeline: Pipeline,
    run_id: str,
    request: Request,
    found: _Found,
    report: BatchReport,
    still_held: Callable[[], None],
) -> None:
    started_at = platform.clock()
    batch_id = uuid.uuid4().hex[:12]
    with _scratch(platform.scratch / pipeline.name / batch_id) as folder:
        work = Work(platform, pipeline, batch_id, started_at, folder)
        work.published_rows = found.published_rows
        try:
            engine = platform.engine.pick(sum(landed.size for landed in found.objects), request.engine)
            report.engine = engine.name
            with engine.session(folder, platform.policy) as session:
                work.session = session
                for dataset in pipeline.datasets:
                    sources = list(_sources(platform, found, dataset, folder, fetch=engine.fetches))
                    session.read(dataset.name, dataset.contract, sources)
                pipeline.transform(work)
                work.complete()
                outcomes = {dataset.name: session.outcomes(dataset.name) for dataset in pipeline.datasets}
                waited_as = {r.quarantine_id: r.code for records in found.waiting.values() for r in records}
                staged = _stage_memory(work, pipeline, run_id, outcomes, waited_as, platform.clock())
            for landed in platform.lake.changed(found.objects):
                raise ObjectChangedError(landed.uri)
            work.send_staged()
            still_held()
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
    report.handed_out = _finish(platform, pipeline, batch_id, hand_out=True)
    _fill_report(report, work, published, found, outcomes)
    _alert(platform, pipeline, outcomes)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sources(
    platform: Platform, found: _Found, dataset: Dataset, folder: Path, *, fetch: bool = True
) -> Iterator[SourceFile]:
    objects = found.new[dataset.name]
    paths = platform.lake.fetch_all(objects, folder) if fetch else [None] * len(objects)
    for landed, path in zip(objects, paths, strict=True):
        yield SourceFile(path, landed)
    by_object: dict[tuple, list[WaitingRecord]] = defaultdict(list)
    for record in found.waiting[dataset.name]:
        by_object[(record.uri, record.etag, record.modified, record.columns)].append(record)
    for number, ((uri, etag, modified, columns), records) in enumerate(by_object.items()):
        path = folder / f"waiting-{dataset.name}-{number}.csv"
        write_waiting(path, columns, (record.raw for record in records), dataset.contract.dialect)
        landed = LandedObject(uri, etag, 0, modified.replace(tzinfo=UTC))
        yield SourceFile(path, landed, tuple((record.quarantine_id, record.line) for record in records))


def _stage_memory(
    work: Work,
    pipeline: Pipeline,
    run_id: str,
    outcomes: Mapping[str, Sequence[FileOutcome]],
    waited_as: Mapping[str, str],
    at: datetime,
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
        # A record that waited and is bad for another reason by now replaces its entry.
        if record.quarantine_id is None or waited_as[record.quarantine_id] != record.code
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
        record.quarantine_id or quarantine_id(pipeline, dataset, landed.uri, landed.etag, record.line, record.code),
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
    report.lake_files = work.lake_files
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
