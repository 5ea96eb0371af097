"""Files that arrive in stages, a run after each, give the tables of one clean run over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product

START = datetime(2026, 1, 1, tzinfo=UTC)
WAITING = "SELECT DATASET, LINE_NUMBER, REASON_CODE FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL ORDER BY 1, 2, 3"

# Each file by a letter, as old as its place in the list says.
BOOKINGS = {
    "c": ("customers", [customer(1), customer(2, "Grace")]),
    "b": ("bookings", [booking(10, 1), booking(11, 2, "7.00"), booking(12, 9)]),
    "C": ("customers", [customer(1, "Augusta")]),
    "B": ("bookings", [booking(10, 2, "3.00", "25-05-2005"), booking(13, 1)]),
}
ORDERS = {
    "e": [order(1), order(2, total=0)],  # orders without lines fill one of the two tables
    "l": [order(1, product("P1"), product("P2", category="Books")), order(3, product("P1"))],
    "m": [order(1, product("P2", category="Books"), date="2024-01-11"), order(3)],
}


def land_bookings(lake: BookingsLake, letters: str) -> None:
    for letter in letters:
        kind, rows = BOOKINGS[letter]
        age = START + timedelta(hours=list(BOOKINGS).index(letter))
        getattr(lake, kind)(f"_{ord(letter)}", *rows, modified=age)


def land_orders(lake: OrdersLake, letters: str) -> None:
    for letter in letters:
        lake.orders(f"_{letter}", *ORDERS[letter], modified=START + timedelta(hours=list(ORDERS).index(letter)))


def state(lake: BookingsLake | OrdersLake) -> dict[str, object]:
    found: dict[str, object] = {**lake.tables(), "waiting": lake.rows(WAITING)}
    return found | ({"lake": lake.lake_orders()} if isinstance(lake, OrdersLake) else {})


@cache
def clean_run(kind: type[BookingsLake | OrdersLake], letters: str) -> dict[str, object]:
    """What one run over all files gives."""
    with TemporaryDirectory() as folder:
        lake = kind.with_tables(Path(folder))
        land_bookings(lake, letters) if isinstance(lake, BookingsLake) else land_orders(lake, letters)
        lake.run()
        return state(lake)


@pytest.mark.parametrize(
    "stages",
    [("cb", "CB"), ("C", "B", "cb"), ("B", "C", "bc")],
    ids="-".join,
)
def test_customers_and_bookings_may_arrive_in_any_order(lake: BookingsLake, stages: Sequence[str]) -> None:
    for letters in stages:
        land_bookings(lake, letters)
        lake.run()
    found = state(lake)
    assert found == clean_run(BookingsLake, "".join(sorted("".join(stages))))
    assert found["waiting"] == [("bookings", 4, "orphan_booking")], "customer 9 never comes"
    assert not lake.staged()


@pytest.mark.parametrize("stages", [("e", "l", "m"), ("m", "l", "e")], ids="-".join)
def test_versions_of_orders_may_arrive_in_any_order(orders_lake: OrdersLake, stages: Sequence[str]) -> None:
    """Also when only headers are published so far."""
    for letters in stages:
        land_orders(orders_lake, letters)
        orders_lake.run()
    assert state(orders_lake) == clean_run(OrdersLake, "".join(sorted("".join(stages))))
    assert not orders_lake.staged()
