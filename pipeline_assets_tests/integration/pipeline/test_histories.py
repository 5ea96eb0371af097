"""Slowly changing dimensions: the history of each key is that of all its observations, in whatever order they came."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_assets_tests.support.item_history import (
    Delivered,
    broken,
    deliver,
    expected,
    found,
    history,
    item,
    kind,
    prices,
)
from pipeline_assets_tests.support.small_pipelines import SmallLake, later


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return kind().with_tables(tmp_path / "home")


# --- what happens to one key ----------------------------------------------------------------------------------


GONE = "gone"
# In each batch: the observations of the key, which has the name of the case, as (hour, price), and the history after
# it as (price, begin, end). A file of a later batch is the first by its URI.
CASES: dict[str, list[tuple[list[tuple[float, object]], list[tuple]]]] = {
    "a late version splits the interval that it lies in": [
        ([(1, 10), (2, 10), (3, 20)], [("10", 1, 3), ("20", 3, None)]),
        ([(1.5, 15)], [("10", 1, 1.5), ("15", 1.5, 2), ("10", 2, 3), ("20", 3, None)]),
        ([(4, 15)], [("10", 1, 1.5), ("15", 1.5, 2), ("10", 2, 3), ("20", 3, 4), ("15", 4, None)]),
    ],
    "an earlier equal version moves the begin": [
        ([(2, 10)], [("10", 2, None)]),
        ([(1, 10), (3, 10)], [("10", 1, None)]),
    ],
    "an older version in the batch of the newest": [
        ([(1, 10), (3, 20), (2, 15)], [("10", 1, 2), ("15", 2, 3), ("20", 3, None)]),
    ],
    "a deletion ends the interval and a later record begins a new one": [
        ([(1, 10), (2, GONE), (3, GONE)], [("10", 1, 2)]),
        ([(4, 10)], [("10", 1, 2), ("10", 4, None)]),
    ],
    "a key that is only deleted has no row": [
        ([(1, GONE)], []),
        ([(0, 5)], [("5", 0, 1)]),
    ],
    "a value that is missing is a value like any other": [
        ([(1, ""), (2, ""), (3, 5), (4, "")], [(None, 1, 3), ("5", 3, 4), (None, 4, None)]),
    ],
    "of two observations of one time the last by URI counts": [
        ([(1, 2)], [("2", 1, None)]),
        ([(1, 1)], [("2", 1, None)]),
    ],
}
BATCHES = 3
COMPOSITE = (("a", "bc"), ("ab", "c"), ("\u00fc|", "1:x"))  # shop and item


class Found(NamedTuple):
    """The home of all cases after a batch; rows as (shop, item, surrogate key, price, picture, begin, end, current)."""

    rows: list[tuple]
    cells: dict[str, list[tuple[str, ...]]]

    def of(self, case: str) -> list[tuple]:
        return [row[2:] for row in self.rows if row[1] == case]


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """The home after each batch, and once more after all was processed again."""
    lake = kind().with_tables(tmp_path_factory.mktemp("cases") / "home")
    lake.csv("composite", *(item(1, shop=shop, item=name) for shop, name in COMPOSITE), at=1)
    after = []
    for batch in range(BATCHES + 1):
        for number, (case, steps) in enumerate(CASES.items()):
            for hour, price in steps[batch][0] if batch < len(steps) else ():
                picture = f"{hour} in {batch}"
                values = item("", "", "", gone="true") if price == GONE else item(price, picture=picture)
                lake.csv(f"{BATCHES - batch}-{number}-{hour}", values | {"ITEM": case}, at=hour)
        lake.run(reprocess=batch == BATCHES)
        rows = history(lake, "SHOP, ITEM, ITEM_SK, CAST(PRICE AS INTEGER), PICTURE")
        after.append(Found(rows, lake.cells()))
    assert lake.run().new == 0
    return after


@pytest.mark.parametrize("case", CASES)
def test_the_history_of_a_key_is_that_of_all_its_observations_after_each_batch(case: str, batches: list[Found]) -> None:
    steps = CASES[case]
    for batch, (_, expected_rows) in enumerate(steps):
        found_rows = [(price, begin, end, current) for _, price, _, begin, end, current in batches[batch].of(case)]
        assert found_rows == [(*row, row[-1] is None) for row in expected_rows], f"batch {batch}"


@pytest.mark.parametrize("case", CASES)
def test_an_overwritten_column_has_the_newest_value_in_all_rows(case: str, batches: list[Found]) -> None:
    seen: list[tuple[float, int, str]] = []
    for batch, (observations, _) in enumerate(CASES[case]):
        seen += [(hour, -batch, f"{hour} in {batch}") for hour, price in observations if price != GONE]
        assert {row[2] for row in batches[batch].of(case)} == ({max(seen)[2]} if seen else set()), f"batch {batch}"


def test_surrogate_keys_are_unambiguous_as_documented_and_move_with_the_begin(batches: list[Found]) -> None:
    for found_rows, _ in batches:
        made = {row[:3] for row in found_rows}
        assert {(shop, name) for shop, name, _ in made} >= set(COMPOSITE)
        assert len({key for _, _, key in made}) == len(found_rows)
        for shop, name, key, _, _, begin, *_ in found_rows:
            microseconds = int(later(begin).timestamp()) * 1_000_000
            text = f"{len(shop)}:{shop}|{len(name)}:{name}|{microseconds}"
            assert key == hashlib.md5(text.encode()).hexdigest(), text


def test_a_mart_over_current_rows_follows_every_batch(batches: list[Found]) -> None:
    for found_rows, cells in batches:
        current = Counter(price and f"{price}.0000" for _, _, _, price, *_, is_current in found_rows if is_current)
        assert {price: int(items) for price, items in cells["items_by_price"]} == {
            str(price): n for price, n in current.items()
        }


def test_processing_everything_again_changes_nothing(batches: list[Found]) -> None:
    *_, before, after = batches
    assert after == before


def test_a_correction_with_an_old_time_and_bytes_that_are_put_back_win_over_what_they_replace(lake: SmallLake) -> None:
    """A version has the time of what it replaces. Six files are corrected, as their etags are in any order."""
    path = lake.csv("put back", item(0, item="z"), at=6)
    backup = lake.home / "backup"
    os.link(path, backup)
    for batch in range(3):
        for number in range(6):
            lake.csv(f"file{number}", item(batch, item=f"{number}"), at=6 - batch)
        if batch:
            path.unlink()
        if batch == 1:
            lake.csv("put back", item(1, item="z"), at=7)
        if batch == 2:
            os.link(backup, path)
        lake.run()
        assert prices(lake)[:6] == [(str(batch), 6, None, True)] * 6
    for _ in range(2):
        assert prices(lake) == [*[("2", 6, None, True)] * 6, ("0", 6, None, True)]
        lake.run(reprocess=True)
    assert broken(lake) == []


# --- any order gives one history ------------------------------------------------------------------------------


RECORDS = st.tuples(
    st.sampled_from("ij"),
    st.none() | st.integers(1, 2),
    st.sampled_from("mn"),
    st.sampled_from("pq"),
    st.sampled_from([False, False, True]),
)
FILES = st.lists(
    st.builds(Delivered, st.just(""), st.integers(0, 5), st.lists(RECORDS, min_size=1, max_size=3).map(tuple)),
    min_size=1,
    max_size=7,
).map(lambda files: [replace(file, name=f"f{number}") for number, file in enumerate(files)])


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(files=FILES, order=st.randoms(use_true_random=False), batches=st.integers(1, 4))
def test_any_order_and_split_into_batches_gives_the_history_of_all_observations(
    tmp_path_factory: pytest.TempPathFactory, files: list[Delivered], order: random.Random, batches: int
) -> None:
    lake = kind().with_tables(tmp_path_factory.mktemp("lake") / "home")
    shuffled = order.sample(files, len(files))
    for number in range(batches):
        for file in shuffled[number::batches]:
            deliver(lake, file)
        lake.run(reprocess=order.random() < 0.3)
    assert found(lake) == expected(files)
    assert broken(lake) == []


def test_interleavings_of_eighty_keys_give_the_history_of_each(lake: SmallLake) -> None:
    """Three interleavings, each with keys of its own, in common batches."""

    def shuffled(seed: int) -> list[Delivered]:
        draw = random.Random(seed)

        def record(key: int) -> tuple:
            values = draw.choice([None, 1, 2]), draw.choice("mn"), draw.choice("pq"), draw.random() < 0.2
            return f"{seed}k{key:02}", *values

        files = [
            Delivered(f"{seed}f{number}", draw.randrange(6), tuple(map(record, draw.choices(range(80), k=70))))
            for number in range(9)
        ]
        return draw.sample(files, len(files))

    draw = random.Random(0)
    interleavings = [shuffled(seed) for seed in range(3)]
    for files in zip(*interleavings, strict=True):
        for file in files:
            deliver(lake, file)
        if draw.random() < 0.5:
            lake.run(reprocess=draw.random() < 0.3)
    lake.run()
    assert found(lake) == expected(itertools.chain(*interleavings))
    assert broken(lake) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_batch_on_spark_gives_the_same_history(lake: SmallLake) -> None:
    files = [
        Delivered("b", 2, (("i", 1, "n", "p", False), ("i", 2, "n", "p", False), ("j", 1, "n", "p", False))),
        Delivered("a", 1, (("i", 3, "n", "q", False), ("i", 2, "n", "q", False), ("j", None, "n", "q", True))),
        Delivered("c", 2, (("j", 2, "m", "r", False), ("j", 1, "m", "r", False), ("i", 2, "n", "q", True))),
    ]
    for file in files:
        deliver(lake, file)
    assert lake.run(engine="spark").engine == "spark"
    assert found(lake) == expected(files)
    assert broken(lake) == []


def test_checks_find_rows_that_somebody_changed(lake: SmallLake) -> None:
    lake.csv("1", item(1), at=1)
    lake.csv("2", item(2), at=2)
    lake.run()
    assert broken(lake) == []
    changes = {
        "UPDATE SHOP.DIM_ITEM SET IS_CURRENT = TRUE": {"disjoint_intervals", "current_rows", "reconciles"},
        "UPDATE SHOP.DIM_ITEM SET VALID_TO = NULL": {"disjoint_intervals", "reconciles"},
        "DELETE FROM SHOP.DIM_ITEM WHERE IS_CURRENT": {"reconciles"},
    }
    warehouse = lake.platform.warehouse
    with warehouse.autocommit() as connection:
        connection.execute("CREATE TABLE SHOP.SOUND AS SELECT * FROM SHOP.DIM_ITEM")
    for change, names in changes.items():
        with warehouse.transaction() as transaction:
            transaction.execute("DELETE FROM SHOP.DIM_ITEM")
            transaction.execute("INSERT INTO SHOP.DIM_ITEM SELECT * FROM SHOP.SOUND")
            transaction.execute(change)
        assert names <= set(broken(lake)), change
    with warehouse.transaction() as transaction:
        transaction.execute("DELETE FROM SHOP.DIM_ITEM")
    lake.run(reprocess=True)
    assert broken(lake) == []
