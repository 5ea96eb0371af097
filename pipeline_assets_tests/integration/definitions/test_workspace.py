"""workspace.yaml as Dagster loads it, which starts a code server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_assets.settings import PROJECT_ROOT


@pytest.mark.slow
def test_dagster_itself_accepts_the_workspace(tmp_path: Path) -> None:
    """As `dagster dev` loads it, in a process of its own, without a warning about our code."""
    (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "AWS_", "DAGSTER_"))
    }

    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        cwd=PROJECT_ROOT,
        env=environment | {"DAGSTER_HOME": str(tmp_path), "PYTHONWARNINGS": "default::DeprecationWarning"},
        capture_output=True,
        text=True,
        timeout=120,
    )

    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Validation successful for code location pipeline_assets" in said
    assert [line for line in said.splitlines() if "pipeline_assets/" in line and "Warning" in line] == []
