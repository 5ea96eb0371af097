"""Movies from an HTTP API of OMDb's shape: `?apikey=…&i=tt…` or `&t=title`, or one answer with a list of movies.

Requests keep a rate, transient errors are repeated with backoff and jitter, and every answer is kept until the archive
has landed. The key is in the request only: no log, error, file or metadata contains it. urllib writes no log, and a
redirect, which could repeat the key to another host, is not followed.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pipeline_assets.errors import ConfigurationError, SourceError, one_line
from pipeline_assets.movies.answers import Answers
from pipeline_assets.movies.columns import COLUMNS, Row, as_text, column_of
from pipeline_assets.movies.files import selected
from pipeline_assets.movies.source import Snapshot, logger
from pipeline_assets.progress import progress

if TYPE_CHECKING:
    from tenacity import RetryCallState

MAX_ANSWER_BYTES = 256 * 1024 * 1024
_SHORTEST_KEY = 8  # a shorter key may be a word of an answer
_IMDB_ID = re.compile(r"tt[0-9]+")


@dataclass(frozen=True)
class Api:
    """An API and its limits: `rate` in requests a second, `timeout` and `patience` in seconds."""

    url: str
    key: str = ""
    rate: float = 5
    timeout: float = 30
    patience: float = 120

    @property
    def label(self) -> str:
        """The URL without its parameters, for manifests and messages."""
        return urlunsplit(urlsplit(self.url)._replace(query="", fragment=""))

    def request_url(self, asked: str) -> str:
        """The URL that requests an IMDb id, a title or, if `asked` is empty, everything."""
        parts = urlsplit(self.url)
        parameters = parse_qsl(parts.query, keep_blank_values=True)
        if self.key:
            parameters.append(("apikey", self.key))
        if asked:
            parameters.append(("i" if _IMDB_ID.fullmatch(asked) else "t", asked))
        return urlunsplit(parts._replace(path=parts.path or "/", query=urlencode(parameters)))


class _TransientError(Exception):
    """A request to repeat; `retry_after` are the seconds that the API asks to wait."""

    def __init__(self, problem: str, retry_after: float = 0) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class ApiClient:
    """Sends requests to an API, one after another."""

    def __init__(
        self, api: Api, *, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api, self._sleep, self._clock = api, sleep, clock
        self._opener = build_opener(_NoRedirects)
        self._next = clock()

    def ask(self, asked: str) -> list[dict[str, Any]]:
        """The records of the answer: one, or those of a list. An error object becomes a record, see `error_record`.

        Raises:
            ConfigurationError: the API refuses the key or the request, or its answer has no movies.
            SourceError: it failed for longer than the patience; earlier answers are kept.
        """
        from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

        backoff = wait_random_exponential(multiplier=0.5, max=30)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return max(backoff(state), getattr(error, "retry_after", 0.0))

        def is_enough(state: RetryCallState) -> bool:
            passed = max(state.idle_for, state.seconds_since_start or 0)
            return passed + state.upcoming_sleep > self._api.patience

        def report(state: RetryCallState) -> None:
            if state.attempt_number == 1 and state.outcome:
                problem = state.outcome.exception()
                logger.warning(
                    "The API %s failed %s: %s. The request is repeated for up to %g seconds.",
                    *(self._api.label, _for(asked), problem, self._api.patience),
                )

        retrying = Retrying(
            retry=retry_if_exception_type(_TransientError),
            wait=wait,
            stop=is_enough,
            sleep=self._sleep,
            before_sleep=report,
            reraise=True,
        )
        try:
            return self._records(asked, retrying(self._send, asked))
        except _TransientError as error:
            problem = str(error)
            later = f" It asks to wait {error.retry_after:.0f} seconds." if error.retry_after else ""
        # Raised here, so that no earlier error, which may contain the URL, is its context.
        raise SourceError(
            f"The API {self._api.label} failed {_for(asked)}: {problem}.{later}",
            remedy="What it has answered is kept; run again for the rest.",
        )

    def _send(self, asked: str) -> object:
        """One request; the parsed JSON of its answer."""
        if (seconds := self._next - self._clock()) > 0:
            self._sleep(seconds)
        self._next = self._clock() + 1 / self._api.rate
        request = Request(
            self._api.request_url(asked), headers={"Accept": "application/json", "User-Agent": "pipeline_assets"}
        )
        status, problem = 0, ""
        try:
            with self._opener.open(request, timeout=self._api.timeout) as response:
                return _parsed(self._body(response))
        except HTTPError as error:
            with error:
                status, headers, body = error.code, error.headers, self._body_of_error(error)
        except URLError as error:
            problem = one_line(error.reason)
        except HTTPException:
            problem = "the connection was cut"
        except OSError as error:
            problem = one_line(error)
        # Outside of the handlers, so that no error that has the URL is in the chain.
        if status:
            return self._refusal(asked, status, headers, body)
        raise _TransientError(self._without_key(problem.encode()).decode())

    def _body(self, response: HTTPResponse | HTTPError) -> bytes:
        """The whole answer, without the key if the API repeats it."""
        deadline = self._clock() + self._api.timeout
        body = bytearray()
        while block := response.read1(1 << 16):
            body += block
            if len(body) > MAX_ANSWER_BYTES:
                raise ConfigurationError(
                    f"An answer of the API {self._api.label} is larger than {MAX_ANSWER_BYTES >> 20} MiB.",
                    remedy="Name ids or titles in PIPELINE_MOVIES_API_IDS.",
                )
            if self._clock() > deadline:
                raise TimeoutError(f"the answer took longer than {self._api.timeout:g} seconds")
        return self._without_key(bytes(body))

    def _body_of_error(self, error: HTTPError) -> bytes:
        try:
            return self._body(error)
        except (OSError, HTTPException):
            return b""

    def _without_key(self, text: bytes) -> bytes:
        if len(self._api.key) >= _SHORTEST_KEY:
            for form in (self._api.key, quote_plus(self._api.key)):
                text = text.replace(form.encode(), b"********")
        return text

    def _refusal(self, asked: str, status: int, headers: Message, body: bytes) -> object:
        """The error object in an answer that is not a success, or the error to raise."""
        if status in (401, 403):
            raise ConfigurationError(
                f"The API {self._api.label} refuses the key {_for(asked)} (HTTP {status}).",
                remedy="Correct PIPELINE_MOVIES_API_KEY, or wait until its limit of requests ends; answers are kept.",
            )
        if status in (408, 425, 429) or status >= 500:
            raise _TransientError(f"HTTP {status}", _retry_after(headers))
        if 300 <= status < 400:
            raise ConfigurationError(
                f"The API {self._api.label} redirects (HTTP {status}).",
                remedy="Write its new address into PIPELINE_MOVIES_API_URL; a redirect could repeat the key elsewhere.",
            )
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict) and _is_error(document):
            return document
        raise ConfigurationError(
            f"The API {self._api.label} refuses the request {_for(asked)} (HTTP {status}).",
            remedy="Correct PIPELINE_MOVIES_API_URL or PIPELINE_MOVIES_API_IDS.",
        )

    def _records(self, asked: str, document: object) -> list[dict[str, Any]]:
        answered = document if isinstance(document, list) else [document]
        records = [record for record in answered if isinstance(record, dict)]
        if len(records) < len(answered):
            raise ConfigurationError(
                f"The API {self._api.label} answered {_for(asked)} with something else than movies.",
                remedy="Correct PIPELINE_MOVIES_API_URL: a JSON object or a list of objects is expected.",
            )
        return [error_record(asked, record) if _is_error(record) else record for record in records]


def error_record(asked: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """An error object as a record with the requested id or title; Plot is its text, Response is False."""
    named = {"imdbID" if _IMDB_ID.fullmatch(asked) else "Title": asked} if asked else {}
    rest = {key: value for key, value in document.items() if key != "Error"}
    return {**named, **rest, "Plot": document.get("Error", document.get("Plot")), "Response": "False"}


@contextmanager
def open_api(
    api: Api,
    asked: Sequence[str],
    folder: Path,
    select: str,
    *,
    memory_limit: str,
    scratch: Path,
    client: ApiClient | None = None,
) -> Iterator[Snapshot]:
    """A snapshot of what an API answers to `asked`: IMDb ids and titles, or one empty text for a list of everything.

    Answers are kept in `folder` until the archive has landed; its time is that of the first request. The SELECT is
    DuckDB's, over the answers as the table `movies`; without one, keys are columns, and others are left out.

    Raises:
        ConfigurationError, SourceError: as `ApiClient.ask`, `Answers` and `selected`.
    """
    name = hashlib.sha256(api.url.encode()).hexdigest()[:12]
    with closing(Answers(folder / f"answers-{name}.jsonl")) as answers:
        _ask_for_missing(client or ApiClient(api), asked, answers)
        records = (record for each in asked for record in answers.records(each))
        total = len(asked) if asked != [""] else None
        if not select:
            yield Snapshot(api.label, answers.started_at, _rows(records), total, answers.delete)
        elif not _write_lines(records, lines := scratch / "answers.jsonl"):
            yield Snapshot(api.label, answers.started_at, iter(()), 0, answers.delete)
        else:
            with selected(lines, select, memory_limit=memory_limit, scratch=scratch) as rows:
                yield Snapshot(api.label, answers.started_at, rows, None, answers.delete)


def _ask_for_missing(client: ApiClient, asked: Sequence[str], answers: Answers) -> None:
    missing = [each for each in asked if each not in answers]
    if kept := len(asked) - len(missing):
        logger.info(
            "%s of %s titles were answered since %s and are not requested again.",
            *(f"{kept:,}", f"{len(asked):,}", f"{answers.started_at:%Y-%m-%d %H:%M} UTC"),
        )
    with progress("Asking the API", "titles", len(asked)) as step:
        step.skip(kept)
        for each in missing:
            answers.add(each, client.ask(each))
            step.advance()
    if missing:
        logger.info("%s", step.text())


def _rows(records: Iterator[dict[str, Any]]) -> Iterator[Row]:
    """Rows of records by their keys in any case; a warning names keys that are not columns of a movie."""
    unknown: set[str] = set()
    for record in records:
        columns = {column: record[key] for key in reversed(record) if (column := column_of(key))}
        unknown.update(one_line(key)[:64] for key in record if not column_of(key))
        yield tuple(as_text(name, columns.get(name)) for name in COLUMNS)
    if unknown:
        logger.warning(
            "The API's answers have keys that a movie does not have: %s. They are left out; PIPELINE_MOVIES_SELECT can "
            "map them.",
            ", ".join(sorted(unknown)),
        )


def _write_lines(records: Iterator[Mapping[str, Any]], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")
            count += 1
    return count


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        pass
    raise _TransientError("its answer is not JSON")


def _is_error(document: Mapping[str, Any]) -> bool:
    return str(document.get("Response", "")).lower() == "false"


def _for(asked: str) -> str:
    return f"for {one_line(asked)[:80]}" if asked else "for its list"


def _retry_after(headers: Message) -> float:
    """The seconds in `Retry-After`, which is a number or a date; 0 without it."""
    value = (headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
