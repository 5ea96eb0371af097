"""One run of a Glue job: start it or find the one under way, wait for its end, stop it, say what it said.

Dagster's own client for Glue (dagster_aws 0.29.27) waits for ever on a run that EXPIRED, fails with a KeyError when a
stop does not succeed, and shows logs of runs that went well only; so the waiting is ours. What a job reports while it
runs still goes through Dagster Pipes, by whoever listens (`listened_to`); nothing here knows Dagster.
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
from pipeline_assets.errors import ConfigurationError, EngineError, LakeError, PipelineError

logger = logging.getLogger("pipeline_assets")

# The ten states of a Glue job run.
UNDER_WAY = frozenset({"STARTING", "RUNNING", "STOPPING", "WAITING"})
ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT", "ERROR", "EXPIRED"})
_REMEDIES = {
    "TIMEOUT": "Raise PIPELINE_GLUE_TIMEOUT_MINUTES, or let the job have more workers.",
    "STOPPED": "Somebody stopped it; run again.",
    "EXPIRED": "It waited too long for capacity; run again.",
}
_POLL_SECONDS = (2.0, 20.0)  # first and longest pause between two looks
# What the job's Python says, its traceback too, goes to the first; Spark's own log to the second.
_LOG_GROUPS = ("/aws-glue/jobs/output", "/aws-glue/jobs/error")
_TAIL = 20  # lines of each log of a failed run that are shown
_LINE = 1000  # characters of such a line; a plan of Spark on one has a hundred thousand
_LOOK_BACK = 200  # runs among which one that is under way is looked for

Listener = Callable[[], AbstractContextManager[Mapping[str, str]]]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listened_to(listener: Listener) -> Iterator[None]:
    """Have job runs in the block report to somebody: `listener` gives arguments for the job while it is open."""
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
        """Have a plan done; returns the run's id.

        A run of the same plan that is under way, of an attempt that died, is waited for; only if it does not succeed
        another is started. When we are interrupted the run is stopped.

        Raises:
            ConfigurationError: there is no such job, or a permission is missing.
            EngineError: the run ended in any state but SUCCEEDED, or not in time; with the end of its log and a link.
        """
        client = self.aws.client("glue")
        listener = _listener.get()
        with listener() if listener else nullcontext({}) as arguments:
            run_id, found = self._under_way(client, plan), None
            if run_id:
                logger.warning("Glue run %s of an earlier attempt is under way; waiting for it.", run_id)
                found = self._awaited(client, run_id)
            if found is None or found["JobRunState"] != "SUCCEEDED":
                run_id = self._start(client, {**arguments, "--plan": plan, "--response": response})
                logger.info("Started Glue job %s, run %s: %s", self.name, run_id, self.link(run_id))
                found = self._awaited(client, run_id)
        if found["JobRunState"] != "SUCCEEDED":
            raise self._failure(run_id, found["JobRunState"], found.get("ErrorMessage", ""))
        return run_id

    def _awaited(self, client: Any, run_id: str) -> Mapping[str, Any]:
        """The run at its end; when we are interrupted it is stopped."""
        try:
            return self._wait(client, run_id)
        except BaseException as error:
            if not isinstance(error, PipelineError):
                self._stop(client, run_id)
            raise

    def link(self, run_id: str) -> str:
        """Where the run's logs are listed; their streams are not always named after the run alone."""
        group = quote(quote(_LOG_GROUPS[0], safe=""), safe="").replace("%", "$")
        home = f"https://{self.aws.region}.console.aws.amazon.com/cloudwatch/home?region={self.aws.region}"
        return f"{home}#logsV2:log-groups/log-group/{group}$3FlogStreamNameFilter$3D{run_id}"

    def _under_way(self, client: Any, plan: str) -> str | None:
        looked = 0
        token: dict[str, str] = {}
        while looked < _LOOK_BACK:
            with aws_errors(
                f"looking for runs of {self.name}", "glue:GetJobRuns", expected=("EntityNotFoundException",)
            ):
                page = client.get_job_runs(JobName=self.name, MaxResults=50, **token)
                for found in page["JobRuns"]:
                    if (
                        found["JobRunState"] in UNDER_WAY - {"STOPPING"}
                        and found.get("Arguments", {}).get("--plan") == plan
                    ):
                        return found["Id"]
                looked += len(page["JobRuns"])
                if not page.get("NextToken"):
                    return None
                token = {"NextToken": page["NextToken"]}
                continue
            return None  # there is no such job; starting it says so
        return None

    def _start(self, client: Any, arguments: Mapping[str, str]) -> str:
        deadline, lost = self.clock() + self.patience, 0
        # The client itself would repeat a call whose response got lost, and so start a second run.
        once = self.aws.client("glue", attempts=1)
        while True:
            missing, busy = "EntityNotFoundException", "ConcurrentRunsExceededException"
            doing = f"starting the Glue job {self.name}"
            try:
                with aws_errors(doing, "glue:StartJobRun", expected=(missing, busy)) as refused:
                    minutes = max(1, round(self.patience / 60))
                    return once.start_job_run(JobName=self.name, Arguments=dict(arguments), Timeout=minutes)["JobRunId"]
            except LakeError as error:
                if run_id := self._under_way(client, arguments["--plan"]):
                    logger.warning("It is not known what became of %s; run %s is under way. %s", doing, run_id, error)
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
                    f"The Glue job {self.name} runs as often at once as it may, and did so all the time.",
                    remedy="Raise the job's MaxConcurrentRuns, or wait.",
                )
            self._pause(_POLL_SECONDS[1])

    def _wait(self, client: Any, run_id: str) -> Mapping[str, Any]:
        deadline, pause = self.clock() + self.patience + 60, _POLL_SECONDS[0]
        while True:
            with aws_errors(f"asking for the Glue run {run_id}", "glue:GetJobRun"):
                found = client.get_job_run(JobName=self.name, RunId=run_id)["JobRun"]
            state = found["JobRunState"]
            if state in ENDED:
                return found
            if state not in UNDER_WAY:
                raise self._failure(run_id, state, "that is no state of a run that is known here")
            if self.clock() > deadline:
                self._stop(client, run_id)
                raise self._failure(run_id, "TIMEOUT", f"not ended after {self.patience / 60:g} minutes")
            self._pause(pause)
            pause = min(pause * 1.25, _POLL_SECONDS[1])

    def _pause(self, seconds: float) -> None:
        self.sleep(seconds * random.uniform(0.7, 1.3))

    def _stop(self, client: Any, run_id: str) -> None:
        """Stop a run; that it cannot be stopped must not hide why we wanted to."""
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
        said = " ".join(message.split())
        tail = self._tail(run_id)
        return EngineError(
            f"The Glue run {run_id} of {self.name} ended as {state}{f': {said}' if said else ''}. "
            f"Log: {self.link(run_id)}" + (f"\n{tail}" if tail else ""),
            remedy=_REMEDIES.get(state, "The state is intact; run again."),
        )

    def _tail(self, run_id: str) -> str:
        """The ends of the run's logs; of a run that never started there is none."""
        lines: list[str] = []
        for group in _LOG_GROUPS:
            try:
                found = self._end_of(group, run_id)
            except PipelineError as error:
                found = [f"(the log in {group} cannot be read: {error})"]
            if found and lines:
                lines.append(f"({group}:)")
            lines += found
        return "\n".join(lines)

    def _end_of(self, group: str, run_id: str) -> list[str]:
        client, missing, doing = self.aws.client("logs"), ("ResourceNotFoundException",), f"reading the log of {run_id}"
        with aws_errors(doing, "logs:DescribeLogStreams", expected=missing):
            named = client.describe_log_streams(logGroupName=group, logStreamNamePrefix=run_id)["logStreams"]
            streams = [stream["logStreamName"] for stream in named]
            # The driver's, where the job's main program runs; executors have streams of their own beside it.
            stream = next((name for name in (run_id, f"{run_id}-driver") if name in streams), next(iter(streams), ""))
            if stream:
                with aws_errors(doing, "logs:GetLogEvents", expected=missing):
                    events = client.get_log_events(
                        logGroupName=group, logStreamName=stream, limit=_TAIL, startFromHead=False
                    )["events"]
                    return [event["message"].rstrip()[:_LINE] for event in events]
        return []
