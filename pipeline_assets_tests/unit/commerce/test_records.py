"""Splitting growing CSV files: whole records only, never cut in a quoted field, whatever the pieces are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.commerce.records import split_records
from pipeline_assets.engine.formats.csv.record_parser import RECORD_CHARACTERS

FIELD = st.text(st.sampled_from('ab,"\n\r é'), max_size=6)
ROWS = st.lists(st.lists(FIELD, min_size=2, max_size=3), max_size=8)


def written(rows: list[list[str]], line_end: str = "\n") -> list[bytes]:
    """Each row as a record, with its line end; fields are quoted where needed."""

    def field(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text

    return [(",".join(map(field, row)) + line_end).encode() for row in rows]


def split(data: bytes, *, at_start: bool = True, finished: bool = False):
    return split_records(data, at_start=at_start, finished=finished)


@given(ROWS, st.sampled_from(["\n", "\r\n"]), st.integers(min_value=0), st.booleans())
def test_a_file_cut_anywhere_gives_the_same_records(rows: list, line_end: str, cut: int, has_mark: bool) -> None:
    records = written(rows, line_end)
    data = b"\xef\xbb\xbf" * has_mark + b"".join(records)
    cut %= len(data) + 1
    first = split(data[:cut])
    assert not first.records or first.ends[-1] == first.consumed
    second = split(data[first.consumed :], at_start=first.consumed == 0, finished=True)
    expected = [record.removesuffix(line_end.encode()) for record in records]
    if has_mark and expected:
        expected[0] = b"\xef\xbb\xbf" + expected[0]
    assert first.records + second.records == expected
    assert first.consumed + second.consumed == len(data)


@given(st.binary(max_size=60).map(lambda data: data.translate(bytes(b'a,"\n\r'[byte % 5] for byte in range(256)))))
def test_no_byte_of_any_file_is_lost(data: bytes) -> None:
    whole = split(data, finished=True)
    assert whole.consumed == len(data)
    assert b"".join(whole.records).translate(None, b"\r\n") == data.translate(None, b"\r\n")


@given(st.binary(max_size=40).map(lambda data: data.translate(bytes(b'a,"\n'[byte % 4] for byte in range(256)))))
def test_each_position_is_behind_its_record(data: bytes) -> None:
    found = split(data)
    start = 0
    for record, end in zip(found.records, found.ends, strict=True):
        assert data[start:end].lstrip(b"\n") == record + b"\n"
        start = end


def test_a_record_that_may_continue_waits() -> None:
    assert split(b'1,a\n2,"b\n').records == [b"1,a"]
    assert split(b"1,a\n2,b").records == [b"1,a"]


def test_the_last_record_of_a_finished_file_needs_no_line_end() -> None:
    assert split(b"1,a\n2,b", finished=True) == ([b"1,a", b"2,b"], [4, 7], 7)


def test_blank_lines_are_no_records() -> None:
    assert split(b"\n\n1,a\n\r\n2,b\n\n") == ([b"1,a", b"2,b"], [6, 12], 13)
    assert split(b"\xef\xbb\xbf\n1,a\n").records == [b"1,a"]


@pytest.mark.parametrize("stray", [b'1,"a\n', b'1,"a" b\n', b'1,a"\n'])
def test_a_stray_quote_costs_its_own_line_only(stray: bytes) -> None:
    found = split(stray + b'2,"b"\n3,c\n', finished=True)
    assert found.records == [stray.rstrip(b"\n"), b'2,"b"', b"3,c"]


def test_a_quote_that_is_never_closed_does_not_stop_the_file() -> None:
    lines = b"2,bbbbbb\n" * (RECORD_CHARACTERS // 9 + 1)
    assert split(b'1,"a\n' + lines[: RECORD_CHARACTERS // 2]).records == []
    found = split(b'1,"a\n' + lines)
    assert found.records[:2] == [b'1,"a', b"2,bbbbbb"]
    assert found.consumed == len(lines) + 5
