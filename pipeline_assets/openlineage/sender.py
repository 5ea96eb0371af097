"""Send what the Dagster instance recorded since the last event that was sent.

A sensor sends for the runs of the code location, `pipeline-assets run` sends while it runs. Both move one cursor, in
the instance, behind each event that arrived: whatever stops one of them, the next one continues there. So an event is
sent at least once, and again only if a process dies between sending it and moving the cursor.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.errors import ConfigurationError, one_line
from pipeline_assets.openlineage.destinations import Collector, Destination, EventFile, NotSentError, RefusedEventError
from pipeline_assets.openlineage.facets import DescribedPipeline
from pipeline_assets.openlineage.recorded import Cursor, changes_after, moved, newest_changes
from pipeline_assets.orchestration.execution import end_lost_runs

if TYPE_CHECKING:
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings

logger = logging.getLogger("pipeline_assets.openlineage")

INTERVAL = 2.0  # seconds between two polls for new events during a run of the command line
PATIENCE = 5.0  # seconds that such a run waits at its end for its last events
_TICK = 30.0  # seconds that one tick of the sensor may take; the daemon's limit is 60
_SENSOR_INTERVAL = 10
_CURSOR = "pipeline_assets/openlineage"


class LineageSender:
    """Sends the events of an installation to one destination."""

    def __init__(self, settings: Settings, pipelines: Mapping[str, ResolvedPipeline], destination: Destination) -> None:
        self.settings = settings
        self.pipelines = pipelines
        self.destination = destination
        self._is_failing = False

    def send(self, instance: dg.DagsterInstance, seconds: float) -> str:
        """Send what is new within some seconds; returns why something is left, or an empty text.

        The first call for an instance sends nothing: only what happens from then on is sent.
        """
        from filelock import FileLock, Timeout

        deadline = time.monotonic() + seconds
        try:
            with FileLock(self.settings.home / ".openlineage.lock", timeout=seconds):
                return self._send(instance, deadline)
        except Timeout:
            return "Another process is sending."

    def _send(self, instance: dg.DagsterInstance, deadline: float) -> str:
        from pipeline_assets.openlineage.events import run_events

        cursor = self.begin(instance)
        while changes := changes_after(instance, cursor):
            for change in changes:
                for event in run_events(instance, change, self._described, self.settings.openlineage_namespace):
                    if time.monotonic() > deadline:
                        return "More events are left than could be sent in time."
                    try:
                        self.destination.send(event)
                    except RefusedEventError as error:
                        logger.error("%s This event of run %s is left out.", error, change.run_id)
                    except NotSentError as error:
                        if not self._is_failing:
                            logger.error("%s", error)
                        self._is_failing = True
                        return str(error)
                    else:
                        self._is_failing = False
                cursor = moved(cursor, change)
                instance.daemon_cursor_storage.set_cursor_values({_CURSOR: json.dumps(cursor)})
        return ""

    def begin(self, instance: dg.DagsterInstance) -> Cursor:
        """The cursor of an instance; the first time, it is behind all that happened before."""
        stored = instance.daemon_cursor_storage.get_cursor_values({_CURSOR}).get(_CURSOR)
        if stored:
            return json.loads(stored)
        cursor = newest_changes(instance)
        instance.daemon_cursor_storage.set_cursor_values({_CURSOR: json.dumps(cursor)})
        return cursor

    @contextmanager
    def sending(self, instance: dg.DagsterInstance) -> Iterator[None]:
        """Send in the background while a run executes in the block, and once more after it.

        The block ends at most PATIENCE seconds later; what is left then, the next run or the sensor sends.
        """
        self.begin(instance)
        ended = threading.Event()

        def repeat() -> None:
            while True:
                is_last = ended.wait(INTERVAL)
                try:
                    self.send(instance, PATIENCE)
                except Exception as error:  # noqa: BLE001 - lineage must not fail a run
                    logger.error("OpenLineage events could not be made: %s.", one_line(error).rstrip("."))
                if is_last:
                    return

        thread = threading.Thread(target=repeat, name="openlineage", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(PATIENCE)
            if thread.is_alive() and not self._is_failing:
                logger.error("OpenLineage events of this run were not sent within %g seconds.", PATIENCE)

    @cached_property
    def _described(self) -> dict[str, DescribedPipeline]:
        return {name: DescribedPipeline(pipeline, self.settings) for name, pipeline in self.pipelines.items()}


def lineage_sender(settings: Settings, pipelines: Mapping[str, ResolvedPipeline]) -> LineageSender | None:
    """The sender of an installation; None if neither a collector nor a file is configured.

    Raises:
        ConfigurationError: both are configured, or the client of OpenLineage is not installed.
    """
    url, file = settings.openlineage_url, settings.openlineage_file
    if not (url or file):
        return None
    if url and file:
        raise ConfigurationError(
            "PIPELINE_OPENLINEAGE_URL and PIPELINE_OPENLINEAGE_FILE are both set.", remedy="Unset one of them."
        )
    if find_spec("openlineage") is None:
        raise ConfigurationError(
            f"PIPELINE_OPENLINEAGE_{'URL' if url else 'FILE'} is set, but openlineage-python is not installed.",
            remedy="Install it: pip install 'pipeline-assets[openlineage]', or unset the variable.",
        )
    if url:
        return LineageSender(settings, pipelines, Collector(url, settings.openlineage_api_key))
    assert file is not None
    return LineageSender(settings, pipelines, EventFile(file.expanduser().absolute()))


def lineage_sensor(sender: LineageSender) -> dg.SensorDefinition:
    """The sensor that sends the events of all runs of the instance, whoever started them."""

    @dg.sensor(
        name="openlineage_events",
        description="Sends OpenLineage events of runs that started or ended.",
        minimum_interval_seconds=_SENSOR_INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"platform"},
    )
    def send(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        end_lost_runs(context.resources.platform, context.instance, sender.settings.dagster_home)
        return dg.SkipReason(sender.send(context.instance, _TICK) or "Every event was sent.")

    return send
