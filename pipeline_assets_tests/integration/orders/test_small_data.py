"""What `test_real_data` holds on real files, on files made here: these rules need no data beside the checkout."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from pipeline_assets.batch.report import Request
from pipeline_assets.definitions import build_definitions
from pipeline_assets.orchestration.execution import run_pipeline
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product

START = datetime(2026, 1, 1, tzinfo=UTC)
LINES = (product("P1"), product("P2", 0.1, 3, "Books"))
ORDERS = [order(number, *LINES, date=f"2024-01-{10 + number}", total=200.5) for number in range(1, 4)]


@pytest.fixture
def landed(orders_lake: OrdersLake) -> OrdersLake:
    orders_lake.orders("", *ORDERS, order(4, product("P1"), total=5), modified=START)
    return orders_lake


def test_the_same_orders_under_another_name_change_nothing(landed: OrdersLake) -> None:
    landed.run()
    before = landed.tables(), landed.lake_orders()
    landed.orders("_again", *ORDERS, modified=START + timedelta(hours=1))
    report = landed.run()
    assert (report.new, report.known) == (1, 1)
    assert (landed.tables(), landed.lake_orders()) == before


def test_an_edited_order_replaces_its_own_lines_and_no_other(landed: OrdersLake) -> None:
    landed.run()
    before, lake = landed.tables()["ORDER_LINES"], landed.lake_orders()
    edited = ORDERS[0] | {"products": [LINES[1] | {"quantity": 7}]}
    landed.orders("_edited", edited, *ORDERS[1:], modified=START + timedelta(hours=1))
    landed.run()
    after, lake_after = landed.tables()["ORDER_LINES"], landed.lake_orders()
    assert [row for row in after if row[0] != "1"] == [row for row in before if row[0] != "1"]
    assert [(row[1], row[7], row[12]) for row in after if row[0] == "1"] == [(1, "P2", 7)]
    assert len(lake_after["1"]) == 1
    assert {k: v for k, v in lake_after.items() if k != "1"} == {k: v for k, v in lake.items() if k != "1"}


def test_the_lake_has_the_twelve_columns_and_types_on_every_file(landed: OrdersLake) -> None:
    landed.run()
    assert len(landed.lake_files()) == 4
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
    assert [row[11] for row in landed.lake_orders()["1"]] == [2.5, 0.1]


def test_a_file_of_another_shape_is_rejected_whole_with_the_difference(landed: OrdersLake) -> None:
    strange = [{"order_id": n, "order_date": "2024-01-10", "products": [{"product_name": "x"}]} for n in range(30)]
    landed.write("strange.ndjson", "\n".join(map(json.dumps, strange)))
    report = landed.run()
    assert (report.loaded, report.rejected) == (1, 1)
    assert report.rows == {"read": 34, "loaded": 4, "superseded": 0, "quarantined": 30}
    ((code, line, reason),) = landed.rows("SELECT REASON_CODE, LINE_NUMBER, REASON FROM OPS.QUARANTINE")
    assert (code, line) == ("missing_column", None)
    assert "not in the contract" in reason
    assert "products[].product_name" in reason
    assert len(landed.tables()["ORDER_HEADERS"]) == 4


def test_the_catalog_shows_the_lake_to_whoever_queries_the_warehouse(landed: OrdersLake) -> None:
    landed.run()
    assert landed.rows("SELECT COUNT(*), SUM(QUANTITY), MIN(DT) FROM ORDERS.ORDERS_PARQUET_DATALAKE") == [
        (7, 17, date(2024, 1, 10))
    ]
    assert landed.rows("SELECT COUNT(*), SUM(FILES) FROM OPS.LAKE_PARTITIONS") == [(4, 4)]


def test_the_pipeline_as_a_dagster_run(landed: OrdersLake) -> None:
    """Every asset materialized, every check but the warning on totals passed; a backfill is the same run again."""
    definitions = build_definitions(load_settings(home=landed.home))
    answer = run_pipeline(definitions, landed.home / "dagster", "orders", Request())
    assert answer["success"]
    tables = ("daily_category_sales", "order_headers", "order_lines", "orders_parquet_datalake")
    assert {a["key"]: a["status"] for a in answer["assets"]} == {f"orders/{name}": "materialized" for name in tables}
    assert [(c["name"], c["severity"]) for c in answer["checks"] if not c["passed"]] == [("totals_match_lines", "WARN")]
    before = landed.tables(), landed.lake_orders()
    again = run_pipeline(definitions, landed.home / "dagster", "orders", Request(reprocess=True))
    assert again["objects"] == {"new": 1, "known": 0, "loaded": 1, "rejected": 0}
    assert (landed.tables(), landed.lake_orders()) == before
