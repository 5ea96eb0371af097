"""The picture of sales: categories by their amount over all days."""

from __future__ import annotations

from pipeline_assets.orchestration.plots import plot_rows
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product


def test_the_category_with_the_largest_amount_is_first(orders_lake: OrdersLake) -> None:
    orders_lake.orders(
        "a.json",
        order(1, product(1, price=2.2, quantity=1, category="Books"), product(2, price=1, quantity=5, category="Toys")),
        order(2, product(1, price=2.2, quantity=2, category="Books"), date="2024-01-11"),
    )
    orders_lake.run()
    with orders_lake.platform.warehouse.read_only() as transaction:
        (rows,) = plot_rows(transaction, type(orders_lake).pipeline(), {"ORDERS.DAILY_CATEGORY_SALES"}).values()
    assert [(category, float(amount)) for category, amount in rows] == [("Books", 7.0), ("Toys", 5.0)]
