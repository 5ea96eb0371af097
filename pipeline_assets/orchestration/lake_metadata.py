"""What the page of a lake table shows: its partitions, files and bytes, where it opens, and rows of one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg

from pipeline_assets.contracts.masking import mask_row
from pipeline_assets.contracts.names import sql_name
from pipeline_assets.lake import Lake, LakeTable, LandedObject
from pipeline_assets.lake.local import LocalLake
from pipeline_assets.lake.zones import Zone
from pipeline_assets.orchestration.markdown import PREVIEW_ROWS, as_table
from pipeline_assets.pipeline.resolved import FileTable, ResolvedPipeline

_PREVIEW_BYTES = 8 << 20  # a larger file is not fetched to show a few rows of it


def files_by_partition(lake: Lake, table: LakeTable) -> dict[str, list[LandedObject]]:
    """The Parquet files of a lake table by the value of its partition column."""
    start = f"{table.prefix}{table.partition_column.lower()}="
    found: dict[str, list[LandedObject]] = {}
    for file in Zone(table.bucket, table.prefix, "*/*.parquet").objects(lake):
        if file.key.startswith(start):
            found.setdefault(file.key.removeprefix(start).partition("/")[0], []).append(file)
    return found


def lake_metadata(lake: Lake, table: LakeTable) -> dict[str, Any]:
    """Totals of a lake table as it is now, and masked rows of its smallest file."""
    partitions = files_by_partition(lake, table)
    files = [file for of_partition in partitions.values() for file in of_partition]
    return {
        "table_partitions": len(partitions),
        "table_files": len(files),
        "table_bytes": sum(file.size for file in files),
        **_preview(lake, table, files),
    }


def expected_partitions(pipeline: ResolvedPipeline, table: LakeTable) -> str | None:
    """SELECT the partitions of a lake table from the table of the warehouse that has the same rows, if there is one."""
    name = table.contract.name
    for copy in pipeline.lake_copies:
        if copy.contract.name == name and (source := copy.select.copy_of(table.partition_column)):
            return _distinct(source[1], source[0])
    (output,) = [output for output in pipeline.lake_outputs if output.contract.name == name]
    field = output.select.copy_of(table.partition_column)
    for same in tables_of_same_rows(pipeline, output):
        columns = [c for c in same.contract.column_names if field and same.select.copy_of(c) == field]
        if columns:
            return _distinct(columns[0], same.qualified)
    return None


def _distinct(column: str, relation: str) -> str:
    return f"SELECT DISTINCT CAST({sql_name(column)} AS VARCHAR) FROM {relation}"


def tables_of_same_rows(pipeline: ResolvedPipeline, output: FileTable) -> list[FileTable]:
    """The tables of the warehouse that have a row for each row of a lake table."""
    return [
        table
        for table in pipeline.tables
        if (table.grain, table.of_items) == (output.grain, output.of_items)
        and (table.write, table.filtered) == (output.write, output.filtered)
    ]


def location(lake: Lake, bucket: str, key: str) -> dg.MetadataValue:
    """What a person opens: a path on this machine, or a page of S3's console."""
    place = lake.location(bucket, key)
    return dg.MetadataValue.path(place) if isinstance(lake, LocalLake) else dg.MetadataValue.url(place)


def _preview(lake: Lake, table: LakeTable, files: Sequence[LandedObject]) -> dict[str, Any]:
    smallest = min(files, key=lambda file: (file.size, file.key), default=None)
    if smallest is None or smallest.size > _PREVIEW_BYTES:
        return {}
    import pyarrow.parquet as pq

    with TemporaryDirectory() as folder, pq.ParquetFile(lake.fetch(smallest, Path(folder))) as file:
        first = next(file.iter_batches(batch_size=PREVIEW_ROWS), None)
        columns = [name.upper() for name in file.schema_arrow.names]  # contracts have upper case
    rows = [list(row.values()) for row in first.to_pylist()] if first else []
    return {"preview": dg.MetadataValue.md(as_table(columns, [mask_row(table.contract, columns, row) for row in rows]))}
