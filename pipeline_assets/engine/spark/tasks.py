"""Code that tasks of a Spark job run around reading a split: fetch its bytes, and find the text of its bad records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts import Contract
from pipeline_assets.engine.distributed import object_io, split_planner, split_reader
from pipeline_assets.engine.distributed.split_reader import FileSplit

if TYPE_CHECKING:
    import pyarrow as pa


def splits_in(batches: Iterator[pa.RecordBatch]) -> Iterator[FileSplit]:
    for batch in batches:
        for bundle in batch.column("splits").to_pylist():
            yield from map(FileSplit.load, json.loads(bundle))


def local(split: FileSplit, form: str, scratch: Path) -> tuple[Path, int]:
    """A local file with the bytes of a split, and the offset of its line numbers."""
    if not split.is_partial:
        return object_io.fetch(split.where, scratch, split.etag), 0
    path = scratch / f"part.{form}"
    return path, split_planner.write_split(split, form, path)


def find_bad_records(
    contract: Contract, split: FileSplit, wanted: Sequence[Mapping[str, Any]], within: str | None
) -> pa.RecordBatch:
    """Line and text of the bad records `wanted` of a split; temporary files are below `within`."""
    import pyarrow as pa

    with object_io.scratch_folder(within) as scratch:
        path, shift = local(split, contract.form, scratch)
        rows = [asdict(bad) for bad in split_reader.find(contract, split, path, scratch, wanted, shift)]
    kinds = {"record": pa.int64(), "rule": pa.int32(), "position": pa.int32(), "line": pa.int64()}
    arrays = [pa.array([split.file] * len(rows), pa.int32()), pa.array([split.number] * len(rows), pa.int32())]
    names = ("record", "rule", "position", "line", "raw", "fault")
    arrays += [pa.array([row[name] for row in rows], kinds.get(name, pa.string())) for name in names]
    return pa.RecordBatch.from_arrays(arrays, ["_FILE", "_SPLIT", *(f"_{name.upper()}" for name in names)])
