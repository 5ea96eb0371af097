"""How a Spark job has landed files read: cut into splits, bundled into tasks, typed by SQL, kept as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline_assets.engine.distributed import file_splits, object_io, split_planner
from pipeline_assets.engine.distributed.file_splits import FileSplit
from pipeline_assets.engine.distributed.plan import spark_type
from pipeline_assets.engine.spark import tasks
from pipeline_assets.engine.spark.input import Input
from pipeline_assets.engine.spark.state import State, inline
from pipeline_assets.errors import ObjectChangedError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

_BUNDLE_BYTES = 64 << 20  # landed bytes that one task reads, when they lie in many small files
_BUNDLE_FILES = 200


class SplitReader:
    """Has files read by tasks, whose temporary files are in `scratch`; the system's place when that is None."""

    def __init__(self, spark: SparkSession, state: State, split_bytes: int, scratch: str | None) -> None:
        self._spark = spark
        self._state = state
        self._split_bytes = split_bytes
        self._scratch = scratch

    def take(self, entry: Input, whole: Sequence[FileSplit], name: str) -> DataFrame:
        """Files as rows: typed columns, `_FAULT` (0 is malformed), and the statistics. They are read once."""
        where = self._state.place(entry.name, name)
        if (found := self._state.found(where)) is not None:
            return found
        taken = self.split_large_files(entry, whole)
        entry.parts.update({(split.file, split.number): split for split in taken})
        contract, schema, within = entry.contract, file_splits.text_schema(entry.contract), self._scratch

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for split in tasks.splits_in(batches):
                with object_io.scratch_folder(within) as scratch:
                    try:
                        path, _ = tasks.local(split, contract.form, scratch)
                    except ObjectChangedError:
                        yield file_splits.statistics_row(split, schema, changed=True)
                        continue
                    yield from file_splits.read(contract, split, path, scratch)

        texts = inline(self._spark, _bundles(taken), "splits").mapInArrow(task, _spark_schema(schema))
        texts.createOrReplaceTempView("RAW")
        return self._state.kept(self._spark.sql(entry.validate), where)

    def split_large_files(self, entry: Input, whole: Sequence[FileSplit]) -> list[FileSplit]:
        """Large files in splits, others as they are."""
        contract, within = entry.contract, self._scratch
        large = [p for p in whole if p.size > 2 * self._split_bytes and not p.tolerant and not p.waiting]
        if not large:
            return list(whole)

        def as_splittable(split: FileSplit) -> FileSplit | None:
            with object_io.scratch_folder(within) as scratch:
                return split_planner.as_splittable(contract, split, scratch)

        context = self._spark.sparkContext
        fit = context.parallelize(large, len(large)).map(as_splittable).collect()
        chosen = {split.file: split for split in fit if split}
        cut = [
            replace(split, number=number, start=start, end=end)
            for split in chosen.values()
            for number, (start, end) in enumerate(split_planner.ranges(split.size, self._split_bytes))
        ]
        quote_counts = context.parallelize(cut, len(cut)).map(split_planner.count_quotes).collect() if cut else []
        found = [split for split in whole if split.file not in chosen]
        for file in chosen:
            mine = [
                (split, count_quotes)
                for split, count_quotes in zip(cut, quote_counts, strict=True)
                if split.file == file
            ]
            found += split_planner.place_splits(
                [split for split, _ in mine], [count_quotes for _, count_quotes in mine], contract.form
            )
        return found


def _bundles(wanted: Sequence[FileSplit]) -> list[str]:
    """What each task reads."""
    bundles: list[list[str]] = [[]]
    room = files = 0
    for split in wanted:
        size = (split.end - split.start) if split.is_partial else split.size
        if bundles[-1] and (size > room or files >= _BUNDLE_FILES):
            bundles.append([])
        if not bundles[-1]:
            room, files = _BUNDLE_BYTES, 0
        bundles[-1].append(split.dump())
        room, files = room - size, files + 1
    return [json.dumps(bundle) for bundle in bundles]


def _spark_schema(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {spark_type(field.type)}" for field in schema)
