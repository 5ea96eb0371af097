"""`pipeline-assets dev` as people start it: an empty environment, no network, files that have landed.

One for the module, as each of its processes imports Dagster; the tests run in this order.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_assets_tests.support import commerce_lake, orders_lake
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.command_line import process
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.dagster_dev import DagsterDev
from pipeline_assets_tests.support.orders_lake import OrdersLake

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
_CHECKS = """{ assetNodes(assetKeys: [{path: ["bookings", "customers"]}]) { assetChecksOrError { ... on AssetChecks {
  checks { name executionForLatestMaterialization { status } } } } } }"""
_BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_BACKFILL_STATE = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status runs(limit: 10) { status } } } }"""
_DAYS = """{ assetNodes(group: {groupName: "commerce", repositoryLocationName: "pipeline_assets",
  repositoryName: "__repository__"}) { isExecutable assetKey { path } assetPartitionStatuses {
  ... on TimePartitionStatuses { ranges { startKey endKey status } } } } }"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of bookings and commerce have landed, so that the first ticks request runs; orders are loaded."""
    home = tmp_path_factory.mktemp("dev") / "home"
    bookings = BookingsLake.with_tables(home)
    bookings.customers("", customer(1))
    bookings.bookings("", booking(1, 1), booking(2, 1, "x"))
    commerce = CommerceLake.at(home)
    for number in range(3):
        delivered = datetime(2024, 3, 1 + number, 10, tzinfo=UTC)
        commerce.deliver("orders", delivered, commerce_lake.order(number))
        commerce.deliver("customers", delivered + timedelta(minutes=1), commerce_lake.customer(number))
    OrdersLake.at(home).orders("", orders_lake.order(1, orders_lake.product("P1")))
    assert process(home, "run", "orders", "--json").returncode == 0
    return home


@pytest.fixture(scope="module")
def dev(home: Path) -> Iterator[DagsterDev]:
    dev = DagsterDev(home)
    yield dev
    dev.stop()


def test_dev_loads_the_workspace_and_a_landed_file_becomes_a_run(dev: DagsterDev, home: Path) -> None:
    assets = dev.until(lambda: dev.ask("{ assetNodes { assetKey { path } } }")["assetNodes"], 240)
    assert {"/".join(node["assetKey"]["path"]) for node in assets} >= {  # type: ignore[union-attr]
        "bookings/bookings_files",
        "bookings/customer_bookings",
        "bookings/customer_bookings_csv",
        "bookings/customers",
        "bookings/customers_files",
        "bookings/daily_spend",
    }
    dev.until(lambda: [run["status"] for run in dev.runs("bookings")] == ["SUCCESS"], 120)
    assert [run["jobName"] for run in dev.runs("bookings")] == ["bookings"]
    assert BookingsLake.at(home).rows("SELECT BOOKING_ID FROM BOOKINGS.CUSTOMER_BOOKINGS") == [("1",)]


def test_a_range_of_landing_days_is_backfilled_as_one_run(dev: DagsterDev, home: Path) -> None:
    lake = CommerceLake.at(home)
    dev.until(lambda: [run for run in dev.runs("commerce") if run["status"] == "SUCCESS"], 240)
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

    seen = len(dev.ticks("commerce_new_files"))
    dev.until(lambda: len(dev.ticks("commerce_new_files")) >= seen + 2, 60)
    assert len(dev.runs("commerce")) == 2, "an emptied landing zone is no reason for a run"


def test_what_was_loaded_before_dev_requests_no_run(dev: DagsterDev) -> None:
    dev.until(lambda: len(dev.ticks("orders_new_files")) >= 2, 240)
    assert len(dev.runs("orders")) == 1, "the run before `dev`, and no idle run by the first tick"


def test_no_process_of_dev_wrote_a_traceback_or_a_deprecation_of_ours(dev: DagsterDev) -> None:
    log = dev.log.read_text()
    assert "Traceback" not in log
    assert not [line for line in log.splitlines() if "Deprecat" in line and "pipeline_assets" in line]


def test_each_failure_alerts_once_and_turns_no_check_red(dev: DagsterDev, home: Path) -> None:
    def statuses() -> dict[str, str]:
        (node,) = dev.ask(_CHECKS)["assetNodes"]
        checks = node["assetChecksOrError"]["checks"]
        return {check["name"]: check["executionForLatestMaterialization"]["status"] for check in checks}

    dev.until(lambda: dev.ticks("failed_runs"), 240)
    dev.until(lambda: [run["status"] for run in dev.runs("bookings")] == ["SUCCESS"], 120)
    sound = statuses()
    assert {name for name, status in sound.items() if status != "SUCCEEDED"} == {"quarantine"}
    scratch = home / "scratch" / "bookings"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.write_text("no folder, so that every run fails at once")
    tables = ("customers", "customer_bookings", "daily_spend", "customer_bookings_csv")
    failed = {dev.launch("__ASSET_JOB", *tables), dev.launch("bookings")}
    assert process(home, "run", "bookings", "--json").returncode == 1
    failed |= {run["runId"] for run in dev.runs("bookings") if run["status"] == "FAILURE"}
    assert len(failed) == 3

    path = home / "alerts.jsonl"
    alerts = lambda: [json.loads(line) for line in path.read_text().splitlines()]  # noqa: E731
    dev.until(lambda: len(alerts()) >= 3, 120)
    before = len(dev.ticks("failed_runs"))
    dev.until(lambda: len(dev.ticks("failed_runs")) > before, 60)
    assert sorted(alert["facts"]["run_id"] for alert in alerts()) == sorted(failed)
    assert {alert["pipeline"] for alert in alerts()} == {"bookings"}
    assert {run["runId"] for run in dev.runs("bookings")} > failed
    assert statuses() == sound, "a failed run turns no check red"


def test_ctrl_c_ends_dev_without_a_traceback(dev: DagsterDev) -> None:
    before = len(dev.log.read_text())
    assert dev.stop() in (0, 130)
    assert "Traceback" not in dev.log.read_text()[before:]
