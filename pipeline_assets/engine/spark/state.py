"""Rows that a Spark job keeps between its steps, and between its attempts, as Parquet.

In S3 every attempt writes below a name of its own, and a note that lists its files goes last: rows that have a note are
whole, and what a dead attempt left, or another one writes at the same time, is never read. On a disk that all tasks
share Spark's own writer and reader do the same by a rename, and are quicker.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.engine.distributed import object_io
from pipeline_assets.errors import ObjectChangedError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import StructType

_NOTE = "kept.json"
_FEW_ROWS = 50_000  # of a table beside the landed files
# What is in one partition is joined there; a broadcast would be a job of its own.
_FOR_FEW_ROWS = {"spark.sql.autoBroadcastJoinThreshold": "-1", "spark.sql.shuffle.partitions": "1"}


class State:
    """What is kept below a folder, a path or s3://bucket/prefix.

    While rows are `few` they are read back as one partition. Spark then has nothing to shuffle or broadcast, so that a
    result costs one Spark job instead of one for each aggregation and join in it.
    """

    def __init__(self, spark: SparkSession, folder: str) -> None:
        self._spark = spark
        self._folder = folder
        self._few = True
        self._usual = {name: spark.conf.get(name) for name in _FOR_FEW_ROWS}
        for name, value in _FOR_FEW_ROWS.items():
            spark.conf.set(name, value)

    def expect_many(self) -> None:
        """Rows that are kept or read from now on have as many partitions as they come in."""
        self._few = False
        for name, value in self._usual.items():
            self._spark.conf.set(name, value)

    def place(self, *names: str) -> str:
        """Where rows of some name are kept."""
        return object_io.joined(self._folder, *names)

    def keep(self, rows: DataFrame, where: str) -> list[str]:
        """Write rows, to at least one file; returns the files."""
        if not object_io.is_s3(where):
            rows.write.mode("overwrite").parquet(where)
            return sorted(str(path) for path in Path(where).glob("*.parquet"))
        schema, folder = _arrow_schema(rows), object_io.joined(where, uuid.uuid4().hex)

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            yield _sent(batches, schema, folder)

        written = sorted({row[0] for row in rows.mapInArrow(task, "place string").collect()})
        note = {"schema": rows.schema.json(), "files": written}
        object_io.write_text(json.dumps(note), object_io.joined(where, _NOTE))
        return written

    def kept(self, rows: DataFrame, where: str) -> DataFrame:
        """The same rows, computed once."""
        return self._rows(where, self.keep(rows, where), rows.schema)

    def found(self, where: str) -> DataFrame | None:
        """Rows that an earlier attempt has kept, if they are there still; a job on a disk has none."""
        note = self._note(where) if object_io.is_s3(where) else None
        if note is None or not all(map(object_io.exists, note["files"])):
            return None
        from pyspark.sql.types import StructType

        return self._rows(where, note["files"], StructType.fromJson(json.loads(note["schema"])))

    def table(self, where: str) -> DataFrame:
        """The rows of one Parquet file."""
        import pyarrow.parquet as pq
        from pyspark.sql.pandas.types import from_arrow_schema

        with object_io.scratch_folder() as scratch:
            about = pq.ParquetFile(object_io.fetch(where, scratch))
            if about.metadata.num_rows > _FEW_ROWS:
                self.expect_many()
            schema = from_arrow_schema(about.schema_arrow, prefer_timestamp_ntz=True)
        return self._rows(where, [where], schema)

    def together(self, rows: DataFrame) -> DataFrame:
        """Rows in one partition, if they are few."""
        return rows.coalesce(1) if self._few else rows

    def _note(self, where: str) -> dict[str, Any] | None:
        try:
            return json.loads(object_io.read_text(object_io.joined(where, _NOTE)))
        except ObjectChangedError:
            return None

    def _rows(self, where: str, files: list[str], schema: StructType) -> DataFrame:
        """Rows of a known schema; Spark would start a job to look it up in the files."""
        if not object_io.is_s3(where):
            return self.together(self._spark.read.schema(schema).parquet(_escaped(where)))

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            import pyarrow.parquet as pq

            for batch in batches:
                for place in batch.column("place").to_pylist():
                    with object_io.scratch_folder() as scratch:
                        yield from pq.ParquetFile(object_io.fetch(place, scratch)).iter_batches()

        return self.together(inline(self._spark, files, "place").mapInArrow(task, schema))


def texts(values: Sequence[str]) -> Column:
    """A list of texts as a constant of Spark's SQL, however many they are and whatever is in them."""
    from pyspark.sql import functions as f

    return f.from_json(f.lit(json.dumps(list(values))), "array<string>")


def inline(spark: SparkSession, values: Sequence[str], name: str) -> DataFrame:
    """One row for each of some texts, each row a partition; they travel in the plan, by no Spark job of their own."""
    from pyspark.sql import functions as f

    numbered = spark.range(0, len(values), 1, len(values))
    return numbered.select(f.element_at(texts(values), f.col("id").cast("int") + 1).alias(name))


def _escaped(path: str) -> str:
    """A path as it stands; Spark takes every path to read for a pattern."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", path)


def _sent(batches: Iterator[pa.RecordBatch], schema: pa.Schema, folder: str) -> pa.RecordBatch:
    """Write one partition as one object, under a name that a second attempt of the task would take again."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyspark import TaskContext

    context = TaskContext.get()
    where = object_io.joined(folder, f"part-{context.partitionId() if context else 0:05d}.parquet")
    with object_io.scratch_folder() as scratch:
        path = scratch / "part.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
        object_io.put(path, where)
    return pa.RecordBatch.from_arrays([pa.array([where])], ["place"])


def _arrow_schema(rows: DataFrame) -> pa.Schema:
    from pyspark.sql.pandas.types import to_arrow_schema

    return to_arrow_schema(rows.schema)
