"""Tables of a source through whole runs: first load, changes, strategies, drift, files of others, failures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_assets_tests.support.reviews_lake import ReviewsLake

BOOKS = {"name": "books", "key": "id", "cursor": "changed"}
CREATE = "CREATE TABLE books (id INTEGER PRIMARY KEY, title VARCHAR(20), price DECIMAL(8,2), changed DATETIME)"
FIRST = (CREATE, "INSERT INTO books VALUES (1, 'One', 1.5, '2024-01-01 00:00:00'), (2, '', NULL, '2024-01-02 00:00:00')")


def books(home: Path, **changes: Any) -> ReviewsLake:
    return ReviewsLake.at(home, BOOKS | changes)


def test_a_first_run_loads_all_rows_and_the_next_one_nothing(tmp_path: Path) -> None:
    lake = books(tmp_path)
    lake.sql(*FIRST)
    report = lake.extract()["books"]
    assert report and report.rows == {"read": 2, "loaded": 2, "superseded": 0, "quarantined": 0}
    assert [tuple(map(str, row)) for row in lake.table("BOOKS", "ID, TITLE, PRICE, CHANGED")] == [
        ("1", "One", "1.50", "2024-01-01 00:00:00"),
        ("2", "", "None", "2024-01-02 00:00:00"),
    ]
    assert lake.extract() == {"books": None}
    assert len(lake.landed("books")) == 2, "a file and its manifest"
