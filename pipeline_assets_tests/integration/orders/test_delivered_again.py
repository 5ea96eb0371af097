"""Orders that were delivered before, whole files of another shape, totals that differ: what `test_real_data` sees too.

That file needs data from beside the checkout; the rules hold without it.
"""

from __future__ import annotations

import json
from decimal import Decimal

import dagster as dg
import pytest

from pipeline_assets.definitions import build_definitions
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product

# Three days; the total of every order but the third is not the sum of its lines.
ORDERS = [
    order(1, product("P1"), product("P2", 3, 4), date="2024-01-10", total="200.5"),
    order(2, product("P1", 1, 1), date="2024-01-10", total=7),
    order(3, product("P3", 1.25, 4), date="2024-01-11", total=5),
    order(4, product("P4"), product("P4"), date="2024-01-12", total=9.99),
    order(5, date="2024-01-12", total=1),
]


@pytest.fixture
def taken(orders_lake: OrdersLake) -> OrdersLake:
    orders_lake.orders("", *ORDERS)
    orders_lake.run()
    return orders_lake


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
    others = [{"id": n, "order_date": "2024-01-10", "products": [{"product_name": "x"}], "sum": 1} for n in range(30)]
    taken.write("others.ndjson", "\n".join(map(json.dumps, others)))
    report = taken.run()

    assert (report.loaded, report.rejected) == (0, 1)
    assert report.rows == {"read": 30, "loaded": 0, "superseded": 0, "quarantined": 30}
    ((code, line, reason),) = taken.rows("SELECT REASON_CODE, LINE_NUMBER, REASON FROM OPS.QUARANTINE")
    assert (code, line) == ("missing_column", None)
    assert "No record has order_id" in reason
    assert "products[].product_name" in reason
    assert (taken.tables(), taken.lake_orders()) == before


def test_the_catalog_shows_what_lies_in_the_lake(taken: OrdersLake) -> None:
    lake = [row for rows in taken.lake_orders().values() for row in rows]
    ((rows, first, last),) = taken.rows("SELECT COUNT(*), MIN(DT), MAX(DT) FROM ORDERS.ORDERS_PARQUET_DATALAKE")
    assert (rows, str(first), str(last)) == (len(lake), "2024-01-10", "2024-01-12")
    assert taken.rows("SELECT PARTITION_VALUE, FILES FROM OPS.LAKE_PARTITIONS ORDER BY 1") == [
        ("2024-01-10", 1),
        ("2024-01-11", 1),
        ("2024-01-12", 1),
    ]


@pytest.mark.parametrize(
    ("delivered", "listed"),
    [
        (ORDERS, {"1": ("200.5000", "17.0000"), "2": ("7.0000", "1.0000"), "4": ("9.9900", "10.0000"),
                  "5": ("1.0000", "0.0000")}),
        (ORDERS[2:3], {}),
    ],
    ids=["some differ", "none differs"],
)  # fmt: skip
def test_the_check_on_totals_warns_and_lists_the_orders_that_differ(
    orders_lake: OrdersLake, delivered: list[dict], listed: dict[str, tuple[str, str]]
) -> None:
    orders_lake.orders("", *delivered)
    definitions = build_definitions(load_settings(home=orders_lake.home))
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("orders").execute_in_process(instance=instance)

    found = {check.check_name: check for check in result.get_asset_check_evaluations()}
    check = found["totals_match_lines"]
    assert result.success
    assert (check.passed, check.severity) == (not listed, dg.AssetCheckSeverity.WARN)
    shown = {o["order_id"]: (o["total_amount"], o["lines_total"]) for o in check.metadata["rows"].value}
    assert shown == listed
    assert {name for name, other in found.items() if not other.passed} == ({"totals_match_lines"} if listed else set())
