"""Read landed files in a Spark job: cut them into splits, bundle these into tasks, type them by SQL, keep them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline_assets.engine.distributed import object_io, split_planner, split_reader
from pipeline_assets.engine.distributed.plan import spark_type
from pipeline_assets.engine.distributed.split_reader import FileSplit
from pipeline_assets.engine.spark import tasks
from pipeline_assets.engine.spark.inputs import SparkInput
from pipeline_assets.engine.spark.session import map_batches
from pipeline_assets.engine.spark.state import State, inline
from pipeline_assets.errors import ObjectChangedError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

_BUNDLE_BYTES = 64 << 20  # landed bytes that one task reads, if they are in many small files
_BUNDLE_FILES = 200


class LandedFileReader:
    """Reads files in tasks; their temporary files are in `scratch`, or in the system's folder when it is None."""

    def __init__(self, spark: SparkSession, state: State, split_bytes: int, scratch: str | None) -> None:
        self._spark = spark
        self._state = state
        self._split_bytes = split_bytes
        self._scratch = scratch

    def read(self, spark_input: SparkInput, whole: Sequence[FileSplit], name: str) -> DataFrame:
        """Files as rows: typed columns, `_FAULT` (0 is malformed), and the statistics; each file is read once."""
        uri = self._state.uri(spark_input.name, name)
        if (kept := self._state.load_kept(uri)) is not None:
            return kept
        splits = self.split_large_files(spark_input, whole)
        spark_input.parts.update({(split.file, split.number): split for split in splits})
        contract, schema, within = spark_input.contract, split_reader.text_schema(spark_input.contract), self._scratch

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for split in tasks.splits_in(batches):
                with object_io.scratch_folder(within) as scratch:
                    try:
                        path, _ = tasks.local(split, contract.form, scratch)
                    except ObjectChangedError:
                        yield split_reader.statistics_row(split, schema, changed=True)
                        continue
                    yield from split_reader.read(contract, split, path, scratch)

        texts = map_batches(inline(self._spark, _bundles(splits), "splits"), task, _spark_schema(schema))
        texts.createOrReplaceTempView("RAW")
        return self._state.kept(self._spark.sql(spark_input.validate), uri)

    def split_large_files(self, spark_input: SparkInput, whole: Sequence[FileSplit]) -> list[FileSplit]:
        """Cut large files into splits; other files stay whole."""
        contract, within = spark_input.contract, self._scratch
        large = [
            split
            for split in whole
            if split.size > 2 * self._split_bytes and not (split.tolerant or split.waiting or split.typed)
        ]
        if not large:
            return list(whole)

        def as_splittable(split: FileSplit) -> FileSplit | None:
            with object_io.scratch_folder(within) as scratch:
                return split_planner.as_splittable(contract, split, scratch)

        context = self._spark.sparkContext
        splittable = context.parallelize(large, len(large)).map(as_splittable).collect()
        chosen = {split.file: split for split in splittable if split}
        cut = [
            replace(split, number=number, start=start, end=end)
            for split in chosen.values()
            for number, (start, end) in enumerate(split_planner.ranges(split.size, self._split_bytes))
        ]
        quote_counts = context.parallelize(cut, len(cut)).map(split_planner.count_quotes).collect() if cut else []
        splits = [split for split in whole if split.file not in chosen]
        for file in chosen:
            of_file = [(split, quotes) for split, quotes in zip(cut, quote_counts, strict=True) if split.file == file]
            splits += split_planner.place_splits(
                [split for split, _ in of_file], [quotes for _, quotes in of_file], contract.form
            )
        return splits


def _bundles(splits: Sequence[FileSplit]) -> list[str]:
    """The splits of each task, as JSON."""
    bundles: list[list[str]] = [[]]
    space = files = 0
    for split in splits:
        size = (split.end - split.start) if split.is_partial else split.size
        if bundles[-1] and (size > space or files >= _BUNDLE_FILES):
            bundles.append([])
        if not bundles[-1]:
            space, files = _BUNDLE_BYTES, 0
        bundles[-1].append(split.dump())
        space, files = space - size, files + 1
    return [json.dumps(bundle) for bundle in bundles]


def _spark_schema(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {spark_type(field.type)}" for field in schema)
