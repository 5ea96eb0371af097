"""Slowly changing dimensions: the history of each key is that of all its observations, in whatever order they came."""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import replace
from pathlib import Path

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


def test_a_late_version_splits_the_interval_that_it_lies_in(lake: SmallLake) -> None:
    for hour, price in ((1, 10), (2, 10), (3, 20)):
        lake.csv(f"at{hour}", item(price), at=hour)
    lake.run()
    assert prices(lake) == [("10", 1, 3, False), ("20", 3, None, True)]
    assert lake.cells()["items_by_price"] == [("20.0000", "1")]
    lake.csv("late", item(15), at=1.5)
    lake.run()
    assert prices(lake) == [("10", 1, 1.5, False), ("15", 1.5, 2, False), ("10", 2, 3, False), ("20", 3, None, True)]
    lake.csv("newest", item(15), at=4)
    lake.run()
    assert lake.cells()["items_by_price"] == [("15.0000", "1")]


def test_an_earlier_equal_version_moves_the_begin_and_the_surrogate_key(lake: SmallLake) -> None:
    lake.csv("b", item(10), at=2)
    lake.run()
    before = lake.rows("SELECT ITEM_SK FROM SHOP.DIM_ITEM")
    lake.csv("a", item(10), at=1)
    lake.csv("c", item(10), at=3)
    lake.run()
    assert prices(lake) == [("10", 1, None, True)]
    assert lake.rows("SELECT ITEM_SK FROM SHOP.DIM_ITEM") != before


def test_an_overwritten_column_has_the_newest_value_in_all_rows(lake: SmallLake) -> None:
    lake.csv("1", item(10, picture="old"), at=1)
    lake.csv("3", item(20, picture="new"), at=3)
    lake.csv("2", item(15, picture="middle"), at=2)
    lake.run()
    assert [row[:3] for row in history(lake)] == [(f"{p}.0000", "n", "new") for p in (10, 15, 20)]


def test_a_deletion_ends_the_interval_and_a_later_record_begins_a_new_one(lake: SmallLake) -> None:
    lake.csv("1", item(10, picture="kept"), at=1)
    lake.csv("2", item("", "", "", gone="true"), at=2)
    lake.csv("3", item("", "", "", gone="true"), at=3)
    lake.run()
    assert history(lake) == [("10.0000", "n", "kept", 1, 2, False)]
    assert lake.cells()["items_by_price"] == []
    lake.csv("4", item(10, picture="kept"), at=4)
    lake.run()
    assert prices(lake) == [("10", 1, 2, False), ("10", 4, None, True)]


def test_a_key_that_is_only_deleted_has_no_row(lake: SmallLake) -> None:
    lake.csv("1", item("", gone="true"), item(1, item="j"), at=1)
    lake.run()
    assert prices(lake) == [("1", 1, None, True)]
    lake.csv("0", item(5), at=0)
    lake.run()
    assert prices(lake) == [("5", 0, 1, False), ("1", 1, None, True)]


def test_a_value_that_is_missing_is_a_value_like_any_other(lake: SmallLake) -> None:
    for hour, price in ((1, ""), (2, ""), (3, 5), (4, "")):
        lake.csv(f"{hour}", item(price), at=hour)
    lake.run()
    assert prices(lake) == [(None, 1, 3, False), ("5", 3, 4, False), (None, 4, None, True)]


def test_of_two_observations_of_one_time_the_last_by_uri_counts(lake: SmallLake) -> None:
    lake.csv("b", item(2), at=1)
    lake.run()
    lake.csv("a", item(1), at=1)
    lake.run()
    assert prices(lake) == [("2", 1, None, True)]


def test_a_correction_with_an_old_time_wins_over_what_it_replaces(lake: SmallLake) -> None:
    """Its version has the time of what it replaces; six of them, as their etags are in any order."""
    for price in range(6):
        lake.csv("file", item(price), at=6 - price)
        lake.run()
        assert prices(lake) == [(str(price), 6, None, True)]
    lake.run(reprocess=True)
    assert prices(lake) == [("5", 6, None, True)]


def test_bytes_that_are_put_back_are_another_observation(lake: SmallLake) -> None:
    path = lake.csv("file", item(1), at=1)
    backup = lake.home / "backup"
    os.link(path, backup)
    lake.run()
    path.unlink()
    lake.csv("file", item(2), at=2)
    lake.run()
    path.unlink()
    os.link(backup, path)
    lake.run()
    assert prices(lake) == [("1", 1, None, True)]
    lake.run(reprocess=True)
    assert prices(lake) == [("1", 1, None, True)]
    assert broken(lake) == []


def test_surrogate_keys_of_composite_keys_are_unambiguous_and_as_documented(lake: SmallLake) -> None:
    lake.csv("1", item(1, shop="a", item="bc"), item(1, shop="ab", item="c"), item(1, shop="ü|", item="1:x"), at=1)
    lake.run()
    microseconds = int(later(1).timestamp()) * 1_000_000
    assert {(shop, name): key for key, shop, name in lake.rows("SELECT ITEM_SK, SHOP, ITEM FROM SHOP.DIM_ITEM")} == {
        (shop, name): hashlib.md5(f"{len(shop)}:{shop}|{len(name)}:{name}|{microseconds}".encode()).hexdigest()
        for shop, name in (("a", "bc"), ("ab", "c"), ("ü|", "1:x"))
    }


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


@pytest.mark.parametrize("seed", range(3))
def test_interleavings_of_eighty_keys_give_the_history_of_each(lake: SmallLake, seed: int) -> None:
    draw = random.Random(seed)

    def record(key: int) -> tuple:
        return f"k{key:02}", draw.choice([None, 1, 2]), draw.choice("mn"), draw.choice("pq"), draw.random() < 0.2

    files = [
        Delivered(f"f{number}", draw.randrange(6), tuple(record(key) for key in draw.choices(range(80), k=70)))
        for number in range(9)
    ]
    for file in draw.sample(files, len(files)):
        deliver(lake, file)
        if draw.random() < 0.5:
            lake.run(reprocess=draw.random() < 0.3)
    lake.run()
    assert found(lake) == expected(files)
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


def test_processing_everything_again_changes_nothing(lake: SmallLake) -> None:
    for number in range(4):
        deliver(lake, Delivered(f"f{number}", number, (("i", number % 2, "n", "p", number == 2),)))
    lake.run()
    before = lake.cells()
    lake.run(reprocess=True)
    assert lake.cells() == before
    assert lake.run().new == 0


def test_checks_find_rows_that_somebody_changed(lake: SmallLake) -> None:
    lake.csv("1", item(1), at=1)
    lake.csv("2", item(2), at=2)
    lake.run()
    assert broken(lake) == []
    for change, names in (
        ("UPDATE SHOP.DIM_ITEM SET IS_CURRENT = TRUE", {"disjoint_intervals", "current_rows", "reconciles"}),
        ("UPDATE SHOP.DIM_ITEM SET VALID_TO = NULL", {"disjoint_intervals", "reconciles"}),
        ("DELETE FROM SHOP.DIM_ITEM WHERE IS_CURRENT", {"reconciles"}),
    ):
        with lake.platform.warehouse.transaction() as transaction:
            transaction.execute(change)
        assert names <= set(broken(lake)), change
        with lake.platform.warehouse.transaction() as transaction:
            transaction.execute("DELETE FROM SHOP.DIM_ITEM")
        lake.run(reprocess=True)
        assert broken(lake) == []
