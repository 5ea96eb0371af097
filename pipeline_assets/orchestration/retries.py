"""When to request another run after failed ones, so that what landed does not wait for the next file or day.

The state is in the run records of the instance, so runs that a person started count as well. Runs are requested 1, 2,
4 … minutes after each failure, at most an hour; not after an error that only a person can clear, nor after a run that a
person stopped.
"""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from pipeline_assets.errors import ConfigurationError, PermanentLakeError
from pipeline_assets.orchestration.failures import failure_of

LONGEST_WAIT = 60  # minutes after a failure
_MAX_RUNS = 20  # newest runs; more failures than these do not change the wait


@dataclass(frozen=True)
class FailedBatch:
    """The newest run of a pipeline's batch, which failed; `failures` counts it and those directly before it."""

    run_id: str
    ended: float  # seconds since 1970
    failures: int

    @property
    def due(self) -> float:
        """When another run may be requested, in seconds since 1970."""
        return self.ended + 60 * min(2 ** (self.failures - 1), LONGEST_WAIT)


def failed_batch(instance: dg.DagsterInstance, pipeline: str) -> FailedBatch | None:
    """The newest run of a pipeline's batch if it failed; None if it succeeded, was canceled or has not ended."""
    records = instance.get_run_records(dg.RunsFilter(tags={"pipeline": pipeline}), limit=_MAX_RUNS)
    failed = []
    for record in records:
        run = record.dagster_run
        if run.asset_check_selection and not run.asset_selection:
            continue  # a run of checks alone
        if run.status is not dg.DagsterRunStatus.FAILURE:
            break
        failed.append(record)
    if not failed:
        return None
    newest = failed[0]
    ended = newest.end_time or newest.update_timestamp.timestamp()
    return FailedBatch(newest.dagster_run.run_id, ended, len(failed))


def permanent_error(instance: dg.DagsterInstance, run_id: str) -> str:
    """The message of a failed run that would fail again until somebody corrects something; else an empty text."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        failure = failure_of(entry.dagster_event) if entry.dagster_event else None
        if failure and failure.kind and issubclass(failure.kind, (ConfigurationError, PermanentLakeError)):
            return failure.message
    return ""
