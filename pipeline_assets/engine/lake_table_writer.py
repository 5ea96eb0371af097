"""Write rows into the files of a lake table, a folder per partition.

A file is never larger than needed (a new one starts near the target size) and small ones fill up: new rows go to a
file of their partition that is below half of the target, by writing it again. So there are few files however many
batches there were, and a batch writes no more than the files it touches.

What makes that safe to read meanwhile: all rows of one key (an order) are in one file, they stay in that file as long
as they stay in their partition, and a file is replaced whole, under its old name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.arrow import lake_schema
from pipeline_assets.engine.duckdb.inputs import path_list
from pipeline_assets.engine.interface import LakeFile, LakeTableChanges, WrittenLakeFile

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa

# Rows of a row group: enough to compress, few enough to know the size of a file while it grows.
_ROW_GROUP = 61_440
_BATCH = 16_384  # rows that travel together; whoever holds one row holds them all
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
    (partition,) = (column.name for column in contract.columns if column.partition)
    (key,) = (column.name for column in contract.columns if column.keep_together)
    columns = ", ".join(column.name for column in contract.columns if not column.partition)
    found = connection.execute(f"SELECT DISTINCT {partition}::VARCHAR FROM LAKE_REPLACED ORDER BY 1").fetchall()
    layout = LakeTableChanges(partitions=[name for (name,) in found])
    existing = existing_in(layout.partitions)
    writer = _Writer(contract, existing, folder, target_bytes)
    touched: set[int] = set()
    if existing:
        touched = _assign_files(connection, existing, key, partition, target_bytes)
        layout.released, layout.removed = _drop_moved_rows(
            connection, contract, existing, key, partition, columns, writer
        )
    source = _source(existing, touched, key, partition, columns)
    order = f"{partition}, _TARGET, _IS_FRESH, {key}"
    for first, last in _passes(connection, existing, touched, partition):
        rows = f"{_shaped(contract, source)} WHERE {partition} BETWEEN '{first}' AND '{last}' ORDER BY {order}"
        layout.written += writer.write(connection.sql(rows).to_arrow_reader(_BATCH), partition, key)
    kept = {file.key for file in layout.written}
    gone = {existing[number].key for number in touched} - kept
    layout.removed = sorted(gone.union(layout.removed))
    layout.released = [file for file in layout.released if file.key in kept]
    return layout


def _passes(
    connection: duckdb.DuckDBPyConnection, existing: Sequence[LakeFile], touched: set[int], partition: str
) -> list[tuple[str, str]]:
    """Ranges of partitions with so few rows that sorting them fits in memory; most batches need one."""
    import pyarrow.parquet as pq

    sizes = dict(connection.execute(f"SELECT {partition}::VARCHAR, COUNT(*) FROM LAKE_ROWS GROUP BY ALL").fetchall())
    for number in touched:
        file = existing[number]
        sizes[file.partition] = sizes.get(file.partition, 0) + pq.read_metadata(file.path).num_rows
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
    """Note where the batch's keys lie (LAKE__HOMES) and where others shall go (LAKE__ROOMS).

    Returns the numbers of the files that have to be written again.
    """
    connection.execute("CREATE OR REPLACE TEMP TABLE LAKE__FILES (_TARGET INTEGER, _PATH VARCHAR, _PARTITION DATE)")
    connection.executemany(
        "INSERT INTO LAKE__FILES VALUES (?, ?, ?)",
        [(number, str(file.path), file.partition) for number, file in enumerate(existing)],
    )
    # Were a key in two files after all, one is its home and it leaves the other.
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE LAKE__HOMES AS SELECT {key}, _PARTITION, MIN(_TARGET) AS _TARGET FROM "
        f"(SELECT DISTINCT {key}, filename FROM {_files(existing, range(len(existing)))} "
        f"SEMI JOIN LAKE_REPLACED USING ({key})) JOIN LAKE__FILES ON filename = _PATH GROUP BY ALL"
    )
    touched = {
        number
        for (number,) in connection.execute(
            f"SELECT DISTINCT _TARGET FROM (SELECT DISTINCT {key}, filename FROM "
            f"{_files(existing, range(len(existing)))} SEMI JOIN LAKE__HOMES USING ({key})) "
            "JOIN LAKE__FILES ON filename = _PATH"
        ).fetchall()
    }
    homeless = connection.execute(
        f"SELECT DISTINCT {partition}::VARCHAR FROM LAKE_ROWS AS r ANTI JOIN LAKE__HOMES AS h "
        f"ON h.{key} = r.{key} AND h._PARTITION = r.{partition}"
    ).fetchall()
    sizes = [file.path.stat().st_size for file in existing]
    connection.execute("CREATE OR REPLACE TEMP TABLE LAKE__ROOMS (_PARTITION DATE, _TARGET INTEGER)")
    for (name,) in homeless:
        room = min(
            (n for n, f in enumerate(existing) if f.partition == name and sizes[n] < target_bytes / 2),
            key=lambda number: (sizes[number], existing[number].key),
            default=None,
        )
        if room is not None:
            connection.execute("INSERT INTO LAKE__ROOMS VALUES (?, ?)", [name, room])
            touched.add(room)
    return touched


def _drop_moved_rows(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    existing: Sequence[LakeFile],
    key: str,
    partition: str,
    columns: str,
    writer: _Writer,
) -> tuple[list[WrittenLakeFile], list[str]]:
    """Versions of the files that lose keys to another partition, without those keys, to be shown first.

    A reader may then miss such a key for a moment, but never sees it twice. Files of which nothing is left for that
    moment are named by their keys.
    """
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE LAKE__MOVERS AS SELECT DISTINCT h.{key}, h._TARGET FROM LAKE__HOMES AS h "
        f"JOIN LAKE_ROWS AS r ON r.{key} = h.{key} AND r.{partition} <> h._PARTITION"
    )
    released: list[WrittenLakeFile] = []
    emptied = []
    for (number,) in connection.execute("SELECT DISTINCT _TARGET FROM LAKE__MOVERS ORDER BY ALL").fetchall():
        rest = (
            f"SELECT {columns}, DATE '{existing[number].partition}' AS {partition}, {number} AS _TARGET, "
            f"FALSE AS _IS_FRESH FROM {_files(existing, [number])} ANTI JOIN LAKE__MOVERS USING ({key})"
        )
        written = writer.write(connection.sql(_shaped(contract, rest)).to_arrow_reader(_BATCH), partition, key)
        released += written
        if not written:
            emptied.append(existing[number].key)
    return released, emptied


def _source(existing: Sequence[LakeFile], touched: set[int], key: str, partition: str, columns: str) -> str:
    """All rows to be written with the number of the file they belong to, -1 for a new one."""
    if not existing:
        return f"SELECT {columns}, {partition}, -1 AS _TARGET, TRUE AS _IS_FRESH FROM LAKE_ROWS"
    named = ", ".join(f"r.{name}" for name in columns.split(", "))
    rows = (
        f"SELECT {named}, r.{partition}, COALESCE(h._TARGET, a._TARGET, -1) AS _TARGET, h._TARGET IS NULL AS _IS_FRESH "
        f"FROM LAKE_ROWS AS r LEFT JOIN LAKE__HOMES AS h ON h.{key} = r.{key} AND h._PARTITION = r.{partition} "
        f"LEFT JOIN LAKE__ROOMS AS a ON a._PARTITION = r.{partition}"
    )
    if touched:
        rows += (
            f" UNION ALL SELECT {columns}, _PARTITION, _TARGET, FALSE FROM {_files(existing, sorted(touched))} "
            f"ANTI JOIN LAKE_REPLACED USING ({key}) JOIN LAKE__FILES ON filename = _PATH"
        )
    return rows


def _shaped(contract: Contract, source: str) -> str:
    """The rows of a source with the types and names that the files have."""
    kinds = {"STRING": "VARCHAR"}
    columns = ", ".join(
        f"CAST({c.name} AS {kinds.get(c.physical_type, c.physical_type)}) AS {c.name.lower()}"
        for c in contract.columns
        if not c.partition
    )
    (partition,) = (column.name for column in contract.columns if column.partition)
    return f"SELECT {columns}, {partition}, _TARGET, _IS_FRESH FROM ({source})"


def _files(existing: Sequence[LakeFile], numbers: Sequence[int]) -> str:
    paths = path_list([existing[number].path for number in numbers])
    return f"read_parquet({paths}, filename = true, hive_partitioning = false)"


class _Pool:
    """Threads that compress, with so little waiting for them that memory does not grow with the data."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS)
        self._room = BoundedSemaphore(_THREADS + 1)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def submit(self, work: Callable[..., None], *arguments: object) -> Future:
        self._room.acquire()
        future = self._pool.submit(work, *arguments)
        future.add_done_callback(lambda _: self._room.release())
        return future


class _Writer:
    """Writes a sorted stream of rows into one file after another, compressing in the background."""

    def __init__(self, contract: Contract, existing: Sequence[LakeFile], folder: Path, target_bytes: int) -> None:
        self._schema = lake_schema(contract)
        self._existing = existing
        self._folder = folder
        self._target = target_bytes
        self._number = 0

    def write(self, batches: pa.RecordBatchReader, partition: str, key: str) -> list[WrittenLakeFile]:
        """Write rows that come sorted by partition, target, freshness and key; files are in that order."""
        files: list[_OpenFile] = []
        current: _OpenFile | None = None
        with _Pool() as pool:
            try:
                for where, fresh, part in self._parts(batches, partition, key):
                    if current and (
                        current.where != where or (fresh and current.last != part.first and current.is_full())
                    ):
                        current.finish()
                        target = -1 if current.where == where else where[1]
                        current = None
                    else:
                        target = where[1]
                    if current is None:
                        current = self._open(pool, where, target)
                        files.append(current)
                    current.add(part)
                if current:
                    current.finish()
            finally:
                for file in files:
                    file.close()
        return [file.laid() for file in files]

    def _parts(
        self, batches: pa.RecordBatchReader, partition: str, key: str
    ) -> Iterator[tuple[tuple[str, int], bool, _Part]]:
        """Stretches of rows for one place, cut so that a file may end before each."""
        for batch in batches:
            names = [name.upper() for name in batch.schema.names]
            place = {name: batch.column(names.index(name)) for name in (partition, "_TARGET", "_IS_FRESH", key)}
            rows = batch.select([names.index(field.name.upper()) for field in self._schema])
            for start, end in _runs(place[partition], place["_TARGET"], place["_IS_FRESH"]):
                where = (str(place[partition][start]), place["_TARGET"][start].as_py())
                keys = place[key].slice(start, end - start)
                for part in _at_keys(rows.slice(start, end - start), keys):
                    yield where, place["_IS_FRESH"][start].as_py(), part

    def _open(self, pool: _Pool, where: tuple[str, int], target: int) -> _OpenFile:
        self._number += 1
        key = self._existing[target].key if target >= 0 else None
        return _OpenFile(self._folder / f"lake-{self._number}.parquet", self._schema, where, key, self._target, pool)


@dataclass(frozen=True)
class _Part:
    """Rows that follow one another, and the keys of the first and the last."""

    rows: pa.RecordBatch
    first: object
    last: object


class _OpenFile:
    """A file that rows are added to; row groups are written in the background, one after another."""

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        where: tuple[str, int],
        key: str | None,
        target: int,
        pool: _Pool,
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.where = where
        self.last: object = None
        self._key, self._path, self._target, self._schema, self._pool = key, path, target, schema, pool
        self._sink = pa.OSFile(str(path), "wb")
        # The default pool keeps what it once had.
        self._writer = pq.ParquetWriter(self._sink, schema, compression="zstd", memory_pool=pa.system_memory_pool())
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._rows = 0
        self._writing: Future | None = None

    def is_full(self) -> bool:
        if self._rows and self._writing:
            self._writing.result()
        return self._rows > 0 and self._sink.tell() >= self._target

    def add(self, part: _Part) -> None:
        self._waiting.append(part.rows)
        self._waiting_rows += part.rows.num_rows
        self.last = part.last
        if self._waiting_rows >= _ROW_GROUP:
            self._flush()

    def finish(self) -> None:
        """Write what is left, in the background."""
        self._flush()
        before = self._writing
        self._writing = self._pool.submit(self._end, before)

    def close(self) -> None:
        """Wait for the file; raises what went wrong."""
        if self._writing:
            self._writing.result()
        self._sink.close()

    def laid(self) -> WrittenLakeFile:
        return WrittenLakeFile(self._key, self.where[0], self._path, self._rows)

    def _flush(self) -> None:
        if self._waiting:
            if self._writing:
                self._writing.result()  # keeps memory to one row group a file
            self._writing = self._pool.submit(self._write, self._waiting)
        self._rows += self._waiting_rows
        self._waiting, self._waiting_rows = [], 0

    def _write(self, batches: list[pa.RecordBatch]) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_batches(batches, self._schema), row_group_size=2 * _ROW_GROUP)

    def _end(self, before: Future | None) -> None:
        if before:
            before.result()
        self._writer.close()
        self._sink.close()


def _runs(*columns: pa.Array) -> Iterator[tuple[int, int]]:
    """The stretches in which none of the columns changes."""
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
    """The rows in two parts: those that continue the first key, and all others, so that a file can end between."""
    first, last = keys[0].as_py(), keys[-1].as_py()
    if first == last:
        yield _Part(rows, first, last)
        return
    same = 1
    while keys[same].as_py() == first:
        same += 1
    yield _Part(rows.slice(0, same), first, first)
    yield _Part(rows.slice(same), keys[same].as_py(), last)
