"""Files that readers get wrong come to the records that a person finds in them: read whole, in parts, and on Spark.

What is expected is written down record by record in `hard_files`, so that no reader of ours is held against itself.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline_assets.contracts import Contract
from pipeline_assets.engine.distributed.split_planner import as_splittable, write_split
from pipeline_assets.engine.distributed.split_reader import FileSplit, find, read
from pipeline_assets.engine.spark import landed_files
from pipeline_assets.engine.spark.engine import SparkEngine
from pipeline_assets_tests.integration.engine.test_splits import parts_of
from pipeline_assets_tests.support.delivered_orders import ORDERS
from pipeline_assets_tests.support.engine_session import NEVER, landed, on_engine, opened, rows
from pipeline_assets_tests.support.hard_files import LINES, MALFORMED, HardFile, delimited, documents

NAMED: dict[str, tuple[Contract, str]] = {
    "csv": (LINES, "SELECT ID, TEXT, AMOUNT, _SOURCE_URI FROM lines"),
    "json": (
        replace(ORDERS, columns=tuple(replace(c, key=False) for c in ORDERS.columns)),
        "SELECT ORDER_ID, _SOURCE_URI FROM ORDERS",
    ),
}


def read_alike(folder: Path, files: Sequence[HardFile]) -> None:
    """Read files in one session; each must come to its records, good and bad."""
    kinds = {kind: NAMED[kind] for kind in NAMED if any(file.name.startswith(kind) for file in files)}
    with opened(NEVER) as session:
        for kind, (contract, _) in kinds.items():
            mine = [file for file in files if file.name.startswith(kind)]
            session.read(contract.name, contract, [landed(folder / file.name, file.content) for file in mine])
            session.deduplicate(contract.name)
        for kind, (contract, select) in kinds.items():
            found: dict[str, list[tuple]] = {}
            for *row, uri in rows(session, select):
                found.setdefault(uri.rpartition("/")[2], []).append(tuple(row))
            bad: dict[str, list[tuple]] = {}
            for record in session.bad_records(contract.name):
                bad.setdefault(record.landed.uri.rpartition("/")[2], []).append((record.line, record.raw, record.code))
            for file in files:
                if file.name.startswith(kind):
                    assert bad.get(file.name, []) == file.bad, file.name
                    assert sorted(found.get(file.name, []), key=repr) == file.good, file.name
            for outcome in session.outcomes(contract.name):
                assert outcome.read == outcome.loaded + outcome.quarantined
                assert outcome.rejection is None


@pytest.mark.parametrize("compressed", [False, True])
def test_hard_files_come_to_their_records(tmp_path: Path, compressed: bool) -> None:
    files = [*delimited(not compressed), *documents(not compressed)]
    if compressed:
        files = [replace(file, content=gzip.compress(file.content)) for file in files]
    read_alike(tmp_path, files)


Record = tuple[int, str, bool, str | None]  # line, text, whether it is malformed, first column


def read_in(contract: Contract, split: FileSplit, path: Path, scratch: Path) -> list[Record] | None:
    """The records of a split as a task finds them, or None when it is a part that is not regular."""
    local = scratch / f"part.{contract.form}" if split.is_partial else path
    shift = write_split(split, contract.form, local) if split.is_partial else 0
    *rows, statistics = (row for batch in read(contract, split, local, scratch) for row in batch.to_pylist())
    if json.loads(statistics["_STATISTICS"]).get("irregular"):
        return None
    records = {row["_RECORD"]: (row["_MALFORMED"], row["C0"]) for row in rows}
    wanted = [{"record": number, "rule": 0, "position": None} for number in sorted(records)]
    reported = find(contract, split, local, scratch, wanted, shift) if wanted else ()
    return [(bad.line, bad.raw, *records[bad.record]) for bad in reported]


def read_in_parts(contract: Contract, path: Path, size: int, scratch: Path) -> tuple[int, list[Record]]:
    """How many parts a file was read in, and its records; whole when a part is not regular, as a Spark job does it."""
    whole = FileSplit(0, str(path), size=path.stat().st_size)
    found: list[Record] = []
    splits = parts_of(path, contract.form, size) if as_splittable(contract, whole, scratch) else [whole]
    for split in splits:
        records = read_in(contract, split, path, scratch)
        if records is None:
            return 1, read_in(contract, replace(whole, tolerant=True), path, scratch) or []
        found += records
    return len(splits), found


def test_the_parts_of_hard_files_have_their_records_once_each(tmp_path: Path) -> None:
    """As tasks of a Spark job read them, without Spark: every record with its line and text, wherever a cut falls."""
    files_in_splits = 0
    for number, file in enumerate([*delimited(every=False), *documents(every=False)]):
        contract, _ = NAMED[file.name.partition(" ")[0]]
        path = tmp_path / str(number)
        path.write_bytes(file.content)
        size = (13, 22, 40)[number % 3] * (1 if contract is LINES else 8)
        parts, found = read_in_parts(contract, path, size, tmp_path)
        files_in_splits += parts > 1
        assert [record[:3] for record in found] == [
            (line, raw, outcome == MALFORMED) for line, raw, outcome in file.records
        ], file.name
        for (*_, key), (_, _, outcome) in zip(found, file.records, strict=True):
            assert isinstance(outcome, str) or key == outcome[0], file.name
    assert files_in_splits > 10


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("split_bytes", "files"), [(24, delimited), (200, documents)], ids=["csv", "json"])
def test_hard_files_in_parts_come_to_their_records_on_spark(
    split_bytes: int, files: Callable[..., list[HardFile]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task reads several splits, and there are several tasks."""
    monkeypatch.setattr(landed_files, "_BUNDLE_FILES", 9)
    with on_engine(SparkEngine(master="local[2]", split_bytes=split_bytes)):
        read_alike(tmp_path, files(every=False))
