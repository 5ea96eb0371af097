"""The order of one batch: from landed objects to published tables.

    recover -> extract -> discover -> arrive -> examine -> read and validate -> fetch published -> references, versions
      -> transform -> stage -> publish -> promote

All results are first staged in the lake below `staging/<pipeline>/<batch>/`. Then tables are published in one warehouse
transaction, and files for readers are promoted after its commit.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from pipeline_assets.batch.alerts import Alert
from pipeline_assets.batch.archives import archive_sources, clear_unpacked, open_archives
from pipeline_assets.batch.arrive import Move, arrive, clear_processing, planned_moves
from pipeline_assets.batch.context import BatchContext
from pipeline_assets.batch.discover import Discovery, discover, discovery_notes, with_quarantined_records
from pipeline_assets.batch.examine import examine
from pipeline_assets.batch.exclusive_run import exclusive_run
from pipeline_assets.batch.metrics import Metric, batch_metrics
from pipeline_assets.batch.outputs import Outputs
from pipeline_assets.batch.platform import Platform
from pipeline_assets.batch.promote import promote
from pipeline_assets.batch.recover import new_batch_id, recover
from pipeline_assets.batch.report import BatchReport, Request
from pipeline_assets.contracts.ddl import Table, target_table
from pipeline_assets.engine import BadRecord, FileOutcome, Session, SourceFile, file_sets
from pipeline_assets.engine.formats.csv.replay_file import write_replay_file
from pipeline_assets.engine.validation_query import displayed_names
from pipeline_assets.errors import ConfigurationError, ObjectChangedError, RowAccountingError, WarehouseError
from pipeline_assets.lake import LandedObject
from pipeline_assets.lake.foreign import rejection
from pipeline_assets.lake.objects import as_utc_naive
from pipeline_assets.pipeline.resolved import ResolvedPipeline, Source
from pipeline_assets.warehouse.connection import tagged
from pipeline_assets.warehouse.ledger import last_arrival
from pipeline_assets.warehouse.publication import Publication, PublicationResult, StagedFile, publish
from pipeline_assets.warehouse.quarantine import WaitingRecord, quarantine_id, waiting_totals
from pipeline_assets.warehouse.schema import ops_table, ops_tables

logger = logging.getLogger("pipeline_assets")


def required_tables(pipeline: ResolvedPipeline) -> list[Table]:
    """The tables that must exist in the warehouse before a batch of a pipeline."""
    return [*ops_tables(), *pipeline.warehouse_tables]


def run_batch(
    platform: Platform, pipeline: ResolvedPipeline, run_id: str, request: Request | None = None
) -> BatchReport:
    """Process everything that landed for a pipeline as one batch, from landed objects to marts.

    Raises:
        PipelineError: the batch failed. It is published completely or not at all; the next run does the rest.
    """
    request = request or Request()
    if request.extract:
        refuse_without_extraction(pipeline)
    platform.engine.pick(0, request.engine)  # fail early if the engine is not configured
    with exclusive_run(platform, pipeline.name, pipeline.bucket) as confirm_lease, tagged(pipeline.name, run_id):
        platform.warehouse.prepare(required_tables(pipeline), pipeline.warehouse_views, pipeline=pipeline.name)
        context = BatchContext(platform, pipeline, new_batch_id(), run_id, platform.clock(), request)
        recovered = recover(context)
        _run_steps(context, "extract" if request.extract else "")
        _run_steps(context, "arrive")
        discovered = discover(context)
        with context.scratch("arrived") as folder:
            arrived, requeued = arrive(context, discovered, folder)
            opened, changed = open_archives(context, arrived, folder)
            requeued |= changed
            discovery = with_quarantined_records(context, examine(context, opened))
            new = len(discovery.objects) + sum(map(len, discovery.foreign.values())) + len(requeued)
            report = BatchReport(new=new, known=discovery.known, recovered=recovered)
            report.rows_before = report.table_rows = discovery.published_rows
            report.notes = discovery_notes(context, discovery)
            _process_all(context, discovery, requeued, report, confirm_lease)
        report.requeued = sorted(requeued)
        report.notes += dict.fromkeys(context.notes)
    if platform.metrics:
        platform.metrics.put(pipeline.name, [*batch_metrics(report), *_gauges(context)], platform.clock())
    return report


def _gauges(context: BatchContext) -> list[Metric]:
    """The records that wait in quarantine, and the time since the last arrival, the longest of all sources."""
    platform, pipeline = context.platform, context.pipeline
    try:
        with platform.warehouse.read_only() as transaction:
            waiting = waiting_totals(transaction).get(pipeline.name, 0)
            sources = [source.name for source in pipeline.landed_sources]
            arrivals = [last_arrival(transaction, pipeline.name, name)[0] for name in sources]
    except WarehouseError as error:
        logger.error("Metrics of %s are incomplete. %s", pipeline.name, error)
        return []
    gauges = [Metric("QuarantineWaiting", waiting)]
    if arrived := [each for each in arrivals if each]:
        gauges.append(Metric("SinceArrival", (platform.clock() - min(arrived)).total_seconds(), "Seconds"))
    return gauges


def _process_all(
    context: BatchContext,
    discovery: Discovery,
    requeued: set[str],
    report: BatchReport,
    confirm_lease: Callable[[], None],
) -> None:
    """Process what was discovered; an object that changes meanwhile is added to `requeued` and left out."""
    if not discovery.without(requeued):
        _run_publish_steps(context, {source.name: [] for source in context.pipeline.sources})
    while (remaining := discovery.without(requeued)) or context.watermarks:
        try:
            _process(context, remaining, report, confirm_lease)
            return
        except ObjectChangedError as error:
            logger.warning("%s", error)
            requeued.add(error.uri)
        except _ReplacementRejectedError as error:
            discovery = error.discovery
    clear_processing(context)
    if discovery.digests:  # archives were opened, and all of them changed meanwhile
        clear_unpacked(context)
        context.platform.lake.delete_prefix(context.pipeline.bucket, context.staging)


class _ReplacementRejectedError(Exception):
    """A new version of an object was rejected, so `discovery` has the quarantined records of the earlier one, too."""

    def __init__(self, discovery: Discovery) -> None:
        self.discovery = discovery


def refuse_without_extraction(pipeline: ResolvedPipeline) -> None:
    """Refuse `--extract` for a pipeline without an extract step.

    Raises:
        ConfigurationError: the pipeline has no source to extract from.
    """
    extracts = pipeline.value.batches or any(step.phase == "extract" for step in pipeline.value.steps)
    if not extracts:
        raise ConfigurationError(f"{pipeline.name} has no source to extract from.", remedy="Leave --extract out.")


def _run_steps(context: BatchContext, phase: str) -> None:
    for step in context.pipeline.value.steps:
        if step.phase == phase:
            step.run(context)


def _run_publish_steps(context: BatchContext, outcomes: Mapping[str, Sequence[FileOutcome]]) -> None:
    context.outcomes.update(outcomes)
    _run_steps(context, "publish")


def _process(
    context: BatchContext, discovery: Discovery, report: BatchReport, confirm_lease: Callable[[], None]
) -> None:
    """Read, transform, stage, publish and promote the discovered objects."""
    platform, pipeline = context.platform, context.pipeline
    with context.scratch(context.batch_id) as folder:
        try:
            engine = platform.engine.pick(sum(landed.size for landed in discovery.objects), context.request.engine)
            report.engine, started = engine.name, time.monotonic()
            with engine.session(folder, platform.policy) as session:
                for source in pipeline.sources:
                    files = list(_source_files(context, discovery, source, folder, fetch=engine.fetches))
                    session.read(source.name, source.contract, files)
                outputs = Outputs(context, session, folder, discovery.published_rows)
                outputs.make()
                unread = {source.name: _unread_outcomes(discovery, source.name) for source in pipeline.sources}
                outcomes = {name: [*session.outcomes(name), *unread[name]] for name in unread}
                _copy_reasons_to_archives(pipeline, outcomes)
                rejected = {o.landed.uri for files in outcomes.values() for o in files if o.rejection and not o.waiting}
                if with_earlier_records := discovery.with_records_of(rejected):
                    raise _ReplacementRejectedError(with_earlier_records)
                earlier_codes = {r.quarantine_id: r.code for records in discovery.quarantined.values() for r in records}
                moves = planned_moves(context, discovery, outcomes)
                staged = _stage_records(context, session, outputs, outcomes, unread, earlier_codes, discovery, moves)
            report.engine_seconds = time.monotonic() - started
            for landed in platform.lake.changed(o for o in discovery.objects if o.identity not in discovery.copies):
                raise ObjectChangedError(landed.uri)
            outputs.send_staged()
            confirm_lease()
            if discovery:  # else they ran before
                _run_publish_steps(context, outcomes)
            publication = Publication(
                pipeline=pipeline.name,
                batch_id=context.batch_id,
                run_id=context.run_id,
                bucket=pipeline.bucket,
                planned_on=discovery.planned_on,
                loads=outputs.loads,
                marts=outputs.marts,
                watermarks=context.watermarks,
                engine_seconds=report.engine_seconds,
                **staged,
            )
            published_at = platform.clock()
            published = publish(platform.warehouse, publication, published_at)
        except (ObjectChangedError, _ReplacementRejectedError):
            # After any other failure the staging prefix stays, and the next run checks whether the batch was published.
            platform.lake.delete_prefix(pipeline.bucket, context.staging)
            raise
    promoted = set(promote(context))
    uris = {e.declared.name: platform.lake.uri(pipeline.bucket, outputs.export_key(e)) for e in pipeline.exports}
    report.exported = {name: uri for name, uri in uris.items() if uri in promoted}
    copies = {copy.contract.name for copy in pipeline.lake_copies}
    for table in pipeline.lake_tables:
        if table.contract.name in copies:
            prefix = platform.lake.uri(table.bucket, table.prefix)
            report.copied_partitions[table.contract.name] = sum(uri.startswith(prefix) for uri in promoted)
    _fill_report(report, context, outputs, published, discovery, outcomes)
    _report_deliveries(report, context, discovery, outcomes, published_at)
    _alert(context, outcomes)


def _source_files(
    context: BatchContext, discovery: Discovery, source: Source, folder: Path, *, fetch: bool = True
) -> Iterator[SourceFile]:
    """The new objects of a source, and files made from the quarantined records that are read again."""
    lake, copies = context.platform.lake, discovery.copies
    for file in discovery.unpacked.get(source.name, ()):
        yield file if fetch else replace(file, path=None)
    unread = {outcome.landed for outcome in discovery.unread.get(source.name, ())}
    landed_files = [] if source.declared.archive else [o for o in discovery.new[source.name] if o not in unread]
    plain = [landed for landed in landed_files if landed.identity not in copies]
    for landed, path in zip(plain, lake.fetch_all(plain, folder) if fetch else [None] * len(plain), strict=True):
        yield SourceFile(path, landed)
    moved = [(o, copies[o.identity]) for o in landed_files if o.identity in copies]
    fetched = iter(lake.fetch_all([copy.place for _, copy in moved if not copy.path], folder) if fetch else ())
    for landed, copy in moved:
        yield SourceFile((copy.path or next(fetched)) if fetch else None, landed, place=copy.place)
    by_object: dict[tuple, list[WaitingRecord]] = defaultdict(list)
    for record in discovery.quarantined[source.name]:
        by_object[(record.uri, record.etag, record.modified, record.columns)].append(record)
    for number, ((uri, etag, modified, columns), records) in enumerate(by_object.items()):
        path = folder / f"waiting-{source.name}-{number}.csv"
        write_replay_file(path, columns, (record.raw for record in records), source.contract.dialect)
        landed = LandedObject(uri, etag, 0, modified.replace(tzinfo=UTC))
        yield SourceFile(path, landed, tuple((record.quarantine_id, record.line) for record in records))


def _unread_outcomes(discovery: Discovery, source: str) -> list[FileOutcome]:
    """The outcomes of objects that no engine reads: rejected foreign ones, and archives of which nothing is read."""
    outcomes = list(discovery.unread.get(source, ()))
    for landed in discovery.foreign.get(source, ()):
        reason = rejection(landed)
        assert reason is not None
        outcomes.append(FileOutcome(landed, rejection=BadRecord(landed, None, reason.code, str(reason))))
    return outcomes


def _copy_reasons_to_archives(pipeline: ResolvedPipeline, outcomes: Mapping[str, Sequence[FileOutcome]]) -> None:
    """If a list in its records rejects an archive, the archive gets the reason of the list: both are one object."""
    rejections = [(o.landed.uri, o.rejection) for files in outcomes.values() for o in files if o.rejection]
    causes = {uri: rejection for uri, rejection in rejections if rejection.code != file_sets.CODE}
    for source in archive_sources(pipeline):
        for outcome in outcomes[source.name]:
            if outcome.rejection and outcome.rejection.code == file_sets.CODE:
                outcome.rejection = causes[outcome.landed.uri]


def _stage_records(
    context: BatchContext,
    session: Session,
    outputs: Outputs,
    outcomes: Mapping[str, Sequence[FileOutcome]],
    unread: Mapping[str, Sequence[FileOutcome]],
    earlier_codes: Mapping[str, str],
    discovery: Discovery,
    moves: Mapping[tuple[str, str, int], Move],
) -> dict[str, StagedFile]:
    """Stage ledger rows, quarantined records, the ids of released ones, and where moved objects go.

    `unread` are those of `outcomes` that are not in the session.

    Raises:
        RowAccountingError: the rows of an object do not add up.
    """
    pipeline, run_id, at = context.pipeline, context.run_id, context.platform.clock()
    landed = [(name, outcome) for name, files in outcomes.items() for outcome in files if not outcome.waiting]
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
            context.batch_id,
            run_id,
            at,
            None,
            at,
            *_current_place(context, discovery, moves, outcome.landed),
        )
        for name, outcome in landed
    )
    landed_names = {source.name for source in pipeline.landed_sources}
    quarantine_rows = (
        _quarantine_row(pipeline.name, name, record, run_id, at)
        for name in outcomes
        for record in chain(session.bad_records(name), (outcome.rejection for outcome in unread[name]))
        # A rejected archive has one entry, not another one for each list in its records.
        if record is not None
        and (record.line is not None or name in landed_names)
        # A quarantined record that now fails for another reason replaces its entry.
        and (record.quarantine_id is None or earlier_codes[record.quarantine_id] != record.code)
    )
    outputs.stage_moves(moves.values())
    released = ((key,) for files in outcomes.values() for outcome in files for key in outcome.released)
    return {
        "ledger": outputs.stage_rows("ledger", ops_table("STAGE_FILE_LEDGER"), ledger_rows),
        "quarantine": outputs.stage_rows("quarantine", ops_table("STAGE_QUARANTINE"), quarantine_rows),
        "released": outputs.stage_rows("released", ops_table("STAGE_RELEASED"), released),
    }


def _current_place(
    context: BatchContext, discovery: Discovery, moves: Mapping[tuple[str, str, int], Move], landed: LandedObject
) -> tuple[str | None, str | None]:
    """SHA-256 and uri of an object that leaves landing; the SHA-256 of an archive; None for any other."""
    move = moves.get(landed.identity)
    if move is None:
        return discovery.digests.get(landed.identity), None
    return discovery.copies[landed.identity].sha256, context.platform.lake.uri(move.bucket, move.target)


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
        *(None, None, None),  # not closed
    )


def _fill_report(
    report: BatchReport,
    context: BatchContext,
    outputs: Outputs,
    published: PublicationResult,
    discovery: Discovery,
    outcomes: Mapping[str, Sequence[FileOutcome]],
) -> None:
    landed = [outcome for result in outcomes.values() for outcome in result if not outcome.waiting]
    objects = [o for source in context.pipeline.landed_sources for o in outcomes[source.name] if not o.waiting]
    report.batch_id = context.batch_id
    report.rejected = sum(outcome.rejection is not None for outcome in objects)
    report.loaded = len(objects) - report.rejected
    for name in report.rows:
        report.rows[name] = sum(getattr(outcome, name) for outcome in landed)
    report.released = sum(len(outcome.released) for result in outcomes.values() for outcome in result)
    report.bytes_read = sum(o.size for o in discovery.objects)
    report.staged_rows = {target_table(load.contract).qualified: load.file.rows for load in outputs.loads}
    report.exported_rows = outputs.exported_rows
    report.table_rows, report.warehouse_seconds = published.table_rows, published.seconds
    report.lake_files, report.lake_partitions = outputs.lake_files, outputs.lake_partitions
    report.statements = outputs.statements + published.statements
    if floats := sum(outcome.floats for outcome in landed if not outcome.rejection):
        report.notes.append(f"{floats} values are binary floats; they were read as the decimals that they stand for.")
    for outcome in landed:
        if outcome.unknown_columns:
            report.unknown_columns[outcome.landed.uri] = displayed_names(outcome.unknown_columns).split(", ")
        if outcome.header_skipped:
            report.notes.append(f"{outcome.landed.uri}: the first record names the columns and was skipped.")
        if outcome.missing_columns and not outcome.rejection:
            report.missing_columns[outcome.landed.uri] = list(outcome.missing_columns)


def _report_deliveries(
    report: BatchReport,
    context: BatchContext,
    discovery: Discovery,
    outcomes: Mapping[str, Sequence[FileOutcome]],
    published_at: datetime,
) -> None:
    """The landing days of loaded objects, and how long those that are new took from delivery to commit."""
    sources = [each for each in context.pipeline.sources if each.has_delivery_time(context.platform.shared)]
    loaded = [(source, o.landed) for source in sources for o in outcomes[source.name] if not (o.waiting or o.rejection)]
    dated = {landed.modified.date().isoformat() for source, landed in loaded if source.declared.dated_keys}
    report.landing_days = sorted(dated)
    new = [o for _, o in loaded if not ((copy := discovery.copies.get(o.identity)) and copy.status)]
    report.latencies = sorted((published_at - as_utc_naive(landed.modified)).total_seconds() for landed in new)


def _alert(context: BatchContext, outcomes: Mapping[str, Sequence[FileOutcome]]) -> None:
    platform, pipeline = context.platform, context.pipeline
    for name in (source.name for source in pipeline.landed_sources):
        for outcome in outcomes[name]:
            if outcome.rejection is not None:
                facts = {
                    "dataset": name,
                    "object": outcome.landed.uri,
                    "code": outcome.rejection.code,
                    "remedy": "pipeline-assets quarantine list shows the reason",
                }
                subject = f"{outcome.landed.uri} was rejected whole ({outcome.rejection.code})"
                platform.alerts.send(Alert("error", pipeline.name, subject, facts), platform.clock())
