"""What tasks of a Spark job do around reading a piece: get its bytes, and tell of its bad records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts import Contract
from pipeline_assets.engine.distributed import file_splits, object_io, split_planner
from pipeline_assets.engine.distributed.file_splits import Piece

if TYPE_CHECKING:
    import pyarrow as pa


def pieces_in(batches: Iterator[pa.RecordBatch]) -> Iterator[Piece]:
    for batch in batches:
        for bundle in batch.column("pieces").to_pylist():
            yield from map(Piece.load, json.loads(bundle))


def local(piece: Piece, form: str, scratch: Path) -> tuple[Path, int]:
    """A local file with the bytes of a piece, and by how much its line numbers shift."""
    if not piece.is_part:
        return object_io.fetch(piece.where, scratch, piece.etag), 0
    path = scratch / f"part.{form}"
    return path, split_planner.cut(piece, form, path)


def found(contract: Contract, piece: Piece, wanted: Sequence[Mapping[str, Any]], within: str | None) -> pa.RecordBatch:
    import pyarrow as pa

    with object_io.scratch_folder(within) as scratch:
        path, shift = local(piece, contract.form, scratch)
        rows = [asdict(bad) for bad in file_splits.find(contract, piece, path, scratch, wanted, shift)]
    kinds = {"record": pa.int64(), "rule": pa.int32(), "position": pa.int32(), "line": pa.int64()}
    arrays = [pa.array([piece.file] * len(rows), pa.int32()), pa.array([piece.number] * len(rows), pa.int32())]
    names = ("record", "rule", "position", "line", "raw", "fault")
    arrays += [pa.array([row[name] for row in rows], kinds.get(name, pa.string())) for name in names]
    return pa.RecordBatch.from_arrays(arrays, ["_FILE", "_PIECE", *(f"_{name.upper()}" for name in names)])
