"""How far a run is: on stderr of `run` and in the log of its Dagster run."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from pipeline_assets import cli, progress
from pipeline_assets.orchestration import pipes
from pipeline_assets.orchestration.execution import dagster_instance
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BookingsLake:
    lake = BookingsLake.at(tmp_path / "home")
    monkeypatch.setenv("PIPELINE_HOME", str(lake.home))
    monkeypatch.setattr(progress, "REPORT_SECONDS", 0.01)
    monkeypatch.setattr(pipes, "LOG_SECONDS", 0.05)
    lake.customers("", customer(1))
    lake.bookings("", *(booking(number, 1) for number in range(20_000)))
    return lake


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *options: str) -> tuple[str, list[str]]:
    """stdout, and the lines of stderr."""
    monkeypatch.setattr(sys, "argv", ["pipeline-assets", "run", "bookings", *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    captured = capsys.readouterr()
    return captured.out, captured.err.splitlines()


def test_a_run_says_on_stderr_which_step_is_how_far_in_plain_lines(
    lake: BookingsLake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    out, lines = run(monkeypatch, capsys)
    steps = {line.partition(":")[0] for line in lines}
    assert "Publishing bookings" in steps
    assert steps & {"Reading and validating bookings", "Writing customer_bookings.parquet"}
    assert all(line.isprintable() for line in lines)
    assert "20,001 rows read" in out
    with dagster_instance(lake.home / "dagster") as instance:
        (record,) = instance.get_run_records()
        logged = [entry for entry in instance.all_logs(record.dagster_run.run_id) if entry.level == logging.INFO]
        assert any(entry.user_message.startswith("Publishing bookings: ") for entry in logged)


def test_with_json_a_run_says_nothing_on_stderr(
    lake: BookingsLake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    out, lines = run(monkeypatch, capsys, "--json")
    assert json.loads(out)["rows"]["loaded"] == 20_001
    assert lines == []
