"""`catalog`: a static site with every dataset and the lineage of every column."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_assets.commands.shared import open_platform, prepared_settings, registered_pipelines

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings


def catalog(
    out: Annotated[Path | None, typer.Option(help="Folder of the site; by default `catalog` in PIPELINE_HOME.")] = None,
) -> None:
    """Write a searchable site with every dataset, column lineage and health; open its index.html from disk."""
    from pipeline_assets.catalog.build import build_catalog

    settings = prepared_settings()
    folder = (out or catalog_folder(settings)).absolute()
    index = build_catalog(settings, open_platform(settings), list(registered_pipelines().values()), folder)
    print(index)


def catalog_folder(settings: Settings) -> Path:
    """Where `catalog` writes by default."""
    return settings.home / "catalog"
