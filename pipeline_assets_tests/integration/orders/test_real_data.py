"""`orders` on real files that nobody here wrote."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline_assets.orchestration.check_steps import evaluations
from pipeline_assets_tests.support.orders_lake import OrdersLake
from pipeline_assets_tests.support.pipeline_lake import copy_home

FILE = "orders/orders_etl_vivek.json"


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> OrdersLake:
    """A lake that took the tutorial's file, only to read."""
    lake = OrdersLake.with_tables(tmp_path_factory.mktemp("taken"))
    lake.land(shared_data / FILE, "orders_etl_vivek.json")
    report = lake.run()
    assert report.rows == {"read": 12, "loaded": 12, "superseded": 0, "quarantined": 0}
    return lake


@pytest.fixture
def copied(taken: OrdersLake, tmp_path: Path) -> OrdersLake:
    return OrdersLake.at(copy_home(taken.home, tmp_path / "home", OrdersLake.landing))


@pytest.fixture
def tutorial(shared_data: Path) -> list[dict]:
    return json.loads((shared_data / FILE).read_text())


def test_the_tutorial_file_gives_twelve_headers_and_twenty_three_lines(taken: OrdersLake, tutorial: list[dict]) -> None:
    tables = taken.tables()
    assert len(tables["ORDER_HEADERS"]) == 12
    assert len(tables["ORDER_LINES"]) == 23
    amount = sum(Decimal(str(p["price"])) * p["quantity"] for o in tutorial for p in o["products"])
    assert sum(row[5] for row in tables["ORDER_HEADERS"]) == amount
    assert sum(row[4] for row in tables["DAILY_CATEGORY_SALES"]) == amount
    first = tables["ORDER_HEADERS"][0]
    assert first == ("1", date(2024, 1, 10), "101", Decimal("200.5000"), 2, Decimal("95.0000"))


def test_the_check_on_totals_warns_and_lists_the_eleven_orders_that_differ(taken: OrdersLake) -> None:
    checks = evaluations(taken.pipeline(), taken.platform, freshness_hours=24)
    (result,) = [check for check in checks if check.check_name == "totals_match_lines"]
    assert not result.passed
    assert result.severity.value == "WARN"
    listed = result.metadata["rows"].value
    assert len(listed) == 11
    assert {"order_id": "1", "total_amount": "200.5000", "lines_total": "95.0000"} in listed


def test_the_same_file_under_another_name_changes_nothing(copied: OrdersLake, shared_data: Path) -> None:
    tables, lake = copied.tables(), copied.lake_orders()
    copied.land(shared_data / FILE, "delivered_again.json")
    report = copied.run()
    assert (report.new, report.known) == (1, 1)
    assert (copied.tables(), copied.lake_orders()) == (tables, lake)


def test_an_edited_copy_replaces_the_lines_of_the_order_it_changes_and_no_other(
    copied: OrdersLake, tutorial: list[dict]
) -> None:
    before, lake = copied.tables(), copied.lake_orders()
    tutorial[0]["products"] = [tutorial[0]["products"][1] | {"quantity": 7}]
    copied.write("edited.json", json.dumps(tutorial))
    copied.run()
    after, lake_after = copied.tables(), copied.lake_orders()
    assert [row for row in after["ORDER_LINES"] if row[0] != "1"] == [r for r in before["ORDER_LINES"] if r[0] != "1"]
    ((line,),) = ([row for row in after["ORDER_LINES"] if row[0] == "1"],)
    assert (line[1], line[7], line[12]) == (1, "P02", 7)
    assert [len(lake_after[key]) for key in ("1", "2")] == [1, 1]
    assert {k: v for k, v in lake_after.items() if k != "1"} == {k: v for k, v in lake.items() if k != "1"}


def test_orders_with_what_is_required_and_nothing_else_load_and_all_else_is_kept(
    orders_lake: OrdersLake, shared_data: Path
) -> None:
    """Another shop's orders have an id, a day and quantities; its other columns are unknown, and survive."""
    orders_lake.land(shared_data / FILE, "orders_etl_vivek.json")
    orders_lake.land(shared_data / "orders" / "eland_ecommerce.ndjson.gz", "eland.ndjson.gz")
    report = orders_lake.run()
    assert (report.loaded, report.rejected) == (2, 0)
    assert report.rows == {"read": 4687, "loaded": 4687, "superseded": 0, "quarantined": 0}
    (unknown,) = (names for uri, names in report.unknown_columns.items() if "eland" in uri)
    assert {"customer_full_name", "products[].product_name"} <= set(unknown)
    assert orders_lake.rows(
        "SELECT COUNT(*) FROM ORDERS.ORDER_HEADERS WHERE TOTAL_AMOUNT IS NULL AND LINE_COUNT > 0"
    ) == [(4675,)]


def test_the_catalog_shows_the_lake_to_whoever_queries_the_warehouse(taken: OrdersLake, tutorial: list[dict]) -> None:
    pieces = sum(product["quantity"] for order in tutorial for product in order["products"])
    assert taken.rows("SELECT COUNT(*), SUM(QUANTITY), MIN(DT) FROM ORDERS.ORDERS_PARQUET_DATALAKE") == [
        (23, pieces, date(2024, 1, 10))
    ]
    assert taken.rows("SELECT COUNT(*), SUM(FILES) FROM OPS.LAKE_PARTITIONS") == [(8, 8)]
