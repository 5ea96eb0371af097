"""What every source of movies yields: one snapshot as a stream of rows."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.movies.columns import Row

logger = logging.getLogger("pipeline_assets")
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
