"""Dagster's SQLite storages without the work that they repeat for each event.

Dagster 1.13.27 parses all of its migrations for each database that it opens, five times in a run and three times in
each tick of a sensor, and makes two or three engines for each event, which compile the same statements again: most of
the processor time of a small run and of a tick.
"""

from __future__ import annotations

from functools import cache, lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy import Engine


@cache
def keep_migrations_and_engines() -> None:
    """Have the storages of this process parse migrations once, and make one engine for each database."""
    from alembic.script import ScriptDirectory
    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from dagster._core.storage.runs.sqlite import sqlite_run_storage
    from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage

    from_config = ScriptDirectory.from_config
    parsed: dict[str | None, ScriptDirectory] = {}

    parsing = Lock()  # a code server evaluates sensors in threads

    def parsed_once(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        with parsing:
            if location not in parsed:
                directory = from_config(config)
                directory.get_heads()  # reads the migrations
                parsed[location] = directory
        return parsed[location]

    ScriptDirectory.from_config = parsed_once  # type: ignore[method-assign]
    for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        module.create_engine = _engine_of  # type: ignore[attr-defined]


def _engine_of(url: str, *, poolclass: type, connect_args: dict[str, Any] | None = None) -> Engine:
    return _engine(url, poolclass, tuple((connect_args or {}).items()))


@lru_cache(maxsize=32)  # each run has a database of its own
def _engine(url: str, poolclass: type, connect_args: tuple[tuple[str, Any], ...]) -> Engine:
    """An engine without a pool: it opens the file for each connection, and closes it after."""
    from sqlalchemy import create_engine

    return create_engine(url, poolclass=poolclass, connect_args=dict(connect_args))
