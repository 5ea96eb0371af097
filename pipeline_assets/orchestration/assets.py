"""The step that materializes the assets of a pipeline; `specs` says what they are.

Every output is skippable: a table that a batch does not change is observed, not materialized.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import date

import dagster as dg
from pydantic import Field

from pipeline_assets.batch.platform import Platform
from pipeline_assets.batch.report import BatchReport, Request
from pipeline_assets.batch.run import run_batch
from pipeline_assets.batch.separate_batches import FinishedBatch, require_tables, run_separate_batches
from pipeline_assets.engine.choice import Wanted
from pipeline_assets.errors import PipelineError, WarehouseError
from pipeline_assets.orchestration.check_steps import evaluations, repeat_last_results, tag_run
from pipeline_assets.orchestration.checks import checks_of
from pipeline_assets.orchestration.keys import batch_step, checks_step
from pipeline_assets.orchestration.pipes import reports_to
from pipeline_assets.orchestration.results import Event, batch_events
from pipeline_assets.orchestration.specs import input_specs, output_specs
from pipeline_assets.pipeline.resolved import ResolvedPipeline

# Metadata that is true of each day of a batch of several days.
_OF_EACH_DAY = {"batch_id", "engine", "dagster/row_count", "dagster/uri"}


class RunRequestConfig(dg.Config):
    """What a run does besides processing new objects; see `batch.report.Request`."""

    reprocess: bool = Field(False, description="Process objects again that are in the ledger: a backfill.")
    replay: bool = Field(False, description="Validate quarantined records again, and load those that now pass.")
    replay_ids: list[str] | None = Field(None, description="With `replay`, only these ids; by default all.")
    engine: Wanted | None = Field(None, description="The engine for this run; by default PIPELINE_ENGINE.")
    extract: bool = Field(False, description="First extract new records from the source, if the pipeline has one.")
    days: list[str] | None = Field(
        None, description="Only objects of these landing days, again if known: one day, or the first and the last."
    )
    tables: list[str] = Field([], description="Only these tables, if each is published by itself; by default all.")


def take_batches(
    context: dg.AssetExecutionContext, config: RunRequestConfig, platform: Platform, pipeline: ResolvedPipeline
) -> Iterator[FinishedBatch]:
    """Run the batch, or the separate batches, as this Dagster run is configured. Only transient errors are retried."""
    ids = tuple(config.replay_ids) if config.replay_ids else None
    days = _days_of_partitions(context) or ((config.days[0], config.days[-1]) if config.days else None)
    request = Request(
        config.reprocess,
        config.replay,
        ids,
        config.engine,
        config.extract,
        days,
        _tables_to_run(context, config, pipeline),
    )
    try:
        with reports_to(context, platform):
            if pipeline.value.batches:
                yield from run_separate_batches(platform, pipeline, context.run.run_id, request)
            else:
                require_tables(pipeline, request.tables)
                report = run_batch(platform, pipeline, context.run.run_id, request)
                yield FinishedBatch(pipeline.name, pipeline, report)
    except PipelineError as error:
        if not error.transient or context.retry_number >= platform.retries:
            raise
        # Doubles with each retry; the random factor keeps two machines from retrying at the same time.
        wait = platform.retry_seconds * 2**context.retry_number * random.uniform(0.7, 1.3)
        raise dg.RetryRequested(max_retries=platform.retries, seconds_to_wait=wait) from error


def _tables_to_run(
    context: dg.AssetExecutionContext, config: RunRequestConfig, pipeline: ResolvedPipeline
) -> tuple[str, ...]:
    """The tables of the configuration or, of separate batches, those that were selected in the UI.

    A retry leaves out those that an earlier attempt of the run has reported.
    """
    if config.tables or pipeline.value.batches is None:
        wanted = list(config.tables)
    else:
        selected = {key.path[-1] for key in context.selected_asset_keys}
        wanted = [table.name for table in pipeline.value.tables if table.name in selected]
    if context.retry_number and pipeline.value.batches:
        kinds = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION}
        reported = [
            event.asset_materialization or event.asset_observation
            for event in context.instance.all_logs(context.run.run_id, of_type=kinds)
        ]
        done = {each.asset_key.path[-1] for each in reported if each and "batch_name" in each.metadata}
        wanted = [name for name in wanted if name not in done]
    return tuple(wanted)


def _days_of_partitions(context: dg.AssetExecutionContext) -> tuple[str, str] | None:
    """The first and the last landing day of a run that Dagster started for partitions."""
    if not (context.has_partition_key or context.has_partition_key_range):
        return None
    days = context.partition_key_range
    return days.start, days.end


def landing_days(pipeline: ResolvedPipeline, first: date) -> dg.DailyPartitionsDefinition | None:
    """The partitions of a pipeline whose keys contain the day of delivery, UTC, today included; else None."""
    if not pipeline.has_dated_keys:
        return None
    return dg.DailyPartitionsDefinition(start_date=first.isoformat(), end_offset=1)


def pipeline_assets(
    pipeline: ResolvedPipeline, freshness_hours: float, first_day: date
) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """The assets of a pipeline: its sources and zones, and the outputs of its batch."""
    return [*input_specs(pipeline), _batch_assets(pipeline, freshness_hours, landing_days(pipeline, first_day))]


def _batch_assets(
    pipeline: ResolvedPipeline, freshness_hours: float, days: dg.DailyPartitionsDefinition | None
) -> dg.AssetsDefinition:
    """The assets of a pipeline that one step writes: a batch from landed files to tables.

    With `days` they are partitioned by landing day, and a backfill of several days is one run. A run of everything that
    has landed belongs to no partition; it reports the days of what it loaded.

    Dagster refuses a backfill of a step that cannot be subset if one of its assets depends on two others: it compares
    the days of each by `!=`, which also compares cached counts (1.13.27). So such a step may be subset; it does all of
    its work all the same.
    """
    specs = output_specs(pipeline, freshness_hours)
    keys = [spec.key for spec in specs]

    def batch(context, config, platform):
        tag_run(context, pipeline.name)
        try:
            for finished in take_batches(context, config, platform, pipeline):
                events = _events_of(finished, pipeline, platform)
                if days and finished.report:
                    yield from _reported_by_day(context, events, finished.report, keys, days)
                else:
                    yield from _of_selection(context, events)
        except Exception as error:
            yield from _evaluations_after_failure(error, context, pipeline, platform, freshness_hours)
            raise
        yield from evaluations(pipeline, platform, freshness_hours)

    # Dagster evaluates annotations when it decorates, so they must not be strings.
    batch.__annotations__ = {
        "context": dg.AssetExecutionContext,
        "config": RunRequestConfig,
        "platform": dg.ResourceParam[Platform],
        "return": Iterator[dg.MaterializeResult],
    }
    batch.__doc__ = f"Validate, transform and publish every landed file of {pipeline.name} that is not in the ledger."
    decorate = dg.multi_asset(
        name=batch_step(pipeline.name),
        specs=specs,
        pool=pipeline.name,
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run() if days else None,
        can_subset=days is not None or pipeline.value.batches is not None,
    )
    return decorate(batch)


def _events_of(finished: FinishedBatch, pipeline: ResolvedPipeline, platform: Platform) -> Sequence[Event]:
    """The events of a batch; a separate one that had nothing to do is observed in each of its tables."""
    if finished.report and finished.pipeline:
        return batch_events(finished.report, finished.pipeline, platform)
    keys = [dg.AssetKey([pipeline.name, name]) for name in sorted(pipeline.tables_of_batch(finished.name))]
    metadata: dict = {"batch_name": finished.name, "batch_objects_known": finished.known}
    return [dg.AssetObservation(key, metadata=metadata) for key in keys]


def _of_selection(context: dg.AssetExecutionContext, events: Sequence[Event]) -> Iterator[Event]:
    """Yield events; materializations of assets that are not selected are logged, as Dagster expects no output."""
    for event in events:
        if isinstance(event, dg.MaterializeResult) and event.asset_key not in context.selected_asset_keys:
            assert event.asset_key is not None
            context.log_event(dg.AssetMaterialization(event.asset_key, metadata=event.metadata))
        else:
            yield event


def _reported_by_day(
    context: dg.AssetExecutionContext,
    events: Sequence[Event],
    report: BatchReport,
    outputs: Sequence[dg.AssetKey],
    days: dg.DailyPartitionsDefinition,
) -> Iterator[Event]:
    """Report a batch of a partitioned pipeline.

    A run for partitions materializes each of its days, also those without objects; any other run materializes the days
    of what it loaded, in each output that it changed. An event of the output as a whole follows, as the counts of a
    batch of several days are no day's counts. It is an observation in a run for partitions: the backfill would fail at
    a materialization without partition.

    What Dagster does not expect from the run is logged: assets that were not selected, and all assets of a run without
    partitions, for which it would look up the partition of their inputs, and fail (1.13.27).
    """
    of_partitions = bool(_days_of_partitions(context))
    loaded = sorted({*days.get_partition_keys()} & {*report.landing_days})
    reported = context.partition_keys if of_partitions else loaded
    for event in events:
        key, metadata = event.asset_key, event.metadata or {}
        if key is None or key not in outputs or (isinstance(event, dg.AssetObservation) and not of_partitions):
            yield event
            continue
        of_day = {name: metadata[name] for name in metadata if len(reported) == 1 or name in _OF_EACH_DAY}
        if of_partitions and key in context.selected_asset_keys:
            yield dg.MaterializeResult(asset_key=key, metadata=of_day)
        else:
            for day in reported:
                context.log_event(dg.AssetMaterialization(key, partition=day, metadata=of_day))
        whole = dg.AssetObservation if of_partitions else dg.AssetMaterialization
        context.log_event(whole(key, metadata=metadata))


def _evaluations_after_failure(
    error: Exception,
    context: dg.AssetExecutionContext,
    pipeline: ResolvedPipeline,
    platform: Platform,
    freshness_hours: float,
) -> list[dg.AssetCheckEvaluation]:
    """Evaluate the checks of a failed run if Dagster planned them: it shows a planned check without result as failed.

    The pipeline's job plans none; the UI's button plans those of every selected asset. If the warehouse cannot be read,
    the last results are repeated.
    """
    planned = context.job_def.has_node_named(checks_step(pipeline.name))
    if not planned or isinstance(error, dg.RetryRequested):
        return []
    if not isinstance(error, WarehouseError):
        try:
            return evaluations(pipeline, platform, freshness_hours)
        except (PipelineError, OSError) as check_error:
            context.log.warning(f"The checks were not evaluated. {check_error}")
    repeat_last_results(context.instance, context.run.run_id, checks_of(pipeline, freshness_hours))
    return []
