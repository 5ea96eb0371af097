"""Processes that write to one embedded warehouse, for tests that need processes of their own.

    python -m pipeline_assets_tests.warehouse.writers count ROOT PROCESSES UNITS
    python -m pipeline_assets_tests.warehouse.writers hold ROOT

`count` forks processes that each add 1 to OPS.COUNTER in so many units of work; `hold` writes in a unit, says so on
stdout and stays in it until it is killed. The imports are paid once, before the fork, while no DuckDB is open.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import dagster_snowflake  # noqa: F401
import fakesnow  # noqa: F401

from pipeline_assets.warehouse import EmbeddedWarehouse


def count(warehouse: EmbeddedWarehouse, units: int) -> None:
    for _ in range(units):
        with warehouse.unit() as unit:
            before = unit.scalar("SELECT N FROM OPS.COUNTER")
            unit.execute("UPDATE OPS.COUNTER SET N = %s", (int(before) + 1,))


def main(action: str, root: str, *numbers: str) -> int:
    warehouse = EmbeddedWarehouse(Path(root), "ANALYTICS", 60, str)
    if action == "hold":
        with warehouse.unit() as unit:
            unit.execute("UPDATE OPS.COUNTER SET N = 99")
            print("held", flush=True)
            time.sleep(600)
    processes, units = map(int, numbers)
    children = []
    for _ in range(processes):
        child = os.fork()
        if not child:
            count(warehouse, units)
            os._exit(0)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
