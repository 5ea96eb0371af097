"""`dev`: Dagster's UI, its sensors and schedules on this machine."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pipeline_assets.commands.shared import prepared_settings


def dev(port: Annotated[int | None, typer.Option(help="Port on 127.0.0.1.")] = None) -> None:
    """Open Dagster's UI on the same home as the demo."""
    from pipeline_assets.orchestration.execution import prepare_dagster_home
    from pipeline_assets.settings import PROJECT_ROOT

    settings = prepared_settings()
    prepare_dagster_home(settings.dagster_home)
    workspace = PROJECT_ROOT / "workspace.yaml"
    target = ["-w", str(workspace)] if workspace.exists() else ["-m", "pipeline_assets.definitions"]
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        *target,
        "-h",
        "127.0.0.1",
        "-p",
        str(port or settings.dagster_port),
    ]
    os.execv(sys.executable, command)
