"""After a failed run the new-files sensor requests another one, until what landed is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.batch import run as run_module
from pipeline_assets.definitions import build_definitions
from pipeline_assets.errors import (
    ContractError,
    EngineError,
    LakeError,
    PermanentLakeError,
    WarehouseError,
)
from pipeline_assets.orchestration import assets
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.sensor_ticks import evaluate_tick

WAITS = (1, 2, 4, 8, 16, 32, 60)


class Daemon:
    """An instance on disk, in which the sensor's requests are executed at once; its clock is moved by the tests."""

    def __init__(self, lake: BookingsLake, instance: dg.DagsterInstance) -> None:
        self.lake, self.instance = lake.with_platform(clock=self.clock), instance
        self.definitions = build_definitions(load_settings(home=lake.home, retry_seconds=0.01))
        self.cursor: str | None = None
        self.passed = timedelta()
        self.skipped = ""

    def clock(self) -> datetime:
        return datetime.now(UTC).replace(tzinfo=None) + self.passed

    def tick(self) -> list[bool]:
        """One tick; whether each run that it requested succeeded."""
        data = evaluate_tick(self.definitions, "bookings_new_files", self.instance, self.lake.platform, self.cursor)
        self.cursor, self.skipped = data.cursor, data.skip_message or ""
        return [self.run(request.run_key) for request in data.run_requests or []]

    def run(self, run_key: str | None = None) -> bool:
        assert not (run_key and self.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": run_key})))
        tags = {"dagster/run_key": run_key} if run_key else {}
        job = self.definitions.resolve_job_def("bookings")
        return job.execute_in_process(instance=self.instance, raise_on_error=False, tags=tags).success

    def minutes_until_requested(self) -> int:
        """From now, as the last run ended now; it ticks at each minute of WAITS and in the minute before."""
        for minutes in sorted({wait - before for wait in WAITS for before in (0, 1)}):
            self.passed = timedelta(minutes=minutes)
            if self.tick():
                return minutes
        raise AssertionError(f"No run was requested in {minutes} minutes: {self.skipped}")


@pytest.fixture(scope="module")
def empty_instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an instance that has no runs, which takes longer to make than to copy."""
    folder = tmp_path_factory.mktemp("dagster")
    with dg.DagsterInstance.local_temp(str(folder)):
        return folder


@pytest.fixture
def daemon(lake: BookingsLake, empty_instance: Path, tmp_path: Path) -> Iterator[Daemon]:
    folder = Path(shutil.copytree(empty_instance, tmp_path / "dagster"))
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        lake.customers("", customer(1))
        yield Daemon(lake, instance)


def fail_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(assets, "run_batch", failing)


def test_failed_runs_are_repeated_with_growing_waits_until_one_succeeds(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_with(patch, WarehouseError("It cannot be reached."))
        assert daemon.tick() == [False]
        assert [daemon.minutes_until_requested() for _ in range(8)] == [*WAITS, 60]
    assert daemon.minutes_until_requested() == 60
    assert daemon.lake.rows("SELECT CUSTOMER_ID FROM BOOKINGS.CUSTOMERS") == [("1",)]
    daemon.passed += timedelta(days=1)
    assert daemon.tick() == []

    fail_with(monkeypatch, WarehouseError("It cannot be reached."))
    daemon.lake.customers("_2", customer(2))
    assert daemon.tick() == [False]
    assert daemon.minutes_until_requested() == 1, "a success starts the count anew"


def test_each_repeated_run_alerts_once(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    cursor: str | None = None

    def alert() -> None:
        nonlocal cursor
        cursor = evaluate_tick(daemon.definitions, "failed_runs", daemon.instance, daemon.lake.platform, cursor).cursor

    alert()
    fail_with(monkeypatch, WarehouseError("It cannot be reached."))
    daemon.tick()
    for _ in range(3):
        daemon.minutes_until_requested()
        alert()
        alert()
    alerts = (daemon.lake.home / "alerts.jsonl").read_text().splitlines()
    assert len({json.loads(line)["facts"]["run_id"] for line in alerts}) == len(alerts) == 4


def test_no_run_is_requested_after_an_error_that_only_a_person_can_clear(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, error in enumerate((ContractError("Wrong.", remedy="Correct it."), PermanentLakeError("No right."))):
        fail_with(monkeypatch, error)
        daemon.lake.customers(f"_{number}", customer(number))
        assert daemon.tick() == [False], "a new arrival requests a run as ever"
        daemon.passed += timedelta(minutes=2)
        assert daemon.tick() == []
        assert str(error) in daemon.skipped
        daemon.passed += timedelta(days=1)
        assert daemon.tick() == []
    daemon.lake.customers("_2", customer(2))
    assert daemon.tick() == [False], "a new arrival requests a run as ever"


def test_no_run_is_requested_when_nothing_is_left_to_do(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        fail_with(patch, LakeError("Lost."))
        assert daemon.tick() == [False]
    daemon.lake.run()  # somebody else loads it, not as a run of this instance
    daemon.passed += timedelta(hours=2)
    with monkeypatch.context() as patch:
        assert daemon.tick() == []
        patch.setattr("pipeline_assets.orchestration.automation.has_new_objects", _must_not_be_called)
        assert daemon.tick() == [], "the zones are compared with the ledger once"


def _must_not_be_called(*_: object) -> bool:
    raise AssertionError


def test_a_run_that_failed_after_its_commit_is_finished_by_another_one(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise EngineError("The disk is full.")

    daemon.lake.bookings("", booking(1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "promote", failing)
        assert daemon.tick() == [False]
    assert daemon.lake.staged()
    assert daemon.minutes_until_requested() == 1
    assert daemon.lake.staged() == []
    assert len(daemon.lake.processed()) == 1


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.STARTED])
def test_no_run_is_requested_beside_one_that_runs_or_after_one_that_was_stopped(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, status: dg.DagsterRunStatus
) -> None:
    fail_with(monkeypatch, LakeError("Lost."))
    assert daemon.tick() == [False]
    daemon.instance.create_run_for_job(
        daemon.definitions.resolve_job_def("bookings"), status=status, tags={"pipeline": "bookings"}
    )
    daemon.passed += timedelta(hours=2)
    assert daemon.tick() == []


def test_a_run_of_checks_alone_does_not_end_the_waiting(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, LakeError("Lost."))
    assert daemon.tick() == [False]
    key = dg.AssetCheckKey(dg.AssetKey(["bookings", "customers"]), "unique_key")
    # As the UI starts it; `execute_in_process` does not record the selection.
    alone = dg.DagsterRun(
        "__ASSET_JOB",
        status=dg.DagsterRunStatus.SUCCESS,
        tags={"pipeline": "bookings"},
        asset_selection=frozenset(),
        asset_check_selection=frozenset({key}),
    )
    daemon.instance.add_run(alone)
    assert daemon.minutes_until_requested() == 1
