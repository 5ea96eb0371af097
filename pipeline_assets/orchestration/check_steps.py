"""The steps of Dagster that evaluate checks.

A batch evaluates all checks of its pipeline; without a batch any of them can be run alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from pipeline_assets.batch.platform import Platform
from pipeline_assets.batch.run import required_tables
from pipeline_assets.orchestration.checks import Check, checks_of
from pipeline_assets.orchestration.keys import batch_step, checks_step
from pipeline_assets.pipeline.resolved import ResolvedPipeline


def pipeline_checks(pipeline: ResolvedPipeline, freshness_hours: float) -> dg.AssetChecksDefinition:
    """The checks of a pipeline as a step of its own, for runs without a batch; any subset can be run."""
    all_checks = checks_of(pipeline, freshness_hours)

    def checks(context, platform):
        if context.job_def.has_node_named(batch_step(pipeline.name)):
            return  # the batch in this run evaluates all checks
        tag_run(context, pipeline.name)
        # The last batch may be of an older version.
        platform.warehouse.prepare(required_tables(pipeline), pipeline.warehouse_views)
        selected = [check for check in all_checks if check.spec.key in context.selected_asset_check_keys]
        for found in _evaluated(selected, platform):
            yield dg.AssetCheckResult(**found)

    # Dagster evaluates annotations when it decorates, so they must not be strings.
    checks.__annotations__ = {
        "context": dg.AssetCheckExecutionContext,
        "platform": dg.ResourceParam[Platform],
        "return": Iterator[dg.AssetCheckResult],
    }
    specs = [check.spec for check in all_checks]
    return dg.multi_asset_check(name=checks_step(pipeline.name), specs=specs, can_subset=True)(checks)


def tag_run(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, pipeline: str) -> None:
    """Tag a run with its pipelines, unless the pipeline's job did: the UI's button starts runs without this tag."""
    if "pipeline" not in context.run.tags:
        checked = {key.asset_key for key in context.run.asset_check_selection or ()}
        keys = {*(context.run.asset_selection or ()), *checked}
        pipelines = {key.path[0] for key in keys} or {pipeline}
        context.instance.add_run_tags(context.run.run_id, {"pipeline": ", ".join(sorted(pipelines))})


def evaluations(
    pipeline: ResolvedPipeline, platform: Platform, freshness_hours: float
) -> list[dg.AssetCheckEvaluation]:
    """The results of all checks, as events for the step of a batch.

    They are events and not outputs of a step: Dagster plans outputs when a run starts, and shows each planned check as
    failed when the run fails before it. It also skips a step below assets that were not materialized.
    """
    found = _evaluated(checks_of(pipeline, freshness_hours), platform)
    return [dg.AssetCheckEvaluation(**each, blocking=False) for each in found]


def repeat_last_results(instance: dg.DagsterInstance, run_id: str, checks: Sequence[Check]) -> None:
    """Store the last result of each check that a run planned and could not evaluate, outside of the run.

    Else the UI shows these checks as failed, as soon as the run has failed.
    """
    records = instance.event_log_storage.get_asset_check_summary_records([check.spec.key for check in checks])
    for record in records.values():
        planned, last = record.last_check_execution_record, record.last_completed_check_execution_record
        if planned and planned.run_id == run_id and last and last.evaluation:
            notes = {
                "evaluated_at": dg.MetadataValue.timestamp(last.create_timestamp),
                **last.evaluation.metadata,  # a result that is repeated again keeps its time
                "not_evaluated_by": dg.MetadataValue.dagster_run(run_id),
            }
            instance.report_runless_asset_event(last.evaluation.with_metadata(notes))


def _evaluated(checks: Sequence[Check], platform: Platform) -> list[dict[str, Any]]:
    """What both kinds of results are made of; all checks are evaluated in one transaction."""
    with platform.warehouse.read_only() as transaction:
        results = [(check.spec, check.result(transaction, platform)) for check in checks]
    return [
        {
            "asset_key": spec.asset_key,
            "check_name": spec.name,
            "passed": result.passed,
            "metadata": result.metadata,
            "severity": result.severity,
            "description": result.description,
        }
        for spec, result in results
    ]
