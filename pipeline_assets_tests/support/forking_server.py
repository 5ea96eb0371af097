"""A process that has imported everything and forks one child per order, so that hundreds of crashes are cheap.

Run as `python -m pipeline_assets_tests.support.forking_server`; an order is one JSON line on stdin, the response one on
stdout.
Nothing but importing happens in this process: DuckDB and obstore start threads when they are used, and a thread does
not survive a fork. The child runs one batch and, when `kill_at` is given, kills itself with SIGKILL just before that
boundary. Boundaries are counted: every statement sent to the warehouse, every write to the lake, every engine step.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import duckdb  # noqa: F401 - imported for the children
import fakesnow  # noqa: F401
import obstore.store  # noqa: F401
import pandas  # noqa: F401
import pyarrow.parquet  # noqa: F401
import snowflake.connector.pandas_tools  # noqa: F401
import sqlglot.optimizer.qualify  # noqa: F401
import yaml  # noqa: F401

from pipeline_assets.engine.duckdb import engine
from pipeline_assets.lake import LocalLake
from pipeline_assets.warehouse import connection, driver, embedded, transaction
from pipeline_assets_tests.support.bookings_lake import BookingsLake
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.orders_lake import OrdersLake

driver.snowflake_resource()
LAKES = {"bookings": BookingsLake, "commerce": CommerceLake, "orders": OrdersLake}
WATCHED = [
    (LocalLake, "publish"),
    (LocalLake, "move"),
    (LocalLake, "delete"),
    (LocalLake, "delete_prefix"),
    (LocalLake, "changed"),
    (engine.DuckDBSession, "read"),
    (engine.DuckDBSession, "deduplicate"),
    (engine.DuckDBSession, "write"),
    (engine.DuckDBSession, "write_lake_table"),
    (transaction, "run_statement"),
]


def watch(kill_at: int | None, trace: list[str]) -> None:
    """Count every boundary and die before number `kill_at` (from 1)."""

    def wrapped(name: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*args: object, **kwargs: object) -> object:
            detail = " ".join(str(args[1]).split()[:3]) if name == "run_statement" else ""
            trace.append(f"{name} {detail}".strip())
            if len(trace) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for owner, name in WATCHED:
        function = wrapped(name, getattr(owner, name))
        setattr(owner, name, function)
        if owner is transaction:
            connection.run_statement = embedded.run_statement = function


def child(order: dict) -> None:
    """One batch; writes the trace of boundaries to `order["trace"]` when it survives."""
    trace: list[str] = []
    watch(order.get("kill_at"), trace)
    lake = LAKES[order["pipeline"]].at(Path(order["home"]))
    report = lake.run(order.get("run_id", "crash"), **order.get("request", {}))
    Path(order["trace"]).write_text(json.dumps({"trace": trace, "rows": report.rows}), encoding="utf-8")


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                child(json.loads(line))
                status = 0
            except BaseException:  # noqa: BLE001 - the child must end here, whatever happened
                traceback.print_exc()
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        print(
            json.dumps({"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, "code": status >> 8}),
            flush=True,
        )


if __name__ == "__main__":
    main()
