"""A process that runs Spark jobs one after the other, so that only the first waits for Python's imports and for Java.

Run as `python -m pipeline_assets_tests.support.job_process`; an order is one JSON line on stdin, the exit code of the
job one line on stdout. Each job starts and stops a Spark of its own, as on Glue; what they share is the Java process,
and the modules that they import.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread


class JobProcess:
    """Jobs in one environment. Only one job runs at a time."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline_assets_tests.support.job_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def start(self, script: str, arguments: Sequence[str], log: Path, path: Sequence[str] = ()) -> Job:
        """Start a job; `path` is where Python finds its modules, besides its own ones."""
        assert self._process.stdin is not None
        order = {"script": script, "arguments": arguments, "log": str(log), "path": path}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Job(self)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def exit_code(self) -> int:
        """Wait for the end of the running job; -9 if the process was killed."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline() or -9)

    def kill(self) -> None:
        """Kill the process and its Java."""
        if self.is_alive():
            os.killpg(self.pid, 9)
            self._process.wait()


class Job:
    """One job; `returncode` is None while it runs."""

    def __init__(self, process: JobProcess) -> None:
        self.returncode: int | None = None
        self._process = process
        self._waiting = Thread(target=self._wait, daemon=True)
        self._waiting.start()

    def _wait(self) -> None:
        self.returncode = self._process.exit_code()

    def wait(self) -> None:
        self._waiting.join()

    def kill(self) -> None:
        """Kill the process and its Java, as a Glue job ends with all that it started."""
        if self.returncode is None:
            self._process.kill()
            self._waiting.join()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        order = json.loads(line)
        with open(order["log"], "wb") as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
        sys.path[:0] = [folder for folder in order["path"] if folder not in sys.path]
        sys.modules.pop("dagster_pipes", None)  # its one context of a process was closed by the job before
        sys.argv = [order["script"], *order["arguments"]]
        code = 1
        try:
            runpy.run_path(order["script"], run_name="__main__")
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:  # noqa: BLE001 - the job failed; the next one may not
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        answers.write(f"{code}\n")
        answers.flush()


if __name__ == "__main__":
    main()
