"""Dagster's launcher for runs in the code server, which can also tell whether such a run still exists.

`DefaultRunLauncher` starts a run as a process of the code server and has no health check (1.13.27): when the code
server goes away with its container, nobody ever ends its runs, and each keeps its place in the queue and its pool.
The code server that answers at the same address knows which runs are its own, so ask it. And a code server that was
told to stop lets its runs end and refuses new ones meanwhile, which the queue takes for the failure of those runs.
Production only (infra/dagster.yaml names this class); `dagster dev` keeps Dagster's own.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Runs as processes of the code server, watched by Dagster's run monitoring."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Ask the code server to execute a run.

        Raises:
            DagsterUserCodeUnreachableError: it is shutting down, too; of all errors only this one makes the queue hold
                the run and try again.
        """
        try:
            super().launch_run(context)
        except DagsterLaunchFailedError as error:
            if "telling it to shut down" not in str(error):
                raise
            raise DagsterUserCodeUnreachableError("The code server is shutting down.") from error

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the code server that was asked to execute the run still does.

        A server that does not answer proves nothing: it is restarting, and its successor will know.
        """
        client = self._get_grpc_client_for_termination(run.run_id)
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "Not started by a code server; nobody to ask.")
        try:
            answer = deserialize_value(
                client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=10),
                CanCancelExecutionResult,
            )
        except DagsterUserCodeUnreachableError:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "The code server does not answer.", transient=True)
        if answer.can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "The code server does not execute this run.")
