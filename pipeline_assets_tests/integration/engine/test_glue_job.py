"""A run of a Glue job is waited for whatever becomes of it, stopped when we are, and taken up again by a retry.

The states and refusals are dictated to a server that speaks Glue's protocol; that the job really does its work is in
`test_glue_engine`. The first three tests are also the regression tests for what Dagster's own Glue client gets wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline_assets.aws import ATTEMPTS, Aws
from pipeline_assets.engine.glue.job import ENDED, UNDER_WAY, GlueJob, listened_to
from pipeline_assets.errors import ConfigurationError, EngineError, LakeError
from pipeline_assets_tests.support.glue_server import GlueServer, glue_server


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GlueServer]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with glue_server(tmp_path) as found:
        yield found


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def __call__(self) -> float:
        return self.now


def job(server: GlueServer, clock: Clock, patience: float = 600, name: str = "pipeline-spark") -> GlueJob:
    return GlueJob(Aws("eu-west-1", server.url), name, patience, sleep=clock.sleep, clock=clock)


def test_there_are_ten_states() -> None:
    assert len(UNDER_WAY | ENDED) == 10
    assert not UNDER_WAY & ENDED


@pytest.mark.parametrize("state", sorted(ENDED - {"SUCCEEDED"}))
def test_every_end_but_success_is_reported_with_message_log_and_link(server: GlueServer, state: str) -> None:
    """Dagster's client waits for ever on EXPIRED, and shows logs of runs that succeeded only."""
    server.dictated.append(["STARTING", "WAITING", "RUNNING", "STOPPING", state])
    server.logs["output", "jr_0"] = [f"line {number}" for number in range(30)] + ["MemoryError: no more"]

    with pytest.raises(EngineError) as failed:
        job(server, Clock()).run("s3://b/plan", "s3://b/response")

    said = str(failed.value)
    assert f"jr_0 of pipeline-spark ended as {state}" in said
    assert "MemoryError: no more" in said
    assert "line 11" in said
    assert "line 10\n" not in said
    assert "#logsV2:log-groups/log-group/$252Faws-glue$252Fjobs$252Foutput$3FlogStreamNameFilter$3Djr_0" in said


@pytest.mark.parametrize("stream", ["jr_0", "jr_0-driver"])
def test_the_traceback_is_shown_before_the_log_of_spark(server: GlueServer, stream: str) -> None:
    """Glue 5.0 writes what Python says to the output, and the noise of Spark to the error log."""
    server.dictated.append(["FAILED"])
    server.logs["output", stream] = ["Traceback (most recent call last):", "ValueError: the plan is empty"]
    server.logs["output", "jr_0-1"] = ["an executor's"]
    server.logs["output", stream].append("x" * 100_000)
    server.logs["error", stream] = ["26/01/01 INFO ShutdownHookManager: Deleting directory"]
    server.logs["error", "jr_0_g-1a"] = ["another executor's"]
    with pytest.raises(EngineError) as failed:
        job(server, Clock()).run("p", "a")
    said = str(failed.value)
    assert said.index("ValueError: the plan is empty") < said.index("(/aws-glue/jobs/error:)\n26/01/01 INFO")
    assert "executor's" not in said
    assert len(said) < 2000


def test_a_stop_that_is_refused_hides_nothing(server: GlueServer, caplog: pytest.LogCaptureFixture) -> None:
    """Dagster's client looks for a key that is not there, and its KeyError is all that one sees."""
    clock = Clock()
    server.dictated.append(["RUNNING", "STOPPING"])  # it ends by itself, so that the stop comes too late

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.ERROR):
        GlueJob(Aws("eu-west-1", server.url), "pipeline-spark", 600, sleep=interrupted, clock=clock).run("p", "a")
    assert "BatchStopJobRun" in server.calls
    assert "was not stopped: the run has ended already" in caplog.text


def test_a_job_needs_no_region_from_the_environment(server: GlueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster's client cannot be made without one."""
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.delenv("AWS_REGION", raising=False)
    server.dictated.append(["SUCCEEDED"])
    assert job(server, Clock()).run("p", "a") == "jr_0"


def test_an_interrupt_stops_the_run(server: GlueServer) -> None:
    server.dictated.append(["RUNNING"])

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GlueJob(Aws("eu-west-1", server.url), "pipeline-spark", 600, sleep=interrupted).run("p", "a")
    assert server.runs["jr_0"].stopped


def test_a_run_that_takes_too_long_is_stopped_and_reported(server: GlueServer) -> None:
    clock = Clock()
    server.dictated.append(["RUNNING"])
    with pytest.raises(EngineError, match=r"ended as TIMEOUT: not ended after 10 minutes.*PIPELINE_GLUE_TIMEOUT"):
        job(server, clock).run("p", "a")
    assert server.runs["jr_0"].stopped
    assert 600 < clock.now < 720
    assert len(set(clock.pauses)) == len(clock.pauses)  # jitter: many waiters do not ask at once


def test_an_unknown_state_is_no_reason_to_wait_for_ever(server: GlueServer) -> None:
    server.dictated.append(["HIBERNATING"])
    with pytest.raises(EngineError, match="ended as HIBERNATING"):
        job(server, Clock()).run("p", "a")


def test_a_retry_takes_up_the_run_of_the_same_plan_that_is_under_way(server: GlueServer) -> None:
    server.dictated += [["SUCCEEDED"], ["RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"], ["RUNNING"]]
    for plan in ("s3://b/same", "s3://b/same", "s3://b/other"):
        server._StartJobRun({"JobName": "pipeline-spark", "Arguments": {"--plan": plan}})

    assert job(server, Clock()).run("s3://b/same", "a") == "jr_1"
    assert len(server.runs) == 3


def test_a_run_that_is_being_stopped_or_fails_is_not_the_end_of_a_retry(server: GlueServer) -> None:
    """After Ctrl-C our own run is STOPPING for a while; one that was taken up may fail for what killed the attempt."""
    server.dictated += [["STOPPING"], ["RUNNING", "RUNNING", "FAILED"], ["RUNNING", "SUCCEEDED"]]
    for _ in range(2):
        server._StartJobRun({"JobName": "pipeline-spark", "Arguments": {"--plan": "s3://b/same"}})

    assert job(server, Clock()).run("s3://b/same", "a") == "jr_2"


def test_a_start_whose_answer_got_lost_is_looked_up_and_not_repeated(server: GlueServer) -> None:
    server.dictated.append(["RUNNING", "RUNNING", "SUCCEEDED"])
    server.lose.append("StartJobRun")

    assert job(server, Clock()).run("s3://b/plan", "s3://b/response") == "jr_0"
    assert server.calls.count("StartJobRun") == 1


def test_a_start_that_fails_again_and_again_is_given_up(server: GlueServer) -> None:
    class Impatient(Clock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            assert len(self.pauses) < 50, "this goes on for ever"

    server.refuse["StartJobRun"] = "InternalServiceException"

    with pytest.raises(LakeError, match="starting the Glue job pipeline-spark"):
        job(server, Impatient()).run("p", "a")
    assert server.calls.count("StartJobRun") == ATTEMPTS


@pytest.mark.parametrize("operation", ["GetJobRun", "GetJobRuns"])
def test_a_look_whose_answer_got_lost_is_repeated(server: GlueServer, operation: str) -> None:
    server.dictated.append(["RUNNING", "SUCCEEDED", "SUCCEEDED"])
    server.lose.append(operation)
    assert job(server, Clock()).run("p", "a") == "jr_0"


def test_a_missing_job_is_reported_with_its_name_and_what_makes_it(server: GlueServer) -> None:
    with pytest.raises(ConfigurationError, match=r"no Glue job nobody.*deploy aws.*PIPELINE_GLUE_JOB"):
        job(server, Clock(), name="nobody").run("p", "a")


@pytest.mark.parametrize(
    ("operation", "action"),
    [("StartJobRun", "glue:StartJobRun"), ("GetJobRun", "glue:GetJobRun"), ("GetJobRuns", "glue:GetJobRuns")],
)
def test_a_missing_permission_is_named(server: GlueServer, operation: str, action: str) -> None:
    server.dictated.append(["RUNNING", "SUCCEEDED"])
    server.refuse[operation] = "AccessDeniedException"
    with pytest.raises(ConfigurationError, match=f"the permission {action} is missing"):
        job(server, Clock()).run("p", "a")


@pytest.mark.parametrize("operation", ["DescribeLogStreams", "GetLogEvents"])
def test_a_log_that_may_not_be_read_does_not_hide_the_failure(server: GlueServer, operation: str) -> None:
    server.dictated.append(["FAILED"])
    server.logs["output", "jr_0"] = ["ValueError"]
    server.refuse[operation] = "AccessDeniedException"
    with pytest.raises(EngineError, match=rf"(?s)ended as FAILED: it failed.*logs:{operation} is missing"):
        job(server, Clock()).run("p", "a")


def test_a_job_that_runs_as_often_as_it_may_is_waited_for(server: GlueServer) -> None:
    clock = Clock()
    server.refuse["StartJobRun"] = "ConcurrentRunsExceededException"
    with pytest.raises(EngineError, match="MaxConcurrentRuns"):
        job(server, clock, patience=120).run("p", "a")
    assert server.calls.count("StartJobRun") > 3


def test_whoever_listens_gives_the_job_its_arguments_and_hears_it_out(server: GlueServer) -> None:
    server.dictated.append(["RUNNING", "SUCCEEDED"])
    heard: list[str] = []

    @contextmanager
    def listener() -> Iterator[dict[str, str]]:
        heard.append("open")
        yield {"--dagster-pipes-context": "x"}
        heard.append(f"closed after {server.calls.count('GetJobRun')} looks")

    with listened_to(listener):
        job(server, Clock()).run("s3://b/plan", "s3://b/response")
    assert server.runs["jr_0"].arguments == {
        "--dagster-pipes-context": "x",
        "--plan": "s3://b/plan",
        "--response": "s3://b/response",
    }
    assert heard == ["open", "closed after 2 looks"]
