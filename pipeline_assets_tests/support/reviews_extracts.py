"""Extracts of listed tables, and their rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_assets.reviews.connect import open_source
from pipeline_assets.reviews.extract import Extracted, extract_table
from pipeline_assets.reviews.manifest import Manifest, Watermark
from pipeline_assets.reviews.metadata import ListedTable

LAG = 300.0


@dataclass(frozen=True)
class Read:
    """The rows of an extract, and what its manifest says."""

    rows: list[dict[str, Any]]
    manifest: Manifest
    path: Path

    @property
    def until(self) -> Watermark:
        return self.manifest.until

    def values(self, column: str) -> list[Any]:
        """Those of a column, in order."""
        return sorted(row[column] for row in self.rows)

    @property
    def types(self) -> dict[str, str]:
        return {column.name: column.physical_type for column in self.manifest.columns}


def listed(name: str, *key: str, **options: Any) -> ListedTable:
    return ListedTable(name, key or ("id",), **options)


def extract(
    url: str, table: ListedTable, folder: Path, since: Watermark | None = None, *, lag: float = LAG
) -> Extracted | None:
    """One extract to a folder of its own."""
    number = len(list(folder.glob("extract-*"))) if folder.is_dir() else 0
    scratch = folder / f"extract-{number}"
    scratch.mkdir(parents=True)
    with open_source(url) as source:
        return extract_table(source, table, since, scratch, f"batch{number}", source_name="shop", lag_seconds=lag)


def read_extract(
    url: str, table: ListedTable, folder: Path, since: Watermark | None = None, *, lag: float = LAG
) -> Read:
    """The rows of an extract, which must have some."""
    import pyarrow.parquet as pq

    extracted = extract(url, table, folder, since, lag=lag)
    assert extracted is not None
    rows = pq.read_table(extracted.paths[0]).to_pylist() if table.format == "parquet" else []
    return Read(rows, extracted.manifest, extracted.paths[0])
