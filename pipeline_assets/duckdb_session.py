"""Sessions of DuckDB in memory, one after another on the same instance.

To create an instance takes 15 ms, most of it for its thousands of functions; that is longer than a small batch needs
for reading its files. A session uses an instance alone. It creates temporary objects only, which end with it.
"""

from __future__ import annotations

import atexit
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

CONFIG: dict[str, Any] = {
    # DuckDB 2.0.0 waits for ever if a COPY that writes in the background is interrupted: while it aborts, it holds a
    # lock that the write needs.
    "async_threads": 0,
}
_idle: list[duckdb.DuckDBPyConnection] = []  # at most one instance


@contextmanager
def duckdb_session(spill: Path, memory_limit: str, threads: int = 0) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection without any objects that spills into the folder `spill`, whose parent exists.

    `threads` of 0 means every core.
    """
    import duckdb

    instance = _idle.pop() if _idle else duckdb.connect(":memory:", config=CONFIG)
    try:
        # What an earlier session may have changed for all of the instance.
        folder = str(spill).replace("'", "''")
        instance.execute(
            f"SET memory_limit = '{memory_limit}'; SET temp_directory = '{folder}'; RESET GLOBAL TimeZone; "
            "SET preserve_insertion_order = true; " + (f"SET threads = {threads}" if threads else "RESET threads")
        )
        with instance.cursor() as connection:
            yield connection
    except BaseException:
        instance.close()  # whatever was interrupted ends with it
        raise
    # An instance that has spilled keeps to its folder.
    if (spill.is_dir() and any(spill.iterdir())) or _idle:
        instance.close()
    else:
        _idle.append(instance)


def is_disk_full(error: BaseException) -> bool:
    """Whether the system or DuckDB found no space on a disk; an error of DuckDB says so in its text only."""
    import duckdb

    if isinstance(error, duckdb.IOException):
        return os.strerror(errno.ENOSPC) in str(error)
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


atexit.register(_close_idle)  # DuckDB complains of objects that are left when the interpreter ends
os.register_at_fork(before=_close_idle)  # a child has none of its threads, and would fail when it ends
