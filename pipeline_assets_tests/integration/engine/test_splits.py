"""Parts of a file hold each record once, whatever the bytes and wherever they are cut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_assets.engine.distributed.split_planner import (
    as_splittable,
    count_quotes,
    place_splits,
    ranges,
    write_split,
)
from pipeline_assets.engine.distributed.split_reader import FileSplit, read
from pipeline_assets.engine.formats.csv.byte_scan import scan_bytes
from pipeline_assets.engine.formats.csv.dialect import detect_dialect
from pipeline_assets.engine.formats.csv.lenient_reader import read_leniently
from pipeline_assets_tests.support.delivered_orders import ORDERS, order, text
from pipeline_assets_tests.support.engine_session import PEOPLE

fields = st.sampled_from(["", "a", "bb", "1", '"q,q"', '"two\nlines"', '"a ""b"" c"', '"\r\n\n"', "é" * 5])
records = st.lists(st.tuples(fields, fields).map(",".join), max_size=25)


def parts_of(path: Path, form: str, size: int) -> list[FileSplit]:
    whole = FileSplit(0, str(path), size=path.stat().st_size)
    found = [
        replace(whole, number=number, start=start, end=end)
        for number, (start, end) in enumerate(ranges(whole.size, size))
    ]
    return place_splits(found, [count_quotes(part) for part in found], form)


@settings(max_examples=200, deadline=None)
@given(
    lines=records, end=st.sampled_from(["\n", "\r\n"]), size=st.integers(1, 60), final=st.booleans(), bom=st.booleans()
)
@example(lines=['"' + "\n" * 40 + '",x', "a,b"], end="\n", size=3, final=False, bom=True)
def test_the_parts_of_a_delimited_file_are_its_records(
    lines: list[str], end: str, size: int, final: bool, bom: bool
) -> None:
    with TemporaryDirectory() as folder:
        path, target = Path(folder) / "x.csv", Path(folder) / "part.csv"
        content = end.join(["ID,TEXT", *lines]) + (end if final else "")
        path.write_bytes(("\ufeff" if bom else "").encode() + content.encode())
        dialect = detect_dialect(path)
        if dialect.newline is None or scan_bytes(path, dialect) is None:
            return  # such a file is read whole
        expected = [(record.line, record.raw) for record in read_leniently(path, dialect)]
        found = []
        for part in parts_of(path, "csv", size):
            shift = write_split(part, "csv", target)
            if target.stat().st_size:
                assert detect_dialect(target).header == dialect.header
                found += [(record.line + shift, record.raw) for record in read_leniently(target, dialect)]
    assert found == expected


@settings(max_examples=200, deadline=None)
@given(
    lines=st.lists(st.sampled_from(['{"a": 1}', "", '{"a": "x\\n"}', "broken", '{"é": [{}]}']), max_size=20),
    size=st.integers(1, 40),
    final=st.booleans(),
)
def test_the_parts_of_a_file_of_lines_are_its_lines(lines: list[str], size: int, final: bool) -> None:
    with TemporaryDirectory() as folder:
        path, target = Path(folder) / "x.ndjson", Path(folder) / "part.ndjson"
        content = ("\n".join(lines) + ("\n" if final else "")).encode()
        path.write_bytes(content)
        together = b""
        for part in parts_of(path, "json", size) if content else []:
            shift = write_split(part, "json", target)
            assert shift == together.count(b"\n") or not target.stat().st_size
            together += target.read_bytes()
    assert together == content


ORDER = text(order("x"))
LINES = [ORDER, ORDER.replace('"x"', "7"), "broken", "", "[1", '"x"', "{}", "\ufeff" + ORDER, text(order(None)), "  "]


@settings(max_examples=12, deadline=None)
@given(
    lines=st.lists(st.sampled_from(LINES), max_size=8),
    size=st.integers(150, 900),
    end=st.sampled_from(["\n", "", ORDER[:40]]),
    bom=st.booleans(),
)
@example(lines=[ORDER] * 6, size=160, end=ORDER[:40], bom=False)  # a cut file, whatever part its last line is in
@example(lines=[ORDER, ORDER, "[1", ORDER], size=300, end="\n", bom=True)
@example(lines=["\ufeff" + ORDER] * 3, size=150, end="\n", bom=False)  # what putting files together makes
def test_a_file_of_lines_is_read_in_parts_as_it_is_read_whole(lines: list[str], size: int, end: str, bom: bool) -> None:
    """The first line of a part says nothing about the layout of the file, its end says whether the file was cut off."""
    lines = [ORDER, ORDER, *lines]  # what makes the file one of lines
    content = (("\ufeff" if bom else "") + "\n".join(lines) + "\n" + end.lstrip("\n")).encode()
    with TemporaryDirectory() as folder:
        path, target = Path(folder) / "x.ndjson", Path(folder) / "part.json"
        path.write_bytes(content)
        whole = FileSplit(0, str(path), size=len(content))
        expected = _rows(whole, path, Path(folder))
        found: list[tuple] = []
        rejected = None
        for part in parts_of(path, "json", size):
            write_split(part, "json", target)
            rows, refusal = _rows(part, target, Path(folder))
            found, rejected = found + rows, rejected or refusal
    assert (rejected is None) == (expected[1] is None)
    if rejected is None:
        assert found == expected[0]


def _rows(split: FileSplit, path: Path, folder: Path) -> tuple[list[tuple], dict | None]:
    """(key and whether it is malformed of every record, why the file was refused)."""
    found, statistics = [], {}
    for batch in read(ORDERS, split, path, folder):
        for row in batch.to_pylist():
            if row["_STATISTICS"]:
                statistics = json.loads(row["_STATISTICS"])
            else:
                found.append((row["C0"], row["_MALFORMED"]))
    return found, statistics.get("rejection")


def test_only_plain_text_whose_records_are_lines_is_parted(tmp_path: Path) -> None:
    def fits(content: bytes, form: str) -> bool:
        path = tmp_path / "x"
        path.write_bytes(content)
        contract = replace(PEOPLE, form=form)
        return as_splittable(contract, FileSplit(0, str(path), size=len(content)), tmp_path) is not None

    assert fits(b"ID,TEXT\na,b\n", "csv")
    assert not fits(b"\x1f\x8b....", "csv")
    assert not fits(b"\nID,TEXT\na,b\n", "csv")
    assert not fits(b'ID,"TE\nXT"\na,b\n', "csv")
    assert fits(b'{"a": 1}\n\n{"a": 2}\n', "json")
    assert not fits(b'[{"a": 1},\n{"a": 2}]\n', "json")
    assert not fits(b'{\n"a": 1}\n{"a": 2}\n', "json")
    assert not fits(b'{"a": 1}', "json")
