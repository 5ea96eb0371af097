"""`run --extract` shows on stderr what its source delivers."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline_assets_tests.support.command_line import process
from pipeline_assets_tests.support.commerce_lake import CommerceLake, customer


def test_the_progress_of_an_extract_is_on_stderr_and_the_result_on_stdout(tmp_path: Path) -> None:
    lake = CommerceLake.with_tables(tmp_path / "home")
    folder = lake.home / "sources" / "commerce"
    folder.mkdir(parents=True)
    (folder / "customers.csv").write_text(f"{customer(1)}\n{customer(2)}\n")
    done = process(lake.home, "run", "commerce", "--extract", "--json")
    assert "2 records of customers were delivered." in done.stderr.splitlines()
    assert json.loads(done.stdout)["rows"]["read"] == 2
