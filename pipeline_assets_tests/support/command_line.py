"""`pipeline-assets` as a process of its own, with nothing in its environment but what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a process of `home`; without HOME, which not every service has."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "PIPELINE_HOME": str(home),
    } | more


def process(home: Path, *arguments: str, **streams) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline_assets.cli", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment(home)} | streams
    return subprocess.run(command, cwd=home, text=True, encoding="utf-8", timeout=120, check=False, **streams)
