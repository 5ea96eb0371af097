"""Progress lines, and settings that are a text or the path of a file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.movies.source import Progress, text_or_file


@pytest.mark.parametrize(
    ("total", "skipped", "done", "seconds", "text"),
    [
        (5000, 0, 1200, 60, "1,200 of 5,000 titles, 20 a second, 3 minutes left"),
        (5000, 1000, 200, 10, "1,200 of 5,000 titles, 20 a second, 3 minutes left"),
        (100, 0, 40, 4, "40 of 100 titles, 10 a second, 6 seconds left"),
        (2000, 0, 10, 40, "10 of 2,000 titles, 15 a minute, 2.2 hours left"),
        (None, 0, 40, 4, "40 titles, 10 a second"),
        (100, 0, 0, 0, "0 of 100 titles, 0 a minute"),
    ],
)
def test_progress_has_the_rate_and_the_time_left(
    total: int | None, skipped: int, done: int, seconds: float, text: str
) -> None:
    now = [0.0]
    progress = Progress("titles", total, clock=lambda: now[0])
    progress.skip(skipped)
    now[0] = seconds
    progress.advance(done)
    assert progress.text() == text


def test_progress_is_logged_every_few_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = [0.0]
    progress = Progress("titles", 100, clock=lambda: now[0])
    for _ in range(20):
        now[0] += 1
        progress.advance()
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        f"{count} of 100 titles" for count in (5, 10, 15, 20)
    ]


def test_a_setting_is_a_text_or_the_path_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "select.sql").write_text("\ufeffSELECT 1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (f"{tmp_path}/select.sql", "./select.sql", "~/select.sql"):
        assert text_or_file(path, "PIPELINE_MOVIES_SELECT") == "SELECT 1"
    for text in ("SELECT 1", "/* why */ SELECT 1", "Face/Off", "select.sql"):
        assert text_or_file(f" {text} ", "PIPELINE_MOVIES_SELECT") == text


def test_a_file_that_cannot_be_read_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").write_text(" ")
    for path, message in (
        (tmp_path / "absent", "PIPELINE_MOVIES_SELECT cannot be read: No such file"),
        (tmp_path / "binary", "PIPELINE_MOVIES_SELECT cannot be read: it is not UTF-8 text"),
        (tmp_path / "empty", "PIPELINE_MOVIES_SELECT is empty"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            text_or_file(str(path), "PIPELINE_MOVIES_SELECT")
