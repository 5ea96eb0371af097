"""An API of movies that throttles, fails, cuts, redirects and refuses; the key is nowhere but in the request."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from pipeline_assets.errors import ConfigurationError, PipelineError, SourceError
from pipeline_assets.movies import api as api_module
from pipeline_assets.movies.api import Api, ApiClient, open_api
from pipeline_assets.movies.columns import COLUMNS
from pipeline_assets_tests.support.movie_api import KEY, MovieApi, Reply, movie, movie_api


@pytest.fixture
def server() -> Iterator[MovieApi]:
    with movie_api() as api:
        yield api


class Waits:
    """A clock that moves only when the client waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waited: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


@pytest.fixture
def waits() -> Waits:
    return Waits()


def client_of(server: MovieApi, waits: Waits, **changes: object) -> ApiClient:
    api = replace(Api(server.url, KEY, rate=1000, patience=60), **changes)  # type: ignore[arg-type]
    return ApiClient(api, sleep=waits.sleep, clock=waits.clock)


def shown(error: BaseException) -> str:
    """Everything of an error that a log, a report or a debugger of chains may show."""
    chain, texts = error, []
    while chain:
        texts += [str(chain), repr(chain), repr(vars(chain)), "".join(traceback.format_exception(chain))]
        chain = chain.__cause__ or chain.__context__  # type: ignore[assignment]
    return "\n".join(texts)


def assert_without_key(text: str) -> None:
    for form in (KEY, quote(KEY), quote_plus(KEY), quote(KEY, safe="")):
        assert form not in text


def rows_of(server: MovieApi, asked: list[str], tmp_path: Path, waits: Waits, select: str = "") -> list[dict]:
    api = Api(server.url, KEY)
    with open_api(
        api,
        asked,
        tmp_path / "kept",
        select,
        memory_limit="1GB",
        scratch=tmp_path,
        client=client_of(server, waits),
    ) as snapshot:
        return [dict(zip(COLUMNS, row, strict=True)) for row in snapshot.rows]


def test_ids_and_titles_are_asked_as_omdb_does(server: MovieApi, waits: Waits) -> None:
    client = client_of(server, waits, url=f"{server.url}v1?plot=full")
    client.ask("tt0111161")
    client.ask("Face/Off & more, ü")
    assert server.paths == [
        "/v1?plot=full&apikey=s3cret%2Fkey%2B1&i=tt0111161",
        "/v1?plot=full&apikey=s3cret%2Fkey%2B1&t=Face%2FOff+%26+more%2C+%C3%BC",
    ]


@pytest.mark.parametrize(
    "fault",
    [
        Reply(429, {}),
        Reply(500, b"<html>"),
        Reply(503, {"Error": "Slow down"}),
        Reply(200, movie("tt1"), cut=True),
        Reply(200, b'{"Title": "half'),
        Reply(200, b""),
        Reply(200, b"[" * 100_000),
        Reply(raw=b"nothing of HTTP\r\n\r\n"),
        Reply(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{}"),
        Reply(raw=b"\r\n"),
    ],
    ids=["429", "500", "503", "cut", "half a document", "empty", "deep", "not HTTP", "cut chunk", "no status"],
)
def test_a_transient_error_is_repeated_with_backoff_and_reported_once(
    server: MovieApi, waits: Waits, fault: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    server.rule = lambda number, asked: fault if number < 4 else None
    assert client_of(server, waits).ask("tt1") == [movie("tt1")]
    assert server.asked == ["tt1"] * 4
    assert sum(waits.waited) > 0
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "The request is repeated for up to 60 seconds." in warning


def test_an_answer_that_takes_too_long_is_repeated(server: MovieApi) -> None:
    never = threading.Event()
    server.rule = lambda number, asked: Reply(document=movie(asked), until=never) if number == 1 else None
    client = ApiClient(Api(server.url, KEY, rate=1000, timeout=0.2), sleep=lambda _: None)
    assert client.ask("tt1") == [movie("tt1")]
    never.set()


def test_an_answer_that_never_pauses_and_never_ends_is_stopped_in_time(server: MovieApi) -> None:
    server.rule = lambda number, asked: Reply(document=b" " * (8 << 20))
    ticks = count()
    client = ApiClient(Api(server.url, KEY, timeout=20, patience=1), sleep=lambda _: None, clock=lambda: next(ticks))
    with pytest.raises(SourceError, match="the answer took longer than 20 seconds"):
        client.ask("tt1")


def test_a_third_of_failing_requests_and_a_minute_of_nothing_else_are_survived(server: MovieApi, waits: Waits) -> None:
    server.rule = lambda number, asked: Reply(503, {}) if number % 3 == 0 else None
    client = client_of(server, waits, patience=120)
    assert [client.ask(f"tt{number}") for number in range(20)] == [[movie(f"tt{number}")] for number in range(20)]
    until = waits.now + 60
    server.rule = lambda number, asked: Reply(503, {}) if waits.now < until else None
    assert client.ask("tt1") == [movie("tt1")]


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(server: MovieApi, waits: Waits, as_date: bool) -> None:
    value = format_datetime(datetime.now(UTC) + timedelta(seconds=41), usegmt=True) if as_date else "40"
    server.rule = lambda number, asked: Reply(429, {}, {"Retry-After": value}) if number == 1 else None
    client_of(server, waits).ask("tt1")
    assert 38 <= sum(waits.waited) <= 45


@pytest.mark.parametrize("value", ["-1", "soon", "Thu, 99 Foo 2020", "1e9", ""])
def test_a_wrong_retry_after_is_ignored(server: MovieApi, waits: Waits, value: str) -> None:
    server.rule = lambda number, asked: Reply(429, {}, {"Retry-After": value}) if number == 1 else None
    assert client_of(server, waits).ask("tt1") == [movie("tt1")]


def test_an_api_that_asks_to_wait_for_longer_than_the_patience_fails_at_once(server: MovieApi, waits: Waits) -> None:
    server.rule = lambda number, asked: Reply(429, {}, {"Retry-After": "3600"})
    with pytest.raises(SourceError, match=r"HTTP 429\. It asks to wait 3600 seconds") as raised:
        client_of(server, waits).ask("tt1")
    assert raised.value.transient
    assert server.asked == ["tt1"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_permanent_and_has_a_remedy(server: MovieApi, waits: Waits, status: int) -> None:
    server.rule = lambda number, asked: Reply(status, {"Response": "False", "Error": "Request limit reached!"})
    with pytest.raises(ConfigurationError, match="Correct PIPELINE_MOVIES_API_KEY"):
        client_of(server, waits).ask("tt1")
    assert server.asked == ["tt1"]


def test_a_redirect_is_refused_as_it_could_repeat_the_key(server: MovieApi, waits: Waits) -> None:
    with movie_api() as elsewhere:
        server.rule = lambda number, asked: Reply(302, {}, {"Location": f"{elsewhere.url}?apikey={quote(KEY)}"})
        with pytest.raises(ConfigurationError, match=r"redirects \(HTTP 302\)") as raised:
            client_of(server, waits).ask("tt1")
        assert elsewhere.asked == []
    assert_without_key(shown(raised.value))


@pytest.mark.parametrize("status", [200, 404])
def test_an_error_object_is_a_record_that_names_what_was_asked(server: MovieApi, waits: Waits, status: int) -> None:
    server.rule = lambda number, asked: Reply(status, {"Response": "False", "Error": "Incorrect IMDb ID."})
    client = client_of(server, waits)
    error = {"Plot": "Incorrect IMDb ID.", "Response": "False"}
    assert client.ask("tt1") == [{"imdbID": "tt1", **error}]
    assert client.ask("No Such Movie") == [{"Title": "No Such Movie", **error}]


@pytest.mark.parametrize("document", [5, "text", None, [1], [movie("tt1"), None]])
def test_an_answer_without_movies_is_refused(server: MovieApi, waits: Waits, document: object) -> None:
    server.rule = lambda number, asked: Reply(document=document)
    with pytest.raises(ConfigurationError, match="something else than movies"):
        client_of(server, waits).ask("tt1")


def test_an_answer_without_end_is_refused(server: MovieApi, waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "MAX_ANSWER_BYTES", 1 << 20)
    server.rule = lambda number, asked: Reply(document=b" " * (2 << 20))
    with pytest.raises(ConfigurationError, match="larger than 1 MiB"):
        client_of(server, waits).ask("tt1")


def test_requests_keep_the_rate_and_so_do_repeated_ones(server: MovieApi, waits: Waits) -> None:
    server.rule = lambda number, asked: Reply(503, {}) if number == 5 else None
    client = client_of(server, waits, rate=4)
    for number in range(20):
        client.ask(f"tt{number}")
    assert waits.now >= 20 / 4


@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, {"Error": f"apikey={KEY} is odd"}),
        Reply(401, {"Error": f"Invalid API key {KEY}"}),
        Reply(404, b"<html>"),
        Reply(503, {"Error": quote(KEY, safe="")}),
        Reply(200, b"not JSON"),
        Reply(200, movie("tt1"), cut=True),
        Reply(200, 5),
        Reply(307, {}, {"Location": f"/?apikey={quote(KEY)}"}),
    ],
    ids=lambda reply: f"{reply.status}-{reply.cut}",
)
def test_the_key_is_in_no_error_and_no_log(
    server: MovieApi, waits: Waits, reply: Reply, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    server.rule = lambda number, asked: reply
    with caplog.at_level(logging.DEBUG), pytest.raises(PipelineError) as raised:
        client_of(server, waits).ask("tt1")
    assert_without_key(shown(raised.value))
    assert_without_key(caplog.text + "".join(capfd.readouterr()))


def test_the_key_is_in_no_error_about_a_host_that_cannot_be_reached(waits: Waits) -> None:
    client = ApiClient(Api("http://127.0.0.1:1/", KEY), sleep=waits.sleep, clock=waits.clock)
    with pytest.raises(SourceError, match="Connection refused") as raised:
        client.ask("tt1")
    assert_without_key(shown(raised.value))


def test_a_key_that_an_answer_repeats_is_not_kept(server: MovieApi, waits: Waits, tmp_path: Path) -> None:
    server.rule = lambda number, asked: Reply(document={"Response": "False", "Error": f"No quota for {KEY}"})
    (row,) = rows_of(server, ["tt1"], tmp_path, waits)
    assert row["Plot"] == "No quota for ********"
    assert_without_key("".join(path.read_text() for path in (tmp_path / "kept").iterdir()))


def test_rows_are_in_the_order_of_the_ids_and_lists_are_json(server: MovieApi, waits: Waits, tmp_path: Path) -> None:
    rows = rows_of(server, ["tt2", "tt1"], tmp_path, waits)
    assert [row["imdbID"] for row in rows] == ["tt2", "tt1"]
    assert rows[0]["Ratings"] == '[{"Source": "Internet Movie Database", "Value": "9.3/10"}]'
    assert rows[0]["Plot"] == 'One, "two"\nthree'
    assert rows[0]["Website"] is None


def test_what_was_answered_is_not_asked_again_after_a_failure(
    server: MovieApi, waits: Waits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.rule = lambda number, asked: Reply(401, {}) if asked == "tt3" else None
    asked = ["tt1", "tt2", "tt3", "tt4"]
    with pytest.raises(ConfigurationError):
        rows_of(server, asked, tmp_path, waits)
    server.rule = lambda number, asked: None
    assert [row["imdbID"] for row in rows_of(server, asked, tmp_path, waits)] == asked
    assert server.asked == ["tt1", "tt2", "tt3", "tt3", "tt4"]
    assert "2 of 4 titles were answered since" in caplog.text
    assert "4 of 4 titles" in caplog.text


def test_a_list_is_one_answer_and_other_keys_are_named(
    server: MovieApi, waits: Waits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.rule = lambda number, asked: Reply(document=[{"title": "Ä", "year": 2020, "cast": ["B"]}, {"title": None}])
    rows = rows_of(server, [""], tmp_path, waits)
    assert server.paths == ["/?apikey=s3cret%2Fkey%2B1"]
    assert [(row["Title"], row["Year"], row["imdbID"]) for row in rows] == [("Ä", "2020", None), (None, None, None)]
    assert "keys that a movie does not have: cast." in caplog.text


def test_an_error_object_in_a_list_keeps_what_it_names(server: MovieApi, waits: Waits) -> None:
    server.rule = lambda number, asked: Reply(document=[{"imdbID": "tt5", "Response": False, "Error": "Gone."}])
    assert client_of(server, waits).ask("") == [{"imdbID": "tt5", "Plot": "Gone.", "Response": "False"}]


def test_a_select_maps_the_answers(server: MovieApi, waits: Waits, tmp_path: Path) -> None:
    movies = [{"id": "tt1", "name": "A", "made": 2020}, {"id": "tt2", "name": "B", "cast": ["C", "D"]}]
    server.rule = lambda number, asked: Reply(document=movies)
    select = """SELECT id AS imdbID, name AS Title, made AS Year, array_to_string("cast", ', ') AS Actors FROM movies"""
    rows = rows_of(server, [""], tmp_path, waits, select)
    assert [(row["Title"], row["Year"], row["Actors"]) for row in rows] == [("A", "2020", None), ("B", None, "C, D")]


def test_an_empty_list_has_no_rows(server: MovieApi, waits: Waits, tmp_path: Path) -> None:
    server.rule = lambda number, asked: Reply(document=[])
    assert rows_of(server, [""], tmp_path, waits, "SELECT name AS Title FROM movies") == []
