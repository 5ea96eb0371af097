"""A process that has imported the producer and forks one child per line on stdin, so that a start costs milliseconds.

Run as `python -m pipeline_assets_tests.support.producer_processes`. For each line it starts `pipeline-assets stream`
with the words of the line, prints the child's process id, waits for its end and prints its exit code, negative for a
signal. A child polls its files a hundred times a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import filelock  # noqa: F401 - imported for the children
import pydantic_settings  # noqa: F401

from pipeline_assets import cli
from pipeline_assets.commerce import pipeline, producer  # noqa: F401
from pipeline_assets.lake import delivery  # noqa: F401
from pipeline_assets_tests.support.command_line import environment


class ProducerProcesses:
    """Producers of one home, one after another. `close` ends the process that starts them."""

    def __init__(self, home: Path, **variables: str) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__],
            env=environment(home, **variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdin
        assert self._server.stdout
        self._input, self._output = self._server.stdin, self._server.stdout

    def start(self, *words: str) -> int:
        """Start a producer; its process id."""
        print(*words, file=self._input, flush=True)
        return int(self._output.readline())

    def wait(self) -> int:
        """The exit code of the producer that was started last."""
        return int(self._output.readline())

    def close(self) -> None:
        self._input.close()
        self._server.wait(timeout=30)
        self._output.close()


def main() -> None:
    producer.POLL_SECONDS = 0.01
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.dup2(2, 1)  # stdout is for the process ids
            sys.argv = ["pipeline-assets", "stream", *line.split()]
            code = 1
            try:
                cli.main()
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                os._exit(code)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
