"""Movies from a PostgreSQL server: a cursor on the server, its types, and errors without the password."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg2
import pytest

from pipeline_assets.errors import ConfigurationError, PipelineError
from pipeline_assets.movies.columns import COLUMNS
from pipeline_assets.movies.database import open_database
from pipeline_assets_tests.support.postgres import DATABASE, PASSWORD, USER, postgres_server
from pipeline_assets_tests.support.servers import requires_server
from pipeline_assets_tests.support.streamed_movies import count_and_peak


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    requires_server("postgresql")
    with postgres_server() as server:
        connection = psycopg2.connect(
            host="127.0.0.1", port=server.port, user=USER, password=PASSWORD, dbname=DATABASE, connect_timeout=5
        )
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE movies (imdbid text, title text, year int, ratings json, imdbrating numeric)")
            rating = json.dumps([{"Source": "x", "Value": "9/10"}])
            cursor.execute(
                "INSERT INTO movies VALUES ('tt2', 'B', 2001, NULL, 7.50), ('tt1', 'A', 1, %s, NULL)", [rating]
            )
        connection.close()
        yield f"postgresql+psycopg2://{USER}:{PASSWORD}@127.0.0.1:{server.port}/{DATABASE}"


def rows(url: str, select: str = "") -> list[dict[str, str]]:
    """The values that are not NULL."""
    with open_database(url, select) as snapshot:
        assert snapshot.source == f"postgresql://127.0.0.1/{DATABASE}"
        found = [dict(zip(COLUMNS, row, strict=True)) for row in snapshot.rows]
    return [{name: value for name, value in row.items() if value is not None} for row in found]


def test_a_table_with_names_in_small_letters_and_other_types_is_read(url: str) -> None:
    assert rows(url) == [
        {"imdbID": "tt1", "Title": "A", "Year": "1", "Ratings": '[{"Source": "x", "Value": "9/10"}]'},
        {"imdbID": "tt2", "Title": "B", "Year": "2001", "imdbRating": "7.50"},
    ]


def test_a_select_may_have_percent_signs(url: str) -> None:
    assert rows(url, "SELECT imdbid, '100%' AS title FROM movies WHERE title LIKE 'A%'") == [
        {"imdbID": "tt1", "Title": "100%"}
    ]


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("SELECT absent FROM movies", 'fails: column "absent" does not exist'),
        ("SELECT title::int AS year FROM movies", "fails: invalid input syntax for type integer: a value"),
        ("UPDATE movies SET year = 1", "fails: syntax error"),
    ],
)
def test_a_wrong_select_is_permanent(url: str, select: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        rows(url, select)
    assert len(rows(url)) == 2


def test_a_wrong_password_is_in_no_error(url: str) -> None:
    with pytest.raises(PipelineError, match="password authentication failed") as raised:
        rows(url.replace(PASSWORD, "s3cret-and-wrong"))
    assert "s3cret-and-wrong" not in str(raised.value)


def test_rows_are_fetched_by_a_cursor_on_the_server(url: str) -> None:
    """Of 300 MB of rows a process holds a few."""
    select = "SELECT n::text AS imdbid, repeat('x', 10000) AS plot FROM generate_series(1, 30000) AS n"
    count, peak = count_and_peak(url, select)
    assert count == 30_000
    assert peak < 250
