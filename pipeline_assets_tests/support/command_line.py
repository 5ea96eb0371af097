"""`pipeline-assets` as a process of its own, with nothing in its environment but what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipeline_assets_tests.support import warm_python

CLI = ("-m", "pipeline_assets.cli")


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a process of `home`; without HOME, which not every service has."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "PIPELINE_HOME": str(home),
    } | more


def process(home: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that has imported everything; options as `warm_python.run`."""
    return warm_python.run([*CLI, *arguments], cwd=home, **({"env": environment(home)} | options))


def start(home: Path, *arguments: str, **options: Any) -> warm_python.WarmProcess:
    """Start such a command and return at once; options as `warm_python.start`."""
    return warm_python.start([*CLI, *arguments], cwd=home, **({"env": environment(home)} | options))


def run_code(home: Path, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `python -c` in a process that has imported everything."""
    return warm_python.run(["-c", code, *map(str, arguments)], env=environment(home), cwd=home)


def fresh_process(home: Path, *arguments: str | bytes, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in an interpreter of its own, for tests of how one starts; options as `subprocess.run`."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment(home)} | options
    command = [sys.executable, *CLI, *arguments]
    return subprocess.run(command, cwd=home, text=True, encoding="utf-8", timeout=120, check=False, **options)
