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


# Folders below each other; the home is the last one. An odd character matters wherever it is in a path.
NAMES = {
    "blanks, quotes and patterns": ("h#1", '"quoted"', "{a,b}", "h[", "a b"),
    "text for SQL, shells and addresses": ("50% off", "a;b:c&d=e,f", "h$HOME", "~", "+@!", "üñ€"),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_a_home_may_have_any_name_that_settings_accept(tmp_path: Path, names: tuple[str, ...]) -> None:
    lake = OrdersLake.with_tables(tmp_path.joinpath(*names))
    land(lake, 1)
    assert lake.run().loaded == 1
    assert lake.rows(ROWS) == [(1, 1)]


def test_a_home_that_was_moved_is_queried_and_loaded_in_its_new_place(tmp_path: Path) -> None:
    """More than once, and to names that need quotes in a pattern or an address."""
    lake, place = OrdersLake.with_tables(tmp_path / "old"), tmp_path / "old"
    land(lake, 1)
    lake.run()

    for number, name in enumerate(("new", "new [ü"), 2):
        before, place = place, Path(shutil.move(place, tmp_path / name))
        moved = OrdersLake.at(place)

        assert moved.rows(ROWS) == [(number - 1, number - 1)]
        land(moved, number)
        assert moved.run().loaded == 1
        assert moved.rows(ROWS) == [(number, number)]
        assert not before.exists()
