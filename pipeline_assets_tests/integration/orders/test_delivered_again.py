"""What `test_real_data` holds on real files, on files made here: these rules need no data beside the checkout."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline_assets.batch.report import Request
from pipeline_assets.definitions import build_definitions
from pipeline_assets.orchestration.check_steps import evaluations
from pipeline_assets.orchestration.execution import run_pipeline
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product
from pipeline_assets_tests.support.pipeline_lake import copy_home

# Three days; the total of every order but the third is not the sum of its lines.
ORDERS = [
    order(1, product("P1"), product("P2", 3, 4), date="2024-01-10", total="200.5"),
    order(2, product("P1", 1, 1), date="2024-01-10", total=7),
    order(3, product("P3", 1.25, 4), date="2024-01-11", total=5),
    order(4, product("P4"), product("P4"), date="2024-01-12", total=9.99),
    order(5, date="2024-01-12", total=1),
]


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> OrdersLake:
    """A lake that took ORDERS, only to read."""
    lake = OrdersLake.with_tables(tmp_path_factory.mktemp("delivered"))
    lake.orders("", *ORDERS)
    lake.run()
    return lake


@pytest.fixture
def taken(delivered: OrdersLake, tmp_path: Path) -> OrdersLake:
    """A copy of it."""
    return OrdersLake.at(copy_home(delivered.home, tmp_path / "home", OrdersLake.landing))


def test_the_same_orders_under_another_name_change_nothing(taken: OrdersLake) -> None:
    before = taken.tables(), taken.lake_orders()
    taken.orders("_again", *ORDERS)
    report = taken.run()
    assert (report.new, report.known, report.rows["read"]) == (1, 1, 5)
    assert (taken.tables(), taken.lake_orders()) == before
    assert taken.rows("SELECT COUNT(*) FROM OPS.FILE_LEDGER") == [(2,)]


def test_an_edited_copy_replaces_the_lines_of_the_order_that_it_changes_and_no_other(taken: OrdersLake) -> None:
    before, lake = taken.tables(), taken.lake_orders()
    edited = order(1, product("P2", 3, 7), date="2024-01-10", total="200.5")
    taken.orders("_edited", edited, *ORDERS[1:])
    taken.run()

    after, lake_after = taken.tables(), taken.lake_orders()
    assert [row for row in after["ORDER_LINES"] if row[0] != "1"] == [r for r in before["ORDER_LINES"] if r[0] != "1"]
    assert [(row[1], row[7], row[12]) for row in after["ORDER_LINES"] if row[0] == "1"] == [(1, "P2", 7)]
    assert [row[4:] for row in after["ORDER_HEADERS"] if row[0] == "1"] == [(1, Decimal("21.0000"))]
    assert len(lake_after["1"]) == 1
    assert {k: v for k, v in lake_after.items() if k != "1"} == {k: v for k, v in lake.items() if k != "1"}


def test_a_file_of_another_shape_is_rejected_whole_with_the_difference(taken: OrdersLake) -> None:
    before = taken.tables(), taken.lake_orders()
    products = [{"product_name": "x"}]
    others = [{"id": n, "order_date": "2024-01-10", "products": products, "sum": 1} for n in range(30)]
    strange = [{"order_id": n, "order_date": "2024-01-10", "products": products} for n in range(30)]
    taken.write("others.ndjson", "\n".join(map(json.dumps, others)))
    taken.write("strange.ndjson", "\n".join(map(json.dumps, strange)))
    taken.orders("_beside", order(6))
    report = taken.run()

    assert (report.loaded, report.rejected) == (1, 2)
    assert report.rows == {"read": 61, "loaded": 1, "superseded": 0, "quarantined": 60}
    rows = taken.rows("SELECT REASON_CODE, LINE_NUMBER, REASON FROM OPS.QUARANTINE ORDER BY SOURCE_URI")
    assert [row[:2] for row in rows] == [("missing_column", None)] * 2
    reasons = [reason for *_, reason in rows]
    assert ["No record has order_id" in reason for reason in reasons] == [True, False]
    assert all("not in the contract" in reason and "products[].product_name" in reason for reason in reasons)
    after = taken.tables()
    after["ORDER_HEADERS"] = [row for row in after["ORDER_HEADERS"] if row[0] != "6"]
    assert (after, taken.lake_orders()) == before


def test_the_catalog_shows_what_lies_in_the_lake(delivered: OrdersLake) -> None:
    lake = [row for rows in delivered.lake_orders().values() for row in rows]
    ((rows, quantity, first, last),) = delivered.rows(
        "SELECT COUNT(*), SUM(QUANTITY), MIN(DT), MAX(DT) FROM ORDERS.ORDERS_PARQUET_DATALAKE"
    )
    assert (rows, quantity, str(first), str(last)) == (len(lake), 15, "2024-01-10", "2024-01-12")
    assert delivered.rows("SELECT PARTITION_VALUE, FILES FROM OPS.LAKE_PARTITIONS ORDER BY 1") == [
        ("2024-01-10", 1),
        ("2024-01-11", 1),
        ("2024-01-12", 1),
    ]


def test_the_lake_has_the_twelve_columns_and_types_on_every_file(delivered: OrdersLake) -> None:
    assert len(delivered.lake_files()) == 3
    for path in delivered.lake_files():
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
    assert [row[11] for row in delivered.lake_orders()["1"]] == [2.5, 3.0]


def totals_check(lake: OrdersLake) -> tuple[bool, str, dict[str, tuple[str, str]]]:
    """Whether it passed, its severity, the orders that it lists; every other check passes."""
    checks = evaluations(lake.pipeline(), lake.platform, freshness_hours=24)
    (check,) = [check for check in checks if check.check_name == "totals_match_lines"]
    assert [other.check_name for other in checks if not other.passed and other is not check] == []
    listed = {o["order_id"]: (o["total_amount"], o["lines_total"]) for o in check.metadata["rows"].value}
    return check.passed, check.severity.value, listed


def test_the_check_on_totals_warns_and_lists_the_orders_that_differ(
    delivered: OrdersLake, orders_lake: OrdersLake
) -> None:
    assert totals_check(delivered) == (
        False,
        "WARN",
        {
            "1": ("200.5000", "17.0000"),
            "2": ("7.0000", "1.0000"),
            "4": ("9.9900", "10.0000"),
            "5": ("1.0000", "0.0000"),
        },
    )
    orders_lake.orders("", ORDERS[2])
    orders_lake.run()
    assert totals_check(orders_lake) == (True, "WARN", {})


def test_the_pipeline_as_a_dagster_run(orders_lake: OrdersLake) -> None:
    """Every asset materialized, every check but the warning on totals passed; a backfill is the same run again."""
    orders_lake.orders("", *ORDERS)
    definitions = build_definitions(load_settings(home=orders_lake.home))
    answer = run_pipeline(definitions, orders_lake.home / "dagster", "orders", Request())
    assert answer["success"]
    tables = ("daily_category_sales", "order_headers", "order_lines", "orders_parquet_datalake")
    assert {a["key"]: a["status"] for a in answer["assets"]} == {f"orders/{name}": "materialized" for name in tables}
    assert [(c["name"], c["severity"]) for c in answer["checks"] if not c["passed"]] == [("totals_match_lines", "WARN")]
    before = orders_lake.tables(), orders_lake.lake_orders()
    again = run_pipeline(definitions, orders_lake.home / "dagster", "orders", Request(reprocess=True))
    assert again["objects"] == {"new": 1, "known": 0, "loaded": 1, "rejected": 0}
    assert (orders_lake.tables(), orders_lake.lake_orders()) == before
