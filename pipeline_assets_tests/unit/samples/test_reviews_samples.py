"""The samples of reviews: a database that is the same for the same seed and has every kind of dirt at any scale."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from pipeline_assets.samples import write_samples

Tables = dict[str, list[tuple]]


def tables(folder: Path, scale: float) -> Tables:
    files = write_samples("reviews", folder, scale=scale)
    assert len({file.path for file in files}) == 1
    with closing(sqlite3.connect(files[0].path)) as connection:
        found = {file.kind: connection.execute(f"SELECT * FROM {file.kind}").fetchall() for file in files}
    assert {file.kind: file.rows for file in files} == {name: len(rows) for name, rows in found.items()}
    return found


@pytest.fixture(scope="module", params=[0.001, 1.0])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return tables(tmp_path_factory.mktemp("reviews"), request.param)


def test_the_same_seed_gives_the_same_bytes_and_leaves_the_file_alone(tmp_path: Path) -> None:
    first, *_ = write_samples("reviews", tmp_path / "a", scale=0.1)
    second, *_ = write_samples("reviews", tmp_path / "b", scale=0.1)
    assert first.path.read_bytes() == second.path.read_bytes()
    before = first.path.stat()
    write_samples("reviews", tmp_path / "a", scale=0.1)
    assert (first.path.stat().st_ino, first.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_larger_scale_has_the_same_rows_first(tmp_path: Path) -> None:
    small, large = tables(tmp_path / "a", 0.04), tables(tmp_path / "b", 0.4)
    assert all(large[name][: len(rows)] == rows for name, rows in small.items())


def test_reviews_have_true_duplicates_and_repeated_keys(found: Tables) -> None:
    reviews = found["amazonebook_reviews"]
    assert max(Counter(reviews).values()) > 1
    assert len({row[:2] for row in reviews}) < len(set(reviews))
    assert {book for book, *_ in reviews} <= {book for book, *_ in found["amazone_books"]}


def test_every_kind_of_dirt_is_there_and_most_rows_are_clean(found: Tables) -> None:
    books, reviews = found["amazone_books"], found["amazonebook_reviews"]
    assert "n/a" in {row[2] for row in books}
    assert None in {row[4] for row in books}
    assert any(row[1] != row[1].strip() for row in books)
    assert "five" in {row[2] for row in reviews}
    assert "yesterday" in {row[5] for row in reviews}
    assert "" in {row[4] for row in reviews}
    assert sum(row[2] == "n/a" for row in books) < len(books) / 10
    assert sum(row[2] == "five" or row[5] == "yesterday" for row in reviews) < len(reviews) / 10


def test_cursors_grow_and_are_never_missing(found: Tables) -> None:
    for rows in found.values():
        cursors = [row[-1] for row in rows]
        assert cursors == sorted(cursors)
