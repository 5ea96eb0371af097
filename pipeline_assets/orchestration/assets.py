"""The Dagster assets of a pipeline, and the step that materializes them.

Columns, owners, tags and descriptions come from the contracts; dependencies and column lineage from the SELECTs that
run. Every output is skippable: a table that a batch does not change is observed, not materialized.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

import dagster as dg
from pydantic import Field

from pipeline_assets.batch.platform import Platform
from pipeline_assets.batch.report import BatchReport, Request
from pipeline_assets.batch.run import run_batch
from pipeline_assets.batch.separate_batches import FinishedBatch, require_tables, run_separate_batches
from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.errors import PipelineError, WarehouseError
from pipeline_assets.orchestration.checks import checks_of, evaluations, repeat_last_results, tag_run
from pipeline_assets.orchestration.columns import (
    Output,
    assets_of_relations,
    column_lineage,
    column_metadata,
    column_schema,
)
from pipeline_assets.orchestration.keys import batch_step, checks_step, database_key, source_key, table_key
from pipeline_assets.orchestration.pipes import reports_to
from pipeline_assets.orchestration.results import Event, batch_events
from pipeline_assets.pipeline.resolved import (
    Export,
    FileTable,
    LakeCopy,
    ResolvedPipeline,
    Source,
    ViewTable,
)
from pipeline_assets.pipeline.value import ListColumn

# Metadata that is true of each day of a batch of several days.
_OF_EACH_DAY = {"batch_id", "engine", "dagster/row_count", "dagster/uri"}


class RunRequestConfig(dg.Config):
    """What a run does besides processing new objects; see `batch.report.Request`."""

    reprocess: bool = Field(False, description="Process objects again that are in the ledger: a backfill.")
    replay: bool = Field(False, description="Validate quarantined records again, and load those that now pass.")
    replay_ids: list[str] | None = Field(None, description="With `replay`, only these ids; by default all.")
    engine: str | None = Field(None, description="duckdb, spark or glue, for this run; by default PIPELINE_ENGINE.")
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
        config.engine,  # type: ignore[arg-type]
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
    """The assets of a pipeline: its landed files, and the outputs of its batch."""
    return [
        *(database_spec(source, pipeline.name) for source in pipeline.sources if source.declared.database),
        *(source_spec(source, pipeline.name) for source in pipeline.sources),
        _batch_assets(pipeline, freshness_hours, landing_days(pipeline, first_day)),
    ]


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


def output_specs(pipeline: ResolvedPipeline, freshness_hours: float) -> list[dg.AssetSpec]:
    """Tables, marts, views, lake tables and exports; each depends on what its SELECT reads."""
    assets = assets_of_relations(pipeline)
    lake_outputs: list[FileTable | LakeCopy] = [*pipeline.lake_outputs, *pipeline.lake_copies]
    outputs: list[Output] = [*pipeline.tables, *pipeline.marts, *pipeline.views, *lake_outputs]
    specs = {output.contract.name: _output_spec(pipeline, output, assets, freshness_hours) for output in outputs}
    listed = [*(declared.name for declared in pipeline.value.tables), *(o.contract.name for o in lake_outputs)]
    return [*(specs[name] for name in listed), *(_export_spec(pipeline, export, assets) for export in pipeline.exports)]


def database_spec(source: Source, pipeline: str) -> dg.AssetSpec:
    """The table of a database that the landed files of a source are extracted from; no run writes it."""
    contract, database = source.contract, source.declared.database
    return dg.AssetSpec(
        database_key(source, pipeline),
        group_name=pipeline,
        description=f"{contract.description}\n\nA table of a database that other systems write; runs extract from it.",
        kinds={database},
        owners=[f"team:{contract.owner}"],
        tags=classification_tags(contract),
    )


def source_spec(source: Source, pipeline: str) -> dg.AssetSpec:
    """The landed files of a source; no run writes them, but the run that loads some observes them."""
    contract = source.contract
    patterns = source.declared.pattern.split("|")
    landing = " or ".join(f"`{source.zone.bucket}/{pattern}`" for pattern in patterns)
    # The contract of CSV may be that of a table, too.
    forms = {"parquet" if pattern.lower().endswith(".parquet") else "csv" for pattern in patterns}
    forms = {"json"} if contract.form == "json" else forms
    files = f"{' and '.join(form.upper() for form in sorted(forms))} files as they land, plain or packed: {landing}."
    deps = [database_key(source, pipeline)] if source.declared.database else []
    metadata: dict = {}
    if listed := source.list_column:
        forms = {"list"}
        files = f"Elements of the lists in {listed.column} of {listed.of}."
        deps = [dg.AssetKey([pipeline, f"{listed.of}_files"])]
        metadata["dagster/column_lineage"] = _list_lineage(source, listed, deps[0])
    elif source.declared.archive:
        forms = {"zip"}
        files = f"Zip archives as they land: {landing}. Each is accepted or rejected as a whole."
    if contract.items:
        contract = replace(contract, columns=(*contract.columns, *contract.items.columns))
    if not contract.is_open:
        metadata["dagster/column_schema"] = column_schema(contract, unique_key=False)
    return dg.AssetSpec(
        source_key(source, pipeline),
        deps=deps,
        group_name=pipeline,
        description=(
            f"{files} The observations list the newest files with what each run took of them.\n\n"
            f"Records: {contract.grain}"
        ),
        kinds={"s3", *forms},
        owners=[f"team:{contract.owner}"],
        tags=classification_tags(contract),
        metadata=metadata,
    )


def _list_lineage(source: Source, listed: ListColumn, files: dg.AssetKey) -> dg.TableColumnLineage:
    """Columns of an element come from the list, those that its record also has from the record."""
    record = {name for _, parent in source.parents for name in parent.contract.column_names}
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(asset_key=files, column_name=name if name in record else listed.column)]
            for name in source.contract.column_names
        }
    )


def _output_spec(
    pipeline: ResolvedPipeline,
    output: Output,
    assets: Mapping[str, dg.AssetKey],
    freshness_hours: float,
) -> dg.AssetSpec:
    """A table of the warehouse or of the lake that a batch writes, or a view over such tables."""
    contract, relation = output.contract, "view" if isinstance(output, ViewTable) else "table"
    metadata: dict = {
        "dagster/table_name": target_table(contract).qualified,
        "contract": f"{contract.name} {contract.version}",
    }
    if not contract.is_open:
        metadata |= column_metadata(output, assets)
    return dg.AssetSpec(
        table_key(pipeline, contract),
        deps=list(dict.fromkeys(assets[relation] for relation in output.select.relations)),
        skippable=True,
        group_name=pipeline.name,
        description=f"{contract.description}\n\nGrain: {contract.grain}",
        kinds={"s3", "parquet"} if contract.form == "parquet" else {"snowflake", relation},
        owners=[f"team:{contract.owner}"],
        tags=classification_tags(contract),
        metadata=metadata,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=freshness_hours)),
    )


def _export_spec(pipeline: ResolvedPipeline, export: Export, files: Mapping[str, dg.AssetKey]) -> dg.AssetSpec:
    """A CSV of a table's rows; a batch without such rows writes none."""
    select, contract = export.table.select, export.table.contract
    which = "added or changed" if export.declared.only_changed else "wrote"
    return dg.AssetSpec(
        [pipeline.name, export.declared.name],
        deps=list(dict.fromkeys(files[relation] for relation in select.relations)),
        skippable=True,
        group_name=pipeline.name,
        description=f"The rows of {export.table.qualified} that a run {which}, as one CSV.\n\nGrain: {contract.grain}",
        kinds={"s3", "csv"},
        owners=[f"team:{contract.owner}"],
        tags=classification_tags(contract),
        metadata={
            "dagster/column_schema": column_schema(contract),
            "dagster/column_lineage": column_lineage(select, contract, files),
        },
    )


def classification_tags(contract: Contract) -> dict[str, str]:
    return {"personal_data": "yes"} if any(column.personal for column in contract.columns) else {}
