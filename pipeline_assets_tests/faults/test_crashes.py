"""kill -9 at every boundary: readers see the old state or the new one, and the next run finishes without help.

FAULTS 1, 27 and 29. The batch that is killed is the hard one: it changes a published customer, releases a waiting
booking, brings a bad row and hands a CSV out.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_assets_tests.bookings_lake import BOOKING_HEADER, BookingsLake, booking, customer
from pipeline_assets_tests.faults.conftest import ROOT, Zygote

START = datetime(2026, 1, 1, tzinfo=UTC)


def land_first(lake: BookingsLake) -> None:
    lake.customers("", customer(1), customer(2, "Grace", "Hopper"), modified=START)
    lake.bookings("", booking(1, 1), booking(2, 2, "5.25"), booking(3, 9, "7.00"), modified=START)


def land_second(lake: BookingsLake) -> None:
    later = START + timedelta(hours=1)
    lake.customers("_late", customer(9, "Alan", "Turing"), customer(1, "Augusta"), modified=later)
    lake.bookings("", booking(1, 1, "11.00"), booking(4, 2, "x"), booking(5, 8, "1.00"), modified=later)


def memory(lake: BookingsLake) -> dict[str, list[tuple]]:
    """What the platform remembers, without ids and moments of runs."""
    return {
        "ledger": lake.rows(
            "SELECT URI, ETAG, STATUS, ROWS_READ, ROWS_LOADED, ROWS_SUPERSEDED, ROWS_QUARANTINED "
            "FROM OPS.FILE_LEDGER ORDER BY URI, ETAG"
        ),
        "quarantine": lake.rows(
            "SELECT SOURCE_URI, LINE_NUMBER, REASON_CODE, RAW_RECORD, REPLAYED_AT IS NULL "
            "FROM OPS.QUARANTINE ORDER BY SOURCE_URI, SOURCE_ETAG, LINE_NUMBER"
        ),
        "staging": [
            row
            for table in ("FILE_LEDGER", "QUARANTINE", "RELEASED", "BOOKINGS_CUSTOMERS", "BOOKINGS_CUSTOMER_BOOKINGS")
            for row in lake.rows(f"SELECT * FROM OPS.STAGE_{table}")
        ],
        "batches": lake.rows("SELECT COUNT(*) FROM OPS.BATCHES"),
    }


def handed_out(lake: BookingsLake) -> list[str]:
    return sorted(path.read_text(encoding="utf-8") for path in lake.processed())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> dict:
    """A home with one batch published and the second landed, and what a run without a crash makes of it."""
    folder = tmp_path_factory.mktemp("crashes")
    lake = BookingsLake.at(folder / "home")
    land_first(lake)
    assert zygote.order(lake.home)["code"] == 0
    before = lake.tables()
    land_second(lake)
    whole = BookingsLake.at(_copy(lake.home, folder / "whole"))
    survived = zygote.order(whole.home)
    return {
        "home": lake.home,
        "before": before,
        "after": whole.tables(),
        "memory": memory(whole),
        "handed_out": handed_out(whole),
        "trace": survived["trace"],
    }


def _copy(home: Path, target: Path) -> Path:
    """Copy a home; landed files are linked, as their identity includes the inode."""
    subprocess.run(["cp", "-a", str(home), str(target)], check=True)
    landed = Path("lake/customer-booking-data-pipeline/raw-data")
    shutil.rmtree(target / landed)
    subprocess.run(["cp", "-al", str(home / landed), str(target / landed)], check=True)
    return target


def test_the_batch_that_is_killed_does_everything(prepared: dict) -> None:
    """Otherwise the crashes below would prove little."""
    names = {entry.split()[0] for entry in prepared["trace"]}
    assert {"publish", "move", "delete_prefix", "changed", "read", "settle", "write", "run_statement"} <= names
    assert "run_statement COMMIT" in prepared["trace"]
    assert prepared["before"] != prepared["after"]
    assert any(replayed is False for *_, replayed in prepared["memory"]["quarantine"])
    assert len(prepared["handed_out"]) == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_at_every_durable_boundary_leaves_the_old_state_or_the_new_and_the_next_run_finishes(
    prepared: dict, zygote: Zygote, tmp_path: Path
) -> None:
    for number, name in enumerate(prepared["trace"], 1):
        if name.startswith("run_statement SELECT"):
            continue  # nothing durable lies between a query and what follows it
        lake = BookingsLake.at(_copy(prepared["home"], tmp_path / "home"))
        assert zygote.order(lake.home, kill_at=number)["signal"] == signal.SIGKILL, name

        seen = lake.tables()
        assert seen in (prepared["before"], prepared["after"]), f"half a batch is visible after a kill before {name}"
        assert set(handed_out(lake)) <= set(prepared["handed_out"]), (
            f"half a file is visible after a kill before {name}"
        )
        if seen == prepared["before"]:
            assert len(lake.processed()) == 1, "a file was handed out for a batch that is not published"

        assert zygote.order(lake.home)["code"] == 0, name
        _assert_finished(lake, prepared, name)
        shutil.rmtree(lake.home)


def _assert_finished(lake: BookingsLake, prepared: dict, name: str) -> None:
    assert lake.tables() == prepared["after"], name
    assert memory(lake) == prepared["memory"], name
    assert handed_out(lake) == prepared["handed_out"], name
    assert not lake.staged(), name
    assert not [path for path in (lake.home / "scratch").rglob("*") if path.is_file()], name


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(4))
def test_kill_at_a_random_moment_of_the_real_command(prepared: dict, tmp_path: Path, seed: int) -> None:
    """The console script as people start it, Dagster included."""
    lake = BookingsLake.at(_copy(prepared["home"], tmp_path / "home"))
    moment = random.Random(seed).uniform(1.5, 6)
    command = _start(lake)
    time.sleep(moment)  # the moment is the point, there is no condition to wait for
    command.kill()
    command.wait()
    assert lake.tables() in (prepared["before"], prepared["after"])
    finished = _start(lake)
    assert finished.wait(timeout=120) == 0
    _assert_finished(lake, prepared, f"seed {seed}")


@pytest.mark.slow
def test_sigterm_rolls_back_sweeps_and_says_so(prepared: dict, tmp_path: Path) -> None:
    """FAULTS 29: an orderly end leaves no temporary file, not even for the next run to sweep."""
    lake = BookingsLake.at(_copy(prepared["home"], tmp_path / "home"))
    lake.write("booking_details_big.csv", _many_bookings(400_000))
    command = _start(lake)
    scratch = lake.home / "scratch" / "bookings"
    deadline = time.monotonic() + 60
    while not any(scratch.glob("*/*")):
        assert time.monotonic() < deadline
        assert command.poll() is None
        time.sleep(0.01)
    command.terminate()
    assert command.wait(timeout=60) != 0
    assert not [path for path in scratch.rglob("*") if path.is_file()]
    assert lake.tables() == prepared["before"]
    lake.path("booking_details_big.csv").unlink()
    assert _start(lake).wait(timeout=120) == 0
    _assert_finished(lake, prepared, "SIGTERM")


def _many_bookings(count: int) -> str:
    lines = "\n".join(booking(1000 + number, 1) for number in range(count))
    return f"{BOOKING_HEADER}\n{lines}\n"


def _start(lake: BookingsLake) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline_assets.cli", "run", "bookings", "--json"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PIPELINE_HOME": str(lake.home), "HOME": str(lake.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
