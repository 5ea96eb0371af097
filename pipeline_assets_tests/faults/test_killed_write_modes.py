"""kill -9 within a publication: rows of every write mode and the watermark are the old ones or the new ones, together.

A refreshed table is never empty, and an append_distinct table never has a row twice.
"""

from __future__ import annotations

import signal
from functools import cache
from pathlib import Path

import pytest

from pipeline_assets.batch.context import BatchContext
from pipeline_assets.pipeline import LandedFiles, Pipeline, Step, Table
from pipeline_assets.pipeline.resolve import derive
from pipeline_assets_tests.support.command_line import run_code
from pipeline_assets_tests.support.pipeline_lake import copy_home
from pipeline_assets_tests.support.small_pipelines import SmallLake, contract, lake_of

OLD = {"prices": [("pen", "1.0000")], "events": [("a",), ("a",)], "watermark": "a1.csv,p1.csv"}
NEW = {"prices": [("ink", "2.0000")], "events": [("a",), ("a",), ("b",)], "watermark": "a1.csv,a2.csv,p1.csv,p2.csv"}

_RUN_AND_BE_KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline_assets.warehouse import transaction
from pipeline_assets_tests.faults.test_killed_write_modes import kind

run, (home, start) = transaction.run_statement, sys.argv[1:]

def killed_after(connection, sql, params=None):
    cursor = run(connection, sql, params)
    if sql.startswith(start):
        os.kill(os.getpid(), signal.SIGKILL)
    return cursor

lake = kind().at(Path(home))
transaction.run_statement = killed_after
lake.run()
"""


def remember(context: BatchContext) -> None:
    """Add the names of the loaded objects to a watermark."""
    loaded = [o.landed.key.rpartition("/")[2] for each in context.outcomes.values() for o in each if not o.rejection]
    if loaded:
        known = filter(None, (context.watermark("loaded") or "").split(","))
        context.set_watermark("loaded", ",".join(sorted({*known, *loaded})))


@cache
def kind() -> type[SmallLake]:
    made = [contract("prices", "ITEM text key", "PRICE number"), contract("events", "KIND text")]
    value = Pipeline(
        "shop",
        "shop-bucket",
        sources=[LandedFiles("prices", "in/p*.csv"), LandedFiles("events", "in/a*.csv")],
        tables=[Table("prices", write="full_refresh"), Table("events", write="append_distinct")],
        contracts={each.name: each for each in made},
        steps=[Step("publish", remember)],
    )
    return lake_of(derive(value))


def state(lake: SmallLake) -> dict[str, object]:
    watermarks = lake.rows("SELECT VALUE FROM OPS.WATERMARKS")
    return {**lake.cells(), "watermark": watermarks[0][0] if watermarks else None}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """A home whose tables are OLD, and another file of each dataset."""
    lake = kind().with_tables(tmp_path_factory.mktemp("loaded") / "home")
    lake.csv("p1", {"ITEM": "pen", "PRICE": 1}, at=1)
    lake.csv("a1", {"KIND": "a"}, {"KIND": "a"}, at=1)
    lake.run()
    assert state(lake) == OLD
    lake.csv("p2", {"ITEM": "ink", "PRICE": 2}, at=2)
    lake.csv("a2", {"KIND": "a"}, {"KIND": "b"}, at=2)
    return lake


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM SHOP.PRICES",
        "INSERT INTO SHOP.PRICES",
        "INSERT INTO SHOP.EVENTS",
        "INSERT INTO OPS.WATERMARKS",
        "DELETE FROM OPS.STAGE_SHOP_EVENTS",
    ],
)
def test_a_killed_publication_leaves_the_old_rows_and_the_old_watermark(
    statement: str, loaded: SmallLake, tmp_path: Path
) -> None:
    lake = kind().at(copy_home(loaded.home, tmp_path / "home", kind().landing))

    killed = run_code(lake.home, _RUN_AND_BE_KILLED, lake.home, statement)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert state(lake) == OLD
    lake.run()
    assert state(lake) == NEW
    lake.run(reprocess=True)
    assert state(lake) == NEW


@pytest.mark.slow
def test_a_run_that_is_killed_after_its_commit_has_published_all(tmp_path: Path) -> None:
    lake = kind().with_tables(tmp_path / "home")
    lake.csv("p1", {"ITEM": "pen", "PRICE": 1}, at=1)
    lake.csv("a1", {"KIND": "a"}, {"KIND": "a"}, at=1)
    script = _RUN_AND_BE_KILLED.replace(
        "lake = kind()",
        "from pipeline_assets.batch import run as batch\n"
        "batch.promote = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\nlake = kind()",
    )
    killed = run_code(lake.home, script, lake.home, "?")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert state(lake) == OLD
    assert lake.run().new == 0
    assert state(lake) == OLD
