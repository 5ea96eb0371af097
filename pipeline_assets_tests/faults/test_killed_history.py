"""kill -9 while a history, or a mart over it, is rebuilt: readers see the old rows, and the next run makes the new."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from pipeline_assets_tests.support.command_line import run_code
from pipeline_assets_tests.support.item_history import Delivered, broken, deliver, expected, found, kind

_RUN_AND_BE_KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline_assets.warehouse import publication
from pipeline_assets_tests.support.command_line import run_code
from pipeline_assets_tests.support.item_history import kind

insert, mart = publication._insert_missing, sys.argv[2]

def kill_after(transaction, refreshed, *more):
    insert(transaction, refreshed, *more)
    if refreshed.contract.name == mart:
        os.kill(os.getpid(), signal.SIGKILL)

publication._insert_missing = kill_after
kind().at(Path(sys.argv[1])).run()
"""


@pytest.mark.slow
@pytest.mark.parametrize("mart", ["dim_item", "items_by_price"])
def test_a_run_that_is_killed_while_it_rebuilds_a_history_changes_nothing(tmp_path: Path, mart: str) -> None:
    lake = kind().with_tables(tmp_path / "home")
    first = [Delivered("a", 1, (("i", 1, "n", "p", False),)), Delivered("b", 3, (("i", 2, "n", "p", False),))]
    late = Delivered("late", 2, (("i", 2, "n", "q", False), ("j", 1, "n", "q", False)))
    for file in first:
        deliver(lake, file)
    lake.run()
    deliver(lake, late)

    killed = run_code(lake.home, _RUN_AND_BE_KILLED, lake.home, mart)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert found(lake) == expected(first)
    lake.run()
    assert found(lake) == expected([*first, late])
    assert broken(lake) == []
