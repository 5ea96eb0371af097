"""What every source of movies yields: one snapshot as a stream of rows."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.movies.columns import Row

logger = logging.getLogger("pipeline_assets")
REPORT_SECONDS = 5.0
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_PATH_STARTS = ("/", "./", "../", "~")


@dataclass(frozen=True)
class Snapshot:
    """One snapshot of a source.

    `source` names it without user, password and key; `created_at` is the UTC time at which reading it began; `total` is
    the number of rows, if the source states it. `landed` is called once the archive is in landing.
    """

    source: str
    created_at: datetime
    rows: Iterator[Row]
    total: int | None = None
    landed: Callable[[], None] = lambda: None


class Progress:
    """Logs the number of finished items, the rate and the time left every few seconds; `what` are the items."""

    def __init__(self, what: str, total: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._started = self._reported = clock()
        self._done = self._skipped = 0

    def skip(self, count: int) -> None:
        """Count what an earlier run has done; it does not enter the rate."""
        self._done += count
        self._skipped += count

    def advance(self, count: int = 1) -> None:
        self._done += count
        if self._clock() - self._reported >= REPORT_SECONDS:
            self._reported = self._clock()
            logger.info("%s", self.text())

    def text(self) -> str:
        """For example `1,200 of 5,000 titles, 20 a second, 3 minutes left`."""
        seconds = self._clock() - self._started
        rate = (self._done - self._skipped) / seconds if seconds > 0 else 0.0
        done = f"{self._done:,} of {self._total:,} {self._what}" if self._total else f"{self._done:,} {self._what}"
        shown = f"{rate:,.0f} a second" if rate >= 1 else f"{rate * 60:,.0f} a minute"
        if not self._total or not rate:
            return f"{done}, {shown}"
        return f"{done}, {shown}, {_duration((self._total - self._done) / rate)} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(0, seconds):.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def without_values(message: str) -> str:
    """A database's message about a value that it cannot convert, without the value."""
    return _QUOTED.sub("a value", message)


def text_or_file(value: str, setting: str) -> str:
    """The text of a setting, or of the file that it names: a value that starts with `/`, `./`, `../` or `~`.

    Raises:
        ConfigurationError: the file cannot be read, or there is no text.
    """
    text = value.strip()
    if text.startswith(_PATH_STARTS) and not text.startswith("/*"):  # a SELECT may start with a comment
        try:
            text = Path(text).expanduser().read_text(encoding="utf-8-sig").strip()
        except (OSError, RuntimeError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigurationError(
                f"The file of {setting} cannot be read: {reason}.", remedy="Correct its path, or its rights."
            ) from None
    if not text:
        raise ConfigurationError(f"{setting} is empty.", remedy="See docs/movies.md for an example.")
    return text
