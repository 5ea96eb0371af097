"""A home is a folder like any other: it may have an odd name, and it may be moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product

ROWS = "SELECT COUNT(*), COUNT(DISTINCT ORDER_DATE) FROM ORDERS.ORDERS_PARQUET_DATALAKE"


def land(lake: OrdersLake, number: int) -> None:
    lake.write(f"{number}.json", json.dumps(order(number, product(1), date=f"2024-01-{number:02}")))


@pytest.mark.parametrize(
    "name", ["a b", "h#1", "50% off", "üñ€", '"quoted"', "{a,b}", "h[", "a;b:c&d=e,f", "h$HOME", "~", "+@!"]
)
def test_a_home_may_have_any_name_that_settings_accept(tmp_path: Path, name: str) -> None:
    lake = OrdersLake.with_tables(tmp_path / name)
    land(lake, 1)
    assert lake.run().loaded == 1
    assert lake.rows(ROWS) == [(1, 1)]


@pytest.mark.parametrize("name", ["new", "new [", "neü"])
def test_a_home_that_was_moved_is_queried_and_loaded_in_its_new_place(tmp_path: Path, name: str) -> None:
    lake = OrdersLake.with_tables(tmp_path / "old")
    land(lake, 1)
    lake.run()

    shutil.move(tmp_path / "old", tmp_path / name)
    moved = OrdersLake.at(tmp_path / name)

    assert moved.rows(ROWS) == [(1, 1)]
    land(moved, 2)
    assert moved.run().loaded == 1
    assert moved.rows(ROWS) == [(2, 2)]
    assert not (tmp_path / "old").exists()
