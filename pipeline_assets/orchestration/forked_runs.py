"""Runs of a code location as forks of one process that has imported the libraries.

Dagster 1.13.27 starts an interpreter for each run, which imports Dagster, the engine and the warehouse anew: most of
the processor time of a small run, and seconds until it begins. Nothing of this package is imported before the fork, so
that a run executes the code as it is when the run starts.
"""

from __future__ import annotations

import multiprocessing
import sys

# `dagster_snowflake` is left out: `warehouse.driver` imports it later, without Snowpark.
LIBRARIES = (
    *("dagster", "dagster._core.execution.api", "dagster._core.storage.event_log.sqlite", "dagster._core.storage.runs"),
    *("dagster._grpc.impl", "dagster._grpc.server"),
    *("alembic.command", "duckdb", "filelock", "matplotlib.backends.backend_agg", "numpy", "obstore.store", "pandas"),
    *("open_data_contract_standard.model", "pyarrow.dataset", "pyarrow.parquet", "pydantic_settings", "rich.console"),
    *("snowflake.connector.pandas_tools", "sqlglot.dialects.duckdb", "tenacity", "upath", "yaml"),
)


def fork_runs() -> None:
    """Have the code server of this process fork its runs.

    Only on Linux: libraries of macOS do not survive a fork. The fork server starts with the first run, keeps the
    environment of that moment for all runs, and ends with the code server.
    """
    if sys.platform != "linux":
        return
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(list(LIBRARIES))
    # The code server has asked for this context before it loads the location.
    multiprocessing.get_context("spawn").Process = forking.Process  # type: ignore[misc, assignment]
