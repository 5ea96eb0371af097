"""New-files sensors and daily schedules.

A sensor only checks whether a zone changed since the last poll, and requests a run. It may request one twice, late or
not at all: the run itself lists the zone and loads what is not in the ledger, so the daily schedule loads what no
sensor noticed. If a pipeline has a queue of S3 events, the sensor lists the zone when an event arrived and at every
`LIST_EVERY`th tick, else at every tick.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import dagster as dg

from pipeline_assets.batch.arrive import moved_sources
from pipeline_assets.batch.context import staging_of
from pipeline_assets.batch.discover import has_new_objects
from pipeline_assets.batch.platform import Platform
from pipeline_assets.errors import PipelineError
from pipeline_assets.lake.notifications import Event, EventQueue, PollResult, QueueCursor, digest
from pipeline_assets.lake.zone_poll import Cursor, poll_zone
from pipeline_assets.orchestration.assets import pipeline_assets
from pipeline_assets.orchestration.check_steps import pipeline_checks
from pipeline_assets.orchestration.keys import batch_step
from pipeline_assets.orchestration.retries import failed_batch, permanent_error
from pipeline_assets.pipeline.resolved import ResolvedPipeline

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings

_PLACES = {"bucket", "stream", "folder"}  # kinds of assets that are no datasets of the catalog
logger = logging.getLogger("pipeline_assets")


def pipeline_definitions(pipeline: ResolvedPipeline, settings: Settings) -> dg.Definitions:
    """Everything of one pipeline: its assets and checks, one job over them, a sensor and a schedule."""
    checks = pipeline_checks(pipeline, settings.freshness_hours)
    job = pipeline_job(pipeline.name, describe(pipeline))
    assets = pipeline_assets(pipeline, settings.freshness_hours, settings.first_landing_day)
    return dg.Definitions(
        assets=with_catalog_links(assets, settings.catalog_url) if settings.catalog_url else assets,
        asset_checks=[checks],
        jobs=[job],
        sensors=[new_files_sensor(pipeline, job, settings.sensor_interval)],
        schedules=[daily_schedule(pipeline, job, settings), *table_schedules(pipeline, job)],
    )


def with_catalog_links(
    assets: Sequence[dg.AssetSpec | dg.AssetsDefinition], url: str
) -> Sequence[dg.AssetSpec | dg.AssetsDefinition]:
    """The assets, each with a link to its dataset in the catalog at `url`, which has no places of files."""

    def linked(spec: dg.AssetSpec) -> dg.AssetSpec:
        if spec.kinds & _PLACES:
            return spec
        dataset = "/".join(quote(part, safe="") for part in spec.key.path)
        return spec.merge_attributes(metadata={"catalog": dg.MetadataValue.url(f"{url}#/dataset/{dataset}")})

    return dg.map_asset_specs(linked, assets)


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
    ledger. After a failed run, another one is requested as `retries` says, if there is still something to do.
    """
    name = pipeline.name
    watched = [source for source in pipeline.sources if source.declared.watched]
    zones = sorted({(source.zone.bucket, source.zone.prefix) for source in watched})
    landing = ", ".join("/".join(zone) for zone in zones) or "a zone: none is watched"

    @dg.sensor(
        name=f"{name}_new_files",
        job=job,
        minimum_interval_seconds=interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Requests a run when something lands in {landing}, and again after a failed run, as long as something is "
            "new."
        ),
        required_resource_keys={"platform"},
    )
    def request_run(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        platform: Platform = context.resources.platform
        before = _Cursor.load(context.cursor, len(zones))
        polled = _poll(platform, name, zones, before)
        # The first poll has nothing to compare with; and a run of moved sources empties landing, a change as well.
        is_arrival = bool(context.cursor) and not moved_sources(pipeline)
        if polled.run_key and (is_arrival or _may_have_new_objects(platform, pipeline)):
            return dg.SensorResult(run_requests=[dg.RunRequest(run_key=polled.run_key)], cursor=polled.cursor.dump())
        reason = "Everything that landed is loaded." if polled.run_key else polled.reason
        failed = failed_batch(context.instance, name)
        if failed is None or failed.run_id == before.retried:
            return dg.SensorResult(skip_reason=reason, cursor=polled.cursor.dump())
        if platform.clock().replace(tzinfo=UTC).timestamp() < failed.due:
            due = datetime.fromtimestamp(failed.due, UTC).strftime("%H:%M:%S")
            waiting = f"{reason} The last run failed; another one is requested at {due} UTC."
            return dg.SensorResult(skip_reason=waiting, cursor=polled.cursor.dump())
        cursor = replace(polled.cursor, retried=failed.run_id).dump()
        if error := permanent_error(context.instance, failed.run_id):
            return dg.SensorResult(skip_reason=f"{reason} The last run failed, and would again: {error}", cursor=cursor)
        if not (_may_have_new_objects(platform, pipeline) or _has_staged_files(platform, pipeline)):
            return dg.SensorResult(skip_reason=reason, cursor=cursor)
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"after-{failed.run_id}")], cursor=cursor)

    return request_run


@dataclass(frozen=True)
class _Cursor:
    """The state of a sensor: its zones, its queue, and the last failed run that it has handled."""

    zones: list[Cursor]
    queue: QueueCursor
    retried: str = ""

    @classmethod
    def load(cls, text: str | None, zones: int) -> _Cursor:
        lines = [*(text or "").split("\n"), *[""] * (zones + 2)]
        return cls([Cursor.load(line) for line in lines[:zones]], QueueCursor.load(lines[zones]), lines[zones + 1])

    def dump(self) -> str:
        return "\n".join([*(zone.dump() for zone in self.zones), self.queue.dump(), self.retried])


@dataclass(frozen=True)
class _Poll:
    """What one tick found: the key of the run to request or, without one, the reason."""

    cursor: _Cursor
    run_key: str = ""
    reason: str = ""


def _poll(platform: Platform, pipeline: str, zones: Sequence[tuple[str, str]], before: _Cursor) -> _Poll:
    """Read the queue of a pipeline, if it has one, and list its zones if the events or the tick ask for it."""
    queue, queue_cursor = platform.queues.get(pipeline), before.queue
    events: list[Event] = []
    list_all = False
    if queue:
        poll = _poll_queue(queue, queue_cursor)
        list_all, queue_cursor = queue_cursor.is_listing_due, queue_cursor.after(poll.name if poll else "")
        events = [e for zone in zones for e in queue.landed_in(zone[0], zone[1:], poll)] if poll else []
        if poll and not events and not list_all:
            return _Poll(replace(before, queue=queue_cursor), reason=f"No new object in {poll.messages} messages.")
    after = [
        poll_zone(platform.lake, bucket, prefix, entry, whole=list_all)
        for (bucket, prefix), entry in zip(zones, before.zones, strict=True)
    ]
    cursor = replace(before, zones=after, queue=queue_cursor)
    if [entry.digest for entry in after] != [entry.digest for entry in before.zones]:
        return _Poll(cursor, "-".join(f"{entry.changes}.{entry.digest:x}" for entry in after))
    if events and any(entry.polls for entry in after):
        # Only a part of the zone was listed, so an event may name a key that was not.
        return _Poll(cursor, f"events-{digest(events)}")
    return _Poll(cursor, reason=f"Nothing new among {sum(entry.count for entry in after)} objects.")


def _has_staged_files(platform: Platform, pipeline: ResolvedPipeline) -> bool:
    """Whether an interrupted run left files that the next run promotes or deletes."""
    return any(True for _ in platform.lake.list_objects(pipeline.bucket, staging_of(pipeline)))


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


def daily_schedule(
    pipeline: ResolvedPipeline, job: dg.UnresolvedAssetJobDefinition, settings: Settings
) -> dg.ScheduleDefinition:
    """A daily run (UTC) that loads what the sensor missed, after extracting what is new if the settings ask for it."""
    name, extracts = pipeline.name, pipeline.name in settings.scheduled_extracts
    extracting = "extracts what is new, " if extracts else ""
    return dg.ScheduleDefinition(
        name=f"{name}_daily",
        job=job,
        cron_schedule=settings.schedule,
        execution_timezone="UTC",
        run_config={"ops": {batch_step(name): {"config": {"extract": True}}}} if extracts else None,
        description=f"Runs {name} once a day: {extracting}lists its zones and loads what the sensor missed.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def table_schedules(
    pipeline: ResolvedPipeline, job: dg.UnresolvedAssetJobDefinition
) -> Iterator[dg.ScheduleDefinition]:
    """A schedule (UTC) for each of the value: it extracts and loads some of the tables."""
    for schedule in pipeline.value.schedules:
        config = {"extract": True, "tables": list(schedule.tables)}
        yield dg.ScheduleDefinition(
            name=f"{pipeline.name}_{schedule.name}",
            job=job,
            cron_schedule=schedule.cron,
            execution_timezone="UTC",
            run_config={"ops": {batch_step(pipeline.name): {"config": config}}},
            description=f"Extracts what is new of {', '.join(schedule.tables)}, and loads it.",
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
