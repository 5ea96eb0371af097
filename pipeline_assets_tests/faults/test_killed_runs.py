"""A run of the command line whose process was killed is a failed one, as soon as anybody looks."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.batch.report import Request
from pipeline_assets.definitions import build_definitions
from pipeline_assets.orchestration.execution import dagster_instance, run_pipeline
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support import warm_python
from pipeline_assets_tests.support.bookings_lake import BookingsLake
from pipeline_assets_tests.support.command_line import environment
from pipeline_assets_tests.support.lineage_events import events_in
from pipeline_assets_tests.support.sensor_ticks import evaluate_tick

KILLED = """
import os, signal
from pipeline_assets.orchestration import assets
assets.run_batch = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from pipeline_assets.batch.report import Request
from pipeline_assets.commands.shared import prepared_settings, run_now
run_now(prepared_settings(), "bookings", Request(), False, command="run")
"""


@pytest.fixture
def events(lake: BookingsLake) -> Path:
    """A home with a run that was killed; returns the file of its events."""
    path = lake.home / "events.ndjson"
    done = warm_python.run(
        ["-c", KILLED], cwd=lake.home, env=environment(lake.home, PIPELINE_OPENLINEAGE_FILE=str(path))
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return path


def statuses(lake: BookingsLake) -> list[dg.DagsterRunStatus]:
    with dagster_instance(lake.home / "dagster") as instance:
        return [run.status for run in reversed(instance.get_runs())]


def require_reported(lake: BookingsLake, events: Path, *later: str) -> None:
    killed = [event for event in events_in(events) if event["run"]["runId"] == events_in(events)[0]["run"]["runId"]]
    assert [event["eventType"] for event in killed] == ["START", "FAIL"]
    assert [event["eventType"] for event in events_in(events)[2:]] == list(later)
    (alert,) = [json.loads(line) for line in (lake.home / "alerts.jsonl").read_text().splitlines()]
    assert "it was killed" in alert["facts"]["error"]
    assert list((lake.home / "dagster" / "running").iterdir()) == []


def test_the_next_run_ends_it(lake: BookingsLake, events: Path) -> None:
    assert statuses(lake) == [dg.DagsterRunStatus.STARTED]
    definitions = build_definitions(load_settings(home=lake.home, openlineage_file=events))
    run_pipeline(definitions, lake.home / "dagster", "bookings", Request())
    assert statuses(lake) == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]
    require_reported(lake, events, "START", "COMPLETE")


def test_the_sensor_ends_it(lake: BookingsLake, events: Path) -> None:
    definitions = build_definitions(load_settings(home=lake.home, openlineage_file=events))
    with dagster_instance(lake.home / "dagster") as instance:
        evaluate_tick(definitions, "openlineage_events", instance, lake.platform, None)
    assert statuses(lake) == [dg.DagsterRunStatus.FAILURE]
    require_reported(lake, events)


def test_a_run_whose_process_lives_is_left_alone(lake: BookingsLake) -> None:
    from filelock import FileLock

    running = lake.home / "dagster" / "running"
    with dagster_instance(lake.home / "dagster") as instance:
        running.mkdir()
        definitions = build_definitions(load_settings(home=lake.home, openlineage_file=lake.home / "events.ndjson"))
        run = instance.create_run_for_job(definitions.resolve_job_def("bookings"))
        with FileLock(running / f"{run.run_id}.lock"):
            evaluate_tick(definitions, "openlineage_events", instance, lake.platform, None)
        assert not instance.get_run_by_id(run.run_id).is_finished  # type: ignore[union-attr]
