"""Leaving any one line out of a value is an error, or the tables that are left are right; never wrong tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.bookings.pipeline import BOOKINGS
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.orders.pipeline import ORDERS
from pipeline_assets.pipeline import Pipeline
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product
from pipeline_assets_tests.support.pipeline_lake import PipelineLake
from pipeline_assets_tests.support.small_pipelines import later, temporary

LISTS = ("sources", "tables", "exports", "lake_tables", "steps", "buckets", "streams")


def shorter(value: Pipeline) -> Iterator[tuple[str, Pipeline]]:
    """The value without each of its elements, and without each argument that has a default."""
    for name in LISTS:
        elements: tuple[Any, ...] = tuple(getattr(value, name))
        for number, element in enumerate(elements):
            others = (elements[:number], elements[number + 1 :])
            label = f"{value.name}-{name}-{getattr(element, 'name', number)}"
            yield label, replace(value, **{name: (*others[0], *others[1])})
            for argument in fields(element):
                default = argument.default
                if default is MISSING or getattr(element, argument.name) == default:
                    continue
                without = replace(element, **{argument.name: default})
                yield f"{label}-{argument.name}", replace(value, **{name: (*others[0], without, *others[1])})
    for argument in fields(value):
        if argument.name not in LISTS and argument.default not in (MISSING, getattr(value, argument.name)):
            yield f"{value.name}-{argument.name}", replace(value, **{argument.name: argument.default})


SHORTER = dict([*shorter(BOOKINGS), *shorter(ORDERS)])


def _bookings(lake: BookingsLake) -> None:
    lake.customers("1", customer(1, "Ada"), customer(2, "Bob"), modified=later(5))
    lake.bookings("1", booking(1, 1, "10"), booking(2, 2, "20"), booking(3, 9, "30"), modified=later(5))
    lake.run()
    lake.customers("2", customer(1, "Eve"), customer(9, "Zoe"), modified=later(6))  # a changed parent and a late one
    lake.bookings("2", booking(2, 1, "99", date="01-01-2001"), modified=later(1))  # an older redelivery
    lake.run()
    lake.bookings("3", booking(1, 2, "11", date="25-05-2005"), booking(4, 1, "40"), modified=later(7))
    lake.customers("3", customer(2, "Old"), modified=later(1))
    lake.run()


def _orders(lake: OrdersLake) -> None:
    lake.orders("1", order(1, product("P1"), product("P2")), order(2, product("P1")), modified=later(5))
    lake.run()
    lake.orders("2", order(1, product("P9"), date="2024-02-02"), modified=later(1))
    lake.orders("3", order(3, product("P3"), date="2024-02-03"), modified=later(6))
    lake.run()
    lake.orders("4", order(2, date="2024-02-04"), order(1, product("P2"), date="2024-02-03"), modified=later(7))
    lake.run()


def cells(value: Pipeline, home: Path) -> dict[str, list[tuple[str, ...]]]:
    """What three batches give: tables in the warehouse by name, the places of a table in the lake."""
    pipeline = resolve(value)
    kind: type[PipelineLake] = BookingsLake if value.name == "bookings" else OrdersLake
    zone = pipeline.sources[0].zone
    names = {"pipeline": staticmethod(lambda: pipeline), "landing": f"{zone.bucket}/{zone.prefix}"}
    kind.with_tables(home)  # the tables in the warehouse are the same whatever lacks
    lake = type(f"Shorter{kind.__name__}", (kind,), names).at(home)
    if isinstance(lake, BookingsLake):
        _bookings(lake)
    elif isinstance(lake, OrdersLake):
        _orders(lake)
    found = {}
    for contract in pipeline.targets:
        rows = lake.rows(f"SELECT {', '.join(contract.column_names)} FROM {contract.domain}.{contract.table}")
        found[contract.name] = sorted(tuple(map(str, row)) for row in rows)
    if pipeline.lake_tables and isinstance(lake, OrdersLake):
        found[pipeline.lake_tables[0].contract.name] = sorted(tuple(map(str, r)) for r in lake.lake_orders().items())
    return found


@cache
def whole(name: str) -> dict[str, list[tuple[str, ...]]]:
    return cells(BOOKINGS if name == "bookings" else ORDERS, temporary())


def _resolves(value: Pipeline) -> bool:
    try:
        resolve(value)
    except ConfigurationError:
        return False
    return True


RIGHT = [label for label, value in SHORTER.items() if _resolves(value)]


# Lines that concern different parts of a value are left out together.
TOGETHER = (
    ("bookings-plots", "bookings-exports-customer_bookings_csv"),
    ("orders-plots", "orders-lake_tables-orders_parquet_datalake"),
    ("orders-sources-orders-bucket",),
)


@pytest.mark.parametrize("labels", TOGETHER, ids=" ".join)
def test_a_value_that_lacks_lines_and_resolves_gives_the_same_tables(labels: tuple[str, ...], tmp_path: Path) -> None:
    value, *others = (SHORTER[label] for label in labels)
    for other in others:
        whole_value = BOOKINGS if other.name == "bookings" else ORDERS
        value = replace(
            value,
            **{
                argument.name: getattr(other, argument.name)
                for argument in fields(other)
                if getattr(other, argument.name) != getattr(whole_value, argument.name)
            },
        )
    found = cells(value, tmp_path / "home")
    expected = whole(value.name)
    assert found == {name: rows for name, rows in expected.items() if name in found}
    assert all(expected.values())


def test_every_line_of_both_values_is_tried_and_most_are_needed() -> None:
    assert sorted(RIGHT) == sorted(label for labels in TOGETHER for label in labels)
    assert {label for label in SHORTER if label not in RIGHT} >= {
        "bookings-sources-customers",
        "bookings-sources-bookings",
        "bookings-tables-customers",
        "bookings-tables-customer_bookings",
        "bookings-tables-daily_spend",
        "bookings-tables-daily_spend-refresh_by",
        "orders-sources-orders",
        "orders-tables-order_headers",
        "orders-tables-order_lines",
        "orders-tables-daily_category_sales",
        "orders-tables-daily_category_sales-refresh_by",
    }
