"""A home that a small demo has filled, once for all processes of a test run. Tests read it, or change a copy."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline_assets_tests.support.command_line import environment, process

SCALE = ("--scale", "0.1")


@dataclass(frozen=True)
class DemoHome:
    """The home, what the demo printed, and the OpenLineage events of its runs."""

    home: Path
    printed: str
    events: Path

    def copy(self, home: Path) -> Path:
        """A copy to change; its landed objects are links, as a copy of an object is another version of it."""
        copy_home(self.home, home)
        return home


def copy_home(home: Path, copy: Path) -> None:
    """Copy a home with objects that are the same versions: links to those of `home`."""
    shutil.copytree(home, copy, ignore=lambda folder, _: ["lake"] if Path(folder) == home else [])
    shutil.copytree(home / "lake", copy / "lake", copy_function=os.link)


def demo_home(factory: pytest.TempPathFactory) -> DemoHome:
    """The home of this test run; the first process that asks makes it."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    home, printed, events = folder / "demo", folder / "demo.txt", folder / "demo.ndjson"
    with FileLock(folder / "demo.lock"):
        if not printed.exists():
            home.mkdir()
            variables = environment(home, PIPELINE_OPENLINEAGE_FILE=str(events))
            done = process(home, "demo", *SCALE, env=variables, timeout=500)
            assert done.returncode == 0, done.stderr
            assert "Traceback" not in done.stderr
            printed.write_text(done.stdout, encoding="utf-8")
    return DemoHome(home, printed.read_text(encoding="utf-8"), events)
