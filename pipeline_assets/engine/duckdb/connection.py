"""Connections to DuckDB databases in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.duckdb_session import CONFIG

if TYPE_CHECKING:
    import duckdb


def open_duckdb(scratch: Path, memory_limit: str, threads: int = 0) -> duckdb.DuckDBPyConnection:
    """An empty database that spills into `scratch`, which is created. `threads` of 0 means every core."""
    import duckdb

    scratch.mkdir(parents=True, exist_ok=True)
    config: dict = {"memory_limit": memory_limit, "temp_directory": str(scratch / "spill"), **CONFIG}
    if threads:
        config["threads"] = threads
    return duckdb.connect(":memory:", config=config)
