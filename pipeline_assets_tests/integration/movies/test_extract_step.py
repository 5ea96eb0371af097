"""The extract step in a batch: one archive in landing, whole or absent, and none for rows that landed before."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline_assets.errors import ConfigurationError, SourceError
from pipeline_assets.lake import LocalLake
from pipeline_assets.movies import manifest
from pipeline_assets.movies.columns import COLUMNS
from pipeline_assets_tests.support.movie_api import KEY, MovieApi, Reply, movie_api
from pipeline_assets_tests.support.movies_extract import archives, extracting_lake, manifest_of, members
from pipeline_assets_tests.support.small_pipelines import SmallLake

PLOT = 'One, "two"\r\nthree\n\n""Ünï\u2013 🎬\t\x01'


def insert(path: Path, *rows: tuple[str | None, ...]) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS movies (imdbID TEXT, Title TEXT, Plot TEXT, Ratings TEXT)")
        connection.executemany("INSERT INTO movies VALUES (?, ?, ?, ?)", rows)
    connection.close()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    insert(tmp_path / "movies.db", ("tt1", "A", PLOT, '[{"Source": "x", "Value": "9/10"}]'), ("tt2", "", None, "N/A"))
    return tmp_path / "movies.db"


@pytest.fixture
def lake(tmp_path: Path, database: Path) -> SmallLake:
    return extracting_lake(tmp_path, movies_source_url=f"sqlite:///{database}")


def test_an_archive_has_csv_parquet_and_a_manifest_that_agrees(lake: SmallLake) -> None:
    before = datetime.now(UTC)
    lake.run(extract=True)
    (archive,) = archives(lake)
    assert re.fullmatch(r"movies_[0-9]{8}T[0-9]{6}Z_[0-9a-f]{12}\.zip", archive.name)
    found = members(archive)
    assert set(found) == {"movies.csv", "movies.parquet", "manifest.json"}
    read = manifest_of(archive)
    assert (read.source, read.total_movies, read.columns) == ("sqlite:movies.db", 2, COLUMNS)
    assert read.created_at
    assert before <= read.created_at <= datetime.now(UTC)
    unpacked = [
        manifest.ManifestFile(name, name.rpartition(".")[2], len(data), hashlib.sha256(data).hexdigest(), 2)
        for name, data in found.items()
        if name != "manifest.json"
    ]
    assert set(read.files) == set(unpacked)


def test_csv_and_parquet_have_the_same_26_texts(lake: SmallLake) -> None:
    lake.run(extract=True)
    found = members(archives(lake)[0])
    parquet = pq.read_table(io.BytesIO(found["movies.parquet"]))
    assert parquet.column_names == list(COLUMNS)
    assert {str(field.type) for field in parquet.schema} == {"string"}
    header, *rows = csv.reader(io.StringIO(found["movies.csv"].decode(), newline=""), strict=True)
    assert header == list(COLUMNS)
    assert rows == [[value or "" for value in row.values()] for row in parquet.to_pylist()]
    first, second = parquet.to_pylist()
    assert first["Plot"] == PLOT
    assert (second["Title"], second["Plot"]) == ("", None)


def test_rows_that_landed_before_land_nothing_and_changed_ones_do(lake: SmallLake, database: Path) -> None:
    lake.run(extract=True)
    lake.run(extract=True)
    assert len(archives(lake)) == 1
    insert(database, ("tt3", "C", None, None))
    lake.run(extract=True)
    assert {manifest_of(path).total_movies for path in archives(lake)} == {2, 3}
    lake.run(extract=True)
    assert len(archives(lake)) == 2


def test_a_batch_that_fails_after_the_extract_extracts_again(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest is published with the batch, so a batch that was rolled back has none."""
    lake.csv("goods", {"GOODS_ID": "1"})
    with monkeypatch.context() as patch:
        patch.setattr("pipeline_assets.batch.run.publish", lambda *_: (_ for _ in ()).throw(SourceError("killed")))
        with pytest.raises(SourceError, match="killed"):
            lake.run(extract=True)
    lake.run(extract=True)
    assert len(archives(lake)) == 2
    first, second = (members(path)["movies.csv"] for path in archives(lake))
    assert first == second


def test_a_source_without_movies_lands_nothing(tmp_path: Path) -> None:
    insert(tmp_path / "empty.db")
    lake = extracting_lake(tmp_path, movies_source_url=f"sqlite:///{tmp_path}/empty.db")
    lake.run(extract=True)
    assert archives(lake) == []


def test_a_source_that_fails_half_way_lands_nothing(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text("imdbID,Year\n" + "tt1,2001\n" * 20_000 + "tt2,soon\n")
    select = "SELECT imdbID, CAST(Year AS INTEGER) AS Year FROM movies"
    url = f"file://{tmp_path}/movies.csv"
    lake = extracting_lake(tmp_path, movies_source_url=url, movies_select=select)
    with pytest.raises(ConfigurationError, match=r"over movies\.csv fails: Conversion Error") as raised:
        lake.run(extract=True)
    assert "soon" not in str(raised.value)
    assert archives(lake) == []
    assert not any((lake.home / "scratch").rglob("*.csv"))


def test_an_archive_that_cannot_be_published_leaves_nothing(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise SourceError("no space")

    monkeypatch.setattr(LocalLake, "publish", fail)
    with pytest.raises(SourceError, match="no space"):
        lake.run(extract=True)
    assert archives(lake) == []


def test_without_a_source_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Set PIPELINE_MOVIES_SOURCE_URL or PIPELINE_MOVIES_API_URL, or run"):
        extracting_lake(tmp_path).run(extract=True)


def test_two_sources_are_refused(tmp_path: Path) -> None:
    lake = extracting_lake(tmp_path, movies_source_url="sqlite://", movies_api_url="http://127.0.0.1/")
    with pytest.raises(ConfigurationError, match="Unset one of them"):
        lake.run(extract=True)


def test_the_sample_database_is_the_source_if_none_is_configured(tmp_path: Path) -> None:
    lake = extracting_lake(tmp_path)
    folder = lake.home / "sources" / "movies"
    folder.mkdir(parents=True)
    insert(folder / "movies.db", ("tt1", "A", None, None))
    lake.run(extract=True)
    assert manifest_of(archives(lake)[0]).total_movies == 1


@pytest.fixture
def api() -> Iterator[MovieApi]:
    with movie_api() as server:
        yield server


def api_lake(tmp_path: Path, api: MovieApi, **settings: object) -> SmallLake:
    given = {"movies_api_ids": "tt1, Face/Off ,tt1,,tt2", "movies_api_rate": 1000, **settings}
    return extracting_lake(tmp_path, movies_api_url=api.url, movies_api_key=KEY, **given)


def test_answers_of_an_api_are_deleted_when_the_archive_has_landed(tmp_path: Path, api: MovieApi) -> None:
    lake = api_lake(tmp_path, api)
    lake.run(extract=True)
    assert api.asked == ["tt1", "Face/Off", "tt2"]
    assert manifest_of(archives(lake)[0]).source == api.url
    assert list((lake.home / "sources" / "movies").iterdir()) == []
    lake.run(extract=True)
    assert len(api.asked) == 6
    assert len(archives(lake)) == 1
    assert list((lake.home / "sources" / "movies").iterdir()) == []


def test_the_ids_of_an_api_may_be_the_lines_of_a_file(tmp_path: Path, api: MovieApi) -> None:
    (tmp_path / "ids.txt").write_text("tt1\r\n\nThe Good, the Bad\n")
    api_lake(tmp_path, api, movies_api_ids=str(tmp_path / "ids.txt")).run(extract=True)
    assert api.asked == ["tt1", "The Good, the Bad"]


def test_answers_are_kept_when_the_archive_cannot_be_published(
    tmp_path: Path, api: MovieApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = api_lake(tmp_path, api)
    with monkeypatch.context() as patch:
        patch.setattr(LocalLake, "publish", lambda *_: (_ for _ in ()).throw(SourceError("no space")))
        with pytest.raises(SourceError, match="no space"):
            lake.run(extract=True)
    lake.run(extract=True)
    assert len(api.asked) == 3
    assert manifest_of(archives(lake)[0]).total_movies == 3


def test_the_key_is_in_no_file_of_the_home(tmp_path: Path, api: MovieApi) -> None:
    api.rule = lambda number, asked: Reply(document={"Response": "False", "Error": f"{KEY}"}) if number == 2 else None
    lake = api_lake(tmp_path, api)
    lake.run(extract=True)
    api.rule = lambda number, asked: Reply(403, {}) if asked == "tt2" else None
    with pytest.raises(ConfigurationError):
        lake.run(extract=True)
    for path in lake.home.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path
    assert all(KEY.encode() not in data for data in members(archives(lake)[0]).values())
