"""The columns and values of a source become the 26 text columns of a movie, or an error that names the column."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.movies.columns import COLUMNS, as_text, row_builder


def test_there_are_26_columns_with_the_key_among_them() -> None:
    assert len(set(COLUMNS)) == 26
    assert "imdbID" in COLUMNS


def test_columns_are_found_in_any_order_and_case_and_absent_ones_are_null() -> None:
    row = dict(zip(COLUMNS, row_builder(["imdbid", "TITLE"])(["tt1", "A"]), strict=True))
    assert {name: value for name, value in row.items() if value is not None} == {"Title": "A", "imdbID": "tt1"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["imdbID", "rating", "made\nin"], "does not have: rating, made in"),
        (["title", "Title"], "Title more than once"),
        (["Title", "Year"], "does not yield imdbID"),
    ],
)
def test_columns_that_do_not_make_a_movie_are_named(names: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        row_builder(names)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("", ""),
        (" a ", " a "),
        (7, "7"),
        (7.5, "7.5"),
        (Decimal("1.50"), "1.50"),
        (True, "True"),
        (date(2046, 1, 2), "2046-01-02"),
        (datetime(2020, 1, 2, 3, tzinfo=UTC), "2020-01-02T03:00:00+00:00"),
        ([{"Source": "Ä", "Value": "9/10"}], '[{"Source": "Ä", "Value": "9/10"}]'),
        ([date(2020, 1, 2)], '["2020-01-02"]'),
        ("half \ud83d", "half \\ud83d"),
    ],
)
def test_a_value_is_text(value: object, text: str | None) -> None:
    assert as_text("Plot", value) == text


def test_a_binary_value_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Poster of movies is binary"):
        as_text("Poster", b"\x00")


def documents(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)


@given(st.recursive(st.none() | st.text(max_size=5) | st.integers(), documents, max_leaves=5))
def test_any_document_becomes_text_that_utf_8_has(value: object) -> None:
    text = as_text("Ratings", value)
    assert (text or "").encode().decode() == (text or "")
    if isinstance(value, list | dict):
        assert text
        assert json.loads(text) == value
