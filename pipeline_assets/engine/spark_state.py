"""Rows that a Spark job keeps between its steps, and between its attempts, as Parquet.

In S3 every attempt writes below a name of its own, and a note that lists its files goes last: rows that have a note are
whole, and what a dead attempt left, or another one writes at the same time, is never read. On a disk that all tasks
share Spark's own writer and reader do the same by a rename, and are quicker.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.engine import places
from pipeline_assets.errors import ObjectChangedError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

_NOTE = "kept.json"


class State:
    """What is kept below a folder, a path or s3://bucket/prefix."""

    def __init__(self, spark: SparkSession, folder: str) -> None:
        self._spark = spark
        self._folder = folder

    def place(self, *names: str) -> str:
        """Where rows of some name are kept."""
        return places.joined(self._folder, *names)

    def keep(self, rows: DataFrame, where: str) -> list[str]:
        """Write rows, to at least one file; returns the files."""
        if not places.is_s3(where):
            rows.write.mode("overwrite").parquet(where)
            return sorted(str(path) for path in Path(where).glob("*.parquet"))
        schema, folder = _arrow_schema(rows), places.joined(where, uuid.uuid4().hex)

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            yield _sent(batches, schema, folder)

        written = sorted({row[0] for row in rows.mapInArrow(task, "place string").collect()})
        note = {"schema": rows.schema.json(), "files": written}
        places.write_text(json.dumps(note), places.joined(where, _NOTE))
        return written

    def has(self, where: str) -> bool:
        """Whether an earlier attempt has kept these rows, and they are there still; a job on a disk has none."""
        note = self._note(where) if places.is_s3(where) else None
        return note is not None and all(map(places.exists, note["files"]))

    def rows(self, where: str, files: list[str] | None = None) -> DataFrame:
        """Rows that were kept; `files` are those that `keep` returned, if it was this attempt that did."""
        if not places.is_s3(where):
            return self._spark.read.parquet(_escaped(where))
        from pyspark.sql.types import StructType

        note = self._note(where)
        assert note is not None, f"{where} was not kept"
        return self._read(files or note["files"], StructType.fromJson(json.loads(note["schema"])))

    def table(self, where: str) -> DataFrame:
        """The rows of one Parquet file."""
        if not places.is_s3(where):
            return self._spark.read.parquet(_escaped(where))
        with places.scratch_folder() as scratch:
            schema = _schema_of(str(places.fetch(where, scratch)))
        return self._read([where], schema)

    def _note(self, where: str) -> dict[str, Any] | None:
        try:
            return json.loads(places.read_text(places.joined(where, _NOTE)))
        except ObjectChangedError:
            return None

    def _read(self, files: list[str], schema: Any) -> DataFrame:
        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            import pyarrow.parquet as pq

            for batch in batches:
                for where in batch.column("place").to_pylist():
                    with places.scratch_folder() as scratch:
                        yield from pq.ParquetFile(places.fetch(where, scratch)).iter_batches()

        listed = self._spark.sparkContext.parallelize([(where,) for where in files], max(1, len(files)))
        return self._spark.createDataFrame(listed, "place string").mapInArrow(task, schema)


def _escaped(path: str) -> str:
    """A path as it stands; Spark takes every path to read for a pattern."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", path)


def _sent(batches: Iterator[pa.RecordBatch], schema: pa.Schema, folder: str) -> pa.RecordBatch:
    """Write one partition as one object, under a name that a second attempt of the task would take again."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyspark import TaskContext

    context = TaskContext.get()
    where = places.joined(folder, f"part-{context.partitionId() if context else 0:05d}.parquet")
    with places.scratch_folder() as scratch:
        path = scratch / "part.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
        places.put(path, where)
    return pa.RecordBatch.from_arrays([pa.array([where])], ["place"])


def _arrow_schema(rows: DataFrame) -> pa.Schema:
    from pyspark.sql.pandas.types import to_arrow_schema

    return to_arrow_schema(rows.schema)


def _schema_of(path: str) -> Any:
    import pyarrow.parquet as pq
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(pq.read_schema(path), prefer_timestamp_ntz=True)
