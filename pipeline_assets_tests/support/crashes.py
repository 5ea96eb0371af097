"""kill -9 at every boundary: readers see the old state or the new one, and the next run finishes without help.

FAULTS 1, 27 and 29, on the hard batch of each pipeline (see `scenarios`).
"""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline_assets_tests.support.command_line import environment, start
from pipeline_assets_tests.support.crash_scenarios import SCENARIOS, Scenario
from pipeline_assets_tests.support.killed_runs import COMMIT, DURABLE, STEPS, run_in_child, worth_a_kill
from pipeline_assets_tests.support.pipeline_lake import PipelineLake, copy_home
from pipeline_assets_tests.support.reviews_lake import ReviewsLake
from pipeline_assets_tests.support.warm_python import WarmProcess


@dataclass
class Prepared:
    """A home with one batch published and the second landed, and what a run without a crash makes of it.

    `copies` has the home of that run before its boundaries, in folders named by their numbers.
    """

    scenario: Scenario
    home: Path
    before: dict
    after: dict
    files_before: object
    files_after: object
    memory: dict
    trace: list[str]
    copies: Path

    def copy(self, target: Path) -> PipelineLake:
        return self.scenario.lake.at(copy_home(self.home, target, self.scenario.lake.landing))


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
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    scenario = SCENARIOS[request.module.PIPELINE]
    folder = tmp_path_factory.mktemp("crashes")
    lake = scenario.lake.at(folder / "home")
    scenario.land_first(lake)
    lake.run()
    before, files_before = lake.tables(), scenario.files(lake)
    scenario.land_second(lake)
    whole = scenario.lake.at(copy_home(lake.home, folder / "whole", scenario.lake.landing))
    (folder / "copies").mkdir()
    survived = run_in_child(whole, copies=folder / "copies")
    return Prepared(
        scenario,
        lake.home,
        before,
        whole.tables(),
        files_before,
        scenario.files(whole),
        memory(whole),
        survived.trace,
        folder / "copies",
    )


def test_the_batch_that_is_killed_does_everything(prepared: Prepared) -> None:
    """Otherwise the crashes below would prove little."""
    assert prepared.scenario.boundaries <= {entry.split()[0] for entry in prepared.trace}
    assert "run_statement COMMIT" in prepared.trace
    assert prepared.before != prepared.after
    assert prepared.files_before != prepared.files_after
    assert any(waiting for *_, waiting in prepared.memory["quarantine"])


def test_every_state_on_disk_is_killed_at(prepared: Prepared) -> None:
    """What is chosen to be killed at covers all kinds of boundaries, before and after."""
    chosen = [number for number, _ in worth_a_kill(prepared.trace)]
    after = {prepared.trace[number - 2] for number in chosen}
    assert DURABLE & set(prepared.trace) <= after | {prepared.trace[-1]}
    assert {number for number, name in enumerate(prepared.trace, 1) if name == COMMIT} <= set(chosen)
    assert STEPS & set(prepared.trace) <= {prepared.trace[number - 1] for number in chosen}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_at_every_durable_boundary_leaves_the_old_state_or_the_new_and_the_next_run_finishes(
    prepared: Prepared, tmp_path: Path
) -> None:
    """A kill leaves the files as they are, and the kernel releases its locks: so the home of one run is copied.

    A run is really killed once at a COMMIT, in one scenario at each kind of boundary, and leaves the same files as the
    copy. Of copies with the same bytes one is enough, as the next run finds nothing else.
    """
    # Those before a durable change are kept of those alike.
    chosen = sorted(worth_a_kill(prepared.trace), key=lambda boundary: boundary[1] in DURABLE)
    copies = {number: prepared.copies / str(number) for number, _ in chosen}
    distinct = {tuple(digests(copies[number]).items()): (number, name) for number, name in chosen}
    killed = set()
    for number, name in sorted(distinct.values()):
        lake = prepared.scenario.lake.at(copies[number])
        if name in prepared.scenario.killed_at - killed:
            copied, lake = lake, prepared.copy(tmp_path / "killed")
            assert run_in_child(lake, kill_at=number).code == -signal.SIGKILL, name
            assert _without_ids(digests(lake.home)) == _without_ids(digests(copied.home)), name
            killed.add(name)
        _assert_all_or_nothing_then_finish(lake, prepared, name)
    assert killed == prepared.scenario.killed_at


def digests(home: Path) -> dict[str, str]:
    """The digest of each file of a home by its path."""
    return {
        path.relative_to(home).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file()
    }


def _without_ids(files: Iterable[str]) -> list[str]:
    """Paths without the ids of batches and processes, the moments and the digests in them."""
    return sorted(re.sub("[0-9a-f]{12,}|[0-9]{8}T[0-9]{6}Z|copy-[0-9]+", "?", path) for path in files)


def _assert_all_or_nothing_then_finish(lake: PipelineLake, prepared: Prepared, name: str) -> None:
    """Readers of a home where a run was killed see all of its batch or nothing; then the next run finishes it."""
    seen, files = lake.tables(), prepared.scenario.files(lake)
    assert seen in (prepared.before, prepared.after), f"half a batch is visible after a kill before {name}"
    assert prepared.scenario.partly(files, prepared.files_before, prepared.files_after), (
        f"half a file is visible after a kill before {name}"
    )
    if seen == prepared.before:
        assert files == prepared.files_before, "files were handed out for a batch that is not published"

    lake.run()
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
def test_kills_at_random_moments_of_the_real_command(prepared: Prepared, tmp_path: Path) -> None:
    lake = prepared.copy(tmp_path / "home")
    for _ in killed_at_random(lake):
        assert lake.tables() in (prepared.before, prepared.after)
    _assert_finished(lake, prepared, "random kills")


@pytest.mark.slow
def test_sigterm_rolls_back_sweeps_and_says_so(prepared: Prepared, tmp_path: Path) -> None:
    lake = prepared.copy(tmp_path / "home")
    big = prepared.scenario.land_many(lake)
    terminate(lake, f"{lake.name}/*/*")
    assert lake.tables() == prepared.before
    lake.path(big).unlink()
    lake.run()
    _assert_finished(lake, prepared, "SIGTERM")


def killed_at_random(lake: PipelineLake | ReviewsLake, *options: str, **settings: object) -> Iterator[None]:
    """Kill the console script at random moments, Dagster included, and yield after each kill; then let it finish.

    The second run meets what the first one left.
    """
    for number in range(2):
        command = _start(lake, options, settings)
        # The moment is the point, there is no condition to wait for.
        time.sleep(random.Random(f"{lake.name} {number}").uniform(0.2, 2))
        command.send_signal(signal.SIGKILL)
        command.wait()
        yield
    assert _start(lake, options, settings).wait(timeout=120) == 0


def terminate(lake: PipelineLake | ReviewsLake, files: str, *options: str, **settings: object) -> None:
    """Send SIGTERM to the console script once there are `files` (a pattern) in its scratch folder.

    FAULTS 29: an orderly end leaves no temporary file, not even for the next run to delete.
    """
    scratch, command = lake.home / "scratch", _start(lake, options, settings)
    deadline = time.monotonic() + 60
    while not any(scratch.glob(files)):
        assert time.monotonic() < deadline
        assert command.poll() is None
        time.sleep(0.01)
    command.send_signal(signal.SIGTERM)
    assert command.wait(timeout=60) == 130
    assert not [path for path in scratch.rglob("*") if path.is_file()]


def _start(lake: PipelineLake | ReviewsLake, options: Iterable[str], settings: Mapping[str, object]) -> WarmProcess:
    variables = {f"PIPELINE_{name.upper()}": str(value) for name, value in settings.items()}
    command = ("run", lake.name, "--json", *options)
    return start(lake.home, *command, env=environment(lake.home, **variables))
