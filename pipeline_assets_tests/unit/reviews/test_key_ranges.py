"""Ranges of keys in two tables: what differs is found, whatever the keys are."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.reviews.key_ranges import (
    bounds_statement,
    differing_ranges,
    ranges_of,
    ranges_statement,
    width_for,
    within,
)

KEYS = st.sets(
    st.integers(-200_000, 200_000) | st.integers(-(2**63), 2**63 - 1) | st.integers(2**62, 2**62 + 300), max_size=60
)


@cache
def _database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()  # takes longer than an example


def found(some: Collection[int], others: Collection[int]) -> tuple[set[int], set[int], int]:
    """The keys of both in the ranges that differ, and the number of ranges."""
    with _database().cursor() as database:
        for name, keys in (("A", some), ("B", others)):
            database.execute(f"CREATE OR REPLACE TEMP TABLE {name} (K DECIMAL(38,0))")
            if keys:
                database.execute(f"INSERT INTO {name} VALUES {', '.join(f'({key})' for key in keys)}")
        both = [database.execute(bounds_statement("K", name, "TRUE")).fetchall()[0] for name in "AB"]
        width = width_for([bound for bounds in both for bound in bounds])
        of_a, of_b = (
            ranges_of(database.execute(ranges_statement("K", name, "TRUE", width)).fetchall()) for name in "AB"
        )
        ranges = differing_ranges(of_a, of_b, width)
        if not ranges:
            return set(), set(), 0
        read = [database.execute(f"SELECT K FROM {name} WHERE {within('K', ranges)}").fetchall() for name in "AB"]
        return {int(key) for (key,) in read[0]}, {int(key) for (key,) in read[1]}, len(ranges)


@given(KEYS, KEYS, KEYS)
def test_the_ranges_that_differ_have_exactly_the_keys_that_differ(
    common: set[int], only_a: set[int], only_b: set[int]
) -> None:
    a, b, _ = found(common | only_a, common | only_b)
    assert a - b == (common | only_a) - (common | only_b)
    assert b - a == (common | only_b) - (common | only_a)


@given(KEYS)
def test_equal_keys_are_not_read(keys: set[int]) -> None:
    assert found(keys, keys) == (set(), set(), 0)


@pytest.mark.parametrize(
    ("some", "others"),
    [({1}, {2}), ({1, 4}, {2, 3}), ({0, 3, 5, 6}, {1, 2, 4, 7}), ({-5}, {5}), ({2**31, 9}, {2**31 - 1, 10})],
)
def test_equal_counts_and_sums_of_other_keys_differ(some: set[int], others: set[int]) -> None:
    assert found(some, others)[:2] == (some, others)


def test_only_the_range_of_a_difference_is_read() -> None:
    keys = set(range(0, 1_000_000, 500))
    a, b, count = found(keys, keys - {500_000})
    assert (len(a), len(b), count) == (131, 130, 1)


@given(st.integers(0, 2**64), st.integers(0, 2**64))
def test_there_are_at_most_some_thousand_ranges(one: int, other: int) -> None:
    width = width_for([one, other])
    assert abs(one - other) // width <= 4_096
