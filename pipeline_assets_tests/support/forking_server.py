"""A process that has imported everything and forks one child per order, so that hundreds of crashes are cheap.

Run as `python -m pipeline_assets_tests.support.forking_server`; an order is one JSON line on stdin, the response one on
stdout. This process only imports, reads contracts and translates statements: DuckDB and obstore start threads when they
are used, and a thread does not survive a fork. The child runs one batch and, when `kill_at` is given, kills itself with
SIGKILL just before that boundary; just before those in `copies`, it copies its home. Boundaries are counted: every
statement, write to the lake, and step of the engine.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb  # noqa: F401 - imported for the children
import fakesnow.cursor
import obstore.store  # noqa: F401
import pandas  # noqa: F401
import pyarrow.dataset
import pyarrow.pandas_compat
import pyarrow.parquet  # noqa: F401
import snowflake.connector.pandas_tools  # noqa: F401
import sqlglot.dialects.duckdb
import sqlglot.optimizer.qualify  # noqa: F401
import yaml  # noqa: F401
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.variables import Variables

from pipeline_assets.batch import arrive
from pipeline_assets.batch.run import required_tables
from pipeline_assets.engine.duckdb import engine
from pipeline_assets.lake import LocalLake
from pipeline_assets.pipelines import pipelines
from pipeline_assets.warehouse import connection, driver, embedded, emulator, transaction
from pipeline_assets_tests.support.bookings_lake import BookingsLake
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.movies_lake import MoviesLake
from pipeline_assets_tests.support.orders_lake import OrdersLake
from pipeline_assets_tests.support.pipeline_lake import copy_home
from pipeline_assets_tests.support.reviews_lake import ReviewsLake

driver.snowflake_resource()
LAKES: dict[str, Any] = {
    "bookings": BookingsLake,
    "commerce": CommerceLake,
    "movies": MoviesLake,
    "orders": OrdersLake,
    "reviews": ReviewsLake,
}
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


def watch(kill_at: int | None, trace: list[str], copy: Callable[[int], None]) -> None:
    """Count every boundary from 1, call `copy` before each, and die before number `kill_at`."""

    def wrapped(name: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*args: object, **kwargs: object) -> object:
            detail = " ".join(str(args[1]).split()[:3]) if name == "run_statement" else ""
            trace.append(f"{name} {detail}".strip())
            copy(len(trace))
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
    home, kind, copies = Path(order["home"]), LAKES[order["pipeline"]], order.get("copies", {})

    def copy(number: int) -> None:
        if target := copies.get(str(number)):
            copy_home(home, Path(target), kind.landing)

    arrive._AT_ONCE = 1  # boundaries in an order that each run repeats
    watch(order.get("kill_at"), trace, copy)
    lake = kind.at(home)
    lake.run(order.get("run_id", "crash"), **order.get("request", {}))
    statements = [(text, *place) for text, kept in emulator._statements.items() for place in kept.transformed]
    result = {"trace": trace, "statements": statements}
    Path(order["trace"]).write_text(json.dumps(result), encoding="utf-8")


def transform(text: str, database: str, schema: str) -> None:
    """Have the emulator keep a statement as DuckDB gets it, for the children to come; this needs no DuckDB."""
    place = SimpleNamespace(database=database, schema=schema, variables=Variables(), db_path=None, table_stages=None)
    cursor: Any = SimpleNamespace(_conn=place, _duck_conn=None)
    with emulator.patched_emulator():
        FakeSnowflakeCursor._transform(cursor, fakesnow.cursor.parse_one(text), None).sql(dialect="duckdb")


def main() -> None:
    for name in LAKES:
        required_tables(pipelines()[name])
    sent: set[tuple[str, ...]] = set()
    for line in sys.stdin:
        order = json.loads(line)
        gc.freeze()  # the children share this memory until they write to it
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                child(order)
                status = 0
            except BaseException:  # noqa: BLE001 - the child must end here, whatever happened
                traceback.print_exc()
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        if status == 0:
            statements = set(map(tuple, json.loads(Path(order["trace"]).read_text(encoding="utf-8"))["statements"]))
            for again in statements & sent:  # those of one batch alone do not come again
                transform(*again)
            sent |= statements
        print(
            json.dumps({"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, "code": status >> 8}),
            flush=True,
        )


if __name__ == "__main__":
    main()
