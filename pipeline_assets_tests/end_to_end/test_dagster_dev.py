"""`pipeline-assets dev` as people start it: an empty environment, no network, files that have landed.

One for the module, as each of its processes imports Dagster, and so does each run; the tests run in this order.
`make pictures` runs those marked `pictures` on a home that `demo` filled, and writes what they show into the folder
that PICTURES names, as the pictures of README.md and docs/.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline_assets.pipelines import pipelines
from pipeline_assets_tests.support import commerce_lake, orders_lake
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.browser import Visit, chromium, visit
from pipeline_assets_tests.support.command_line import environment, process
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.dagster_dev import DagsterDev, has_catalog, is_served
from pipeline_assets_tests.support.graphql import stop_sensors
from pipeline_assets_tests.support.lineage_events import CollectorServer, collector_server, require_valid
from pipeline_assets_tests.support.orders_lake import OrdersLake
from pipeline_assets_tests.support.postgres import free_port
from pipeline_assets_tests.support.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# What Dagster 1.13.27 itself writes to the console: a deprecated option of its GraphQL client, an advertisement for a
# tool, and a connection that a page closes which is left before it is open.
OF_DAGSTER = ("go.apollo.dev/c/err", "Download the Apollo DevTools", "WebSocket is closed before the connection")
# A graph draws what its window shows, and shortens long names in the middle.
SHOWN = """names => {
  const lines = document.body.innerText.split("\\n").map(line => line.split("…"));
  return names.every(name => lines.some(([start, end]) =>
    end === undefined ? start === name : start && name.startsWith(start) && name.endsWith(end)));
}"""
_NAVIGATE = """address => {
  history.pushState(null, "", address);
  dispatchEvent(new PopStateEvent("popstate"));
}"""
_WINDOW = pytest.StashKey[Visit]()
REPOSITORY = "/locations/__repository__@pipeline_assets"
_ASSETS = """{ assetNodes { groupName assetKey { path } metadataEntries { label ... on UrlMetadataEntry { url } } } }"""
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
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def collector() -> Iterator[CollectorServer]:
    with collector_server() as collector:
        yield collector


@pytest.fixture(scope="module")
def lineage(collector: CollectorServer) -> dict[str, str]:
    """Settings that send lineage to the collector."""
    return {"PIPELINE_OPENLINEAGE_URL": collector.url, "PIPELINE_OPENLINEAGE_API_KEY": "s3cret"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, lineage: dict[str, str]) -> Path:
    """Bookings, one of them an orphan, and orders are loaded; files of commerce have landed."""
    home = tmp_path_factory.mktemp("dev") / "home"
    bookings = BookingsLake.with_tables(home)
    variables = environment(home, **lineage)
    if "PICTURES" in os.environ:
        assert process(home, "demo", "--scale", "0.1", env=variables, timeout=500).returncode == 0
        return home
    bookings.customers("", customer(1))
    bookings.bookings("", booking(1, 1), booking(2, "nobody"))
    OrdersLake.at(home).orders("", orders_lake.order(1, orders_lake.product("P1")))
    for pipeline in ("bookings", "orders"):
        assert process(home, "run", pipeline, "--json", env=variables).returncode == 0
    commerce = CommerceLake.at(home)
    for number in range(3):
        delivered = datetime(2024, 3, 1 + number, 10, tzinfo=UTC)
        commerce.deliver("orders", delivered, commerce_lake.order(number))
        commerce.deliver("customers", delivered + timedelta(minutes=1), commerce_lake.customer(number))
    return home


@pytest.fixture(scope="module")
def dev(home: Path, lineage: dict[str, str]) -> Iterator[DagsterDev]:
    dev = DagsterDev(home, **lineage)
    yield dev
    dev.stop()


@pytest.fixture(scope="module")
def assets(dev: DagsterDev) -> dict[str, dict]:
    """What the loaded code location has, by key."""
    nodes = dev.until(lambda: dev.ask(_ASSETS)["assetNodes"], 240)
    return {"/".join(node["assetKey"]["path"]): node for node in nodes}


@pytest.fixture(scope="module")
def window(request: pytest.FixtureRequest, browser: Browser, dev: DagsterDev) -> Iterator[Visit]:
    """A page that stays open, as each new one would load and compile the whole UI."""
    with visit(browser, base_url=f"http://127.0.0.1:{dev.port}") as visited:
        visited.page.set_default_timeout(90_000)
        request.node.stash[_WINDOW] = visited
        yield visited


@pytest.fixture
def desk(window: Visit, dev: DagsterDev, assets: dict[str, dict]) -> Iterator[Visit]:
    """A page that must neither complain nor ask another host for anything."""
    window.complaints.clear()
    window.requests.clear()
    window.page.set_viewport_size({"width": 1280, "height": 800})
    yield window
    assert not [text for text in window.complaints if not any(part in text for part in OF_DAGSTER)]
    ours = (f"http://127.0.0.1:{dev.port}/", f"blob:http://127.0.0.1:{dev.port}/", "data:", "about:blank")
    assert not [url for url in window.requests if not url.startswith(ours)]


@pytest.fixture(autouse=True)
def _no_page_polls_while_a_test_waits(request: pytest.FixtureRequest) -> None:
    """A page stays open for the next test if that looks at one."""
    window = request.node.getparent(pytest.Module).stash.get(_WINDOW, None)
    if window and "desk" not in request.fixturenames:
        leave(window.page)


def go(page: Page, address: str) -> None:
    """Show a page of the UI, as a click on a link does if it shows another: to load the UI takes longer than a page."""
    if page.url == "about:blank" or "PICTURES" in os.environ:
        page.goto(address)
    else:
        page.evaluate(_NAVIGATE, address)


def leave(page: Page) -> None:
    """Show nothing: a page of the UI goes on polling."""
    if page.url != "about:blank":
        page.goto("about:blank")


@pytest.fixture
def picture(desk: Visit) -> Callable[[str], None]:
    """Write what the page shows to PICTURES, if that is set."""

    def write(name: str) -> None:
        from PIL import Image

        if folder := os.environ.get("PICTURES"):
            desk.page.wait_for_load_state("networkidle")
            image = Image.open(io.BytesIO(desk.page.screenshot(animations="disabled")))
            image.convert("RGB").quantize(256).save(Path(folder) / f"{name}.png", optimize=True)

    return write


@pytest.fixture(scope="module")
def links(assets: dict[str, dict]) -> dict[str, str]:
    """The address of each asset of bookings in the catalog."""
    entries = {key: node["metadataEntries"] for key, node in assets.items() if node["groupName"] == "bookings"}
    return {key: entry["url"] for key, found in entries.items() for entry in found if entry["label"] == "catalog"}


def landing_days(dev: DagsterDev) -> list[dict]:
    """The outputs of commerce with their partitions."""
    return [node for node in dev.ask(_DAYS)["assetNodes"] if node["isExecutable"]]


def batches(home: Path) -> dict[str, str]:
    """The batch of each order of commerce."""
    return dict(CommerceLake.at(home).rows("SELECT O_ORDERKEY, BATCH_ID FROM COMMERCE.ORDERS_RAW"))


@pytest.fixture(scope="module")
def backfill(dev: DagsterDev, home: Path) -> tuple[str, dict[str, str]]:
    """The id of a backfill, and the batch of each order before it.

    The daemon begins it within half a minute and notices its end half a minute later; other tests run meanwhile.
    """
    before = batches(home)
    selection = [node["assetKey"] for node in landing_days(dev)]
    parameters = {"assetSelection": selection, "partitionNames": ["2024-03-02", "2024-03-03"]}
    launched = dev.ask(_BACKFILL, params=parameters)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    return launched["backfillId"], before


def test_dev_loads_the_workspace(assets: dict[str, dict]) -> None:
    assert assets.keys() >= {
        "bookings/bookings_files",
        "bookings/customer_bookings",
        "bookings/customer_bookings_csv",
        "bookings/customers",
        "bookings/customers_files",
        "bookings/daily_spend",
    }


def test_a_second_dev_on_the_same_home_is_refused(assets: dict[str, dict], home: Path) -> None:
    """The daemons of both would start the runs of each sensor, on whatever port."""
    refused = process(home, "dev", "--port", str(free_port()))
    assert refused.returncode == 2
    assert f"Another `dev` works on {home}. Use or stop it, or set PIPELINE_HOME to another folder." in refused.stderr


def test_each_asset_links_to_its_dataset_in_the_catalog(
    browser: Browser, assets: dict[str, dict], links: dict[str, str]
) -> None:
    of_bookings = {key for key, node in assets.items() if node["groupName"] == "bookings"}
    assert of_bookings - links.keys() == {"bookings/customer_booking_data_pipeline_bucket"}
    assert len(links) > 5
    base = links["bookings/customers"].partition("#")[0]
    until(lambda: has_catalog(base), 200)
    with visit(browser) as visited:
        for key, link in links.items():
            visited.page.goto(link)
            visited.heading(key)
        assert not visited.complaints
        assert {url for url in visited.requests if not url.startswith(base)} <= {"data:,"}


@pytest.mark.parametrize("group", pipelines())
def test_the_graph_of_a_group_shows_its_assets(desk: Visit, assets: dict[str, dict], group: str) -> None:
    names = [node["assetKey"]["path"][-1] for node in assets.values() if node["groupName"] == group]
    assert names
    desk.page.set_viewport_size({"width": 2400, "height": 2400})
    go(desk.page, f"{REPOSITORY}/asset-groups/{group}")
    desk.page.wait_for_function(SHOWN, arg=names)


@pytest.mark.pictures
def test_the_graph_shows_what_was_materialized(desk: Visit, picture: Callable[[str], None]) -> None:
    go(desk.page, f"{REPOSITORY}/asset-groups/bookings")
    desk.page.get_by_text("Materialized", exact=True).nth(3).wait_for()
    picture("graph")


@pytest.mark.pictures
def test_the_page_of_a_table_shows_rows_columns_and_owner(desk: Visit, picture: Callable[[str], None]) -> None:
    go(desk.page, "/assets/bookings/daily_spend")
    for text in ("BOOKINGS.DAILY_SPEND", "DESTINATION_TYPE", "data-engineering", "bookings_new_files"):
        desk.page.get_by_text(text, exact=True).first.wait_for()
    desk.page.get_by_text("Grain: One row per booking date, destination type and currency.").wait_for()
    picture("asset")


@pytest.mark.pictures
def test_a_failed_check_shows_its_reasons(desk: Visit, picture: Callable[[str], None]) -> None:
    go(desk.page, "/assets/bookings/customers?view=checks&checkDetail=quarantine")
    desk.page.get_by_text("orphan_booking: ").first.wait_for()
    desk.page.get_by_text("row_accounting", exact=True).first.wait_for()
    picture("check")


def test_what_was_loaded_before_dev_requests_no_run(dev: DagsterDev) -> None:
    for pipeline in ("bookings", "orders"):
        dev.until(lambda name=f"{pipeline}_new_files": dev.ticks(name) >= 2, 240)
        assert len(dev.runs(pipeline)) == 1, "the run before `dev`, and no idle run by the first tick"
    others = ("movies_new_files", "orders_new_files", "reviews_new_files")
    dev.until(lambda: all(dev.ticks(name) for name in others), 60)
    stop_sensors(dev.port, *others)  # no later test needs them


def test_what_had_landed_before_dev_is_loaded_as_landing_days(dev: DagsterDev, home: Path) -> None:
    dev.until(lambda: [run["status"] for run in dev.runs("commerce")] == ["SUCCESS"], 240)
    assert len(batches(home)) == 3
    loaded = [{"startKey": "2024-03-01", "endKey": "2024-03-03", "status": "MATERIALIZED"}]
    assert [node["assetPartitionStatuses"]["ranges"] for node in landing_days(dev)] == [loaded] * 6


@pytest.mark.pictures
def test_a_landed_file_becomes_a_tick_of_its_sensor_with_a_run(
    desk: Visit, dev: DagsterDev, picture: Callable[[str], None]
) -> None:
    BookingsLake.at(dev.log.parent).bookings("_mine", booking("mine", 1))
    dev.until(lambda: len(dev.runs("bookings")) == 2, 60)
    go(desk.page, f"{REPOSITORY}/sensors/bookings_new_files")
    desk.page.get_by_text("0 runs requested", exact=True).first.wait_for()
    desk.page.get_by_text("1 run requested", exact=True).first.wait_for()
    picture("sensor")


@pytest.mark.usefixtures("backfill")
def test_the_catalog_shows_the_last_run(browser: Browser, dev: DagsterDev, home: Path, links: dict[str, str]) -> None:
    """It was written before that run; a request waits some seconds for a newer one."""
    dev.until(lambda: [run["status"] for run in dev.runs("bookings")] == ["SUCCESS"] * 2, 120)
    assert [run["jobName"] for run in dev.runs("bookings")] == ["bookings"] * 2
    loaded = BookingsLake.at(home).rows("SELECT BOOKING_ID FROM BOOKINGS.CUSTOMER_BOOKINGS ORDER BY 1")
    assert loaded == [("1",), ("mine",)]
    with visit(browser) as visited:

        def is_shown() -> bool:
            visited.page.goto("about:blank")
            visited.page.goto(links["bookings/customer_bookings"])
            visited.heading("bookings/customer_bookings")
            return bool(re.search(r"Rows\s+2\b", visited.page.locator("dl").inner_text()))

        dev.until(is_shown, 120)


def test_a_table_is_materialized_from_its_page(desk: Visit, dev: DagsterDev) -> None:
    before = {run["runId"] for run in dev.runs("orders")}
    go(desk.page, "/assets/orders/daily_category_sales")
    desk.page.get_by_text("Materialize", exact=True).first.click()
    desk.page.get_by_text("Confirm", exact=True).click()  # its batch writes the other tables as well
    (run,) = dev.until(lambda: {run["runId"] for run in dev.runs("orders")} - before, 120)
    go(desk.page, f"/runs/{run}")
    desk.page.get_by_text("Success", exact=True).first.wait_for()


def test_a_range_of_landing_days_is_backfilled_as_one_run(
    dev: DagsterDev, home: Path, backfill: tuple[str, dict[str, str]]
) -> None:
    id_, before = backfill
    state = lambda: dev.ask(_BACKFILL_STATE, id=id_)["partitionBackfillOrError"]  # noqa: E731
    dev.until(lambda: state()["status"] == "COMPLETED_SUCCESS", 120)
    assert state()["runs"] == [{"status": "SUCCESS"}]
    after = batches(home)
    assert {key for key in after if after[key] != before[key]} == {"1", "2"}

    seen = dev.ticks("commerce_new_files")
    dev.until(lambda: dev.ticks("commerce_new_files") >= seen + 2, 60)
    assert len(dev.runs("commerce")) == 2, "an emptied landing zone is no reason for a run"


def test_no_process_of_dev_wrote_a_traceback_or_a_deprecation_of_ours(dev: DagsterDev) -> None:
    log = dev.log.read_text()
    assert "Traceback" not in log
    assert not [line for line in log.splitlines() if "Deprecat" in line and "pipeline_assets" in line]


def test_each_failure_alerts_once_and_turns_no_check_red(dev: DagsterDev, home: Path, lineage: dict[str, str]) -> None:
    def statuses() -> dict[str, str]:
        (node,) = dev.ask(_CHECKS)["assetNodes"]
        checks = node["assetChecksOrError"]["checks"]
        return {check["name"]: check["executionForLatestMaterialization"]["status"] for check in checks}

    dev.until(lambda: dev.ticks("failed_runs"), 240)
    sound = statuses()
    assert {name for name, status in sound.items() if status != "SUCCEEDED"} == {"quarantine"}
    scratch = home / "scratch" / "bookings"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.write_text("no folder, so that every run fails at once")
    tables = ("customers", "customer_bookings", "daily_spend", "customer_bookings_csv")
    failed = {dev.materialize(*tables)}
    done = process(home, "run", "bookings", "--json", env=environment(home, **lineage))
    assert done.returncode == 1
    failed.add(json.loads(done.stdout)["run_id"])

    path = home / "alerts.jsonl"
    alerts = lambda: [json.loads(line) for line in path.read_text().splitlines()]  # noqa: E731
    dev.until(lambda: len(alerts()) >= 2, 120)
    before = dev.ticks("failed_runs")
    dev.until(lambda: dev.ticks("failed_runs") > before, 60)
    assert sorted(alert["facts"]["run_id"] for alert in alerts()) == sorted(failed)
    assert {alert["pipeline"] for alert in alerts()} == {"bookings"}
    assert {run["runId"] for run in dev.runs("bookings")} > failed
    assert statuses() == sound, "a failed run turns no check red"


def test_each_run_sends_two_lineage_events_whoever_started_it(dev: DagsterDev, collector: CollectorServer) -> None:
    """The command line, a sensor, the button of a page, a backfill."""
    runs = [run for pipeline in ("bookings", "orders", "commerce") for run in dev.runs(pipeline)]
    assert sorted((run["jobName"], run["status"]) for run in runs) == [
        *(("__ASSET_JOB", "FAILURE"), ("__ASSET_JOB", "SUCCESS"), ("__ASSET_JOB", "SUCCESS")),
        *(("bookings", "FAILURE"), ("bookings", "SUCCESS"), ("bookings", "SUCCESS")),
        *(("commerce", "SUCCESS"), ("orders", "SUCCESS")),
    ]
    ends = {"SUCCESS": "COMPLETE", "FAILURE": "FAIL"}
    expected = sorted((run["runId"], state) for run in runs for state in ("START", ends[run["status"]]))
    sent = lambda: sorted((event["run"]["runId"], event["eventType"]) for event in collector.received)  # noqa: E731
    dev.until(lambda: len(sent()) >= len(expected), 120)
    assert sent() == expected
    for event in collector.received:
        require_valid(event)
    assert {headers["Authorization"] for headers in collector.headers} == {"Bearer s3cret"}
    assert "s3cret" not in dev.log.read_text()


def test_ctrl_c_ends_dev_and_the_catalog_without_a_traceback(dev: DagsterDev, links: dict[str, str]) -> None:
    before = len(dev.log.read_text())
    assert dev.stop() in (0, 130)
    until(lambda: not is_served(links["bookings/customers"]))
    with open(dev.log.with_name(".dev.lock"), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another `dev` may begin
    log = dev.log.read_text()
    assert "Traceback" not in log[before:]
    assert not [line for line in log.splitlines() if "ResourceWarning" in line and "pipeline_assets" in line]
