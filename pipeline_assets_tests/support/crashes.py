"""kill -9 at every boundary: readers see the old state or the new one, and the next run finishes without help.

FAULTS 1, 27 and 29, on the hard batch of each pipeline (see `scenarios`).
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline_assets_tests.faults.conftest import ROOT, Zygote
from pipeline_assets_tests.support.crash_scenarios import SCENARIOS, Scenario
from pipeline_assets_tests.support.pipeline_lake import PipelineLake

# Of the statements inside one transaction, which are all alike to a reader, every so many-th is enough.
STATEMENTS = 13
COMMIT = "run_statement COMMIT"
DURABLE = {"publish", "move", "delete", "delete_prefix", COMMIT}
STEPS = {"deduplicate", "write_lake_table"}


@dataclass
class Prepared:
    """A home with one batch published and the second landed, and what a run without a crash makes of it."""

    scenario: Scenario
    home: Path
    before: dict
    after: dict
    files_before: object
    files_after: object
    memory: dict
    trace: list[str]

    def copy(self, target: Path) -> PipelineLake:
        """Copy the home; landed files are linked, as their identity includes the inode."""
        return self.scenario.lake.at(_copy(self.home, target, self.scenario.lake.landing))


def memory(lake: PipelineLake) -> dict[str, list]:
    """What the platform remembers and where landed files are, without ids and moments of runs."""
    with lake.platform.warehouse.read_only() as transaction:
        stages = transaction.rows(
            "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES "
            "WHERE TABLE_SCHEMA = 'OPS' AND STARTSWITH(TABLE_NAME, 'STAGE_')"
        )
        return {
            "landed": sorted(lake.landed_keys()),
            "ledger": transaction.rows(
                "SELECT URI, ETAG, STATUS, ROWS_READ, ROWS_LOADED, ROWS_SUPERSEDED, ROWS_QUARANTINED, CONTENT_SHA256 "
                "FROM OPS.FILE_LEDGER ORDER BY URI, ETAG"
            ),
            "quarantine": transaction.rows(
                "SELECT SOURCE_URI, LINE_NUMBER, REASON_CODE, RAW_RECORD, REPLAYED_AT IS NULL "
                "FROM OPS.QUARANTINE ORDER BY SOURCE_URI, SOURCE_ETAG, LINE_NUMBER"
            ),
            "staging": [row for (table,) in stages for row in transaction.rows(f"SELECT * FROM OPS.{table}")],
            "batches": transaction.rows("SELECT COUNT(*) FROM OPS.BATCHES"),
            "catalog": transaction.rows(
                "SELECT TABLE_NAME, PARTITION_VALUE, FILES FROM OPS.LAKE_PARTITIONS ORDER BY 1, 2"
            ),
        }


@pytest.fixture(scope="module")
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> Prepared:
    scenario = SCENARIOS[request.module.PIPELINE]
    folder = tmp_path_factory.mktemp("crashes")
    lake = scenario.lake.at(folder / "home")
    scenario.land_first(lake)
    assert zygote.order(lake)["code"] == 0
    before, files_before = lake.tables(), scenario.files(lake)
    scenario.land_second(lake)
    whole = scenario.lake.at(_copy(lake.home, folder / "whole", scenario.lake.landing))
    survived = zygote.order(whole)
    return Prepared(
        scenario,
        lake.home,
        before,
        whole.tables(),
        files_before,
        scenario.files(whole),
        memory(whole),
        survived["trace"],
    )


def _copy(home: Path, target: Path, landing: str) -> Path:
    subprocess.run(["cp", "-a", str(home), str(target)], check=True)
    shutil.rmtree(target / "lake" / landing)
    subprocess.run(["cp", "-al", str(home / "lake" / landing), str(target / "lake" / landing)], check=True)
    return target


def test_the_batch_that_is_killed_does_everything(prepared: Prepared) -> None:
    """Otherwise the crashes below would prove little."""
    assert prepared.scenario.boundaries <= {entry.split()[0] for entry in prepared.trace}
    assert "run_statement COMMIT" in prepared.trace
    assert prepared.before != prepared.after
    assert prepared.files_before != prepared.files_after
    assert any(waiting for *_, waiting in prepared.memory["quarantine"])


def _worth_a_kill(trace: list[str]) -> list[tuple[int, str]]:
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


def test_every_state_on_disk_is_killed_at(prepared: Prepared) -> None:
    """What is chosen to be killed at covers all kinds of boundaries, before and after."""
    chosen = [number for number, _ in _worth_a_kill(prepared.trace)]
    after = {prepared.trace[number - 2] for number in chosen}
    assert DURABLE & set(prepared.trace) <= after | {prepared.trace[-1]}
    assert {number for number, name in enumerate(prepared.trace, 1) if name == COMMIT} <= set(chosen)
    assert STEPS & set(prepared.trace) <= {prepared.trace[number - 1] for number in chosen}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_at_every_durable_boundary_leaves_the_old_state_or_the_new_and_the_next_run_finishes(
    prepared: Prepared, zygote: Zygote, tmp_path: Path
) -> None:
    for number, name in _worth_a_kill(prepared.trace):
        lake = prepared.copy(tmp_path / "home")
        assert zygote.order(lake, kill_at=number)["signal"] == signal.SIGKILL, name

        seen, files = lake.tables(), prepared.scenario.files(lake)
        assert seen in (prepared.before, prepared.after), f"half a batch is visible after a kill before {name}"
        assert prepared.scenario.partly(files, prepared.files_before, prepared.files_after), (
            f"half a file is visible after a kill before {name}"
        )
        if seen == prepared.before:
            assert files == prepared.files_before, "files were handed out for a batch that is not published"

        assert zygote.order(lake)["code"] == 0, name
        _assert_finished(lake, prepared, name)
        shutil.rmtree(lake.home)


def _assert_finished(lake: PipelineLake, prepared: Prepared, name: str) -> None:
    assert lake.tables() == prepared.after, name
    assert memory(lake) == prepared.memory, name
    assert prepared.scenario.files(lake) == prepared.files_after, name
    assert not lake.staged(), name
    assert not [path for path in (lake.home / "scratch").rglob("*") if path.is_file()], name


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(2))
def test_kill_at_a_random_moment_of_the_real_command(prepared: Prepared, tmp_path: Path, seed: int) -> None:
    """The console script as people start it, Dagster included."""
    lake = prepared.copy(tmp_path / "home")
    moment = random.Random(f"{lake.name} {seed}").uniform(1, 5)
    command = _start(lake)
    time.sleep(moment)  # the moment is the point, there is no condition to wait for
    command.kill()
    command.wait()
    assert lake.tables() in (prepared.before, prepared.after)
    finished = _start(lake)
    assert finished.wait(timeout=120) == 0
    _assert_finished(lake, prepared, f"seed {seed}")


@pytest.mark.slow
def test_sigterm_rolls_back_sweeps_and_says_so(prepared: Prepared, zygote: Zygote, tmp_path: Path) -> None:
    """FAULTS 29: an orderly end leaves no temporary file, not even for the next run to sweep."""
    lake = prepared.copy(tmp_path / "home")
    big = prepared.scenario.land_many(lake)
    command = _start(lake)
    scratch = lake.home / "scratch" / lake.name
    deadline = time.monotonic() + 60
    while not any(scratch.glob("*/*")):
        assert time.monotonic() < deadline
        assert command.poll() is None
        time.sleep(0.01)
    command.terminate()
    assert command.wait(timeout=60) == 130
    assert not [path for path in scratch.rglob("*") if path.is_file()]
    assert lake.tables() == prepared.before
    lake.path(big).unlink()
    assert zygote.order(lake)["code"] == 0
    _assert_finished(lake, prepared, "SIGTERM")


def _start(lake: PipelineLake) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline_assets.cli", "run", lake.name, "--json"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PIPELINE_HOME": str(lake.home), "HOME": str(lake.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
