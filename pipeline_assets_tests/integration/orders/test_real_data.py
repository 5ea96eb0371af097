"""`orders` on real files that nobody here wrote."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline_assets.batch.report import Request
from pipeline_assets.definitions import build_definitions
from pipeline_assets.orchestration.check_steps import evaluations
from pipeline_assets.orchestration.execution import run_pipeline
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.orders_lake import OrdersLake


@pytest.fixture
def landed(orders_lake: OrdersLake, shared_data: Path) -> OrdersLake:
    orders_lake.land(shared_data / "orders" / "orders_etl_vivek.json", "orders_etl_vivek.json")
    return orders_lake


@pytest.fixture
def tutorial(shared_data: Path) -> list[dict]:
    return json.loads((shared_data / "orders" / "orders_etl_vivek.json").read_text())


def test_the_tutorial_file_gives_twelve_headers_and_twenty_three_lines(
    landed: OrdersLake, tutorial: list[dict]
) -> None:
    report = landed.run()
    assert report.rows == {"read": 12, "loaded": 12, "superseded": 0, "quarantined": 0}
    tables = landed.tables()
    assert len(tables["ORDER_HEADERS"]) == 12
    assert len(tables["ORDER_LINES"]) == 23
    amount = sum(Decimal(str(p["price"])) * p["quantity"] for o in tutorial for p in o["products"])
    assert sum(row[5] for row in tables["ORDER_HEADERS"]) == amount
    assert sum(row[4] for row in tables["DAILY_CATEGORY_SALES"]) == amount
    first = tables["ORDER_HEADERS"][0]
    assert first == ("1", date(2024, 1, 10), "101", Decimal("200.5000"), 2, Decimal("95.0000"))


def test_the_check_on_totals_warns_and_lists_the_eleven_orders_that_differ(landed: OrdersLake) -> None:
    landed.run()
    checks = evaluations(landed.pipeline(), landed.platform, freshness_hours=24)
    (result,) = [check for check in checks if check.check_name == "totals_match_lines"]
    assert not result.passed
    assert result.severity.value == "WARN"
    listed = result.metadata["rows"].value
    assert len(listed) == 11
    assert {"order_id": "1", "total_amount": "200.5000", "lines_total": "95.0000"} in listed


def test_the_same_file_under_another_name_changes_nothing(landed: OrdersLake, shared_data: Path) -> None:
    landed.run()
    tables, lake = landed.tables(), landed.lake_orders()
    landed.land(shared_data / "orders" / "orders_etl_vivek.json", "delivered_again.json")
    report = landed.run()
    assert (report.new, report.known) == (1, 1)
    assert (landed.tables(), landed.lake_orders()) == (tables, lake)


def test_an_edited_copy_replaces_the_lines_of_the_order_it_changes_and_no_other(
    landed: OrdersLake, tutorial: list[dict]
) -> None:
    landed.run()
    before, lake = landed.tables(), landed.lake_orders()
    tutorial[0]["products"] = [tutorial[0]["products"][1] | {"quantity": 7}]
    landed.write("edited.json", json.dumps(tutorial))
    landed.run()
    after, lake_after = landed.tables(), landed.lake_orders()
    assert [row for row in after["ORDER_LINES"] if row[0] != "1"] == [r for r in before["ORDER_LINES"] if r[0] != "1"]
    ((line,),) = ([row for row in after["ORDER_LINES"] if row[0] == "1"],)
    assert (line[1], line[7], line[12]) == (1, "P02", 7)
    assert [len(lake_after[key]) for key in ("1", "2")] == [1, 1]
    assert {k: v for k, v in lake_after.items() if k != "1"} == {k: v for k, v in lake.items() if k != "1"}


def test_the_lake_has_the_twelve_columns_and_types_on_every_file(landed: OrdersLake) -> None:
    landed.run()
    assert len(landed.lake_files()) == 8
    for path in landed.lake_files():
        file = pq.ParquetFile(path)
        assert [(field.name, str(field.type)) for field in file.schema_arrow] == [
            ("order_id", "string"),
            ("order_date", "string"),
            ("total_amount", "double"),
            ("customer_id", "string"),
            ("customer_name", "string"),
            ("email", "string"),
            ("address", "string"),
            ("product_id", "string"),
            ("product_name", "string"),
            ("category", "string"),
            ("price", "double"),
            ("quantity", "int64"),
        ]
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_orders_with_what_is_required_and_nothing_else_load_and_all_else_is_kept(
    landed: OrdersLake, shared_data: Path
) -> None:
    """Another shop's orders have an id, a day and quantities; its other columns are unknown, and survive."""
    landed.land(shared_data / "orders" / "eland_ecommerce.ndjson.gz", "eland.ndjson.gz")
    report = landed.run()
    assert (report.loaded, report.rejected) == (2, 0)
    assert report.rows == {"read": 4687, "loaded": 4687, "superseded": 0, "quarantined": 0}
    (unknown,) = (names for uri, names in report.unknown_columns.items() if "eland" in uri)
    assert {"customer_full_name", "products[].product_name"} <= set(unknown)
    assert landed.rows("SELECT COUNT(*) FROM ORDERS.ORDER_HEADERS WHERE TOTAL_AMOUNT IS NULL AND LINE_COUNT > 0") == [
        (4675,)
    ]


def test_the_catalog_shows_the_lake_to_whoever_queries_the_warehouse(landed: OrdersLake, tutorial: list[dict]) -> None:
    landed.run()
    pieces = sum(product["quantity"] for order in tutorial for product in order["products"])
    assert landed.rows("SELECT COUNT(*), SUM(QUANTITY), MIN(DT) FROM ORDERS.ORDERS_PARQUET_DATALAKE") == [
        (23, pieces, date(2024, 1, 10))
    ]
    assert landed.rows("SELECT COUNT(*), SUM(FILES) FROM OPS.LAKE_PARTITIONS") == [(8, 8)]


@pytest.mark.slow
def test_the_pipeline_as_a_dagster_run(landed: OrdersLake) -> None:
    """Every asset materialized, every check but the warning on totals passed; a backfill is the same run again."""
    definitions = build_definitions(load_settings(home=landed.home))
    answer = run_pipeline(definitions, landed.home / "dagster", "orders", Request())
    assert answer["success"]
    assert {a["key"]: a["status"] for a in answer["assets"]} == dict.fromkeys(
        (
            "orders/daily_category_sales",
            "orders/order_headers",
            "orders/order_lines",
            "orders/orders_parquet_datalake",
        ),
        "materialized",
    )
    assert [(c["name"], c["severity"]) for c in answer["checks"] if not c["passed"]] == [("totals_match_lines", "WARN")]
    before = landed.tables(), landed.lake_orders()
    again = run_pipeline(definitions, landed.home / "dagster", "orders", Request(reprocess=True))
    assert again["objects"] == {"new": 1, "known": 0, "loaded": 1, "rejected": 0}
    assert (landed.tables(), landed.lake_orders()) == before
