"""Write rows into the files of a lake table, a folder per partition.

New files stop growing near the target size, and small ones fill up: new rows are merged into a file of their partition
below half of the target, which is written again. So there are few files after any number of batches, and a batch
writes only the files that it changes. Readers are safe meanwhile: all rows of one key (an order) are in one file, they
stay in that file as long as they stay in their partition, and a file is replaced as a whole, under its old name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.arrow import lake_schema
from pipeline_assets.contracts.names import lake_name, sql_name, sql_names
from pipeline_assets.engine.duckdb.inputs import path_list
from pipeline_assets.engine.interface import LakeFile, LakeTableChanges, WrittenLakeFile
from pipeline_assets.progress import Progress, progress

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa

# Rows of a row group: enough to compress well, few enough to measure the size of a file while it grows.
_ROW_GROUP = 61_440
_BATCH = 16_384  # rows of a record batch; a reference to one row keeps all of them in memory
_PASS_ROWS = 500_000
_THREADS = 2


def write_lake_table(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    existing_in: Callable[[Sequence[str]], Sequence[LakeFile]],
    folder: Path,
    target_bytes: int,
) -> LakeTableChanges:
    """See `pipeline_assets.engine.interface.Session.write_lake_table`."""
    partition = sql_names(column.name for column in contract.columns if column.partition)
    key = sql_names(column.name for column in contract.columns if column.keep_together)
    columns = [column.name for column in contract.columns if not column.partition]
    partitions = connection.execute(f"SELECT DISTINCT {partition}::VARCHAR FROM LAKE_REPLACED ORDER BY 1").fetchall()
    changes = LakeTableChanges(partitions=[name for (name,) in partitions])
    existing = existing_in(changes.partitions)
    writer = _Writer(contract, existing, folder, target_bytes)
    rewritten: set[int] = set()
    if existing:
        rewritten = _assign_files(connection, existing, key, partition, target_bytes)
        changes.released, changes.removed = _drop_moved_rows(
            connection, contract, existing, key, partition, columns, writer
        )
    source = _source(existing, rewritten, key, partition, columns)
    order = f"{partition}, _TARGET, _IS_FRESH, {key}"
    sizes = _partition_sizes(connection, existing, rewritten, partition)
    with progress(f"Writing the lake table {contract.name}", "rows", sum(sizes.values())) as step:
        for first, last in _passes(sizes):
            within = f"{partition} BETWEEN '{first}' AND '{last}'"
            rows = f"{_as_lake_columns(contract, source)} WHERE {within} ORDER BY {order}"
            changes.written += writer.write(connection.sql(rows).to_arrow_reader(_BATCH), step)
    kept = {file.key for file in changes.written}
    emptied = {existing[number].key for number in rewritten} - kept
    changes.removed = sorted(emptied.union(changes.removed))
    changes.released = [file for file in changes.released if file.key in kept]
    return changes


def _partition_sizes(
    connection: duckdb.DuckDBPyConnection, existing: Sequence[LakeFile], rewritten: set[int], partition: str
) -> dict[str, int]:
    """The rows to write by partition, at most: those of a rewritten file that the batch replaces count as well."""
    import pyarrow.parquet as pq

    sizes = dict(connection.execute(f"SELECT {partition}::VARCHAR, COUNT(*) FROM LAKE_ROWS GROUP BY ALL").fetchall())
    for number in rewritten:
        file = existing[number]
        sizes[file.partition] = sizes.get(file.partition, 0) + pq.read_metadata(file.path).num_rows
    return sizes


def _passes(sizes: Mapping[str, int]) -> list[tuple[str, str]]:
    """Ranges of partitions, each with few enough rows to sort in memory; most batches need one."""
    ranges: list[tuple[str, str]] = []
    rows = 0
    for name in sorted(sizes):
        if ranges and rows + sizes[name] <= _PASS_ROWS:
            ranges[-1] = (ranges[-1][0], name)
            rows += sizes[name]
        else:
            ranges.append((name, name))
            rows = sizes[name]
    return ranges


def _assign_files(
    connection: duckdb.DuckDBPyConnection, existing: Sequence[LakeFile], key: str, partition: str, target_bytes: int
) -> set[int]:
    """Map the batch's keys to their files (LAKE__KEY_FILES), and partitions to files with space (LAKE__OPEN_FILES).

    Returns the numbers of the files that must be written again.
    """
    connection.execute("CREATE OR REPLACE TEMP TABLE LAKE__FILES (_TARGET INTEGER, _PATH VARCHAR, _PARTITION DATE)")
    connection.executemany(
        "INSERT INTO LAKE__FILES VALUES (?, ?, ?)",
        [(number, str(file.path), file.partition) for number, file in enumerate(existing)],
    )
    # If a key is in two files, keep it in one and remove it from the other.
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE LAKE__KEY_FILES AS SELECT {key}, _PARTITION, MIN(_TARGET) AS _TARGET FROM "
        f"(SELECT DISTINCT {key}, filename FROM {_files(existing, range(len(existing)))} "
        f"SEMI JOIN LAKE_REPLACED USING ({key})) JOIN LAKE__FILES ON filename = _PATH GROUP BY ALL"
    )
    rewritten = {
        number
        for (number,) in connection.execute(
            f"SELECT DISTINCT _TARGET FROM (SELECT DISTINCT {key}, filename FROM "
            f"{_files(existing, range(len(existing)))} SEMI JOIN LAKE__KEY_FILES USING ({key})) "
            "JOIN LAKE__FILES ON filename = _PATH"
        ).fetchall()
    }
    growing = connection.execute(
        f"SELECT DISTINCT {partition}::VARCHAR FROM LAKE_ROWS AS r ANTI JOIN LAKE__KEY_FILES AS h "
        f"ON h.{key} = r.{key} AND h._PARTITION = r.{partition}"
    ).fetchall()
    sizes = [file.path.stat().st_size for file in existing]
    connection.execute("CREATE OR REPLACE TEMP TABLE LAKE__OPEN_FILES (_PARTITION DATE, _TARGET INTEGER)")
    for (name,) in growing:
        smallest = min(
            (n for n, f in enumerate(existing) if f.partition == name and sizes[n] < target_bytes / 2),
            key=lambda number: (sizes[number], existing[number].key),
            default=None,
        )
        if smallest is not None:
            connection.execute("INSERT INTO LAKE__OPEN_FILES VALUES (?, ?)", [name, smallest])
            rewritten.add(smallest)
    return rewritten


def _drop_moved_rows(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    existing: Sequence[LakeFile],
    key: str,
    partition: str,
    columns: Sequence[str],
    writer: _Writer,
) -> tuple[list[WrittenLakeFile], list[str]]:
    """Write the files that lose keys to another partition without those keys, to be published first.

    A reader may then miss such a key for a moment, but never sees it twice. Returns these files, and the keys of files
    that have no rows until the rest is published.
    """
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE LAKE__MOVED_KEYS AS SELECT DISTINCT h.{key}, h._TARGET "
        f"FROM LAKE__KEY_FILES AS h JOIN LAKE_ROWS AS r ON r.{key} = h.{key} AND r.{partition} <> h._PARTITION"
    )
    released: list[WrittenLakeFile] = []
    emptied = []
    for (number,) in connection.execute("SELECT DISTINCT _TARGET FROM LAKE__MOVED_KEYS ORDER BY ALL").fetchall():
        remaining_rows = (
            f"SELECT {sql_names(columns)}, DATE '{existing[number].partition}' AS {partition}, {number} AS _TARGET, "
            f"FALSE AS _IS_FRESH FROM {_files(existing, [number])} ANTI JOIN LAKE__MOVED_KEYS USING ({key})"
        )
        with progress(f"Removing moved rows from {existing[number].key}", "rows") as step:
            kept = connection.sql(_as_lake_columns(contract, remaining_rows)).to_arrow_reader(_BATCH)
            written = writer.write(kept, step)
        released += written
        if not written:
            emptied.append(existing[number].key)
    return released, emptied


def _source(existing: Sequence[LakeFile], rewritten: set[int], key: str, partition: str, columns: Sequence[str]) -> str:
    """All rows to write, with the number of their file, -1 for a new one."""
    if not existing:
        return f"SELECT {sql_names(columns)}, {partition}, -1 AS _TARGET, TRUE AS _IS_FRESH FROM LAKE_ROWS"
    rows = (
        f"SELECT {sql_names(columns, 'r')}, r.{partition}, COALESCE(h._TARGET, a._TARGET, -1) AS _TARGET, "
        "h._TARGET IS NULL AS _IS_FRESH "
        f"FROM LAKE_ROWS AS r LEFT JOIN LAKE__KEY_FILES AS h ON h.{key} = r.{key} AND h._PARTITION = r.{partition} "
        f"LEFT JOIN LAKE__OPEN_FILES AS a ON a._PARTITION = r.{partition}"
    )
    if rewritten:
        rows += (
            f" UNION ALL SELECT {sql_names(columns)}, _PARTITION, _TARGET, FALSE "
            f"FROM {_files(existing, sorted(rewritten))} "
            f"ANTI JOIN LAKE_REPLACED USING ({key}) JOIN LAKE__FILES ON filename = _PATH"
        )
    return rows


def _as_lake_columns(contract: Contract, source: str) -> str:
    """The rows of a source with the types and names of the files' columns."""
    kinds = {"STRING": "VARCHAR"}
    columns = ", ".join(
        f"CAST({sql_name(c.name)} AS {kinds.get(c.physical_type, c.physical_type)}) AS {sql_name(lake_name(c.name))}"
        for c in contract.columns
        if not c.partition
    )
    partition = sql_names(column.name for column in contract.columns if column.partition)
    return f"SELECT {columns}, {partition}, _TARGET, _IS_FRESH FROM ({source})"


def _files(existing: Sequence[LakeFile], numbers: Sequence[int]) -> str:
    paths = path_list([existing[number].path for number in numbers])
    return f"read_parquet({paths}, filename = true, hive_partitioning = false)"


class _Pool:
    """Threads that compress; `submit` waits when too much is queued, so memory does not grow with the data."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS)
        self._slots = BoundedSemaphore(_THREADS + 1)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def submit(self, work: Callable[..., None], *arguments: object) -> Future:
        self._slots.acquire()
        future = self._pool.submit(work, *arguments)
        future.add_done_callback(lambda _: self._slots.release())
        return future


class _Writer:
    """Writes a sorted stream of rows into one file after another, compressing in the background."""

    def __init__(self, contract: Contract, existing: Sequence[LakeFile], folder: Path, target_bytes: int) -> None:
        self._schema = lake_schema(contract)
        (self._partition,) = (column.name for column in contract.columns if column.partition)
        (self._key,) = (column.name for column in contract.columns if column.keep_together)
        self._existing = existing
        self._folder = folder
        self._target = target_bytes
        self._number = 0

    def write(self, batches: pa.RecordBatchReader, step: Progress) -> list[WrittenLakeFile]:
        """Write rows that are sorted by partition, target, freshness and key; the files are in that order."""
        files: list[_OpenFile] = []
        current: _OpenFile | None = None
        with _Pool() as pool:
            try:
                for destination, fresh, part in self._parts(batches):
                    if current and (
                        current.destination != destination
                        or (fresh and current.last != part.first and current.is_full())
                    ):
                        current.finish()
                        target = -1 if current.destination == destination else destination[1]
                        current = None
                    else:
                        target = destination[1]
                    if current is None:
                        current = self._open(pool, destination, target)
                        files.append(current)
                    current.add(part)
                    step.advance(part.rows.num_rows)
                if current:
                    current.finish()
            finally:
                for file in files:
                    file.close()
        return [file.result() for file in files]

    def _parts(self, batches: pa.RecordBatchReader) -> Iterator[tuple[tuple[str, int], bool, _Part]]:
        """Consecutive rows with one destination, cut so that a file may end before each part."""
        partition, key = self._partition, self._key
        for batch in batches:
            names = [name.upper() for name in batch.schema.names]
            sorted_by = {name: batch.column(names.index(name)) for name in (partition, "_TARGET", "_IS_FRESH", key)}
            rows = batch.select([names.index(field.name.upper()) for field in self._schema])
            for start, end in _runs(sorted_by[partition], sorted_by["_TARGET"], sorted_by["_IS_FRESH"]):
                destination = (str(sorted_by[partition][start]), sorted_by["_TARGET"][start].as_py())
                keys = sorted_by[key].slice(start, end - start)
                for part in _at_keys(rows.slice(start, end - start), keys):
                    yield destination, sorted_by["_IS_FRESH"][start].as_py(), part

    def _open(self, pool: _Pool, destination: tuple[str, int], target: int) -> _OpenFile:
        self._number += 1
        key = self._existing[target].key if target >= 0 else None
        return _OpenFile(
            self._folder / f"lake-{self._number}.parquet", self._schema, destination, key, self._target, pool
        )


@dataclass(frozen=True)
class _Part:
    """Consecutive rows, and the keys of the first and the last."""

    rows: pa.RecordBatch
    first: object
    last: object


class _OpenFile:
    """A file that is being written; row groups are written in the background, one after another."""

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        destination: tuple[str, int],
        key: str | None,
        target: int,
        pool: _Pool,
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.destination = destination
        self.last: object = None
        self._key, self._path, self._target, self._schema, self._pool = key, path, target, schema, pool
        self._sink = pa.OSFile(str(path), "wb")
        # The default pool never returns memory to the system.
        self._writer = pq.ParquetWriter(self._sink, schema, compression="zstd", memory_pool=pa.system_memory_pool())
        self._buffered: list[pa.RecordBatch] = []
        self._buffered_rows = 0
        self._rows = 0
        self._writing: Future | None = None

    def is_full(self) -> bool:
        if self._rows and self._writing:
            self._writing.result()
        return self._rows > 0 and self._sink.tell() >= self._target

    def add(self, part: _Part) -> None:
        self._buffered.append(part.rows)
        self._buffered_rows += part.rows.num_rows
        self.last = part.last
        if self._buffered_rows >= _ROW_GROUP:
            self._flush()

    def finish(self) -> None:
        """Write the remaining rows, in the background."""
        self._flush()
        before = self._writing
        self._writing = self._pool.submit(self._end, before)

    def close(self) -> None:
        """Wait until the file is written; raises the error of a background write."""
        if self._writing:
            self._writing.result()
        self._sink.close()

    def result(self) -> WrittenLakeFile:
        return WrittenLakeFile(self._key, self.destination[0], self._path, self._rows)

    def _flush(self) -> None:
        if self._buffered:
            if self._writing:
                self._writing.result()  # limits memory to one row group per file
            self._writing = self._pool.submit(self._write, self._buffered)
        self._rows += self._buffered_rows
        self._buffered, self._buffered_rows = [], 0

    def _write(self, batches: list[pa.RecordBatch]) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_batches(batches, self._schema), row_group_size=2 * _ROW_GROUP)

    def _end(self, before: Future | None) -> None:
        if before:
            before.result()
        self._writer.close()
        self._sink.close()


def _runs(*columns: pa.Array) -> Iterator[tuple[int, int]]:
    """The ranges (start, end) in which no column changes."""
    import numpy as np

    length = len(columns[0])
    if not length:
        return
    changes = np.zeros(length - 1, dtype=bool)
    for column in columns:
        values = _numbers(column)
        changes |= values[1:] != values[:-1]
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), length]
    yield from pairwise(edges)


def _numbers(column: pa.Array) -> np.ndarray:
    import pyarrow as pa

    return column.cast(pa.int32()).to_numpy(zero_copy_only=False)


def _at_keys(rows: pa.RecordBatch, keys: pa.Array) -> Iterator[_Part]:
    """The rows in two parts, those of the first key and all others, so that a file can end between them."""
    first, last = keys[0].as_py(), keys[-1].as_py()
    if first == last:
        yield _Part(rows, first, last)
        return
    same = 1
    while keys[same].as_py() == first:
        same += 1
    yield _Part(rows.slice(0, same), first, first)
    yield _Part(rows.slice(same), keys[same].as_py(), last)
