"""Doorbell sensors, backstop schedules and alert hooks.

A sensor only asks whether a zone changed since the last look and rings; it may ring twice, late or not at all. What
to load is decided in the run, by listing the zone and asking the ledger, so the daily schedule finds what no bell
announced. Where a pipeline has a queue of S3's events, the sensor looks when something is heard and at every
`LIST_EVERY`th tick, else at every tick.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.batch.alerts import Alert
from pipeline_assets.batch.platform import Platform
from pipeline_assets.errors import PipelineError
from pipeline_assets.lake.notifications import Event, EventQueue, Heard, Listening, digest
from pipeline_assets.lake.zone_poll import Cursor, look
from pipeline_assets.orchestration.assets import pipeline_assets
from pipeline_assets.orchestration.checks import pipeline_checks
from pipeline_assets.pipeline.resolved import ResolvedPipeline

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings

logger = logging.getLogger("pipeline_assets")


def pipeline_definitions(pipeline: ResolvedPipeline, settings: Settings) -> dg.Definitions:
    """Everything of one pipeline: its assets and checks, one job over them, a sensor and a schedule."""
    checks = pipeline_checks(pipeline)
    job = pipeline_job(pipeline.name, checks, describe(pipeline))
    zones = sorted({(source.zone.bucket, source.zone.prefix) for source in pipeline.sources})
    return dg.Definitions(
        assets=pipeline_assets(pipeline, settings.freshness_hours),
        asset_checks=[checks],
        jobs=[job],
        sensors=[doorbell(pipeline.name, zones, job, settings.sensor_interval)],
        schedules=[backstop(pipeline.name, job, settings.schedule)],
    )


def describe(pipeline: ResolvedPipeline) -> str:
    """What a run of a pipeline does, in one sentence."""
    if pipeline.value.description:
        return pipeline.value.description
    landing = " and ".join(dict.fromkeys(source.zone.prefix or source.zone.bucket for source in pipeline.sources))
    return f"Take what landed in {landing} up to {', '.join(contract.table for contract in pipeline.targets)}."


def pipeline_job(name: str, checks: dg.AssetChecksDefinition, description: str) -> dg.UnresolvedAssetJobDefinition:
    """One run of a pipeline: all its assets and checks, in process, one run of a pipeline at a time."""
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.groups(name) | dg.AssetSelection.checks(checks),
        description=description,
        hooks={alert_on_failure},
        executor_def=dg.in_process_executor,
        tags={"pipeline": name},
    )


def doorbell(
    name: str, zones: Sequence[tuple[str, str]], job: dg.UnresolvedAssetJobDefinition, interval: int
) -> dg.SensorDefinition:
    """A sensor that asks for one run when anything in the zones (bucket, prefix) is new, changed or gone.

    The run key counts the changes and names the state that is new, so a tick that is evaluated again asks for the same
    run, and a state that returns asks for another.
    """

    @dg.sensor(
        name=f"{name}_doorbell",
        job=job,
        minimum_interval_seconds=interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Rings when something lands in {', '.join('/'.join(zone) for zone in zones)}.",
        required_resource_keys={"platform"},
    )
    def ring(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        platform: Platform = context.resources.platform
        lines = [*(context.cursor or "").split("\n"), *[""] * len(zones)]
        before = [Cursor.load(text) for text in lines[: len(zones)]]
        queue = platform.queues.get(name)
        news: list[Event] = []
        whole, kept = False, []
        if queue:
            listening = Listening.load(lines[len(zones)])
            heard = _hear(queue, listening)
            whole, kept = listening.is_listing_due, [listening.after(heard.name if heard else "").dump()]
            news = [e for zone in zones for e in queue.landed_in(zone[0], zone[1:], heard)] if heard else []
            if heard and not news and not whole:
                cursor = "\n".join([*(entry.dump() for entry in before), *kept])
                return dg.SensorResult(skip_reason=f"No news in {heard.messages} messages.", cursor=cursor)
        after = [
            look(platform.lake, bucket, prefix, entry, whole=whole)
            for (bucket, prefix), entry in zip(zones, before, strict=True)
        ]
        cursor = "\n".join([*(entry.dump() for entry in after), *kept])
        if [entry.digest for entry in after] != [entry.digest for entry in before]:
            run_key = "-".join(f"{entry.changes}.{entry.digest:x}" for entry in after)
        elif news and any(entry.looks for entry in after):
            # Not all of the zone was listed, so a key that sorts early may have been heard of and not seen.
            run_key = f"heard-{digest(news)}"
        else:
            count = sum(entry.count for entry in after)
            return dg.SensorResult(skip_reason=f"Nothing new among {count} objects.", cursor=cursor)
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key)], cursor=cursor)

    return ring


def _hear(queue: EventQueue, listening: Listening) -> Heard | None:
    """What waits in the queue; None when it cannot be asked, and the zones are listed instead."""
    try:
        # The cursor of that tick came back, so its ring is recorded.
        queue.confirm(listening.heard)
        return queue.listen()
    except PipelineError as error:
        logger.error("The zones are listed, as their queue cannot be asked. %s", error)
        return None


def backstop(name: str, job: dg.UnresolvedAssetJobDefinition, cron: str) -> dg.ScheduleDefinition:
    """A daily run, UTC, that finds what no bell announced."""
    return dg.ScheduleDefinition(
        name=f"{name}_backstop",
        job=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


@dg.failure_hook(name="alert_on_failure", required_resource_keys={"alerts", "platform"})
def alert_on_failure(context: dg.HookContext) -> None:
    """Tell people that a step failed, with the error's own words and no traceback."""
    error = context.op_exception
    if isinstance(error, dg.RetryRequested):
        error = error.__cause__  # what went wrong the last time
    platform: Platform = context.resources.platform
    facts = {"run_id": context.run_id, "step": context.op.name, "error": str(error) if error else "unknown"}
    context.resources.alerts.send(
        Alert("error", context.job_name, f"The run of {context.job_name} failed.", facts), platform.clock()
    )
