"""`doctor` compares the list of tables with the source and the warehouse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.doctor.installation import CheckResult
from pipeline_assets.doctor.run import run_doctor
from pipeline_assets_tests.support.reviews_lake import ReviewsLake

CREATE = "CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT, changed DATETIME)"


def examined(lake: ReviewsLake) -> CheckResult:
    (found,) = (r for r in run_doctor(lake.settings, [lake.pipeline]) if r.what == "reviews: books")
    return found


def books(home: Path, **changes: Any) -> ReviewsLake:
    lake = ReviewsLake.at(home, {"name": "books", "key": "id", "cursor": "changed"} | changes)
    lake.sql(CREATE, "INSERT INTO books VALUES (1, 'One', '2024-01-01 00:00:00')")
    return lake


def test_a_table_that_was_never_loaded_is_fine(tmp_path: Path) -> None:
    found = examined(books(tmp_path, cursor="id"))
    assert (found.passed, found.warns) == (True, False)
    assert found.detail == "3 columns; its first run creates REVIEWS.BOOKS"


def test_a_cursor_without_index_is_a_warning(tmp_path: Path) -> None:
    found = examined(books(tmp_path))
    assert (found.passed, found.warns) == (True, True)
    assert "no index begins with the cursor changed" in found.detail
    lake = books(tmp_path / "indexed") if (tmp_path / "indexed").mkdir() is None else None
    assert lake
    lake.sql("CREATE INDEX changes ON books (changed, id)")
    assert not examined(lake).warns


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"name": "book"}, "has no table book that its user may read; did you mean books?"),
        ({"key": "idd"}, "has no column idd, which is listed as key"),
        ({"personal": "titel"}, "has no column titel, which is listed as personal; did you mean title?"),
    ],
)
def test_a_table_or_column_that_is_not_there_fails(change: dict[str, str], what: str, tmp_path: Path) -> None:
    lake = books(tmp_path, **change)
    (found,) = (r for r in run_doctor(lake.settings, [lake.pipeline]) if r.what.startswith("reviews: "))
    assert found.passed is False
    assert what in found.detail


def test_a_source_that_is_not_there_fails(tmp_path: Path) -> None:
    lake = ReviewsLake.at(tmp_path, {"name": "books", "key": "id"})
    assert examined(lake).passed is False


def test_drift_is_a_warning_before_the_next_extract(tmp_path: Path) -> None:
    lake = books(tmp_path, cursor="id")
    lake.extract()
    assert examined(lake).detail == "3 columns, as in REVIEWS.BOOKS"
    lake.sql("ALTER TABLE books RENAME COLUMN title TO name")
    found = examined(lake)
    assert found.warns
    assert "the next extract would be rejected. A column was renamed" in found.detail
    assert "the source no longer has TITLE" in found.detail
