"""Batches of a pipeline run the same statements: a text with a batch's own values is parsed and planned every time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_assets.batch.report import BatchReport
from pipeline_assets_tests.support import bookings_lake, commerce_lake, movies_lake, orders_lake
from pipeline_assets_tests.support.bookings_lake import BookingsLake
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.movies_lake import MoviesLake
from pipeline_assets_tests.support.orders_lake import OrdersLake


def bookings(lake: BookingsLake, number: int) -> None:
    rows = [bookings_lake.CUSTOMER_HEADER, bookings_lake.customer(number)]
    lake.write(f"customer_details_{number}.csv", "\n".join(rows) + "\n")
    rows = [bookings_lake.BOOKING_HEADER, bookings_lake.booking(number, number)]
    lake.write(f"booking_details_{number}.csv", "\n".join(rows) + "\n")


def commerce(lake: CommerceLake, number: int) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)
    lake.deliver("customers", at, commerce_lake.customer(number))
    lake.deliver("orders", at, commerce_lake.order(number, number))


def movies(lake: MoviesLake, number: int) -> None:
    lake.archive(str(number), movies_lake.movie(number))


def orders(lake: OrdersLake, number: int) -> None:
    lake.orders(str(number), orders_lake.order(number, orders_lake.product("P")))


@pytest.mark.parametrize(
    ("kind", "land"), [(BookingsLake, bookings), (CommerceLake, commerce), (MoviesLake, movies), (OrdersLake, orders)]
)
def test_a_later_batch_runs_the_statements_of_the_one_before(kind: type, land: Callable, tmp_path: Path) -> None:
    lake = kind.with_tables(tmp_path / "home")

    def batch(number: int) -> BatchReport:
        land(lake, number)
        return lake.run()

    _, second, third = (batch(number) for number in range(1, 4))
    assert len(second.statements) > 20
    assert set(third.statements) == set(second.statements)
