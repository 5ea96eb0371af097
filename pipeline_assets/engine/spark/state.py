"""Rows that a Spark job keeps between its steps, and between its attempts.

Many rows are kept as Parquet. In S3 every attempt writes below a folder of its own, and finally a manifest that lists
its files. Rows with a manifest are complete; files of a dead attempt, or of one that runs at the same time, are never
read. On a disk that all tasks share, Spark's own writer and reader achieve the same by a rename, and are faster.

Few rows of a local Spark stay in its memory, and its driver writes their results: a Spark job that writes asks Hadoop,
which starts a process for the permissions of each folder and file, and costs several times as much as the rows.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.engine.distributed import object_io
from pipeline_assets.engine.spark.session import collected, map_batches
from pipeline_assets.errors import ObjectChangedError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import StructType

_MANIFEST = "kept.json"
_FEW_ROWS = 50_000  # rows of a table beside the landed files
_FOR_FEW_ROWS = {
    # Rows in one partition are joined there; a broadcast would be another Spark job.
    "spark.sql.autoBroadcastJoinThreshold": "-1",
    "spark.sql.shuffle.partitions": "1",
    # To compile the rules of a list's elements takes seconds, to interpret them for a few rows none.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # It plans each stage again, by the size of the one before.
    "spark.sql.adaptive.enabled": "false",
}


class State:
    """Rows that are kept below a folder, a path or s3://bucket/prefix.

    Until `expect_many` is called, rows are read back as one partition. Spark then has nothing to shuffle or broadcast,
    so a result costs one Spark job instead of one for each of its aggregations and joins, and it compiles no code.
    """

    def __init__(self, spark: SparkSession, folder: str) -> None:
        self._spark = spark
        self._folder = folder
        self._few = True
        # For a local Spark and a local folder only: on a cluster an executor may be lost with its rows, and a later
        # attempt of a Glue job may need them.
        self.is_local = bool(re.match(r"local(\[|$)", spark.sparkContext.master or "")) and not object_io.is_s3(folder)
        self._original_settings = {name: spark.conf.get(name) for name in _FOR_FEW_ROWS}
        for name, value in _FOR_FEW_ROWS.items():
            spark.conf.set(name, value)

    @property
    def _in_memory(self) -> bool:
        return self._few and self.is_local

    def expect_many(self) -> None:
        """From now on, keep and read rows in as many partitions as they have."""
        self._few = False
        for name, value in self._original_settings.items():
            self._spark.conf.set(name, value or "")

    def uri(self, *names: str) -> str:
        """The uri at which rows with these names are kept."""
        return object_io.joined(self._folder, *names)

    def keep(self, rows: DataFrame, uri: str) -> list[str]:
        """Write rows to at least one file; returns the files."""
        if self._in_memory:
            file = object_io.joined(uri, f"{uuid.uuid4().hex}.parquet")
            return [_write_file(collected(rows), _arrow_schema(rows), file)]
        if not object_io.is_s3(uri):
            rows.write.mode("overwrite").parquet(uri)
            return sorted(str(path) for path in Path(uri).glob("*.parquet"))
        schema, folder = _arrow_schema(rows), object_io.joined(uri, uuid.uuid4().hex)

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            yield _write_partition(batches, schema, folder)

        written = sorted({row[0] for row in map_batches(rows, task, "uri string").collect()})
        manifest = {"schema": rows.schema.json(), "files": written}
        object_io.write_text(json.dumps(manifest), object_io.joined(uri, _MANIFEST))
        return written

    def kept(self, rows: DataFrame, uri: str) -> DataFrame:
        """Keep rows, so that they are computed once."""
        if self._in_memory:
            return self.together(rows.localCheckpoint(eager=False))
        return self._rows(uri, self.keep(rows, uri), rows.schema)

    def load_kept(self, uri: str) -> DataFrame | None:
        """Rows that an earlier attempt kept in S3, if all of their files still exist; None for a local folder."""
        manifest = self._manifest(uri) if object_io.is_s3(uri) else None
        if manifest is None or not all(map(object_io.exists, manifest["files"])):
            return None
        from pyspark.sql.types import StructType

        return self._rows(uri, manifest["files"], StructType.fromJson(json.loads(manifest["schema"])))

    def table(self, uri: str) -> DataFrame:
        """The rows of one Parquet file."""
        import pyarrow.parquet as pq
        from pyspark.sql.pandas.types import from_arrow_schema

        with object_io.scratch_folder() as scratch:
            parquet = pq.ParquetFile(object_io.fetch(uri, scratch))
            if parquet.metadata.num_rows > _FEW_ROWS:
                self.expect_many()
            schema = from_arrow_schema(parquet.schema_arrow, prefer_timestamp_ntz=True)
        return self._rows(uri, [uri], schema)

    def together(self, rows: DataFrame) -> DataFrame:
        """Rows in one partition, unless many are expected."""
        return rows.coalesce(1) if self._few else rows

    def _manifest(self, uri: str) -> dict[str, Any] | None:
        try:
            return json.loads(object_io.read_text(object_io.joined(uri, _MANIFEST)))
        except ObjectChangedError:
            return None

    def _rows(self, uri: str, files: list[str], schema: StructType) -> DataFrame:
        """Rows of files with a given schema; without it Spark would start a job to read the schema."""
        if not object_io.is_s3(uri):
            return self.together(self._spark.read.schema(schema).parquet(_escaped(uri)))

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            import pyarrow.parquet as pq

            for batch in batches:
                for file in batch.column("uri").to_pylist():
                    with object_io.scratch_folder() as scratch:
                        yield from pq.ParquetFile(object_io.fetch(file, scratch)).iter_batches()

        return self.together(map_batches(inline(self._spark, files, "uri"), task, schema))


def texts(values: Sequence[str]) -> Column:
    """A list of texts as a constant of Spark's SQL, of any length and content."""
    from pyspark.sql import functions as f

    return f.from_json(f.lit(json.dumps(list(values))), "array<string>")


def inline(spark: SparkSession, values: Sequence[str], name: str) -> DataFrame:
    """One row and one partition per text; the texts are part of the plan, so this starts no Spark job."""
    from pyspark.sql import functions as f

    numbered = spark.range(0, len(values), 1, len(values))
    return numbered.select(f.element_at(texts(values), f.col("id").cast("int") + 1).alias(name))


def _escaped(path: str) -> str:
    """Escape a path; Spark reads every path as a pattern."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", path)


def _write_partition(batches: Iterator[pa.RecordBatch], schema: pa.Schema, folder: str) -> pa.RecordBatch:
    """Write one partition as one object; a second attempt of the task uses the same name."""
    import pyarrow as pa
    from pyspark import TaskContext

    context = TaskContext.get()
    uri = object_io.joined(folder, f"part-{context.partitionId() if context else 0:05d}.parquet")
    return pa.RecordBatch.from_arrays([pa.array([_write_file(batches, schema, uri)])], ["uri"])


def _write_file(batches: Iterable[pa.RecordBatch], schema: pa.Schema, uri: str) -> str:
    import pyarrow.parquet as pq

    with object_io.scratch_folder() as scratch:
        path = scratch / "part.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
        object_io.put(path, uri)
    return uri


def _arrow_schema(rows: DataFrame) -> pa.Schema:
    from pyspark.sql.pandas.types import to_arrow_schema

    return to_arrow_schema(rows.schema)
