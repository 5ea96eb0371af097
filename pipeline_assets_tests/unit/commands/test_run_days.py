"""`run --day`: what is no day or range is refused before anything is done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline_assets import cli
from pipeline_assets.commands.run import _days


@pytest.mark.parametrize(
    "text",
    ["", "..", "2024-03-01..", "..2024-03-01", "2024-03-01...2024-03-02", "2024-02-30", "0000-01-01", "today", "a\nb"],
)
def test_what_is_no_day_is_one_line_and_2_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """An empty text, from a variable that is not set, must not mean every day."""
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["pipeline-assets", "run", "commerce", "--day", text])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    message = capsys.readouterr().err
    assert (stop.value.code, message.count("\n")) == (2, 1)
    assert message.startswith(f"error: --day {text!r}: not a day. Write --day 2024-03-01, or ")
    assert not (tmp_path / "home").exists()


def test_a_day_and_a_range_of_days() -> None:
    assert _days("commerce", "2024-03-01") == ("2024-03-01", "2024-03-01")
    assert _days("commerce", "2024-03-01..2024-03-07") == ("2024-03-01", "2024-03-07")
