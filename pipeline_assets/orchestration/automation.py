"""New-files sensors and daily schedules.

A sensor only checks whether a zone changed since the last poll, and requests a run. It may request one twice, late or
not at all: the run itself lists the zone and loads what is not in the ledger, so the daily schedule loads what no
sensor noticed. If a pipeline has a queue of S3 events, the sensor lists the zone when an event arrived and at every
`LIST_EVERY`th tick, else at every tick.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.batch.discover import has_new_objects
from pipeline_assets.batch.platform import Platform
from pipeline_assets.errors import PipelineError
from pipeline_assets.lake.notifications import Event, EventQueue, PollResult, QueueCursor, digest
from pipeline_assets.lake.zone_poll import Cursor, poll_zone
from pipeline_assets.orchestration.assets import pipeline_assets
from pipeline_assets.orchestration.checks import pipeline_checks
from pipeline_assets.pipeline.resolved import ResolvedPipeline

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings

logger = logging.getLogger("pipeline_assets")


def pipeline_definitions(pipeline: ResolvedPipeline, settings: Settings) -> dg.Definitions:
    """Everything of one pipeline: its assets and checks, one job over them, a sensor and a schedule."""
    checks = pipeline_checks(pipeline, settings.freshness_hours)
    job = pipeline_job(pipeline.name, describe(pipeline))
    return dg.Definitions(
        assets=pipeline_assets(pipeline, settings.freshness_hours),
        asset_checks=[checks],
        jobs=[job],
        sensors=[new_files_sensor(pipeline, job, settings.sensor_interval)],
        schedules=[daily_schedule(pipeline.name, job, settings.schedule)],
    )


def describe(pipeline: ResolvedPipeline) -> str:
    """One sentence about what a run of a pipeline does."""
    if pipeline.value.description:
        return pipeline.value.description
    landing = " and ".join(dict.fromkeys(source.zone.prefix or source.zone.bucket for source in pipeline.sources))
    return f"Take what landed in {landing} up to {', '.join(contract.table for contract in pipeline.targets)}."


def pipeline_job(name: str, description: str) -> dg.UnresolvedAssetJobDefinition:
    """One run of a pipeline: its batch, which also evaluates the checks."""
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.groups(name).without_checks(),
        description=description,
        tags={"pipeline": name},
    )


def new_files_sensor(
    pipeline: ResolvedPipeline, job: dg.UnresolvedAssetJobDefinition, interval: int
) -> dg.SensorDefinition:
    """A sensor that requests one run when anything in the zones of a pipeline is new, changed or deleted.

    The run key has the number of changes and a digest of the new state. So a tick that is evaluated again requests the
    same run, and a state that returns requests another. The first poll, which has nothing to compare with, asks the
    ledger.
    """
    name = pipeline.name
    zones = sorted({(source.zone.bucket, source.zone.prefix) for source in pipeline.sources})

    @dg.sensor(
        name=f"{name}_new_files",
        job=job,
        minimum_interval_seconds=interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Requests a run when something lands in {', '.join('/'.join(zone) for zone in zones)}.",
        required_resource_keys={"platform"},
    )
    def request_run(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        platform: Platform = context.resources.platform
        lines = [*(context.cursor or "").split("\n"), *[""] * len(zones)]
        before = [Cursor.load(text) for text in lines[: len(zones)]]
        queue = platform.queues.get(name)
        events: list[Event] = []
        list_all, queue_line = False, []
        if queue:
            queue_cursor = QueueCursor.load(lines[len(zones)])
            poll = _poll_queue(queue, queue_cursor)
            list_all, queue_line = queue_cursor.is_listing_due, [queue_cursor.after(poll.name if poll else "").dump()]
            events = [e for zone in zones for e in queue.landed_in(zone[0], zone[1:], poll)] if poll else []
            if poll and not events and not list_all:
                cursor = "\n".join([*(entry.dump() for entry in before), *queue_line])
                return dg.SensorResult(skip_reason=f"No new object in {poll.messages} messages.", cursor=cursor)
        after = [
            poll_zone(platform.lake, bucket, prefix, entry, whole=list_all)
            for (bucket, prefix), entry in zip(zones, before, strict=True)
        ]
        cursor = "\n".join([*(entry.dump() for entry in after), *queue_line])
        if [entry.digest for entry in after] != [entry.digest for entry in before]:
            run_key = "-".join(f"{entry.changes}.{entry.digest:x}" for entry in after)
        elif events and any(entry.polls for entry in after):
            # Only a part of the zone was listed, so an event may name a key that was not.
            run_key = f"events-{digest(events)}"
        else:
            count = sum(entry.count for entry in after)
            return dg.SensorResult(skip_reason=f"Nothing new among {count} objects.", cursor=cursor)
        if not context.cursor and not _may_have_new_objects(platform, pipeline):
            return dg.SensorResult(skip_reason="Everything that landed before the first poll is loaded.", cursor=cursor)
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=run_key)], cursor=cursor)

    return request_run


def _may_have_new_objects(platform: Platform, pipeline: ResolvedPipeline) -> bool:
    """Whether the ledger lacks a landed object, or cannot be read; then a run decides."""
    try:
        return has_new_objects(platform, pipeline)
    except PipelineError as error:
        logger.info("A run of %s is requested, as the ledger cannot be read. %s", pipeline.name, error)
        return True


def _poll_queue(queue: EventQueue, queue_cursor: QueueCursor) -> PollResult | None:
    """The queue's events; None if the queue cannot be read, so that the zones are listed."""
    try:
        # The cursor of that tick was saved, so its run request is recorded.
        queue.confirm(queue_cursor.polled)
        return queue.poll()
    except PipelineError as error:
        logger.error("The zones are listed, as their queue cannot be read. %s", error)
        return None


def daily_schedule(name: str, job: dg.UnresolvedAssetJobDefinition, cron: str) -> dg.ScheduleDefinition:
    """A daily run (UTC) that loads what no sensor noticed."""
    return dg.ScheduleDefinition(
        name=f"{name}_daily",
        job=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
