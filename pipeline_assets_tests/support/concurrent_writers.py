"""Processes that write to one embedded warehouse, for tests that need processes of their own.

Orders come on stdin, one a line: `count ROOT PROCESSES UNITS` forks processes that each add 1 to OPS.COUNTER in so
many transactions, and answers with their exit codes; `hold ROOT` forks one that writes in a transaction and stays in
it until it is killed, and answers with its id. The imports are paid once, before any fork and while no DuckDB is open.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import fakesnow  # noqa: F401

from pipeline_assets.warehouse import EmbeddedWarehouse
from pipeline_assets.warehouse.driver import snowflake_resource

snowflake_resource()


def count(warehouse: EmbeddedWarehouse, units: int) -> None:
    for _ in range(units):
        with warehouse.transaction() as transaction:
            before = transaction.scalar("SELECT N FROM OPS.COUNTER")
            transaction.execute("UPDATE OPS.COUNTER SET N = %s", (int(before) + 1,))


def hold(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.transaction() as transaction:
        transaction.execute("UPDATE OPS.COUNTER SET N = 99")
        print(os.getpid(), flush=True)
        time.sleep(600)


def forked(work: object, *arguments: object) -> int:
    """Run a function in a child; returns the child's id."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work(*arguments)  # type: ignore[operator]
            code = 0
        finally:
            os._exit(code)
    return child


def main() -> None:
    for line in sys.stdin:
        action, root, *numbers = line.split()
        warehouse = EmbeddedWarehouse(Path(root), "ANALYTICS", 60, str)
        if action == "hold":
            forked(hold, warehouse)
        else:
            processes, units = map(int, numbers)
            children = [forked(count, warehouse, units) for _ in range(processes)]
            print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)


if __name__ == "__main__":
    main()
