"""One alert for each failed run, however it was started.

`run_pipeline` alerts for its own runs, as no daemon may be running. A sensor alerts for the runs that the instance
launches from this code location: by sensors, schedules, backfills and the UI. Runs of `run_pipeline` belong to no code
location, so the sensor does not see them. Its cursor is in the instance: failures while the daemon is stopped are
reported when it runs again, failures before the sensor's first tick are not.
"""

from __future__ import annotations

import dagster as dg

from pipeline_assets.batch.alerts import Alert
from pipeline_assets.batch.metrics import FAILED_RUN
from pipeline_assets.batch.platform import Platform
from pipeline_assets.orchestration.failures import failure_of

INTERVAL = 10  # seconds between two evaluations; each queries only the events since the last

_PROCESS_ENDED = (
    "The process of the run ended before the run did: it was killed, ran out of memory, or its machine was lost. "
    "Nothing is half published, and the next run finishes the work."
)
# From run monitoring, and from the code server (1.13.27).
_PROCESS_ENDED_PREFIXES = ("Detected run worker status", "This run has been marked as failed from outside")


def failed_run_sensor() -> dg.SensorDefinition:
    """The sensor that alerts for every failed run of this code location, whatever its job."""

    def alert(context, platform):
        send_failure_alert(platform, context.instance, context.dagster_run.run_id)

    # Dagster evaluates annotations when it decorates, so they must not be strings.
    alert.__annotations__ = {
        "context": dg.RunFailureSensorContext,
        "platform": dg.ResourceParam[Platform],
        "return": type(None),
    }
    decorate = dg.run_failure_sensor(
        name="failed_runs",
        description="Alerts when a run fails, whether a sensor, a schedule, a backfill or a person started it.",
        minimum_interval_seconds=INTERVAL,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    return decorate(alert)


def send_failure_alert(platform: Platform, instance: dg.DagsterInstance, run_id: str) -> None:
    """Send the alert of a failed run, and count it in the metrics of its pipelines."""
    alert = failure_alert(instance, run_id)
    platform.alerts.send(alert, platform.clock())
    if platform.metrics:
        for pipeline in alert.pipeline.split(", "):
            platform.metrics.put(pipeline, [FAILED_RUN], platform.clock())


def failure_alert(instance: dg.DagsterInstance, run_id: str) -> Alert:
    """The alert of a failed run: its failed steps, and the message of each without its traceback."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    failures = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    errors = {str(entry.step_key): failure_of(entry.dagster_event).message for entry in failures if entry.dagster_event}
    if not errors:
        ends = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        errors = {"": next((_reason(entry.user_message or entry.message) for entry in ends), "unknown")}
    pipeline = run.tags.get("pipeline") or run.job_name
    facts = {"run_id": run_id, "step": ", ".join(errors), "error": "\n".join(errors.values())}
    return Alert("error", pipeline, f"The run of {pipeline} failed.", facts)


def _reason(message: str) -> str:
    """Why a run without a failed step ended; Dagster's message about a lost process is replaced by a plain one."""
    return _PROCESS_ENDED if message.startswith(_PROCESS_ENDED_PREFIXES) else message
