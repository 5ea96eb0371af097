"""A full disk below the engine is one line with a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.engine import RejectPolicy
from pipeline_assets.engine.duckdb.engine import DuckDBEngine
from pipeline_assets.errors import EngineError
from pipeline_assets.warehouse.error_messages import remedy_for


def test_an_intermediate_file_that_does_not_fit_names_the_folder_and_the_remedy(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    with pytest.raises(EngineError) as error, DuckDBEngine().session(scratch, RejectPolicy(0.5, 20)):
        Path("/dev/full").write_bytes(b"x")
    assert str(error.value) == (
        f"The disk is full: no intermediate file can be written to {scratch}. Free disk space and run again."
    )


def test_other_errors_of_files_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), DuckDBEngine().session(tmp_path / "scratch", RejectPolicy(0.5, 20)):
        (tmp_path / "none").read_bytes()


def test_a_commit_on_a_full_disk_has_a_remedy() -> None:
    error = RuntimeError('Checkpoint failed: Could not write file "ANALYTICS.db": No space left on device')
    assert remedy_for(error) == "The disk is full: free disk space and run again."
