"""Ctrl-C and SIGTERM while DuckDB writes a file end the write, at whatever moment they come."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline_assets.engine import RejectPolicy
from pipeline_assets.engine.duckdb.engine import DuckDBEngine

WRITES = 80


@pytest.mark.slow
def test_interrupted_writes_end(tmp_path: Path) -> None:
    """With the default settings of DuckDB 2.0.0, about one interrupted COPY of 40 never ends."""
    finished = subprocess.run([sys.executable, "-m", __name__, str(tmp_path)], timeout=300, capture_output=True)
    assert finished.returncode == 0, finished.stderr.decode()


def _interrupt_writes(folder: Path) -> None:
    signal.signal(signal.SIGTERM, _raise)
    moments = random.Random(1)
    interrupted = 0
    with DuckDBEngine().session(folder / "scratch", RejectPolicy(0.5, 20)) as session:
        session._connection.execute("CREATE TABLE KEYS AS SELECT CAST(range AS VARCHAR) AS KEY FROM range(120_000)")
        for number in range(WRITES):
            path = folder / f"keys-{number}.parquet"
            sender = threading.Thread(target=_interrupt_writer_of, args=(path, moments.choice([0, 0.003, 0.01, 0.03])))
            try:
                sender.start()
                session.write("SELECT DISTINCT KEY FROM KEYS", path, "parquet")
                sender.join()
            except (KeyboardInterrupt, RuntimeError):  # DuckDB's own for an interrupt
                interrupted += 1
            sender.join()
    assert interrupted > WRITES / 2, f"only {interrupted} writes were under way when the signal came"


def _raise(*_: object) -> None:
    raise KeyboardInterrupt


def _interrupt_writer_of(path: Path, after: float) -> None:
    """Send the signal once the file, or the one that DuckDB renames to it, is there."""
    while not any(path.parent.glob(f"*{path.name}")):
        time.sleep(0.0003)
    time.sleep(after)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _interrupt_writes(Path(sys.argv[1]))
