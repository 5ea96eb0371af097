"""The catalog in a browser, from disk: on a home that `demo` filled, at a desk, on a telephone, by keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline_assets.catalog.datasets import datasets_of
from pipeline_assets.catalog.loaded import Loaded
from pipeline_assets.catalog.site import write_site
from pipeline_assets.pipelines import pipelines
from pipeline_assets_tests.support.browser import Visit, chromium, visit
from pipeline_assets_tests.support.command_line import process
from pipeline_assets_tests.support.demo_home import DemoHome
from pipeline_assets_tests.support.shop_warehouse import NOON

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A busy browser tells a page of its address after the next keys, here half a second later.
_TELL_LATE = """() => {
  window.told = 0;
  addEventListener("hashchange", event => {
    if (!event.isTrusted) return;
    event.stopImmediatePropagation();
    setTimeout(() => { dispatchEvent(new HashChangeEvent("hashchange")); told += 1; }, 500);
  }, { capture: true });
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Browser, filled: DemoHome) -> str:
    """The address of the catalog of a small demo."""
    folder = tmp_path_factory.mktemp("catalog")
    done = process(filled.home, "catalog", "--out", str(folder))
    assert done.returncode == 0, done.stderr
    return (folder / "index.html").as_uri()


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Visit]:
    """A page that stays open, as a new one takes Chromium longer than most tests."""
    with visit(browser) as visited:
        yield visited


@pytest.fixture
def desk(window: Visit, site: str) -> Iterator[Visit]:
    window.page.goto("about:blank")  # so that each test loads the catalog
    window.page.emulate_media(media="null")
    window.page.set_viewport_size({"width": 1200, "height": 800})
    window.complaints.clear()
    window.requests.clear()
    yield window
    assert not window.complaints
    assert {url for url in window.requests if not url.startswith(site.rpartition("/")[0])} <= {"data:,"}


@pytest.mark.parametrize(
    ("searched", "column", "fields"),
    [
        ("daily_spend amount", "bookings/daily_spend.AMOUNT_SPENT", ["bookings/bookings_files.AMOUNT_SPENT"]),
        (
            "sales.amount",
            "orders/daily_category_sales.AMOUNT",
            ["orders/orders_files.PRICE", "orders/orders_files.QUANTITY"],
        ),
        ("rating_charts avg", "movies/rating_charts.AVG_RATING", ["movies/movies_files.RATINGS"]),
    ],
)
def test_a_searched_column_leads_to_the_fields_of_its_source(
    desk: Visit, site: str, searched: str, column: str, fields: list[str]
) -> None:
    desk.page.goto(site)
    desk.heading("Datasets")
    desk.page.get_by_label("Search datasets and columns").fill(searched)
    desk.page.locator(".results").get_by_role("link", name=column).click()
    desk.heading(column)
    lineage = desk.page.locator(".graph")
    assert lineage.locator(".chosen").count() == 1
    for field in fields:
        dataset, _, name = field.partition(".")
        desk.page.locator(".hops li").filter(has_text=dataset).get_by_role("link", name=name, exact=True).click()
        desk.heading(field)
        assert desk.page.locator(".hops li.chosen").count() == 1
        desk.page.go_back()
        desk.heading(column)


def test_a_field_of_a_source_leads_to_every_export_and_mart(desk: Visit, site: str) -> None:
    desk.page.goto(f"{site}#/column/bookings/bookings_files/AMOUNT_SPENT")
    desk.heading("bookings/bookings_files.AMOUNT_SPENT")

    after = desk.page.locator("ol.hops").nth(1).locator("li").all_inner_texts()
    assert [text.split("\n")[0] for text in after] == [
        "AMOUNT_SPENT of bookings/customer_bookings (table)",
        "AMOUNT_SPENT of bookings/daily_spend (mart)",
        "AMOUNT_SPENT of bookings/customer_bookings_csv (export)",
    ]
    desk.page.locator(".graph a").filter(has_text="bookings/daily_spend").click()
    desk.heading("bookings/daily_spend.AMOUNT_SPENT")
    assert "SUM(BOOKED.AMOUNT_SPENT)" in desk.page.locator(".graph .chosen").text_content()


@pytest.mark.parametrize(("width", "color_scheme"), [(360, "dark"), (1200, "light")])
def test_every_page_is_shown_without_a_complaint_and_no_wider_than_its_window(
    browser: Browser, site: str, width: int, color_scheme: str
) -> None:
    datasets = datasets_of(pipelines().values())
    addresses = ["#/", "#/health", "#/changes", "#/reasons", "#/search/amount", "#/nowhere"]
    addresses += [f"#/pipeline/{name}" for name in pipelines()]
    addresses += [f"#/dataset/{dataset.key}" for dataset in datasets]
    addresses += [f"#/column/{dataset.key}/{dataset.columns[-1].column.name}" for dataset in datasets]
    with visit(browser, viewport={"width": width, "height": 780}, color_scheme=color_scheme) as visited:
        visited.page.goto(site)
        visited.heading("Datasets")
        for address in addresses:
            before = visited.page.title()
            visited.page.evaluate("address => { location.hash = address; }", address)
            if address != "#/":
                visited.page.wait_for_function("title => document.title !== title", arg=before)
            assert "cannot be shown" not in visited.page.title()
            wide = visited.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, address
        assert not visited.complaints


def test_the_keyboard_alone_finds_a_column_and_its_source(desk: Visit, site: str) -> None:
    page = desk.page
    page.goto(site)
    desk.heading("Datasets")
    page.keyboard.press("/")
    page.keyboard.type("daily_spend.amount")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    desk.heading("bookings/daily_spend.AMOUNT_SPENT")
    for _ in range(40):  # the graph is a few stops behind the heading
        page.keyboard.press("Tab")
        if "bookings_files" in page.evaluate("document.activeElement.textContent"):
            break
    page.keyboard.press("Enter")
    desk.heading("bookings/bookings_files.AMOUNT_SPENT")


def test_the_next_key_meets_the_results_of_what_was_typed_and_keeps_the_focus(desk: Visit, site: str) -> None:
    page = desk.page
    page.goto(site)
    desk.heading("Datasets")
    page.keyboard.press("/")
    page.keyboard.type("daily_spend")
    desk.heading("6 results for daily_spend")
    page.evaluate(_TELL_LATE)
    page.keyboard.type(".amount")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent").startswith("bookings/daily_spend.AMOUNT_SPENT")
    page.wait_for_function("() => told === '.amount'.length")
    assert page.evaluate("document.activeElement.textContent").startswith("bookings/daily_spend.AMOUNT_SPENT")
    page.keyboard.press("Enter")
    desk.heading("bookings/daily_spend.AMOUNT_SPENT")


def test_going_back_from_a_search_leads_to_the_page_before_it(desk: Visit, site: str) -> None:
    """The keys of a text make one entry of the history, not none, nor one each."""
    page = desk.page
    page.goto(f"{site}#/dataset/bookings/customers")
    desk.heading("bookings/customers")
    page.keyboard.press("/")
    page.keyboard.type("daily_spend.amount")
    page.keyboard.press("Enter")  # the first result
    desk.heading("bookings/daily_spend.AMOUNT_SPENT")
    page.go_back()
    page.get_by_role("heading", level=1, name=re.compile("for daily_spend.amount$")).wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1"
    assert page.locator("#search").input_value() == "daily_spend.amount"
    page.go_back()
    desk.heading("bookings/customers")
    assert page.locator("#search").input_value() == ""


def test_what_was_loaded_is_shown_and_personal_values_are_not(desk: Visit, site: str) -> None:
    desk.page.goto(f"{site}#/dataset/bookings/customers")
    desk.heading("bookings/customers")

    text = desk.page.locator("main").inner_text()
    assert "•••" in text
    assert "@" not in text.split("Sample")[1].split("Rows over time")[0]
    assert "One row per customer, the newest version delivered." in text
    desk.page.goto(f"{site}#/dataset/orders/orders_parquet_datalake")
    desk.heading("orders/orders_parquet_datalake")
    assert re.search(r"\d+ files in \d+ partitions, [\d.]+ kB", desk.page.locator("main").inner_text())


def test_the_page_of_a_pipeline_names_what_did_not_pass_and_where_files_land(desk: Visit, site: str) -> None:
    desk.page.goto(f"{site}#/pipeline/movies")
    desk.heading("movies")
    texts = desk.page.locator("main dt, main dd").all_inner_texts()
    state = dict(zip(texts[::2], texts[1::2], strict=True))

    assert state["Checks not passed"] == "movies/movies_landing (1), movies/movie_reviews (1)"
    assert state["movies/movies_files"].startswith("20")
    assert "movies/movies_source" not in state, "nothing lands in a database"
    desk.page.get_by_role("link", name="movies/movie_reviews", exact=True).click()
    desk.heading("movies/movie_reviews")
    assert "such values are kept in _RESCUED." in desk.page.inner_text("main"), "code has no backticks"
    desk.page.goto(f"{site}#/dataset/movies/movies_source")
    desk.heading("movies/movies_source")
    assert "Nothing has been loaded" not in desk.page.inner_text("main")


def test_a_count_leads_to_the_rows_that_it_counts(desk: Visit, site: str) -> None:
    desk.page.goto(f"{site}#/column/bookings/daily_spend/BOOKINGS")
    desk.heading("bookings/daily_spend.BOOKINGS")
    counted = desk.page.locator(".hops li.chosen")

    assert "a count of rows of bookings/customer_bookings." in counted.inner_text()
    counted.get_by_role("link", name="bookings/customer_bookings").click()
    desk.heading("bookings/customer_bookings")


def test_health_is_one_page_of_small_charts_with_their_numbers(desk: Visit, site: str) -> None:
    desk.page.goto(f"{site}#/health")
    desk.heading("Health")

    assert desk.page.locator("h1 ~ .wide tbody tr").count() == len(pipelines())
    charts = desk.page.locator(".charts.small")
    assert charts.count() == len(pipelines())
    captions = [text.partition(":")[0] for text in charts.first.locator("figcaption").all_inner_texts()]
    assert captions == ["Runs", "Records", "Median latency", "In quarantine", "Since the last arrival", "Cost"]
    tops = {chart.bounding_box()["y"] for chart in charts.first.locator(".chart").all()}  # type: ignore[index]
    assert len(tops) == 1, "side by side"
    rows = desk.page.locator("h1 ~ .wide tbody tr")
    for number, _ in enumerate(pipelines()):  # the numbers of now are those of the last day
        last = charts.nth(number).locator("figure", has_text="In quarantine").locator("title").last.text_content()
        assert f"In quarantine: {rows.nth(number).locator('td').nth(3).inner_text()}\n" in str(last)
    commerce = desk.page.locator("details").nth(list(pipelines()).index("commerce"))
    assert not commerce.locator("table").is_visible()
    commerce.locator("summary").press("Enter")
    day = dict(
        zip(
            commerce.locator("th").all_inner_texts(),
            commerce.locator("tr:last-child td").all_inner_texts(),
            strict=True,
        )
    )
    assert (day["Runs"], day["Failed"], day["Batches"]) == ("1", "0", "1")
    numbers = {name: int(day[name].replace(",", "")) for name in ("Read", "Loaded", "Superseded", "Quarantined")}
    assert numbers["Read"] == sum(numbers.values()) - numbers["Read"] > 1_000
    assert min(float(day[name]) for name in ("Latency, s", "Engine, s", "Warehouse, s")) >= 0
    shown = charts.nth(list(pipelines()).index("commerce")).locator("title").last.text_content()
    assert f"Warehouse, s: {day['Warehouse, s']}" in str(shown)


def test_the_numbers_of_health_are_printed(desk: Visit, site: str) -> None:
    desk.page.goto(f"{site}#/health")
    desk.heading("Health")
    assert desk.page.pdf().startswith(b"%PDF")
    assert desk.page.locator("details[open]").count() == len(pipelines())
    desk.page.emulate_media(media="print")
    desk.page.set_viewport_size({"width": 718, "height": 1000})  # A4 within the margins of Chromium
    last = desk.page.get_by_role("columnheader", name="Warehouse, s").first.bounding_box()
    assert last
    assert last["x"] + last["width"] <= 718
    assert desk.page.locator(".wide").evaluate_all("all => all.every(one => one.scrollWidth <= one.clientWidth)")


def test_a_page_can_be_printed(desk: Visit, site: str, tmp_path: Path) -> None:
    desk.page.goto(f"{site}#/dataset/orders/order_lines")
    desk.heading("orders/order_lines")
    desk.page.emulate_media(media="print")

    assert not desk.page.get_by_label("Search datasets and columns").is_visible()
    assert desk.page.pdf().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("address", "heading"),
    [
        ("#/nowhere", "Nothing is here"),
        ("#/constructor", "Nothing is here"),
        ("#/pipeline/constructor", "Nothing is here"),
        ("#/dataset/bookings/gone", "Nothing is here"),
        ("#/column/bookings/customers/GONE", "Nothing is here"),
        ("#/search/%", "This page cannot be shown"),
    ],
)
def test_an_address_that_no_page_has_is_said(desk: Visit, site: str, address: str, heading: str) -> None:
    desk.page.goto(site + address)
    desk.heading(heading)


def test_a_column_is_found_by_its_address_in_any_case(desk: Visit, site: str) -> None:
    desk.page.goto(f"{site}#/column/Bookings/CUSTOMERS/email")
    desk.heading("bookings/customers.EMAIL")


def test_an_open_page_of_a_replaced_catalog_asks_to_be_loaded_again(browser: Browser, tmp_path: Path) -> None:
    def write(at: datetime) -> str:
        datasets = datasets_of([pipelines()["bookings"]])
        made = {"rules": {}, "runs": {}, "reasons": {}, "freshness_hours": 26}
        return write_site(tmp_path, datasets, Loaded(), at=at, **made).as_uri()

    with visit(browser) as visited:
        visited.page.goto(write(NOON))
        visited.heading("Datasets")
        write(NOON.replace(hour=13))
        visited.page.get_by_role("link", name="bookings/daily_spend").click()
        visited.heading("This page cannot be shown")
        assert "Load the page again." in visited.page.locator("main").inner_text()
        visited.page.reload()
        visited.heading("bookings/daily_spend")


def test_texts_of_contracts_and_values_are_never_markup(browser: Browser, tmp_path: Path) -> None:
    hostile = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
    datasets = [
        replace(
            dataset,
            contract=replace(dataset.contract, description=hostile, grain=hostile, owner=hostile),
            sql=hostile,
            columns=tuple(
                replace(entry, origin=hostile, column=replace(entry.column, description=hostile, accepted=(hostile,)))
                for entry in dataset.columns
            ),
        )
        for dataset in datasets_of([pipelines()["bookings"]])
    ]
    loaded = Loaded({"bookings/customers": {"note": hostile, "sample": {"columns": [hostile], "rows": [[hostile]]}}})
    index = write_site(
        tmp_path,
        datasets,
        loaded,
        rules={"bookings/customers": [{"name": hostile, "description": hostile, "passed": False, "found": hostile}]},
        runs={},
        reasons={hostile: hostile},
        freshness_hours=26,
        at=NOON,
    )
    with visit(browser) as visited:
        for address in ("#/", "#/dataset/bookings/customers", "#/column/bookings/customers/EMAIL", "#/reasons"):
            visited.page.goto(index.as_uri() + address)
            visited.page.locator("h1").wait_for()
            visited.page.get_by_text("document.title = 'taken'").first.wait_for(state="attached")
            assert "taken" not in visited.page.title()
        assert visited.page.locator("main img, main script").count() == 0
        assert not visited.complaints
