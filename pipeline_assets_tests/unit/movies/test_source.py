"""Settings that are a text or the path of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.movies.source import text_or_file


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
