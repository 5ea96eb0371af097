"""One run of a Glue job: start it or find the one that is running, wait for its end, stop it, report its error.

Dagster's own client for Glue (dagster_aws 0.29.27) waits for ever on a run that EXPIRED, fails with a KeyError when a
stop does not succeed, and shows logs of successful runs only; so the waiting is implemented here. Progress of a job
goes through Dagster Pipes, set up by the caller of `listened_to`; nothing here depends on Dagster.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pipeline_assets.aws import ATTEMPTS, Aws, aws_errors
from pipeline_assets.errors import ConfigurationError, EngineError, LakeError, PipelineError, one_line

logger = logging.getLogger("pipeline_assets")

# The ten states of a Glue job run.
UNDER_WAY = frozenset({"STARTING", "RUNNING", "STOPPING", "WAITING"})
ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT", "ERROR", "EXPIRED"})
_REMEDIES = {
    "TIMEOUT": "Raise PIPELINE_GLUE_TIMEOUT_MINUTES, or let the job have more workers.",
    "STOPPED": "The run was stopped by hand; run again.",
    "EXPIRED": "It waited too long for capacity; run again.",
}
_POLL_SECONDS = (2.0, 20.0)  # first and longest pause between two polls
# Output and traceback of the job's Python are in the first, Spark's own log is in the second.
_LOG_GROUPS = ("/aws-glue/jobs/output", "/aws-glue/jobs/error")
_TAIL = 20  # lines of each log of a failed run that are shown
_LINE = 1000  # characters of such a line; a Spark plan on one line has a hundred thousand
_SEARCHED_RUNS = 200  # latest runs that are searched for one of the same plan

Listener = Callable[[], AbstractContextManager[Mapping[str, str]]]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listened_to(listener: Listener) -> Iterator[None]:
    """Let job runs in the block report progress: `listener` gives arguments for the job while it is open."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@dataclass(frozen=True)
class GlueJob:
    """A job by its name. `patience` is in seconds, for a run from its start to its end."""

    aws: Aws
    name: str
    patience: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def run(self, plan: str, response: str) -> str:
        """Run a plan; returns the run's id.

        If an earlier attempt died and its run of the same plan is still running, wait for that one, and start another
        only if it does not succeed. When this process is interrupted, the run is stopped.

        Raises:
            ConfigurationError: the job does not exist, or a permission is missing.
            EngineError: the run ended in any state but SUCCEEDED, or not in time; with the end of its log and a link.
        """
        client = self.aws.client("glue")
        listener = _listener.get()
        with listener() if listener else nullcontext({}) as arguments:
            run_id, run = self._find_running(client, plan), None
            if run_id:
                logger.warning("Glue run %s of an earlier attempt is still running; waiting for it.", run_id)
                run = self._wait_or_stop(client, run_id)
            if not run_id or run is None or run["JobRunState"] != "SUCCEEDED":
                run_id = self._start(client, {**arguments, "--plan": plan, "--response": response})
                logger.info("Started Glue job %s, run %s: %s", self.name, run_id, self.link(run_id))
                run = self._wait_or_stop(client, run_id)
        if run["JobRunState"] != "SUCCEEDED":
            raise self._failure(run_id, run["JobRunState"], run.get("ErrorMessage", ""))
        return run_id

    def _wait_or_stop(self, client: Any, run_id: str) -> Mapping[str, Any]:
        """Wait for the end of a run; when this process is interrupted, stop it."""
        try:
            return self._wait(client, run_id)
        except BaseException as error:
            if not isinstance(error, PipelineError):
                self._stop(client, run_id)
            raise

    def link(self, run_id: str) -> str:
        """The page that lists the run's log streams; their names may have more than the run's id."""
        group = quote(quote(_LOG_GROUPS[0], safe=""), safe="").replace("%", "$")
        console = f"https://{self.aws.region}.console.aws.amazon.com/cloudwatch/home?region={self.aws.region}"
        return f"{console}#logsV2:log-groups/log-group/{group}$3FlogStreamNameFilter$3D{run_id}"

    def _find_running(self, client: Any, plan: str) -> str | None:
        searched = 0
        token: dict[str, str] = {}
        while searched < _SEARCHED_RUNS:
            with aws_errors(
                f"looking for runs of {self.name}", "glue:GetJobRuns", expected=("EntityNotFoundException",)
            ):
                page = client.get_job_runs(JobName=self.name, MaxResults=50, **token)
                for run in page["JobRuns"]:
                    if (
                        run["JobRunState"] in UNDER_WAY - {"STOPPING"}
                        and run.get("Arguments", {}).get("--plan") == plan
                    ):
                        return run["Id"]
                searched += len(page["JobRuns"])
                if not page.get("NextToken"):
                    return None
                token = {"NextToken": page["NextToken"]}
                continue
            return None  # the job does not exist; starting it reports that
        return None

    def _start(self, client: Any, arguments: Mapping[str, str]) -> str:
        deadline, lost = self.clock() + self.patience, 0
        # With retries the client would repeat a call whose response got lost, and so start a second run.
        once = self.aws.client("glue", attempts=1)
        while True:
            missing, busy = "EntityNotFoundException", "ConcurrentRunsExceededException"
            doing = f"starting the Glue job {self.name}"
            try:
                with aws_errors(doing, "glue:StartJobRun", expected=(missing, busy)) as refused:
                    minutes = max(1, round(self.patience / 60))
                    return once.start_job_run(JobName=self.name, Arguments=dict(arguments), Timeout=minutes)["JobRunId"]
            except LakeError as error:
                if run_id := self._find_running(client, arguments["--plan"]):
                    logger.warning("The response to %s got lost; run %s is running. %s", doing, run_id, error)
                    return run_id
                lost += 1
                if lost == ATTEMPTS:
                    raise
                self._pause(_POLL_SECONDS[0])
                continue
            if refused == [missing]:
                raise ConfigurationError(
                    f"There is no Glue job {self.name}.",
                    remedy="`pipeline-assets deploy aws` creates it; PIPELINE_GLUE_JOB names it.",
                )
            if self.clock() > deadline:
                raise EngineError(
                    f"The Glue job {self.name} had its maximum of concurrent runs all the time.",
                    remedy="Raise the job's MaxConcurrentRuns, or wait.",
                )
            self._pause(_POLL_SECONDS[1])

    def _wait(self, client: Any, run_id: str) -> Mapping[str, Any]:
        deadline, pause = self.clock() + self.patience + 60, _POLL_SECONDS[0]
        while True:
            with aws_errors(f"asking for the Glue run {run_id}", "glue:GetJobRun"):
                run = client.get_job_run(JobName=self.name, RunId=run_id)["JobRun"]
            state = run["JobRunState"]
            if state in ENDED:
                return run
            if state not in UNDER_WAY:
                raise self._failure(run_id, state, "this state is unknown")
            if self.clock() > deadline:
                self._stop(client, run_id)
                raise self._failure(run_id, "TIMEOUT", f"not ended after {self.patience / 60:g} minutes")
            self._pause(pause)
            pause = min(pause * 1.25, _POLL_SECONDS[1])

    def _pause(self, seconds: float) -> None:
        self.sleep(seconds * random.uniform(0.7, 1.3))

    def _stop(self, client: Any, run_id: str) -> None:
        """Stop a run; an error of this must not hide the reason for stopping it."""
        try:
            with aws_errors(f"stopping the Glue run {run_id}", "glue:BatchStopJobRun"):
                response = client.batch_stop_job_run(JobName=self.name, JobRunIds=[run_id])
        except PipelineError as error:
            logger.error("%s", error)
            return
        for refused in response.get("Errors", ()):
            detail = refused.get("ErrorDetail", {})
            logger.error("The Glue run %s was not stopped: %s", run_id, detail.get("ErrorMessage", detail))
        if response.get("SuccessfulSubmissions"):
            logger.warning("The Glue run %s was stopped.", run_id)

    def _failure(self, run_id: str, state: str, message: str) -> EngineError:
        cause = one_line(message)
        tail = self._tail(run_id)
        return EngineError(
            f"The Glue run {run_id} of {self.name} ended as {state}{f': {cause}' if cause else ''}. "
            f"Log: {self.link(run_id)}" + (f"\n{tail}" if tail else ""),
            remedy=_REMEDIES.get(state, "The state is intact; run again."),
        )

    def _tail(self, run_id: str) -> str:
        """The ends of the run's logs; a run that never started has none."""
        lines: list[str] = []
        for group in _LOG_GROUPS:
            try:
                end = self._last_lines(group, run_id)
            except PipelineError as error:
                end = [f"(the log in {group} cannot be read: {error})"]
            if end and lines:
                lines.append(f"({group}:)")
            lines += end
        return "\n".join(lines)

    def _last_lines(self, group: str, run_id: str) -> list[str]:
        client, missing, doing = self.aws.client("logs"), ("ResourceNotFoundException",), f"reading the log of {run_id}"
        with aws_errors(doing, "logs:DescribeLogStreams", expected=missing):
            listed = client.describe_log_streams(logGroupName=group, logStreamNamePrefix=run_id)["logStreams"]
            streams = [stream["logStreamName"] for stream in listed]
            # The driver runs the job's main program; executors have streams of their own.
            stream = next((name for name in (run_id, f"{run_id}-driver") if name in streams), next(iter(streams), ""))
            if stream:
                with aws_errors(doing, "logs:GetLogEvents", expected=missing):
                    events = client.get_log_events(
                        logGroupName=group, logStreamName=stream, limit=_TAIL, startFromHead=False
                    )["events"]
                    return [event["message"].rstrip()[:_LINE] for event in events]
        return []
