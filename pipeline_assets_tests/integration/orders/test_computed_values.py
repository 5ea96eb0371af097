"""One record's values never stop a batch: what does not fit a computed column is quarantined, with its whole record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product

START = datetime(2026, 1, 1, tzinfo=UTC)
OVERFLOW = order("big", product("P1"), product("P2", 30.00, 4006381333931))


@pytest.mark.parametrize("engine", ["duckdb", pytest.param("spark", marks=pytest.mark.slow)])
def test_an_order_whose_lines_overflow_is_quarantined_whole_and_the_others_load(
    orders_lake: OrdersLake, engine: str
) -> None:
    shipping = product("ship") | {"price": None}  # a line without a price adds nothing, and is no overflow
    orders_lake.orders("", order("good", product("P1"), shipping), OVERFLOW, order("more", product("P1")))
    orders_lake.orders("_beside", order("beside", product("P1")))
    report = orders_lake.run(engine=engine)
    assert report.rows == {"read": 4, "loaded": 3, "superseded": 0, "quarantined": 1}
    tables = orders_lake.tables()
    assert [row[0] for row in tables["ORDER_HEADERS"]] == ["beside", "good", "more"]
    assert {row[0] for row in tables["ORDER_LINES"]} == {"beside", "good", "more"}
    assert set(orders_lake.lake_orders()) == {"beside", "good", "more"}
    ((code, reason, line, raw),) = orders_lake.rows(
        "SELECT REASON_CODE, REASON, LINE_NUMBER, RAW_RECORD FROM OPS.QUARANTINE"
    )
    assert (code, line) == ("does_not_fit", 2)
    assert reason.startswith("ORDER_HEADERS.LINES_TOTAL: a number with at most 14 digits before the point was expected")
    assert "4006381333931" in raw
    assert orders_lake.run().rows["read"] == 0


def test_an_older_version_is_loaded_when_the_newest_does_not_fit_in_one_run_or_in_two(orders_lake: OrdersLake) -> None:
    orders_lake.orders("_old", order("big", product("old"), total=1), modified=START)
    orders_lake.orders("_new", OVERFLOW, modified=START + timedelta(hours=1))
    report = orders_lake.run()
    assert report.rows == {"read": 2, "loaded": 1, "superseded": 0, "quarantined": 1}
    assert [row[7] for row in orders_lake.tables()["ORDER_LINES"]] == ["old"]


def test_the_largest_values_that_fit_are_loaded_exactly(orders_lake: OrdersLake) -> None:
    most = Decimal("99999999999999.9999")
    orders_lake.write(
        "orders.json",
        '[{"order_id": "most", "order_date": "9999-12-31", "total_amount": 99999999999999.9999, "products": ['
        '{"product_id": "p", "price": 99999999999999.9999, "quantity": 1}]},'
        '{"order_id": "both", "order_date": "0001-01-01", "total_amount": -99999999999999.9999, "products": ['
        '{"product_id": "p", "price": 99999999999999.9999, "quantity": 1},'
        '{"product_id": "p", "price": 99999999999999.9999, "quantity": -1}]}]',
    )
    report = orders_lake.run()
    assert (report.rows["loaded"], report.rows["quarantined"]) == (1, 1)
    assert orders_lake.rows("SELECT ORDER_ID, LINES_TOTAL FROM ORDERS.ORDER_HEADERS") == [("most", most)]
    assert orders_lake.rows("SELECT AMOUNT FROM ORDERS.DAILY_CATEGORY_SALES") == [(most,)]
