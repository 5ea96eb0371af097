"""S3 to Snowflake pipelines as Dagster assets; README.md describes the packages. `connect` is for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline_assets.notebook import Connection

__all__ = ["connect"]


def connect(*, home: str | Path | None = None, profile: str | None = None, role: str | None = None) -> Connection:
    """Read the tables of the pipelines; see `pipeline_assets.notebook.connect`."""
    from pipeline_assets import notebook

    return notebook.connect(home=home, profile=profile, role=role)
