"""A full disk below the engine is one line with a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.engine import RejectPolicy
from pipeline_assets.engine.duckdb.engine import DuckDBEngine
from pipeline_assets.engine.duckdb.json_reader import DocumentReader
from pipeline_assets.errors import EngineError
from pipeline_assets.warehouse.error_messages import remedy_for
from pipeline_assets_tests.support.delivered_orders import ORDERS, order, product, text
from pipeline_assets_tests.support.engine_session import NEVER, landed


def test_an_intermediate_file_that_does_not_fit_names_the_folder_and_the_remedy(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    with pytest.raises(EngineError) as error, DuckDBEngine().session(scratch, RejectPolicy(0.5, 20)):
        Path("/dev/full").write_bytes(b"x")
    assert str(error.value) == (
        f"The disk is full: no intermediate file can be written to {scratch}. Free disk space and run again."
    )


def test_a_result_that_does_not_fit_has_the_same_remedy(tmp_path: Path) -> None:
    """DuckDB's error has a class of its own, and says why in its text only."""
    scratch = tmp_path / "scratch"
    with pytest.raises(EngineError, match=r"^The disk is full: .* Free disk space and run again\.$"):  # noqa: SIM117
        with DuckDBEngine().session(scratch, RejectPolicy(0.5, 20)) as session:
            session._connection.execute("COPY (SELECT range FROM range(100000)) TO '/dev/full' (FORMAT csv)")


def test_a_disk_that_is_full_while_json_is_read_rejects_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records of a large array are put into a table, which spills."""
    scratch = tmp_path / "scratch"
    file = landed(tmp_path / "orders.json", f"[{text(order(1, products=[product()]))}]")

    def records(self: DocumentReader, *_: object) -> str:
        self._connection.execute("COPY (SELECT range FROM range(100000)) TO '/dev/full' (FORMAT csv)")
        raise AssertionError("the disk was not full")

    monkeypatch.setattr(DocumentReader, "_records", records)
    with pytest.raises(EngineError, match=r"^The disk is full"), DuckDBEngine().session(scratch, NEVER) as session:
        session.read("orders", ORDERS, [file])


def test_other_errors_of_files_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), DuckDBEngine().session(tmp_path / "scratch", RejectPolicy(0.5, 20)):
        (tmp_path / "none").read_bytes()


def test_a_commit_on_a_full_disk_has_a_remedy() -> None:
    error = RuntimeError('Checkpoint failed: Could not write file "ANALYTICS.db": No space left on device')
    assert remedy_for(error) == "The disk is full: free disk space and run again."
