"""A home that a small demo has filled, once for all processes of a test run. Tests read it, or change a copy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline_assets_tests.support.command_line import environment, process
from pipeline_assets_tests.support.pipeline_lake import copy_home

SCALE = ("--scale", "0.1")


@dataclass(frozen=True)
class DemoHome:
    """The home, what the demo printed, and the OpenLineage events of its runs.

    Nobody opens `unopened`, a copy to copy from: another process may have the warehouse of `home` open.
    """

    home: Path
    printed: str
    events: Path
    unopened: Path

    def copy(self, home: Path) -> Path:
        """A copy to change."""
        return copy_home(self.unopened, home)


def demo_home(factory: pytest.TempPathFactory) -> DemoHome:
    """The home of this test run; the first process that asks makes it."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    home, unopened = folder / "demo", folder / "demo-unopened"
    printed, events = folder / "demo.txt", folder / "demo.ndjson"
    with FileLock(folder / "demo.lock"):
        if not printed.exists():
            home.mkdir()
            variables = environment(home, PIPELINE_OPENLINEAGE_FILE=str(events))
            done = process(home, "demo", *SCALE, env=variables, timeout=500)
            assert done.returncode == 0, done.stderr
            assert "Traceback" not in done.stderr
            copy_home(home, unopened)
            printed.write_text(done.stdout, encoding="utf-8")
    return DemoHome(home, printed.read_text(encoding="utf-8"), events, unopened)
