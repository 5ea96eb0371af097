"""How a Spark job has landed files read: cut into splits, bundled into tasks, typed by SQL, kept as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline_assets.engine.distributed import file_splits, object_io, split_planner
from pipeline_assets.engine.distributed.file_splits import Piece
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


class Reading:
    """Has files read by tasks, whose temporary files are in `scratch`; the system's place when that is None."""

    def __init__(self, spark: SparkSession, state: State, part_bytes: int, scratch: str | None) -> None:
        self._spark = spark
        self._state = state
        self._part_bytes = part_bytes
        self._scratch = scratch

    def take(self, entry: Input, whole: Sequence[Piece], name: str) -> DataFrame:
        """Files as rows: typed columns, `_FAULT` (0 is malformed), and the facts. They are read once."""
        where = self._state.place(entry.name, name)
        if (found := self._state.found(where)) is not None:
            return found
        taken = self.parted(entry, whole)
        entry.parts.update({(piece.file, piece.number): piece for piece in taken})
        contract, schema, within = entry.contract, file_splits.text_schema(entry.contract), self._scratch

        def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for piece in tasks.pieces_in(batches):
                with object_io.scratch_folder(within) as scratch:
                    try:
                        path, _ = tasks.local(piece, contract.form, scratch)
                    except ObjectChangedError:
                        yield file_splits.fact_row(piece, schema, changed=True)
                        continue
                    yield from file_splits.read(contract, piece, path, scratch)

        texts = inline(self._spark, _bundles(taken), "pieces").mapInArrow(task, _spark_schema(schema))
        texts.createOrReplaceTempView("RAW")
        return self._state.kept(self._spark.sql(entry.validate), where)

    def parted(self, entry: Input, whole: Sequence[Piece]) -> list[Piece]:
        """Large files in splits, others as they are."""
        contract, within = entry.contract, self._scratch
        large = [p for p in whole if p.size > 2 * self._part_bytes and not p.tolerant and not p.waiting]
        if not large:
            return list(whole)

        def to_be_parted(piece: Piece) -> Piece | None:
            with object_io.scratch_folder(within) as scratch:
                return split_planner.to_be_parted(contract, piece, scratch)

        context = self._spark.sparkContext
        fit = context.parallelize(large, len(large)).map(to_be_parted).collect()
        chosen = {piece.file: piece for piece in fit if piece}
        cut = [
            replace(piece, number=number, start=start, end=end)
            for piece in chosen.values()
            for number, (start, end) in enumerate(split_planner.ranges(piece.size, self._part_bytes))
        ]
        tallies = context.parallelize(cut, len(cut)).map(split_planner.tally).collect() if cut else []
        found = [piece for piece in whole if piece.file not in chosen]
        for file in chosen:
            mine = [(piece, tally) for piece, tally in zip(cut, tallies, strict=True) if piece.file == file]
            found += split_planner.placed([piece for piece, _ in mine], [tally for _, tally in mine], contract.form)
        return found


def _bundles(wanted: Sequence[Piece]) -> list[str]:
    """What each task reads."""
    bundles: list[list[str]] = [[]]
    room = files = 0
    for piece in wanted:
        size = (piece.end - piece.start) if piece.is_part else piece.size
        if bundles[-1] and (size > room or files >= _BUNDLE_FILES):
            bundles.append([])
        if not bundles[-1]:
            room, files = _BUNDLE_BYTES, 0
        bundles[-1].append(piece.dump())
        room, files = room - size, files + 1
    return [json.dumps(bundle) for bundle in bundles]


def _spark_schema(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {spark_type(field.type)}" for field in schema)
