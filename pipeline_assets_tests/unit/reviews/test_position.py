"""Positions: any value is a literal of itself, a condition finds exactly the rows behind, and comparison is exact."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.reviews.columns import SourceColumn
from pipeline_assets.reviews.position import Ordered, greatest_position, literal, position_order, rows_behind
from pipeline_assets.reviews.types import MySqlType, mysql_column, sqlite_column

ANY_TEXT = st.text(st.characters(blacklist_categories=("Cs",)))
SMALL = st.none() | st.integers(-2, 2)
INTEGERS = tuple(sqlite_column(name, "INTEGER", nullable=True) for name in ("a", "b", "k"))


@given(ANY_TEXT)
def test_a_text_is_a_literal_without_its_own_characters(text: str) -> None:
    found = re.fullmatch(r"_utf8mb4 X'([0-9a-f]*)'", literal("mysql", "text", text))
    assert found
    assert bytes.fromhex(found[1]).decode() == text


@given(ANY_TEXT)
def test_sqlite_reads_the_literal_of_a_text_as_the_text(text: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        ((found,),) = connection.execute(f"SELECT {literal('sqlite', 'text', text)}")
    assert found == text


@given(st.sampled_from(["number", "float", "date", "timestamp", "binary"]), ANY_TEXT)
def test_what_is_no_value_of_a_type_is_refused_and_never_quoted(kind: Any, text: str) -> None:
    try:
        written = literal("mysql", kind, text)
    except ConfigurationError:
        return
    assert re.fullmatch(r"X?'?[-+0-9A-F:. Te]*'?", written, re.ASCII)


@pytest.mark.parametrize("text", ["1 OR 1=1", "1'", "", "\uff11", "1\n", "0x10", "2024-01-01' OR '", "2024-01-01\n"])
@pytest.mark.parametrize("kind", ["number", "float", "date", "timestamp", "binary"])
def test_a_damaged_watermark_is_refused(kind: Any, text: str) -> None:
    if (kind, text) != ("binary", ""):
        with pytest.raises(ConfigurationError, match="watermark does not fit"):
            literal("mysql", kind, text)


@given(st.lists(st.tuples(SMALL, SMALL, SMALL), max_size=20), st.tuples(*[st.integers(-2, 2)] * 3))
def test_the_condition_finds_exactly_the_rows_behind_a_position(
    rows: list[tuple[int | None, ...]], position: tuple[int, ...]
) -> None:
    """NULL is behind every value."""
    condition = rows_behind("sqlite", Ordered(INTEGERS, 2), [str(value) for value in position], None)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b INTEGER, k INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        found = connection.execute(f"SELECT * FROM t WHERE {condition}").fetchall()

    def last(row: tuple[int | None, ...]) -> list[tuple[bool, int]]:
        return [(value is None, value or 0) for value in row]

    assert sorted(found, key=last) == sorted((row for row in rows if last(row) > last(position)), key=last)


@given(st.lists(st.tuples(SMALL, SMALL), min_size=1), st.booleans())
def test_the_greatest_position_is_that_of_the_last_row_without_null(
    rows: list[tuple[int | None, ...]], as_text: bool
) -> None:
    import pyarrow as pa

    columns = [column.column for column in INTEGERS[:2]]
    arrays = [pa.array(column, pa.int64()) for column in zip(*rows, strict=True)]
    batch = pa.record_batch([array.cast(pa.string()) if as_text else array for array in arrays], names=["a", "b"])
    whole = [row for row in rows if None not in row]
    expected = tuple(map(str, max(whole))) if whole else None  # type: ignore[type-var]
    assert greatest_position(columns, batch) == expected


@given(st.lists(st.decimals(-(10**30), 10**30, places=20), min_size=2, max_size=2))
def test_numbers_are_compared_exactly_and_by_value(values: list) -> None:
    order = position_order([SourceColumn("n", "decimal(50,20)", "VARCHAR")])
    smaller, greater = sorted(values)
    assert order([format(smaller, "f")]) <= order([format(greater, "f")])
    assert (order([format(smaller, "f")]) == order([format(greater, "f")])) == (smaller == greater)


def test_positions_of_several_columns_are_compared_in_order() -> None:
    columns = [
        SourceColumn("at", "datetime", "TIMESTAMP_NTZ(6)"),
        SourceColumn("id", "bigint(20) unsigned", "NUMBER(20,0)"),
        SourceColumn("code", "varchar(3)", "VARCHAR(3)"),
    ]
    ascending: list[tuple[str, ...]] = [
        (),
        ("2024-01-01 00:00:00.000000", "9", "z"),
        ("2024-01-01 00:00:00.000000", "10", "B"),
        ("2024-01-01 00:00:00.000000", "10", "a"),
        ("2024-01-01 00:00:00.000001", "1", ""),
    ]
    descending = ascending[::-1]
    assert sorted(descending, key=position_order(columns)) == ascending


def test_a_position_of_other_columns_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="watermark does not fit"):
        rows_behind("sqlite", Ordered(INTEGERS, 2), ["1", "2"], None)


def test_the_range_of_an_index_on_the_cursor_is_the_first_condition() -> None:
    columns = (
        mysql_column("t", "at", MySqlType("datetime", "datetime(6)"), nullable=False),
        mysql_column("t", "id", MySqlType("int", "int(11)"), nullable=False),
    )
    condition = rows_behind("mysql", Ordered(columns, 1), ["2024-01-02 00:00:00.000000", "5"], "2024-01-01 23:55:00")
    first, _, rest = condition.partition(" AND ")
    assert first == (
        "(`at` >= '2024-01-02 00:00:00.000000' OR `at` IS NULL OR `at` < '0001-01-01' OR `at` >= '2024-01-01 23:55:00')"
    )
    assert "`at` = '2024-01-02 00:00:00.000000' AND (`id` > 5)" in rest
