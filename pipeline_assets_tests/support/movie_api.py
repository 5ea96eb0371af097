"""An API of OMDb's shape over HTTP on 127.0.0.1, with the faults that a test chooses.

A `rule` gets the number of the request (from 1) and what was asked, and returns a `Reply`, or None for the movie.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

KEY = "s3cret/key+1"


@dataclass(frozen=True)
class Reply:
    """An answer. `cut` sends half of the body; `until` is awaited between the halves; `raw` is sent in place of all."""

    status: int = 200
    document: object = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    until: threading.Event | None = None
    raw: bytes = b""


Rule = Callable[[int, str], Reply | None]


def movie(asked: str) -> dict[str, object]:
    """The movie with an IMDb id or a title."""
    found = {"imdbID": asked, "Title": f"Movie {asked}"} if asked.startswith("tt") else {"imdbID": "", "Title": asked}
    return {
        **found,
        "Year": "2001\u2013",
        "Ratings": [{"Source": "Internet Movie Database", "Value": "9.3/10"}],
        "Plot": 'One, "two"\nthree',
        "Response": "True",
    }


@dataclass
class MovieApi:
    """`asked` has what each request asked for, `times` when it arrived, `rule` may be replaced at any time."""

    rule: Rule = lambda number, asked: None
    asked: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def reply(self, path: str) -> Reply:
        parameters = parse_qs(urlsplit(path).query)
        asked = (parameters.get("i") or parameters.get("t") or [""])[0]
        self.asked.append(asked)
        self.paths.append(path)
        if parameters.get("apikey") != [KEY]:
            return Reply(401, {"Response": "False", "Error": f"Invalid API key {parameters.get('apikey')}!"})
        return self.rule(len(self.asked), asked) or Reply(document=movie(asked))


@contextmanager
def movie_api() -> Iterator[MovieApi]:
    api = MovieApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply = api.reply(self.path)
            if reply.raw:
                self.wfile.write(reply.raw)
                return
            body = reply.document if isinstance(reply.document, bytes) else json.dumps(reply.document).encode()
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            half = len(body) // 2
            self.wfile.write(body[:half])
            self.wfile.flush()
            if reply.until:
                reply.until.wait(30)
            if not reply.cut and not reply.until:
                self.wfile.write(body[half:])

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}/"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
