"""Dagster's PostgreSQL storage with connections that a process keeps.

Dagster 1.13.27 opens a connection for each query of the daemon, of a code server and of a run, and three more for each
instance that it opens; a code server opens one for each tick of a sensor. Only its web server keeps connections. With
one sensor per pipeline that is dozens of log-ins a second, each of which costs more than the queries it is for.
Production only (infra/dagster.yaml names this class).
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.event_log import event_log
from dagster_postgres.run_storage import run_storage
from dagster_postgres.schedule_storage import schedule_storage
from dagster_postgres.utils import create_pg_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from sqlalchemy import Engine

# Of libpq, in seconds but for the last, in milliseconds.
_TIME_LIMITS = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class PostgresStorage(DagsterPostgresStorage):
    """`storage: postgres:` of dagster.yaml with the same configuration; its instances share their connections."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> Any:
        """The storage of an instance; from now on the storages of this process share an engine."""
        for module in (run_storage, event_log, schedule_storage):
            module.create_pg_engine = _engine_of  # type: ignore[attr-defined]
        return super().from_config_value(inst_data, config_value)


def _engine_of(url: str, token_provider: Any = None, **options: Any) -> Engine:
    """The engine of this process instead of one without a pool; the web server's own is left as it is."""
    if options.get("poolclass") is not NullPool or token_provider is not None:
        return create_pg_engine(url, token_provider, **options)
    return _engine(url, os.getpid(), options["isolation_level"])


@lru_cache(maxsize=4)
def _engine(url: str, process: int, isolation_level: str) -> Engine:
    """An engine that keeps two connections, and opens more for as long as they are needed.

    A connection cannot be shared with the process that forked this one. Each is tested before use, as a database may
    have been restarted; a server that does not answer any more, after a failover, counts as gone after half a minute.
    """
    return create_pg_engine(
        url,
        isolation_level=isolation_level,
        pool_size=2,
        max_overflow=-1,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={name: value for name, value in _TIME_LIMITS.items() if name not in make_url(url).query},
    )
