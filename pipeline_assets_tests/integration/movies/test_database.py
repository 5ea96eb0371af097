"""Movies from a database: its table, a SELECT in its own SQL, and what is wrong with either."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline_assets.errors import ConfigurationError, PipelineError, SourceError
from pipeline_assets.movies.columns import COLUMNS
from pipeline_assets.movies.database import open_database
from pipeline_assets_tests.support.movie_api import KEY
from pipeline_assets_tests.support.streamed_movies import count_and_peak


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop films.db"
    with sqlite3.connect(path) as connection:
        connection.execute('CREATE TABLE movies (IMDBID TEXT, title TEXT, "Year" INTEGER, imdbRating REAL)')
        connection.executemany(
            "INSERT INTO movies VALUES (?, ?, ?, ?)", [("tt2", "B", 2001, 7.5), ("tt1", 'A, "x"\n', None, None)]
        )
        connection.execute("CREATE TABLE films (id TEXT, name TEXT, made TEXT)")
        connection.execute("INSERT INTO films VALUES ('tt9', '100% :sure', '12:30')")
    connection.close()
    return path


def rows(url: str, select: str = "") -> list[dict[str, str]]:
    """The values that are not NULL."""
    with open_database(url, select) as snapshot:
        found = [dict(zip(COLUMNS, row, strict=True)) for row in snapshot.rows]
    return [{name: value for name, value in row.items() if value is not None} for row in found]


def test_the_table_movies_is_read_in_the_order_of_the_key(database: Path) -> None:
    before = datetime.now(UTC)
    with open_database(f"sqlite:///{database}", "") as snapshot:
        assert (snapshot.source, snapshot.total) == ("sqlite:shop films.db", 2)
        assert before <= snapshot.created_at <= datetime.now(UTC)
    assert rows(f"sqlite:///{database}") == [
        {"Title": 'A, "x"\n', "imdbID": "tt1"},
        {"Title": "B", "Year": "2001", "imdbRating": "7.5", "imdbID": "tt2"},
    ]


def test_a_select_names_the_columns_and_may_have_percent_signs_and_colons(database: Path) -> None:
    select = (
        """SELECT id AS imdbID, name AS Title, made AS Year FROM films WHERE name LIKE '%% :%' OR name LIKE '100%'"""
    )
    assert rows(f"sqlite:///{database}", select) == [{"imdbID": "tt9", "Title": "100% :sure", "Year": "12:30"}]


@pytest.mark.parametrize(
    ("url", "select", "message"),
    [
        ("sqlite:///{folder}/absent.db", "", "absent.db of PIPELINE_MOVIES_SOURCE_URL does not exist"),
        ("sqlite://", "", "sqlite: has no table movies"),
        ("sqlite:///{database}", "SELECT * FROM films", "does not have: id, name, made"),
        ("sqlite:///{database}", "SELECT absent FROM films", "The SELECT of movies .* no such column: absent"),
        ("sqlite:///{database}", "SELECT", "The SELECT of movies .* incomplete input"),
        ("sqlite:///{database}", "UPDATE films SET id = 'x'", "yields no rows"),
        ("sqlite:///{folder}/text.db", "", "file is not a database"),
        ("what is this", "", "it is not a SQLAlchemy URL"),
        ("none://user:{key}@host/db", "", "SQLAlchemy has no such dialect"),
        ("mysql+nodriver://user:{key}@host/db", "", "SQLAlchemy has no such dialect"),
        ("oracle+cx_oracle://user:{key}@host/db", "", "The driver cx_Oracle .* is not installed"),
    ],
)
def test_what_is_wrong_is_permanent_and_has_a_remedy(
    database: Path, tmp_path: Path, url: str, select: str, message: str
) -> None:
    (tmp_path / "text.db").write_text("not a database" * 100)
    with pytest.raises(ConfigurationError, match=message) as raised:
        rows(url.format(database=database, folder=tmp_path, key="s3cret"), select)
    assert raised.value.remedy
    assert "s3cret" not in str(raised.value)
    assert not (tmp_path / "absent.db").exists()
    assert rows(f"sqlite:///{database}", "SELECT id AS imdbID FROM films") == [{"imdbID": "tt9"}]


def test_a_database_that_cannot_be_reached_is_transient_and_shows_no_password() -> None:
    with pytest.raises(SourceError, match=r"postgresql://127\.0\.0\.1/films failed: .*Connection refused") as raised:
        rows(f"postgresql+psycopg2://ann:{KEY.replace('/', '%2F')}@127.0.0.1:1/films")
    assert raised.value.transient
    assert KEY not in str(raised.value)
    assert "ann" not in str(raised.value)


def test_a_locked_sqlite_file_is_transient(database: Path) -> None:
    holder = sqlite3.connect(database, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(PipelineError, match="database is locked") as raised:
            rows(f"sqlite:///{database}?timeout=0")
        assert raised.value.transient
    finally:
        holder.close()


def test_rows_are_streamed(tmp_path: Path) -> None:
    """A process that reads 300 MB of rows keeps none of them."""
    path = tmp_path / "large.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE movies (imdbID TEXT, Plot TEXT)")
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) "
        connection.execute(f"INSERT INTO movies {numbers} SELECT i, hex(zeroblob(5000)) FROM n")
    connection.close()
    count, peak = count_and_peak(f"sqlite:///{path}", "SELECT * FROM movies")
    assert count == 30_000
    assert peak < 250
