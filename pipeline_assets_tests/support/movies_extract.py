"""A home with a pipeline that only extracts movies; run as a process, it extracts once, to be killed meanwhile."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from pipeline_assets.movies.extract import extract_in_batch
from pipeline_assets.movies.manifest import Manifest, read_manifest
from pipeline_assets.pipeline import LandedFiles, Step, Table
from pipeline_assets_tests.support.small_pipelines import SmallLake, lake_of, pipeline_of

LANDING = Path("lake") / "movie-landing" / "zipped"


def extracting_lake(folder: Path, **settings: object) -> SmallLake:
    """The pipeline needs a table, which no test fills; `settings` are those of movies."""
    value = pipeline_of(
        folder / "pipeline",
        {"goods": ("csv", ["GOODS_ID text key"])},
        {},
        name="movies",
        sources=[LandedFiles("goods", "in/goods*.csv")],
        tables=[Table("goods")],
        steps=[Step("extract", extract_in_batch)],
    )
    return lake_of(value).at(folder / "home", **settings)


def archives(lake: SmallLake) -> list[Path]:
    """The landed archives, by name; nothing else may be in landing."""
    found = sorted((lake.home / LANDING).glob("*"))
    assert all(path.suffix == ".zip" for path in found)
    return found


def members(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def manifest_of(archive: Path) -> Manifest:
    return read_manifest(members(archive)["manifest.json"])


def main(folder: str) -> None:
    extracting_lake(Path(folder)).run(extract=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
