"""Producers that poll their files a hundred times a second."""

from __future__ import annotations

import signal
from pathlib import Path

from pipeline_assets_tests.support import warm_python
from pipeline_assets_tests.support.command_line import environment

_PRODUCER = """
from pipeline_assets import cli
from pipeline_assets.commerce import producer
producer.POLL_SECONDS = 0.01
cli.main()
"""


class ProducerProcesses:
    """Producers of one home, one after another. `close` ends the last one."""

    def __init__(self, home: Path, **variables: str) -> None:
        self._home, self._environment = home, environment(home, **variables)
        self._last: warm_python.WarmProcess | None = None

    def start(self, *words: str) -> int:
        """Start a producer; its process id."""
        self._last = warm_python.start(["-c", _PRODUCER, "stream", *words], env=self._environment, cwd=self._home)
        return self._last.pid

    def wait(self) -> int:
        """The exit code of the producer that was started last, negative for a signal."""
        assert self._last
        return self._last.wait(timeout=30)

    def close(self) -> None:
        if self._last:
            self._last.send_signal(signal.SIGKILL)
