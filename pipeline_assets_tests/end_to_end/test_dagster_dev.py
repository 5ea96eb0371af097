"""`dagster dev -w workspace.yaml` as people start it: an empty environment, no network, and a bell that rings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_assets_tests.support import commerce_lake
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.command_line import process
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.dagster_dev import DagsterDev


@pytest.fixture
def dev(lake: BookingsLake) -> Iterator[DagsterDev]:
    # Landed before the start, so that the first look of the sensor rings.
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1), booking(2, 1, "x"))
    dev = DagsterDev(lake.home)
    yield dev
    dev.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_dev_loads_the_workspace_and_a_landed_file_becomes_a_run(dev: DagsterDev, lake: BookingsLake) -> None:
    assets = dev.until(lambda: dev.ask("{ assetNodes { assetKey { path } } }")["assetNodes"], 240)
    assert {"/".join(node["assetKey"]["path"]) for node in assets} >= {  # type: ignore[union-attr]
        "bookings/bookings_files",
        "bookings/customer_bookings",
        "bookings/customer_bookings_csv",
        "bookings/customers",
        "bookings/customers_files",
        "bookings/daily_spend",
    }
    runs = "{ runsOrError { ... on Runs { results { status jobName } } } }"
    dev.until(
        lambda: [r for r in dev.ask(runs)["runsOrError"]["results"] if r["status"] == "SUCCESS"] == [
            {"status": "SUCCESS", "jobName": "bookings"}
        ],
        120,
    )  # fmt: skip
    assert lake.rows("SELECT BOOKING_ID FROM BOOKINGS.CUSTOMER_BOOKINGS") == [("1",)]
    assert dev.stop() in (0, 130)
    log = dev.log.read_text()
    assert "Traceback" not in log
    ours = [line for line in log.splitlines() if "Deprecat" in line and "pipeline_assets" in line]
    assert not ours


_RUNS = "{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
_TICKS = """{ sensorOrError(sensorSelector: {repositoryLocationName: "pipeline_assets",
  repositoryName: "__repository__", sensorName: "SENSOR"}) { ... on Sensor { sensorState { ticks { status } } } } }"""
_CHECKS = """{ assetNodes(assetKeys: [{path: ["bookings", "customers"]}]) { assetChecksOrError { ... on AssetChecks {
  checks { name executionForLatestMaterialization { status } } } } } }"""


@pytest.fixture
def dev_after_loading(lake: BookingsLake) -> Iterator[DagsterDev]:
    """A home in which everything is loaded, as after the demo, and then `dev`."""
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    run_as_from_the_command_line(lake)
    dev = DagsterDev(lake.home)
    yield dev
    dev.stop()


def run_as_from_the_command_line(lake: BookingsLake) -> int:
    return process(lake.home, "run", "bookings", "--json").returncode


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_dev_after_loading_starts_no_run_and_each_failure_alerts_once(
    dev_after_loading: DagsterDev, lake: BookingsLake
) -> None:
    dev = dev_after_loading
    runs = lambda: dev.ask(_RUNS)["runsOrError"]["results"]  # noqa: E731

    def ticks(sensor: str) -> list:
        return dev.ask(_TICKS.replace("SENSOR", sensor))["sensorOrError"]["sensorState"]["ticks"]

    dev.until(lambda: len(ticks("bookings_new_files")) >= 2 and ticks("failed_runs"), 240)
    assert len(runs()) == 1, "the run before `dev`, and no idle run by the first tick"

    scratch = lake.home / "scratch" / "bookings"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.write_text("no folder, so that every run fails at once")
    tables = ("customers", "customer_bookings", "daily_spend", "customer_bookings_csv")
    failed = {dev.launch("__ASSET_JOB", *tables), dev.launch("bookings")}
    assert run_as_from_the_command_line(lake) == 1
    failed |= {run["runId"] for run in runs() if run["status"] == "FAILURE"}
    assert len(failed) == 3

    path = lake.home / "alerts.jsonl"
    alerts = lambda: [json.loads(line) for line in path.read_text().splitlines()]  # noqa: E731
    dev.until(lambda: len(alerts()) >= 3, 120)
    before = len(ticks("failed_runs"))
    dev.until(lambda: len(ticks("failed_runs")) > before, 60)
    assert sorted(alert["facts"]["run_id"] for alert in alerts()) == sorted(failed)
    assert {alert["pipeline"] for alert in alerts()} == {"bookings"}
    assert all({"key": "pipeline", "value": "bookings"} in run["tags"] for run in runs())

    (node,) = dev.ask(_CHECKS)["assetNodes"]
    statuses = {c["executionForLatestMaterialization"]["status"] for c in node["assetChecksOrError"]["checks"]}
    assert statuses == {"SUCCEEDED"}, "a failed run turns no check red"


_BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_BACKFILL_STATE = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status runs(limit: 10) { status } } } }"""
_DAYS = """{ assetNodes(group: {groupName: "commerce", repositoryLocationName: "pipeline_assets",
  repositoryName: "__repository__"}) { isExecutable assetKey { path } assetPartitionStatuses {
  ... on TimePartitionStatuses { ranges { startKey endKey status } } } } }"""


@pytest.fixture
def dev_with_deliveries(tmp_path: Path) -> Iterator[tuple[DagsterDev, CommerceLake]]:
    lake = CommerceLake.with_tables(tmp_path)
    for number in range(3):
        delivered = datetime(2024, 3, 1 + number, 10, tzinfo=UTC)
        lake.deliver("orders", delivered, commerce_lake.order(number))
        lake.deliver("customers", delivered + timedelta(minutes=1), commerce_lake.customer(number))
    dev = DagsterDev(lake.home)
    yield dev, lake
    dev.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_range_of_landing_days_is_backfilled_as_one_run(dev_with_deliveries: tuple[DagsterDev, CommerceLake]) -> None:
    dev, lake = dev_with_deliveries
    runs = lambda: dev.ask(_RUNS)["runsOrError"]["results"]  # noqa: E731
    dev.until(lambda: [run for run in runs() if run["status"] == "SUCCESS"], 240)
    assert len(lake.rows("SELECT 1 FROM COMMERCE.ORDERS_RAW")) == 3

    outputs = [node for node in dev.ask(_DAYS)["assetNodes"] if node["isExecutable"]]
    loaded = [{"startKey": "2024-03-01", "endKey": "2024-03-03", "status": "MATERIALIZED"}]
    assert [node["assetPartitionStatuses"]["ranges"] for node in outputs] == [loaded] * 6

    before = dict(lake.rows("SELECT O_ORDERKEY, BATCH_ID FROM COMMERCE.ORDERS_RAW"))
    selection = [node["assetKey"] for node in outputs]
    launched = dev.ask(_BACKFILL, params={"assetSelection": selection, "partitionNames": ["2024-03-02", "2024-03-03"]})[
        "launchPartitionBackfill"
    ]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    state = lambda: dev.ask(_BACKFILL_STATE, id=launched["backfillId"])["partitionBackfillOrError"]  # noqa: E731
    dev.until(lambda: state()["status"] == "COMPLETED_SUCCESS", 120)
    assert state()["runs"] == [{"status": "SUCCESS"}]
    after = dict(lake.rows("SELECT O_ORDERKEY, BATCH_ID FROM COMMERCE.ORDERS_RAW"))
    assert {key for key in after if after[key] != before[key]} == {"1", "2"}

    ticks = lambda: dev.ask(_TICKS.replace("SENSOR", "commerce_new_files"))["sensorOrError"]  # noqa: E731
    seen = len(ticks()["sensorState"]["ticks"])
    dev.until(lambda: len(ticks()["sensorState"]["ticks"]) >= seen + 2, 60)
    assert len(runs()) == 2, "an emptied landing zone is no reason for a run"
