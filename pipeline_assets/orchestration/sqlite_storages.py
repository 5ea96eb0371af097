"""Dagster's SQLite storages without the work that they repeat for each event.

Dagster 1.13.27 parses all of its migrations for each database that it opens, five times in a run and three times in
each tick of a sensor, and makes two or three engines for each event, which compile the same statements again: most of
the processor time of a small run and of a tick. It opens a database for each event, too, and SQLite checkpoints its
write-ahead log whenever the last connection closes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy import Engine

# The engines of `kept_connections` by the arguments that they were created with.
_kept: ContextVar[dict[object, Engine] | None] = ContextVar("_kept", default=None)


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


@contextmanager
def kept_connections() -> Iterator[None]:
    """Keep the storages' connections open in this block, which is one run; other processes may use the databases, too.

    Not longer: a later run must notice that its home was moved or replaced. One that is moved during a run is not
    noticed by that run.
    """
    from sqlalchemy import Engine

    engines: dict[object, Engine] = {}
    token = _kept.set(engines)
    try:
        yield
    finally:
        _kept.reset(token)
        for engine in engines.values():
            Engine.dispose(engine)


def _engine_of(url: str, *, poolclass: type, connect_args: dict[str, Any] | None = None) -> Engine:
    arguments = (url, poolclass, tuple((connect_args or {}).items()))
    if (engines := _kept.get()) is None:
        return _engine(*arguments)
    if arguments not in engines:
        from sqlalchemy.pool import QueuePool

        engine = engines[arguments] = _engine.__wrapped__(url, QueuePool, arguments[2])
        engine.dispose = lambda close=True: None  # type: ignore[method-assign]  # Dagster calls it after each event
    return engines[arguments]


@lru_cache(maxsize=32)  # each run has a database of its own
def _engine(url: str, poolclass: type, connect_args: tuple[tuple[str, Any], ...]) -> Engine:
    """An engine; without a pool it opens the file for each connection, and closes it after."""
    from sqlalchemy import create_engine

    return create_engine(url, poolclass=poolclass, connect_args=dict(connect_args))
