"""Every failed run alerts once: `run_pipeline` alerts for its own, the sensor for those that the instance launched."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus

from pipeline_assets.batch.report import Request
from pipeline_assets.console import print_run
from pipeline_assets.definitions import build_definitions
from pipeline_assets.errors import ContractError, InterruptedRunError, LakeError, WarehouseError
from pipeline_assets.orchestration import assets
from pipeline_assets.orchestration.execution import run_pipeline
from pipeline_assets.settings import load_settings, prepare_home
from pipeline_assets_tests.support.bookings_lake import BookingsLake
from pipeline_assets_tests.support.sensor_ticks import evaluate_tick

GONE = CheckRunHealthResult(WorkerStatus.NOT_FOUND, "The code server does not execute this run.")


class Alerted:
    """A home whose runs fail, the alert sensor with its cursor, and the alerts sent."""

    def __init__(self, lake: BookingsLake, instance: dg.DagsterInstance) -> None:
        self.lake, self.instance = lake, instance
        self.definitions = build_definitions(load_settings(home=lake.home))
        self.cursor: str | None = None

    def fail(self) -> str:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        keys = [key for key in job.asset_layer.executable_asset_keys if key.path[0] == "bookings"]
        result = job.execute_in_process(instance=self.instance, asset_selection=keys, raise_on_error=False)
        assert not result.success
        return result.run_id

    def tick(self) -> None:
        """One evaluation, by a daemon that keeps nothing but the cursor."""
        data = evaluate_tick(self.definitions, "failed_runs", self.instance, self.lake.platform, self.cursor)
        self.cursor = data.cursor

    @property
    def alerts(self) -> list[dict]:
        path = self.lake.home / "alerts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def failing(*_: object) -> None:
    raise ContractError("Wrong.", remedy="Mend it.")


@pytest.fixture
def alerted(lake: BookingsLake, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(assets, "run_batch", failing)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Alerted(lake, instance)


def test_the_sensor_alerts_once_for_each_run_that_failed_since_its_last_tick(alerted: Alerted) -> None:
    alerted.fail()
    alerted.tick()
    alerted.tick()
    assert alerted.alerts == [], "failures before the first tick are old news"

    failed = [alerted.fail(), alerted.fail()]
    alerted.tick()
    alerted.tick()
    assert [alert["facts"]["run_id"] for alert in alerted.alerts] == failed
    assert alerted.alerts[0] | {"at": ""} == {
        "at": "",
        "level": "error",
        "pipeline": "bookings",
        "subject": "The run of bookings failed.",
        "facts": {"run_id": failed[0], "step": "bookings_batch", "error": "Wrong. Mend it."},
    }


def test_failures_while_the_daemon_is_stopped_are_reported_when_it_is_back(alerted: Alerted) -> None:
    alerted.tick()
    failed = {alerted.fail() for _ in range(7)}
    for _ in range(3):  # a tick reports a few
        alerted.tick()
    assert sorted(alert["facts"]["run_id"] for alert in alerted.alerts) == sorted(failed)


def test_a_run_that_ended_without_a_failed_step_says_why(alerted: Alerted) -> None:
    alerted.tick()
    run = alerted.instance.create_run_for_job(alerted.definitions.resolve_job_def("bookings"))
    alerted.instance.report_run_failed(run, "The worker is gone.")
    alerted.tick()
    (alert,) = alerted.alerts
    assert (alert["pipeline"], alert["facts"]["error"]) == ("bookings", "The worker is gone.")


@pytest.mark.parametrize(
    "report",
    [
        lambda instance, run: instance.report_run_failed(run),  # as the code server does
        lambda instance, run: instance.report_run_failed(
            run, f"Detected run worker status {GONE}. Marking it as failed."
        ),
    ],
)
def test_the_alert_of_a_killed_worker_is_a_sentence(
    alerted: Alerted, report: Callable[[dg.DagsterInstance, dg.DagsterRun], object]
) -> None:
    alerted.tick()
    report(alerted.instance, alerted.instance.create_run_for_job(alerted.definitions.resolve_job_def("bookings")))
    alerted.tick()
    (alert,) = alerted.alerts
    assert alert["facts"]["error"].startswith("The process of the run ended before the run did: it was killed")


def test_run_pipeline_alerts_for_its_own_runs(alerted: Alerted) -> None:
    home = alerted.lake.home
    answer = run_pipeline(alerted.definitions, home / "dagster", "bookings", Request())
    (alert,) = alerted.alerts
    assert alert["facts"] == {"run_id": answer["run_id"], "step": "bookings_batch", "error": answer["error"]}


def test_a_run_that_a_person_stopped_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(assets, "run_batch", stopped)
    settings = load_settings(home=tmp_path)
    prepare_home(settings)
    with pytest.raises(InterruptedRunError):
        run_pipeline(build_definitions(settings), settings.dagster_home, "bookings", Request())
    assert not (tmp_path / "alerts.jsonl").exists()


def test_every_pipeline_and_every_job_is_watched(tmp_path: Path) -> None:
    repository = build_definitions(load_settings(home=tmp_path)).get_repository_def()
    (sensor,) = [sensor for sensor in repository.sensor_defs if sensor.name == "failed_runs"]
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def test_a_damaged_warehouse_says_what_helps_and_not_to_run_again(
    lake: BookingsLake, capsys: pytest.CaptureFixture[str]
) -> None:
    (database,) = (lake.home / "warehouse").glob("*.db")
    database.write_bytes(b"no database\n" * 1000)
    settings = load_settings(home=lake.home)
    summary = run_pipeline(build_definitions(settings), settings.dagster_home, "bookings", Request())
    print_run(summary)
    shown = capsys.readouterr().err
    assert "restore it from a backup" in shown
    assert "run again" not in shown
    (alert,) = [json.loads(line) for line in (lake.home / "alerts.jsonl").read_text().splitlines()]
    assert alert["facts"]["error"] == summary["error"]
    assert "\n" not in summary["error"]


class _DriverError(Exception):
    pass


def ours_about_ours() -> None:
    try:
        raise LakeError("The object cannot be read.", remedy="Wait.")
    except LakeError as cause:
        raise WarehouseError("The table cannot be read.", remedy="Grant it.") from cause


def ours_about_a_driver() -> None:
    try:
        raise _DriverError("secret")
    except _DriverError as cause:
        raise WarehouseError("The table: cannot be read.", remedy="Grant it.") from cause


def ours_below_another() -> None:
    try:
        ours_about_a_driver()
    except WarehouseError as cause:
        raise RuntimeError("a library") from cause


def ours_without_message() -> None:
    try:
        raise _DriverError("the driver's words")
    except _DriverError as cause:
        raise WarehouseError("") from cause


def only_others() -> None:
    try:
        raise _DriverError("the first cause")
    except _DriverError as cause:
        raise RuntimeError("a library") from cause


@pytest.mark.parametrize(
    ("raising", "shown"),
    [
        (ours_about_ours, "The table cannot be read. Grant it."),
        (ours_about_a_driver, "The table: cannot be read. Grant it."),
        (ours_below_another, "The table: cannot be read. Grant it."),
        (ours_without_message, "the driver's words"),
        (only_others, "the first cause"),
    ],
)
def test_of_a_chain_of_errors_ours_is_shown_with_its_remedy(
    alerted: Alerted, monkeypatch: pytest.MonkeyPatch, raising: Callable[[], None], shown: str
) -> None:
    monkeypatch.setattr(assets, "run_batch", lambda *_: raising())
    summary = run_pipeline(alerted.definitions, alerted.lake.home / "dagster", "bookings", Request())
    (alert,) = alerted.alerts
    assert (summary["error"], alert["facts"]["error"]) == (shown, shown)
