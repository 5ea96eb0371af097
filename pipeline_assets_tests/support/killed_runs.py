"""One batch in a process of its own that is killed just before a boundary, or whose home is copied before boundaries.

A boundary is a statement, a write to the lake or a step of the engine; they are counted from 1.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_assets.batch import arrive
from pipeline_assets.engine.duckdb import engine
from pipeline_assets.lake import LocalLake
from pipeline_assets.warehouse import connection, embedded, transaction
from pipeline_assets_tests.support.bookings_lake import BookingsLake
from pipeline_assets_tests.support.command_line import run_code
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.movies_lake import MoviesLake
from pipeline_assets_tests.support.orders_lake import OrdersLake
from pipeline_assets_tests.support.pipeline_lake import PipelineLake, copy_home
from pipeline_assets_tests.support.reviews_lake import ReviewsLake

LAKES: dict[str, Any] = {
    "bookings": BookingsLake,
    "commerce": CommerceLake,
    "movies": MoviesLake,
    "orders": OrdersLake,
    "reviews": ReviewsLake,
}
# Of the statements inside one transaction, which are all alike to a reader, every so many-th is enough.
STATEMENTS = 13
COMMIT = "run_statement COMMIT"
DURABLE = {"publish", "move", "delete", "delete_prefix", COMMIT}
STEPS = {"deduplicate", "write_lake_table"}
_WATCHED = [
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
_CHILD = "from pipeline_assets_tests.support.killed_runs import child; child()"


@dataclass(frozen=True)
class Ended:
    """How a process ended; `trace` are its boundaries, unless it was killed."""

    code: int
    trace: list[str]


def run_in_child(
    lake: PipelineLake | ReviewsLake, kill_at: int | None = None, copies: Path | None = None, **request: object
) -> Ended:
    """Run one batch, or kill it before boundary `kill_at`.

    Before each boundary that may be worth a kill, its home is copied to the folder of its number in `copies`.
    """
    order = {"home": str(lake.home), "pipeline": lake.name, "kill_at": kill_at, "request": request}
    ended = run_code(lake.home, _CHILD, json.dumps(order | {"copies": copies and str(copies)}))
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return Ended(ended.returncode, json.loads(ended.stdout.splitlines()[-1]) if ended.returncode == 0 else [])


def worth_a_kill(trace: list[str]) -> list[tuple[int, str]]:
    """The kills that find something else on disk than the one before them would, and some that find work half done.

    What outlives a process changes by `DURABLE` boundaries only, so a kill after each of them sees every state there
    is; of many alike, one after another, the first, the last and every third. Besides: right before each COMMIT, every
    so many-th statement inside a transaction, and each last step of the engine, with its scratch files on disk.
    """
    chosen = []
    for number, name in enumerate(trace, 1):
        before = trace[number - 2] if number > 1 else ""
        after_a_series = before in DURABLE and (name != before or trace[number - 3] != before or number % 3 == 0)
        within = name.startswith("run_statement") and not name.startswith("run_statement SELECT")
        last_step = name in STEPS and trace[number : number + 1] != [name] and name not in trace[number:]
        if after_a_series or name == COMMIT or (within and number % STATEMENTS == 0) or last_step:
            chosen.append((number, name))
    return chosen


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

    for owner, name in _WATCHED:
        function = wrapped(name, getattr(owner, name))
        setattr(owner, name, function)
        if owner is transaction:
            connection.run_statement = embedded.run_statement = function


def child() -> None:
    """One batch as the first argument says; prints the boundaries when it survives."""
    order = json.loads(sys.argv[1])
    trace: list[str] = []
    home, kind, copies = Path(order["home"]), LAKES[order["pipeline"]], order["copies"]

    def copy(number: int) -> None:
        # The last step of a trace that is not complete is one that may be the last.
        if copies and worth_a_kill(trace)[-1:] == [(number, trace[-1])]:
            copy_home(home, Path(copies) / str(number), kind.landing)

    arrive._AT_ONCE = 1  # boundaries in an order that each run repeats
    watch(order["kill_at"], trace, copy)
    kind.at(home).run("crash", **order["request"])
    print(json.dumps(trace))
