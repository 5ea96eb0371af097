"""Dagster's launcher for runs in the code server, extended by a health check of such runs.

`DefaultRunLauncher` starts a run as a process of the code server and has no health check (1.13.27). If the code server
disappears with its container, its runs never end, and each keeps its place in the queue and its pool. So this launcher
asks the code server at the same address whether it executes the run. Also, a code server that is shutting down refuses
new runs, which the queue would count as failures of those runs. Production only (infra/dagster.yaml names this class);
`dagster dev` keeps Dagster's own.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.errors import DagsterLaunchFailedError, DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Runs as processes of the code server, with a health check for Dagster's run monitoring."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Ask the code server to execute a run.

        Raises:
            DagsterUserCodeUnreachableError: it does not answer or is shutting down; this is the only error after which
                the queue keeps the run and tries again.
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
        """Whether the code server still executes the run.

        If the server does not answer, the result is RUNNING: it may be restarting, and the next check decides.
        """
        client = self._get_grpc_client_for_termination(run.run_id)
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "Not started by a code server, so it cannot be checked.")
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
