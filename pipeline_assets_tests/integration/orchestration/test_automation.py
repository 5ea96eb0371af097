"""The sensor requests one run for each state of a zone; checks say what is published; alerts go out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.definitions import build_definitions
from pipeline_assets.settings import load_settings, prepare_home
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.sensor_ticks import evaluate_tick

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def definitions(lake: BookingsLake) -> dg.Definitions:
    return build_definitions(load_settings(home=lake.home))


class PolledSensor:
    """The new_files_sensor with its cursor, as the daemon keeps it."""

    def __init__(self, definitions: dg.Definitions, lake: BookingsLake) -> None:
        self.definitions, self.lake, self.cursor = definitions, lake, None
        self.instance = dg.DagsterInstance.ephemeral()  # else each tick makes one, which takes longer than the tick

    def tick(self) -> list[str]:
        data = evaluate_tick(self.definitions, "bookings_new_files", self.instance, self.lake.platform, self.cursor)
        self.cursor = data.cursor
        return [request.run_key for request in data.run_requests or []]


@pytest.fixture
def sensor(definitions: dg.Definitions, lake: BookingsLake) -> PolledSensor:
    return PolledSensor(definitions, lake)


def test_an_empty_zone_requests_no_run(sensor: PolledSensor) -> None:
    assert sensor.tick() == []


def test_a_new_object_requests_one_run_however_often_it_is_listed(sensor: PolledSensor, lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    assert len(sensor.tick()) == 1
    assert [sensor.tick() for _ in range(100)] == [[]] * 100


def test_an_overwritten_object_requests_another_run(sensor: PolledSensor, lake: BookingsLake) -> None:
    lake.customers("", customer(1), modified=START)
    (first,) = sensor.tick()
    lake.customers("", customer(2), modified=START)
    (second,) = sensor.tick()
    assert first != second


def test_an_object_that_shares_the_second_of_the_last_one_requests_a_run(
    sensor: PolledSensor, lake: BookingsLake
) -> None:
    """dagster_aws' get_objects drops it."""
    lake.customers("_b", customer(1), modified=START)
    sensor.tick()
    lake.customers("_a", customer(2), modified=START)
    assert len(sensor.tick()) == 1


def test_a_lost_cursor_gives_the_same_run_key_so_the_daemon_starts_no_second_run(
    sensor: PolledSensor, lake: BookingsLake
) -> None:
    lake.customers("", customer(1))
    first = sensor.tick()
    sensor.cursor = None
    assert sensor.tick() == first


def test_the_first_poll_requests_no_run_for_what_the_ledger_has(sensor: PolledSensor, lake: BookingsLake) -> None:
    """As after `demo`: the daemon has no cursor, and everything is loaded."""
    lake.customers("", customer(1))
    lake.run()
    assert [sensor.tick() for _ in range(3)] == [[]] * 3
    lake.customers("_next", customer(2))
    assert len(sensor.tick()) == 1


def test_the_first_poll_requests_a_run_for_what_the_ledger_lacks(sensor: PolledSensor, lake: BookingsLake) -> None:
    lake.customers("", customer(1), modified=START)
    lake.run()
    lake.customers("", customer(2), modified=START)
    assert len(sensor.tick()) == 1


def test_the_first_poll_requests_a_run_if_the_ledger_cannot_be_read(tmp_path: Path) -> None:
    lake = BookingsLake.at(tmp_path / "home")  # without tables
    lake.customers("", customer(1))
    sensor = PolledSensor(build_definitions(load_settings(home=lake.home)), lake)
    assert len(sensor.tick()) == 1


def test_an_output_of_the_pipeline_requests_no_run(sensor: PolledSensor, lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    sensor.tick()
    lake.run()
    assert lake.processed()
    assert sensor.tick() == []


def run(definitions: dg.Definitions, **config: object) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions.resolve_job_def("bookings").execute_in_process(
            instance=instance, raise_on_error=False, run_config={"ops": {"bookings_batch": {"config": config}}}
        )


def checks(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    return {(c.asset_key.path[-1], c.check_name): c for c in result.get_asset_check_evaluations()}


def test_checks_warn_of_dirt_and_do_not_fail_the_run(definitions: dg.Definitions, lake: BookingsLake) -> None:
    lake.write("customer_details.csv", f"CUSTOMER_ID,FIRST_NAME,Tier\n1,Ada,gold\n")  # noqa: F541
    lake.bookings("", booking(1, 1), booking(2, 1, "x"))
    result = run(definitions)
    assert result.success
    found = checks(result)
    unknown, waiting = found[("customers", "unknown_columns")], found[("customers", "quarantine")]
    assert (unknown.passed, unknown.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "TIER (1 rows)" in (unknown.description or "")
    assert (waiting.passed, waiting.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert waiting.description == "not_a_number: 1"


def test_a_rejected_object_is_an_error_check_and_an_alert(definitions: dg.Definitions, lake: BookingsLake) -> None:
    lake.write("customer_details.csv", "NAME\nAda\n")
    result = run(definitions)
    assert result.success
    rejected = checks(result)[("customers", "rejected_objects")]
    assert (rejected.passed, rejected.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "missing_column" in (rejected.description or "")
    assert "rejected whole" in json.loads((lake.home / "alerts.jsonl").read_text())["subject"]


def test_checks_find_what_somebody_changed_by_hand(definitions: dg.Definitions, lake: BookingsLake) -> None:
    """Publication keeps keys and marts right; the checks do not take its word for it."""
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    lake.run()
    with lake.platform.warehouse.transaction() as transaction:
        transaction.execute("UPDATE BOOKINGS.DAILY_SPEND SET AMOUNT_SPENT = AMOUNT_SPENT + 0.01")
        transaction.execute("UPDATE OPS.FILE_LEDGER SET ROWS_LOADED = ROWS_LOADED + 1")
    found = checks(run(definitions))
    assert not found[("daily_spend", "reconciles")].passed
    assert not found[("customers", "row_accounting")].passed


def test_the_csv_is_materialized_only_when_something_changed(definitions: dg.Definitions, lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1), modified=START)

    def materialized() -> set[str]:
        return {event.asset_key.path[-1] for event in run(definitions).get_asset_materialization_events()}

    tables = {"customers", "customer_bookings", "daily_spend"}
    assert materialized() == tables | {"customer_bookings_csv"}
    assert materialized() == set()
    lake.bookings("", booking(1, 1), modified=START + timedelta(hours=1))
    assert materialized() == tables - {"customers"}, "the same booking delivered again is no change of the export"


def test_the_preview_masks_personal_data(definitions: dg.Definitions, lake: BookingsLake) -> None:
    lake.customers("", customer(1, "Adalaide"))
    lake.bookings("", booking(1, 1))
    events = run(definitions).get_asset_materialization_events()
    previews = [e.materialization.metadata["preview"].value for e in events if "preview" in e.materialization.metadata]
    assert len(previews) == 3
    assert "Adalaide" not in "".join(previews)
    assert "•••" in "".join(previews)


def test_what_a_retry_may_clear_is_tried_again_and_anything_else_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost connection clears by itself; a wrong contract does not, and trying again would only cost time."""
    from pipeline_assets.batch.report import Request
    from pipeline_assets.errors import ContractError, LakeError
    from pipeline_assets.orchestration import assets
    from pipeline_assets.orchestration.execution import run_pipeline

    settings = load_settings(home=tmp_path, retry_seconds=0.01)
    prepare_home(settings)
    definitions = build_definitions(settings)
    for error, expected in ((LakeError("Lost.", remedy="Again."), 3), (ContractError("Wrong."), 1)):
        calls: list[int] = []

        def failing(*_: object, error: Exception = error, calls: list[int] = calls) -> None:
            calls.append(1)
            raise error

        monkeypatch.setattr(assets, "run_batch", failing)
        answer = run_pipeline(definitions, settings.dagster_home, "bookings", Request())

        assert (len(calls), answer["success"]) == (expected, False)
        assert answer["error"] == str(error)
        last = json.loads((tmp_path / "alerts.jsonl").read_text().splitlines()[-1])
        assert last["facts"]["error"] == str(error)
    monkeypatch.undo()
    assert run_pipeline(definitions, settings.dagster_home, "bookings", Request())["success"]
