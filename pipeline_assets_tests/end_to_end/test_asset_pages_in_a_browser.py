"""The pages of `dagster dev` in a browser: each group's graph, an asset, its columns, a failed check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_assets_tests.support.browser import chromium, visit
from pipeline_assets_tests.support.command_line import process
from pipeline_assets_tests.support.dagster_dev import DagsterDev
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product

NODES = {
    "bookings": ["customer_booking_data_pipeline_bucket", "customers_files", "daily_spend", "customer_bookings_csv"],
    "movies": ["movies_source", "movies_files", "movies_processed", "dim_movie"],
    "commerce": ["customers_stream", "customers_files", "customers_processed", "orders_raw"],
    "orders": ["orders_source_bucket", "orders_files", "order_lines", "orders_parquet_datalake"],
    "reviews": ["amazone_books_source", "amazone_books_files", "amazone_books"],
}


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterDev]:
    lake = OrdersLake.with_tables(tmp_path_factory.mktemp("pages") / "home")
    lake.orders("", order(1, product("P1"), product("P2"), total=999) | {"channel": "web"})
    assert process(lake.home, "run", "orders", "--json").returncode == 0
    dev = DagsterDev(lake.home)
    dev.until(lambda: dev.ask("{ assetNodes { assetKey { path } } }")["assetNodes"], 240)
    yield dev
    dev.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_people_see_the_system_the_select_of_a_table_and_what_to_type_next(dev: DagsterDev, tmp_path: Path) -> None:
    with chromium() as browser, visit(browser, viewport={"width": 1500, "height": 3000}) as visited:
        page, root = visited.page, f"http://127.0.0.1:{dev.port}"
        for group, nodes in NODES.items():
            page.goto(f"{root}/locations/__repository__@pipeline_assets/asset-groups/{group}/lineage")
            for node in nodes:
                page.get_by_text(node, exact=True).first.wait_for(state="attached")

        page.goto(f"{root}/assets/orders/order_headers?view=overview")
        page.get_by_text("LEFT JOIN LINES ON").first.wait_for()
        page.get_by_text("orders_files.TOTAL_AMOUNT").first.wait_for()
        page.get_by_text("table_rows_written").first.wait_for()
        for column in ("_BATCH_ID", "_SOURCE_URI", "_LOADED_AT", "_RESCUED"):
            page.get_by_text(column, exact=True).first.wait_for()

        page.goto(f"{root}/assets/orders/orders_files?view=overview")
        page.get_by_text("$.products[*].price").first.wait_for()
        page.get_by_text("orders-source/incoming/**/*.json").first.wait_for()

        page.goto(f"{root}/assets/orders/order_headers?view=checks&checkDetail=totals_match_lines")
        page.get_by_text("pipeline-assets query ").first.wait_for()
        assert not [request for request in visited.requests if not request.startswith((root, "data:", "blob:", "ws:"))]
