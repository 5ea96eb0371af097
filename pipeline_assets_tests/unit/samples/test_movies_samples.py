"""The movie samples: a database that is the same for the same seed and has every kind of dirt at any scale."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipeline_assets.movies.columns import COLUMNS
from pipeline_assets.samples import write_samples
from pipeline_assets.samples.movies_rows import EN_DASH

Row = dict[str, str | None]


def rows(folder: Path, scale: float, seed: int = 2024) -> list[Row]:
    (file,) = write_samples("movies", folder, scale=scale, seed=seed)
    with closing(sqlite3.connect(file.path)) as connection:
        found = [dict(zip(COLUMNS, row, strict=True)) for row in connection.execute("SELECT * FROM movies")]
    assert file.rows == len(found)
    return found


def ratings(row: Row) -> list[tuple[str, str]]:
    return [(rating["Source"], rating["Value"]) for rating in json.loads(row["Ratings"] or "[]")]


@pytest.fixture(scope="module", params=[0.001, 1.0])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return rows(tmp_path_factory.mktemp("movies"), request.param)


def test_the_same_seed_gives_the_same_bytes_and_leaves_the_file_alone(tmp_path: Path) -> None:
    (first,) = write_samples("movies", tmp_path / "a", scale=0.1)
    (second,) = write_samples("movies", tmp_path / "b", scale=0.1)
    assert first.path.read_bytes() == second.path.read_bytes()
    before = first.path.stat()
    write_samples("movies", tmp_path / "a", scale=0.1)
    assert first.path.stat() == before or first.path.stat().st_mtime_ns == before.st_mtime_ns
    assert first.path.stat().st_ino == before.st_ino
    (other,) = write_samples("movies", tmp_path / "c", scale=0.1, seed=7)
    assert other.path.read_bytes() != first.path.read_bytes()


def test_a_larger_scale_has_the_same_rows_first(tmp_path: Path) -> None:
    small, large = rows(tmp_path / "a", 0.03), rows(tmp_path / "b", 0.3)
    assert large[: len(small)] == small


def test_every_kind_of_dirt_is_there_at_every_scale(found: list[Row]) -> None:
    movies = [row for row in found if row["Response"] == "True"]
    errors = [row for row in found if row["Response"] == "False"]
    assert errors
    assert all(row["imdbID"] and row["Plot"] and not row["Title"] for row in errors)
    values = {value for row in movies for _, value in ratings(row)}
    assert {"A+", "12/10"} <= values
    assert {"%", "/10", "/100"} <= {value.lstrip("0123456789.") for value in values}
    years = {row["Year"] or "" for row in movies}
    assert any(year.endswith(EN_DASH) for year in years)
    assert any(EN_DASH in year[:-1] for year in years)
    listed = [ratings(row) for row in movies]
    assert any(len(pairs) > len(set(pairs)) for pairs in listed)
    assert any(len(dict(pairs)) < len(set(pairs)) for pairs in listed)
    assert any(set(',"\n\r') <= set(row["Plot"] or "") for row in movies)
    assert any(not row["imdbID"] for row in movies)
    keys = [row["imdbID"] for row in found if row["imdbID"]]
    assert len(keys) > len(set(keys))
    titles: dict[str | None, set[str | None]] = {}
    for row in movies:
        titles.setdefault(row["Title"], set()).add(row["imdbID"])
    assert any(len(ids - {None}) == 2 for ids in titles.values())
    assert any(not (row["Title"] or "").isascii() for row in movies)
    for column in ("Released", "Runtime", "BoxOffice", "Website", "Metascore"):
        assert {row[column] == "N/A" for row in movies} == {True, False}


def test_most_movies_are_clean(found: list[Row]) -> None:
    bad = [row for row in found if row["Response"] == "False" or not row["imdbID"]]
    assert len(bad) < len(found) / 10
