"""A process that reads all movies of a database and prints their number and its peak of memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline_assets.movies.database import open_database


def count_and_peak(url: str, select: str) -> tuple[int, int]:
    """The number of rows, and the peak of memory in MiB."""
    command = [sys.executable, "-m", __name__, url, select]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, peak = map(int, done.stdout.split())
    return count, peak


def main(url: str, select: str) -> None:
    with open_database(url, select) as snapshot:
        count = sum(1 for _ in snapshot.rows)
    # Not ru_maxrss: after an exec that still counts the memory of the process that forked this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(count, next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")))


if __name__ == "__main__":
    main(*sys.argv[1:])
