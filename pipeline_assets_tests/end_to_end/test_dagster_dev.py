"""`dagster dev -w workspace.yaml` as people start it: an empty environment, no network, and a bell that rings."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_assets_tests.support import commerce_lake
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.command_line import process
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.graphql import ask

ROOT = Path(__file__).resolve().parents[2]


class DagsterDev:
    """The UI, its code location and the daemon in one process group, logging to a file."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = home / "dev.log"
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PIPELINE_HOME": str(home)}
        environment["PIPELINE_SENSOR_INTERVAL"] = "5"
        environment["PIPELINE_SCHEDULE"] = "0 0 29 2 *"  # the daily run would be one more at 5:15 UTC
        # A proxy that refuses stands in for no network: whatever is not on this machine cannot be reached.
        environment |= {
            "HTTP_PROXY": "http://127.0.0.1:9",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "always", "-m", "pipeline_assets.cli", "dev", "--port", str(self.port)],
            cwd=home,
            env=environment,
            stdout=open(self.log, "wb"),  # noqa: SIM115 - the child writes to it for as long as it lives
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a shell does for `dev &`
        )

    def ask(self, query: str, **variables: object) -> dict:
        return ask(self.port, query, variables)

    def launch(self, job: str, *tables: str) -> str:
        """Start a run as the UI does, with the tables of bookings that are selected there; returns its id."""
        selector: dict[str, object] = {
            "repositoryLocationName": "pipeline_assets",
            "repositoryName": "__repository__",
            "pipelineName": job,
        }
        if tables:
            selector["assetSelection"] = [{"path": ["bookings", table]} for table in tables]
        mutation = """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
            __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
        parameters = {"selector": selector, "mode": "default", "runConfigData": {}}
        answer = self.ask(mutation, params=parameters)["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]

    def until(self, condition: Callable[[], object], seconds: float) -> object:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if found := condition():
                    return found
            except (OSError, KeyError, TypeError):
                pass  # not listening yet, or an answer without data while the location loads
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.3)

    def stop(self) -> int:
        """Ctrl-C, unless it has ended; returns the exit code, of SIGKILL if it would not end."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


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
