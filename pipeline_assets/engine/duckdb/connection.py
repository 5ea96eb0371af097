"""Connections to DuckDB databases in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def open_duckdb(scratch: Path, memory_limit: str, threads: int = 0) -> duckdb.DuckDBPyConnection:
    """An empty database that spills into `scratch`, which is created. `threads` of 0 means every core."""
    import duckdb

    scratch.mkdir(parents=True, exist_ok=True)
    config: dict = {
        "memory_limit": memory_limit,
        "temp_directory": str(scratch / "spill"),
        # DuckDB 2.0.0 waits for ever if a COPY that writes in the background is interrupted: while it aborts, it holds
        # a lock that the write needs.
        "async_threads": 0,
    }
    if threads:
        config["threads"] = threads
    return duckdb.connect(":memory:", config=config)
