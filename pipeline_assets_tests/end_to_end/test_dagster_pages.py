"""Dagster's pages in a browser, on a home that `demo` filled: what people see there, and what the pages ask for.

`make pictures` also writes them as the pictures of README.md and docs/, into the folder that PICTURES names.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline_assets.pipelines import pipelines
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking
from pipeline_assets_tests.support.browser import Visit, chromium, visit
from pipeline_assets_tests.support.command_line import process
from pipeline_assets_tests.support.dagster_dev import DagsterDev

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# What Dagster 1.13.27 itself writes to the console: a deprecated option of its GraphQL client, an advertisement for a
# tool, and a connection that a page closes which is left before it is open.
OF_DAGSTER = ("go.apollo.dev/c/err", "Download the Apollo DevTools", "WebSocket is closed before the connection")
WINDOW = {"width": 1280, "height": 800}
# A graph draws what its window shows, and shortens long names in the middle.
SHOWN = """names => {
  const lines = document.body.innerText.split("\\n").map(line => line.split("…"));
  return names.every(name => lines.some(([start, end]) =>
    end === undefined ? start === name : start && name.startsWith(start) && name.endsWith(end)));
}"""
REPOSITORY = "/locations/__repository__@pipeline_assets"
_GROUPS = "{ assetNodes { groupName assetKey { path } } }"
_RUNS = "{ runsOrError { ... on Runs { results { runId status pipelineName } } } }"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[DagsterDev]:
    """`dev` on the home of a small demo, with its definitions loaded."""
    home = tmp_path_factory.mktemp("pages")
    done = process(home, "demo", "--scale", "0.1", timeout=500)
    assert done.returncode == 0, done.stderr
    dev = DagsterDev(home)
    dev.until(lambda: dev.ask(_GROUPS)["assetNodes"], 240)
    yield dev
    dev.stop()


@pytest.fixture
def desk(browser: Browser, dev: DagsterDev) -> Iterator[Visit]:
    """A page that must neither complain nor ask another host for anything."""
    with visit(browser, base_url=f"http://127.0.0.1:{dev.port}", viewport=WINDOW) as visited:
        visited.page.set_default_timeout(90_000)
        yield visited
        assert not [text for text in visited.complaints if not any(part in text for part in OF_DAGSTER)]
        ours = (f"http://127.0.0.1:{dev.port}/", f"blob:http://127.0.0.1:{dev.port}/", "data:")
        assert not [url for url in visited.requests if not url.startswith(ours)]


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


@pytest.mark.parametrize("group", pipelines())
def test_the_graph_of_a_group_shows_its_assets(desk: Visit, dev: DagsterDev, group: str) -> None:
    names = [node["assetKey"]["path"][-1] for node in dev.ask(_GROUPS)["assetNodes"] if node["groupName"] == group]
    assert names
    desk.page.set_viewport_size({"width": 2400, "height": 2400})
    desk.page.goto(f"{REPOSITORY}/asset-groups/{group}")
    desk.page.wait_for_function(SHOWN, arg=names)


def test_the_graph_shows_what_was_materialized(desk: Visit, picture: Callable[[str], None]) -> None:
    desk.page.goto(f"{REPOSITORY}/asset-groups/bookings")
    desk.page.get_by_text("Materialized", exact=True).nth(3).wait_for()
    picture("graph")


def test_the_page_of_a_table_shows_rows_columns_and_owner(desk: Visit, picture: Callable[[str], None]) -> None:
    desk.page.goto("/assets/bookings/daily_spend")
    for text in ("BOOKINGS.DAILY_SPEND", "DESTINATION_TYPE", "data-engineering", "bookings_new_files"):
        desk.page.get_by_text(text, exact=True).first.wait_for()
    desk.page.get_by_text("Grain: One row per booking date, destination type and currency.").wait_for()
    picture("asset")


def test_a_failed_check_shows_its_reasons(desk: Visit, picture: Callable[[str], None]) -> None:
    desk.page.goto("/assets/bookings/customers?view=checks&checkDetail=quarantine")
    desk.page.get_by_text("orphan_booking: ").first.wait_for()
    desk.page.get_by_text("row_accounting", exact=True).first.wait_for()
    picture("check")


def test_a_landed_file_becomes_a_tick_of_its_sensor_with_a_run(
    desk: Visit, dev: DagsterDev, picture: Callable[[str], None]
) -> None:
    desk.page.goto(f"{REPOSITORY}/sensors/bookings_new_files")
    desk.page.get_by_text("0 runs requested", exact=True).first.wait_for()
    BookingsLake.at(dev.log.parent).bookings("_mine", booking("mine", 1))
    desk.page.get_by_text("1 run requested", exact=True).first.wait_for()
    picture("sensor")


def test_a_table_is_materialized_from_its_page(desk: Visit, dev: DagsterDev) -> None:
    runs = lambda: dev.ask(_RUNS)["runsOrError"]["results"]  # noqa: E731
    before = {run["runId"] for run in runs()}
    desk.page.goto("/assets/orders/daily_category_sales")
    desk.page.get_by_text("Materialize", exact=True).first.click()
    desk.page.get_by_text("Confirm", exact=True).click()  # its batch writes the other tables as well
    started = dev.until(lambda: [run for run in runs() if run["runId"] not in before], 120)
    assert isinstance(started, list)
    ended = dev.until(
        lambda: [run for run in runs() if run["runId"] == started[0]["runId"] and run["status"] == "SUCCESS"], 240
    )
    assert ended
    desk.page.goto(f"/runs/{started[0]['runId']}")
    desk.page.get_by_text("Success", exact=True).first.wait_for()
