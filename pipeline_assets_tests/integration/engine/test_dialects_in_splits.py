"""What tasks of Spark read of files in any dialect: texts, line numbers, header and statistics, whole and in splits.

Here without Spark, so that it takes no time; with it in `test_dialects_on_spark`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.model import Dialect, QualityRule
from pipeline_assets.engine.distributed import split_reader
from pipeline_assets.engine.distributed.object_io import scratch_folder
from pipeline_assets.engine.distributed.plan import contract_from, contract_to
from pipeline_assets.engine.distributed.split_planner import (
    as_splittable,
    count_quotes,
    place_splits,
    ranges,
    write_split,
)
from pipeline_assets.engine.distributed.split_reader import FileSplit
from pipeline_assets.engine.formats.csv.byte_scan import scan_bytes
from pipeline_assets.engine.formats.csv.dialect import open_as_utf8
from pipeline_assets.engine.formats.csv.lenient_reader import read_leniently
from pipeline_assets.engine.spark import tasks
from pipeline_assets_tests.support.dialect_files import (
    BOM,
    DIALECTS,
    IN_PARTS,
    NAMES,
    all_files,
    contract,
    declared,
    typed,
)
from pipeline_assets_tests.support.engine_session import landed


@pytest.mark.parametrize("split_bytes", [None, 15], ids=["whole", "in parts"])
@pytest.mark.parametrize("name", DIALECTS)
def test_tasks_of_spark_read_the_same(name: str, split_bytes: int | None, tmp_path: Path) -> None:
    """The same files as splits, without Spark: texts, line numbers, header, statistics."""
    its = contract(name)
    files_in_splits = 0
    for turn, (file, made) in enumerate(all_files(DIALECTS[name], tmp_path / "files", only=3).values()):
        whole = FileSplit(turn, str(file.path), size=file.landed.size)
        cuts = in_parts(its, whole, split_bytes, tmp_path) if split_bytes else [whole]
        files_in_splits += len(cuts) > 1
        found, bad, statistics = as_tasks_read(its, cuts)
        if any(statistics.get("irregular") for statistics in statistics):
            found, bad, statistics = as_tasks_read(its, [replace(whole, tolerant=True)])
        assert (found, sorted(bad)) == (made.rows, made.bad), file.path
        skipped = any(statistics.get("header_skipped") for statistics in statistics)
        assert skipped is str(file.path).endswith("-3"), file.path
        assert all(statistics.get("header", list(NAMES)) == list(NAMES) for statistics in statistics)
    assert (files_in_splits > 3) is (split_bytes is not None and name in IN_PARTS)


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1252"])
def test_a_task_says_that_a_record_is_not_of_its_encoding(tmp_path: Path, encoding: str) -> None:
    """DuckDB refuses such a file, though its quotes and line ends are those of a regular one."""
    its = declared(Dialect(header=False, encoding=encoding))
    file = landed(tmp_path / "x", b"1,Ada,x\n2,\x81,y\n")
    split = FileSplit(0, str(file.path), size=file.landed.size)
    wanted = [{"record": 1, "rule": 0, "position": None}]
    (reported,) = tasks.find_bad_records(its, split, wanted, None).to_pylist()
    shown = "UTF-8" if encoding == "utf-8" else encoding
    assert (reported["_LINE"], reported["_RAW"]) == (2, "2,\\x81,y")
    assert reported["_FAULT"].startswith(f"the record is not {shown}: ")


def in_parts(its: Contract, split: FileSplit, split_bytes: int, folder: Path) -> list[FileSplit]:
    whole = as_splittable(its, split, folder) if split.size > 2 * split_bytes else None
    if whole is None:
        return [split]
    cuts = enumerate(ranges(whole.size, split_bytes))
    cut_splits = [replace(whole, number=number, start=start, end=end) for number, (start, end) in cuts]
    return place_splits(cut_splits, [count_quotes(part) for part in cut_splits], its.form)


def as_tasks_read(its: Contract, cuts: list[FileSplit]) -> tuple[list[tuple], list[tuple], list[dict]]:
    """Good rows, (line, raw) of bad records, statistics."""
    good, bad, statistics = [], [], []
    for split in cuts:
        with scratch_folder() as scratch:
            path, _ = tasks.local(split, its.form, scratch)
            batches = list(split_reader.read(its, FileSplit.load(split.dump()), path, scratch))
        everything = [row for batch in batches for row in batch.to_pylist()]
        wanted = []
        for row in everything:
            if row["_STATISTICS"]:
                statistics.append(json.loads(row["_STATISTICS"]))
                continue
            values = None if row["_MALFORMED"] else typed([row[text] for text in split_reader.texts(its)], its.dialect)
            good += [values] if values else []
            wanted += [] if values else [{"record": row["_RECORD"], "rule": 0, "position": None}]
        if wanted:
            reported = tasks.find_bad_records(its, split, wanted, None).to_pylist()
            bad += [(row["_LINE"], row["_RAW"]) for row in reported]
    return good, bad, statistics


# --- parts ------------------------------------------------------------------------------------------------------------

fields = st.sampled_from(["", "a", "bb", "1", '"q;q"', '"two\nlines"', '"a ""b"" c"', '"\r\n\n"', "é" * 5])


@settings(max_examples=100, deadline=None)
@given(
    lines=st.lists(st.tuples(fields, fields, fields).map(";".join), max_size=20),
    end=st.sampled_from(["\n", "\r\n"]),
    size=st.integers(1, 60),
    final=st.booleans(),
    mark=st.booleans(),
    encoding=st.sampled_from(["utf-8", "windows-1252"]),
    uploaded=st.booleans(),
)
@example(["1;2;3", "4;5;6"], "\n", 1, False, True, "utf-8", False)
def test_the_parts_of_a_file_without_header_are_its_records(
    lines: list[str], end: str, size: int, final: bool, mark: bool, encoding: str, uploaded: bool
) -> None:
    its = declared(Dialect(header=False, delimiter=";", encoding=encoding))
    with TemporaryDirectory() as name:
        folder = Path(name)
        path, target = folder / "x", folder / "part"
        content = end.join(["id;name;note"] * uploaded + lines) + (end if final else "")
        path.write_bytes((BOM if mark and encoding == "utf-8" else b"") + content.encode(encoding))
        plain, dialect = open_as_utf8(path, its.dialect, NAMES, folder / "plain")
        whole = as_splittable(replace(its, form="csv"), FileSplit(0, str(path), size=path.stat().st_size), folder)
        if whole is None or scan_bytes(plain, dialect) is None:
            return  # such a file is read whole
        expected = [(record.line, record.raw) for record in read_leniently(plain, dialect)]
        cuts = enumerate(ranges(whole.size, size))
        cut_splits = [replace(whole, number=number, start=start, end=stop) for number, (start, stop) in cuts]
        found = []
        for part in place_splits(cut_splits, [count_quotes(split) for split in cut_splits], "csv"):
            shift = write_split(part, "csv", target)
            headed = replace(its.dialect, header=True)
            read_as, shape = open_as_utf8(target, headed, NAMES, folder / "opened")
            assert shape.header == NAMES
            found += [(record.line + shift, record.raw) for record in read_leniently(read_as, shape)]
    assert found == expected
    assert bool(whole.header) is not uploaded


def test_files_whose_quotes_or_characters_nobody_can_count_are_read_whole(tmp_path: Path) -> None:
    def fits(dialect: Dialect, content: bytes) -> bool:
        path = tmp_path / "x"
        path.write_bytes(content)
        split = FileSplit(0, str(path), size=len(content))
        return as_splittable(replace(declared(dialect), form="csv"), split, tmp_path) is not None

    assert fits(Dialect(header=False), b"a,b,c\nd,e,f\n")
    assert fits(Dialect(encoding="latin-1", delimiter=";"), b"ID;NAME;NOTE\n\xe9;b;c\n")
    assert not fits(Dialect(encoding="latin-1", delimiter=";"), BOM + b"ID;NAME;NOTE\n\xe9;b;c\n")
    assert not fits(Dialect(escape="\\"), b"ID,NAME,NOTE\na,b,c\n")
    assert not fits(Dialect(encoding="utf-16-le"), "ID,NAME,NOTE\na,b,c\n".encode("utf-16-le"))
    assert not fits(Dialect(encoding="shift_jis"), b"ID,NAME,NOTE\na,b,c\n")
    assert not fits(Dialect(delimiter="¦"), "ID¦NAME¦NOTE\na¦b¦c\n".encode())


def test_a_plan_carries_dialect_and_quality_rules() -> None:
    between = QualityRule("n", "d", "SELECT 1", "mustBeBetween", (1.0, 2.0))
    rules = (between, QualityRule("m", "", "SELECT 1", "mustBe", 1))
    its = replace(declared(Dialect(False, ";", "\\", "latin-1", "\\N")), quality=rules)
    assert contract_from(json.loads(json.dumps(contract_to(its)))) == its
