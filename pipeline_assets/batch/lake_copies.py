"""Copies of tables in the lake, for readers without the warehouse: one Parquet file for each partition.

After the commit the files are compared with the table: the name of a file contains a digest of its partition's rows
(their number and the batches that wrote them), so that only changed partitions are written, and an interrupted run is
completed by the next. A reader sees the rows of a partition once or, for a moment, not at all.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

from pipeline_assets.batch.context import CATALOG, BatchContext
from pipeline_assets.contracts.arrow import lake_schema
from pipeline_assets.contracts.ddl import literal
from pipeline_assets.contracts.names import sql_name, sql_names
from pipeline_assets.lake import LakeTable
from pipeline_assets.lake.zones import Zone
from pipeline_assets.pipeline.resolved import LakeCopy
from pipeline_assets.progress import progress

_AT_ONCE = 8  # files


def copy_tables_to_lake(context: BatchContext) -> list[str]:
    """Bring the lake copies of a pipeline's tables up to date; returns the uris of the files written."""
    lake_tables = {table.contract.name: table for table in context.pipeline.lake_tables}
    return [
        uri
        for copy in context.pipeline.lake_copies
        for uri in _copy_table(context, copy, lake_tables[copy.contract.name])
    ]


def _copy_table(context: BatchContext, copy: LakeCopy, table: LakeTable) -> list[str]:
    lake, bucket = context.platform.lake, table.bucket
    wanted = _wanted_keys(context, copy, table)
    keys: dict[str, set[str]] = defaultdict(set)  # of the files that are there, by partition
    start = f"{table.prefix}{table.partition_column.lower()}="
    for file in Zone(bucket, table.prefix, "**/*.parquet").objects(lake):
        if file.key.startswith(start):
            keys[file.key.removeprefix(start).partition("/")[0]].add(file.key)
    changed = sorted(partition for partition in wanted.keys() | keys if keys[partition] != {wanted.get(partition)})
    if not changed:
        return []
    with (
        progress(f"Copying {len(changed)} partitions of {copy.contract.name} to the lake"),
        context.scratch(f"{context.batch_id}-{copy.contract.name}") as folder,
    ):
        _stage_partitions(context, copy.contract.name, changed, folder)
        missing = [p for p in changed if p in wanted and wanted[p] not in keys[p]]
        files = _write_partitions(context, copy, missing, folder)
        for partition in changed:
            outdated = keys[partition] - {wanted.get(partition, "")}
            lake.delete([lake.uri(bucket, key) for key in sorted(outdated)])
        with ThreadPoolExecutor(_AT_ONCE) as pool:  # each file waits for the disk or the network
            return list(pool.map(lambda part: lake.publish(files[part], bucket, wanted[part]), sorted(files)))


def _stage_partitions(context: BatchContext, name: str, changed: Sequence[str], folder: Path) -> None:
    """Stage partitions to register, with those that an interrupted run staged: their files may be right by now."""
    lake, bucket, key = context.platform.lake, context.pipeline.bucket, f"{context.staging}{CATALOG}{name}"
    staged = lake.head(lake.uri(bucket, key))
    earlier = json.loads(lake.fetch(staged, folder).read_text(encoding="utf-8")) if staged else []
    path = folder / "partitions.json"
    path.write_text(json.dumps(sorted({*changed, *earlier})), encoding="utf-8")
    lake.publish(path, bucket, key)


def _wanted_keys(context: BatchContext, copy: LakeCopy, table: LakeTable) -> dict[str, str]:
    """The key of each partition's file."""
    relation, partition = _source_of(copy)
    with context.platform.warehouse.read_only() as transaction:
        states = transaction.rows(
            f"SELECT CAST({partition} AS VARCHAR), COUNT(*), "
            f"MD5(LISTAGG(DISTINCT _BATCH_ID, ',') WITHIN GROUP (ORDER BY _BATCH_ID)) FROM {relation} GROUP BY 1"
        )
    columns = [f"{column.name} {column.physical_type}" for column in copy.contract.columns]
    keys = {}
    for value, rows, batches in states:
        text = "\n".join((copy.select.text, *columns, str(rows), batches))
        digest = blake2b(text.encode(), digest_size=8).hexdigest()
        keys[value] = f"{table.folder(value)}{table.file_prefix}_{digest}.parquet"
    return keys


def _write_partitions(
    context: BatchContext, copy: LakeCopy, partitions: Sequence[str], folder: Path
) -> dict[str, Path]:
    """The rows of some partitions, each in a file of its own; returns the paths by partition."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not partitions:
        return {}
    relation, partition = _source_of(copy)
    schema = lake_schema(copy.contract)
    values = ", ".join(map(literal, partitions))
    rows = copy.select.over({relation: f"SELECT * FROM {relation} WHERE CAST({partition} AS VARCHAR) IN ({values})"})
    names = sql_names(c.name for c in copy.contract.columns if not c.partition)
    column = sql_names(c.name for c in copy.contract.columns if c.partition)
    with context.platform.warehouse.read_only() as transaction:
        path = folder / "rows.parquet"
        transaction.to_parquet(
            f"SELECT CAST({column} AS VARCHAR) AS _PARTITION, {names} FROM ({rows}) AS COPIED "
            f"ORDER BY _PARTITION, {names}",
            pa.schema([("_PARTITION", pa.string()), *schema]),
            path,
        )
    table = pq.read_table(path)
    runs = pc.run_end_encode(table["_PARTITION"].combine_chunks())
    files, start = {}, 0
    for number, (value, end) in enumerate(zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True)):
        files[value] = folder / f"{number}.parquet"
        part = table.slice(start, end - start).drop_columns("_PARTITION").cast(schema)
        pq.write_table(part, files[value], compression="zstd")
        start = end
    return files


def _source_of(copy: LakeCopy) -> tuple[str, str]:
    """The table that is copied, and its column that names the partition, as SQL."""
    source = copy.select.copy_of(next(column.name for column in copy.contract.columns if column.partition))
    assert source is not None  # checked when the pipeline was resolved
    relation, column = source
    return relation, sql_name(column)
