"""Rows become a small PNG of the size that the UI shows, whatever their labels and values are."""

from __future__ import annotations

import io
import warnings
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline_assets.orchestration.plots import draw, in_words
from pipeline_assets.pipeline.value import PlotKind

at = datetime.fromisoformat  # the warehouse's times have no time zone
NOW = at("2026-01-01")
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "bar": [("0–9", 4), ("10–19", Decimal("7.50"))],
    "barh": [("Drama", 4), ("Crime", 3.5)],
    "line": [(date(2025, 2, 1), 4, "EUR"), (date(2025, 1, 1), Decimal(7), "EUR"), (date(2025, 1, 1), 1, "GBP")],
    "intervals": [("second", at("2025-06-01 03:00"), None), ("first", at("2025-01-01"), at("2025-06-01 03:00"))],
}
texts = st.text(max_size=60)
numbers = st.one_of(st.integers(-(10**18), 10**18), st.decimals(-(10**9), 10**9, places=4), st.floats(-1e9, 1e9))


def drawn(kind: Any, rows: list[Any], now: datetime = NOW) -> bytes | None:
    columns = ["MONTH", "AMOUNT_SPENT", "NAME"][: len(rows[0])] if rows else []
    return draw(kind, "Title", columns, rows, now)


def size(picture: bytes | None) -> tuple[int, int]:
    assert picture
    image = Image.open(io.BytesIO(picture))
    assert image.format == "PNG"
    return image.size


@pytest.mark.parametrize("kind", get_args(PlotKind))
def test_each_kind_of_plot_is_a_small_png_of_one_size(kind: PlotKind) -> None:
    picture = drawn(kind, ROWS[kind])
    assert size(picture) == (700, 350)
    assert picture
    assert len(picture) < 15_000


@pytest.mark.parametrize("kind", ["barh", "intervals"])
def test_a_picture_is_higher_if_it_has_more_labels_than_fit(kind: PlotKind) -> None:
    width, height = size(drawn(kind, ROWS[kind] * 20))
    assert width == 700
    assert height >= 40 * 20


@pytest.mark.parametrize("kind", get_args(PlotKind))
def test_rows_without_values_give_no_picture(kind: PlotKind) -> None:
    assert drawn(kind, []) is None
    assert drawn(kind, [(row[0], None, *row[2:]) for row in ROWS[kind]]) is None


def test_bars_of_one_label_are_all_drawn() -> None:
    """Remakes share a title."""
    assert drawn("barh", [("Dune", 90), ("Dune", 60)]) != drawn("barh", [("Dune", 90)])


def test_the_first_row_is_the_leftmost_or_the_uppermost_bar() -> None:
    for kind, first_half in (("bar", (0, 0, 350, 350)), ("barh", (0, 0, 700, 175))):
        picture = drawn(kind, [("large", 9), ("small", 1)])
        assert picture
        image = Image.open(io.BytesIO(picture)).convert("RGB")
        blue = [
            sum(count for count, (red, _, blue) in part.getcolors() or [] if blue > 150 > red)  # type: ignore[misc]
            for part in (image.crop(first_half), image)
        ]
        assert blue[0] > blue[1] / 2


def test_the_points_of_a_line_are_ordered_by_their_axis() -> None:
    rows = [(1, 4), (3, 7), (2, 9)]
    assert drawn("line", rows) == drawn("line", sorted(rows))


def test_an_interval_that_has_not_ended_ends_now() -> None:
    open_, ended = ROWS["intervals"]
    later = NOW + timedelta(days=90)
    assert drawn("intervals", [open_]) != drawn("intervals", [open_], later)
    assert drawn("intervals", [ended]) == drawn("intervals", [ended], later)
    assert drawn("intervals", [open_], at("2024-01-01"))  # the clock of the source is ahead


@given(rows=st.lists(st.tuples(st.none() | texts, st.none() | numbers), min_size=1, max_size=20))
@example(rows=[("\u1774" * 36, 0)] * 2)
@settings(max_examples=10, deadline=None)
def test_any_label_and_number_can_be_drawn(rows: list[tuple[str | None, Any]]) -> None:
    """Dollar signs do not begin a formula, and glyphs that the font lacks are not a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("bar", "barh"):
            assert (drawn(kind, rows) is None) is all(value is None for _, value in rows)


def test_a_title_with_dollar_signs_is_not_a_formula() -> None:
    assert drawn("barh", [(r"$\frac{$ and $\sqrt$", 1), ("映画", 2)])


def test_a_point_without_a_place_on_the_axis_is_left_out() -> None:
    assert drawn("line", [(None, 4)]) is None
    assert drawn("line", [(1, 4), (None, 9)]) == drawn("line", [(1, 4)])


def test_names_are_titles_in_words() -> None:
    assert [in_words("AVERAGE_RATING"), in_words("top_movies")] == ["Average rating", "Top movies"]
