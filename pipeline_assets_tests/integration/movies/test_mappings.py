"""Files of other shapes become movies by a SELECT in a setting; the SELECTs are those of docs/movies.md."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.movies.columns import COLUMNS
from pipeline_assets.movies.extract import open_source
from pipeline_assets.settings import PROJECT_ROOT, load_settings
from pipeline_assets_tests.support.movie_api import KEY, Reply, movie_api

MOVIE = {"imdbID": "tt1", "Title": 'A, "b"\n', "Year": "2001"}
VEGA = [
    {"Title": "A", "Release Date": "Jun 12 1998", "IMDB Rating": 6.1, "Rotten Tomatoes Rating": 82, "US Gross": 7},
    {"Title": 1776, "Release Date": "Nov 09 1972", "IMDB Rating": 7, "Rotten Tomatoes Rating": None, "US Gross": 0},
    {"Title": "A", "Release Date": "Jan 01 2046", "US Gross": None},
    {"Title": None, "Release Date": "Jan 02 2046", "Running Time min": 90, "Major Genre": "Drama", "Director": "D"},
]
VEGA = [dict.fromkeys(("MPAA Rating", "IMDB Votes", "Distributor", "Director"), None) | movie for movie in VEGA]


def select(name: str) -> str:
    """A SELECT of the documentation, by its first line."""
    text = (PROJECT_ROOT / "docs" / "movies.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"```sql\n(-- {name}\n.*?)```", text, re.DOTALL)
    return found


def rows(folder: Path, **settings: object) -> list[dict[str, str]]:
    """The values that are not NULL."""
    read = load_settings(home=folder / "home", **settings)
    with open_source(read, folder) as snapshot:
        found = [dict(zip(COLUMNS, row, strict=True)) for row in snapshot.rows]
    return [{name: value for name, value in row.items() if value is not None} for row in found]


def write_json(path: Path) -> None:
    path.write_text(json.dumps([MOVIE]))


def write_lines(path: Path) -> None:
    path.write_text(json.dumps(MOVIE) + "\n")


def write_packed(path: Path) -> None:
    path.write_bytes(gzip.compress(json.dumps([MOVIE]).encode()))


def write_csv(path: Path) -> None:
    path.write_text('IMDBID,Title,Year\ntt1,"A, ""b""\n",2001\n')


def write_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([MOVIE]), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a movie's.json", write_json),
        ("m.ndjson", write_lines),
        ("m.JSONL", write_lines),
        ("m.json.gz", write_packed),
        ("m.csv", write_csv),
        ("m.parquet", write_parquet),
    ],
)
def test_a_file_with_the_columns_of_a_movie_needs_no_select(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    assert rows(tmp_path, movies_source_url=(tmp_path / name).as_uri()) == [MOVIE]


def test_a_text_after_many_numbers_is_read(tmp_path: Path) -> None:
    records = [{"imdbID": f"tt{number}", "Year": 2000} for number in range(50_000)]
    (tmp_path / "m.json").write_text(json.dumps([*records, {"imdbID": "last", "Year": "2001-2005"}]))
    assert rows(tmp_path, movies_source_url=(tmp_path / "m.json").as_uri())[-1]["Year"] == "2001-2005"


def test_texts_among_numbers_are_texts_without_quotes(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(
        '[{"Title": "7 \\"x\\"", "imdbID": 1}, {"Title": 7}, {"Title": null}, {"Title": ["a"]}]'
    )
    found = rows(tmp_path, movies_source_url=(tmp_path / "m.json").as_uri())
    assert found == [{"Title": '7 "x"', "imdbID": "1"}, {"Title": "7"}, {}, {"Title": '["a"]'}]


@pytest.mark.parametrize(
    ("name", "content", "query", "message"),
    [
        ("m.json", '[{"imdbID": "tt1"}, ', "", "m.json is cut off: its JSON array has no end"),
        ("m.json", '[{"name": "A"}]', "", "columns that a movie does not have: name"),
        ("m.json", '[{"Title": "A"}]', "SELECT absent FROM movies", "fails: Binder Error: Referenced column"),
        ("m.json", '[{"Title": "A"}]', "SELECT FROM", "fails: Parser Error"),
        ("m.json", "{", "", "m.json of movies cannot be read: .*Malformed JSON at byte 2"),
        ("m.txt", "", "", "m.txt: no file of movies has this ending"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(
    tmp_path: Path, name: str, content: str, query: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigurationError, match=message) as raised:
        rows(tmp_path, movies_source_url=(tmp_path / name).as_uri(), movies_select=query or None)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("url", ["file:///no/such/movies.json", "file:movies.json", "file://host/movies.json"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="PIPELINE_MOVIES_SOURCE_URL"):
        rows(tmp_path, movies_source_url=url)


def test_the_documented_select_maps_the_movies_of_vega(tmp_path: Path) -> None:
    (tmp_path / "vega_movies.json").write_text(json.dumps(VEGA))
    (tmp_path / "select.sql").write_text(select("vega"))
    url = (tmp_path / "vega_movies.json").as_uri()
    found = rows(tmp_path, movies_source_url=url, movies_select=str(tmp_path / "select.sql"))
    assert len({movie["imdbID"] for movie in found}) == 4
    assert [movie.get("Title") for movie in found] == ["A", "1776", "A", None]
    assert [movie["Released"] for movie in found] == ["12 Jun 1998", "09 Nov 1972", "01 Jan 2046", "02 Jan 2046"]
    assert [len(json.loads(movie["Ratings"])) for movie in found] == [2, 1, 0, 0]
    assert json.loads(found[0]["Ratings"])[1] == {"Source": "Rotten Tomatoes", "Value": "82%"}
    assert found[0]["BoxOffice"] == "$7"
    assert "BoxOffice" not in found[2]


def test_the_whole_file_of_vega_becomes_movies_with_a_key_each(shared_data: Path, tmp_path: Path) -> None:
    url = (shared_data / "movies" / "vega_movies.json").resolve().as_uri()
    found = rows(tmp_path, movies_source_url=url, movies_select=select("vega"))
    assert len(found) == len({movie["imdbID"] for movie in found}) == 3201
    assert {"1776", "1941"} <= {movie.get("Title") for movie in found}


def test_a_list_of_an_api_becomes_movies_by_the_documented_select(shared_data: Path, tmp_path: Path) -> None:
    answer = (shared_data / "movies" / "wikipedia_movies_2020s.json").read_bytes()
    with movie_api() as api:
        api.rule = lambda number, asked: Reply(document=answer)
        settings = {"movies_api_url": api.url, "movies_api_key": KEY}
        mapped = rows(tmp_path, **settings, movies_select=select("wikipedia"))
        (tmp_path / "plain").mkdir()
        plain = rows(tmp_path / "plain", **settings)
    assert len(mapped) == len(plain) == 1153
    assert all(movie["imdbID"] for movie in mapped)
    assert mapped[0]["Actors"].startswith("Andrea Riseborough, Demián Bichir")
    assert {tuple(movie) for movie in plain} == {("Title", "Year")}
