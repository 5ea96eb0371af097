"""Open the database that tables are extracted from, by its SQLAlchemy URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.reviews.source import SETTING, Source

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


@contextmanager
def open_source(url: str | URL) -> Iterator[Source]:
    """The database of a URL.

    Raises:
        ConfigurationError: the URL or its SQLite file is wrong, or the server refuses the user.
        SourceError: the server cannot be reached.
    """
    from pipeline_assets.reviews.mysql import open_mysql
    from pipeline_assets.reviews.sqlite import open_sqlite

    usable = usable_url(url)
    with open_sqlite(usable.database or "") if _is_sqlite(usable) else open_mysql(usable) as source:
        yield source


def usable_url(url: str | URL) -> URL:
    """The URL of a database that tables can be extracted from; no server is asked.

    Raises:
        ConfigurationError: it is none, or its SQLite file does not exist.
    """
    from pipeline_assets.reviews.sqlite import require_file

    parsed = parsed_url(url)
    if (backend := parsed.get_backend_name()) not in ("mysql", "mariadb", "sqlite"):
        raise _unusable(f"{backend} is not a database that tables can be extracted from")
    if not parsed.database:
        raise _unusable("it names no database")
    if _is_sqlite(parsed):
        require_file(parsed.database)
    return parsed


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def parsed_url(url: str | URL) -> URL:
    """A SQLAlchemy URL as its parts.

    Raises:
        ConfigurationError: it is none.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # their messages may repeat the password
        raise _unusable("it is not a SQLAlchemy URL") from None


def _unusable(problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"{SETTING} cannot be used: {problem}.",
        remedy="Write e.g. mysql://user:password@host/database or sqlite:////path/shop.db.",
    )
