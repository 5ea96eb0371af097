"""Where events go: a file with one JSON object in each line, or a collector over HTTP."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from pipeline_assets.errors import PipelineError, masked

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent
    from openlineage.client.transport.http import HttpTransport
    from pydantic import SecretStr

TIMEOUT = 3.0  # seconds to connect, and between two parts of an answer
_ENDPOINT = "api/v1/lineage"  # of a collector whose url has no path
# With these a collector refuses the event itself, and would refuse it again; any other answer may change.
_REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)


class NotSentError(PipelineError):
    """An event was not sent; it will be sent again."""

    transient = True


class RefusedEventError(NotSentError):
    """A collector refused an event for what it contains, and would refuse it again."""

    transient = False


class Destination(Protocol):
    """Where events go."""

    def send(self, event: RunEvent) -> None:
        """Send one event.

        Raises:
            RefusedEventError: the event is refused for good.
            NotSentError: it was not sent for any other reason.
        """
        ...

    def probe(self) -> str:
        """Where events go, if they can go there now; nothing is sent.

        Raises:
            NotSentError: they cannot.
        """
        ...


@dataclass(frozen=True)
class EventFile:
    """Appends events as lines. Each is written whole under a lock, so any number of processes may share the file."""

    path: Path

    def send(self, event: RunEvent) -> None:
        from openlineage.client.serde import Serde

        line = Serde.to_json(event).encode() + b"\n"
        with self._opened() as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            begin = os.fstat(file.fileno()).st_size
            try:
                while line:
                    line = line[file.write(line) :]
            except OSError:
                file.truncate(begin)  # a full disk; the event is sent again
                raise

    def probe(self) -> str:
        with self._opened():
            return f"{self.path} can be written"

    @contextmanager
    def _opened(self) -> Iterator[FileIO]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab", buffering=0) as file:
                yield file
        except OSError as error:
            raise NotSentError(
                f"The file {self.path} (PIPELINE_OPENLINEAGE_FILE) cannot be written: {error.strerror}.",
                remedy="Check its folder and the free space.",
            ) from None


@dataclass(frozen=True)
class Collector:
    """A collector such as Marquez, through the client's own HTTP transport; an event is sent once, without retries."""

    url: str
    api_key: SecretStr | None = None

    def send(self, event: RunEvent) -> None:
        import requests

        try:
            self._transport.emit(event)
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in _REFUSALS:
                raise RefusedEventError(f"{self._name} refused an event: HTTP {status}.") from None
            raise self._not_sent(f"answered HTTP {status}") from None
        except requests.TooManyRedirects:
            raise self._not_sent("redirects elsewhere") from None
        except requests.Timeout:
            raise self._not_sent(f"did not answer within {TIMEOUT:g} seconds") from None
        except requests.RequestException:  # its message contains the url
            raise self._not_sent("cannot be reached") from None

    def probe(self) -> str:
        address = urlsplit(self.url)
        try:
            port = address.port or (443 if address.scheme == "https" else 80)
            socket.create_connection((address.hostname or "", port), TIMEOUT).close()
        except OSError:
            raise self._not_sent("cannot be reached") from None
        return f"{masked(self.url)} takes connections"

    def _not_sent(self, reason: str) -> NotSentError:
        return NotSentError(
            f"{self._name} {reason}.",
            remedy="Events are sent again later. Check PIPELINE_OPENLINEAGE_URL and PIPELINE_OPENLINEAGE_API_KEY.",
        )

    @property
    def _name(self) -> str:
        return f"The OpenLineage collector {masked(self.url)}"

    @cached_property
    def _transport(self) -> HttpTransport:
        import requests
        from openlineage.client.transport.http import (
            ApiKeyTokenProvider,
            HttpConfig,
            HttpTransport,
            TokenProvider,
        )

        session = requests.Session()
        session.max_redirects = 0  # a redirected POST becomes a GET, and its event is lost
        session.stream = True  # the body of an answer is not read
        key = self.api_key.get_secret_value() if self.api_key else ""
        endpoint = self.url if urlsplit(self.url).path.strip("/") else _ENDPOINT
        return HttpTransport(
            HttpConfig(
                url=self.url,
                endpoint=endpoint,
                timeout=TIMEOUT,
                auth=ApiKeyTokenProvider({"api_key": key}) if key else TokenProvider({}),
                custom_headers={"Connection": "close"},  # hours pass between two runs
                session=session,
                retry={"total": 0},
            )
        )
