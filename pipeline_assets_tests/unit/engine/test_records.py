"""Every record of a file is either typed exactly or reported with its line and its text, whoever reads it.

The model is plain Python over `read_leniently`; that reader itself is held against the csv module's writer.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import tracemalloc
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts import Column, Contract, Dialect
from pipeline_assets.engine.formats.csv import byte_scan
from pipeline_assets.engine.formats.csv.byte_scan import find_records, scan_bytes
from pipeline_assets.engine.formats.csv.dialect import decompressed, detect_dialect, open_as_utf8
from pipeline_assets.engine.formats.csv.lenient_reader import find_records_leniently, read_leniently
from pipeline_assets.engine.validation_query import match_columns
from pipeline_assets.errors import RejectedObjectError
from pipeline_assets_tests.support.engine_session import landed, opened, reported, rows

THINGS = Contract(
    "things",
    "THINGS",
    "1",
    "shop",
    "",
    "",
    "",
    (
        Column("ID", "string", "VARCHAR(5)", required=True, key=True, max_length=5),
        Column("TEXT", "string", "VARCHAR", keep_blanks=True),
        Column("AMOUNT", "number", "NUMBER(18,4)"),
    ),
)
BLANKS = " "  # what Snowflake trims; a no-break space is a character like any other
AROUND_NUMBERS = " \t\u00a0"


# --- any file ------------------------------------------------------------------------------------------------


def as_a_person_reads(path: Path) -> tuple[list[tuple], list[tuple[int, str, str]]]:
    """(good rows with their rescued columns, bad records as line, raw and code)."""
    good, bad = [], []
    dialect = detect_dialect(path)
    for record in read_leniently(path, dialect):
        if record.fields is None:
            bad.append((record.line, record.raw, "malformed_record"))
            continue
        values = dict(zip(dialect.header, record.fields, strict=True))
        key, text, amount = (
            values["ID"].strip(BLANKS),
            values.get("TEXT"),
            values.get("AMOUNT", "").strip(AROUND_NUMBERS),
        )
        rescued = {name: value for name, value in values.items() if name not in THINGS.column_names and value}
        exact = re.fullmatch(r"[+-]?(0*[0-9]{1,14}([.][0-9]{0,4}0*)?|[.][0-9]{1,4}0*|1e3)", amount, re.ASCII)
        code = "missing_key" if not key else "too_long" if len(key) > 5 else "not_a_number"
        if not key or len(key) > 5 or (amount and not exact):
            bad.append((record.line, record.raw, code))
        else:
            good.append((key, text or None, Decimal(amount) if amount else None, rescued))
    return good, bad


plain = st.sampled_from(
    [b"", b"a", b" a", b"a ", b"1", b"2.50", b'5" disk', b"\xc3\xa9", b"\xc2\xa0", b"a\tb", b"=1+1"]
)
quoted = st.sampled_from(
    [b'""', b'"a"', b'"a,b"', b'"a""b"', b'"\n"', b'"a\r\nb"', b'"a\rb"', b'" a "', b'","', b'"1"']
)
odd = st.sampled_from(
    [
        b'"',
        b'"a',
        b'a"',
        b' "a"',
        b'"a" ',
        b'"a"b',
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"a,b",
        b"1e3",
        b"123456",
        b"\r",
        b"\n",
    ]
)
line_ends = st.sampled_from([b"\n", b"\r\n"])
headers = st.sampled_from(
    [
        b"ID,TEXT,AMOUNT",
        b"amount, id ,Text",
        b'"ID","TEXT","AMOUNT"',
        b"TEXT,ID,AMOUNT,x; drop table things,\xc3\xa9",
        b'a"b,ID,SELECT',
        b"ID",
        b'TEXT,ID,"two\nlines"',
    ]
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Mostly regular files, so that the fast way is taken often, with what breaks them strewn in."""
    header, end = draw(headers), draw(line_ends)
    width = len(next(csv.reader(io.StringIO(header.decode()))))
    values = draw(st.sampled_from([plain, plain | quoted, plain | quoted, plain | quoted | odd]))
    records = draw(st.lists(st.lists(values, min_size=width, max_size=width).map(b",".join), max_size=6))
    for extra in draw(st.lists(st.sampled_from([b"", b"a", b"a,b,1,", b"a,b,1,,", b",,,,,", b"   "]), max_size=1)):
        records.insert(draw(st.integers(0, len(records))), extra)
    content = end.join([header, *records]) + draw(st.sampled_from([end, b"", end + end, b"\r"]))
    if draw(st.integers(0, 9)) == 0:  # line ends of the other kind somewhere
        content = content.replace(end, draw(st.sampled_from([b"\r", b"\n", b"\r\n"])), draw(st.integers(1, 3)))
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf", b"\r\n"])) + content


@settings(max_examples=60, deadline=None)
@given(content=files(), chunk=st.sampled_from([1, 7, 64, 1 << 20]), compressed=st.booleans())
@example(content=b"ID,TEXT,AMOUNT\na,b,1,\n", chunk=64, compressed=False)  # DuckDB drops an empty surplus field
@example(content=b'ID,TEXT,AMOUNT\na, "b" ,1\n', chunk=64, compressed=False)  # … takes blanks around quotes away
@example(content=b'ID,TEXT,AMOUNT\na,"b" "c",1\n', chunk=64, compressed=False)
@example(content=b"ID\n\n\na\n\n", chunk=64, compressed=False)  # … makes rows of blank lines
@example(content=b'\xef\xbb\xbf"I\nD",ID\na,b\n', chunk=64, compressed=False)  # … takes half a header for a record
@example(content=b"ID,TEXT,AMOUNT\r\na,b,1\r\n\r a,b,1\r\n", chunk=64, compressed=False)
@example(content=b'ID,TEXT,AMOUNT\na,"b\nc",5" disk\nd,e,1\n', chunk=64, compressed=False)
@example(content=b'ID,TEXT,AMOUNT\na,5" disk,"1\n2"\nb,6" disk,1\n', chunk=1, compressed=True)
@example(content=b"ID,TEXT,AMOUNT\na,b,1,2\na,b\na,b,1\nx\n", chunk=7, compressed=False)  # long and short even out
def test_the_session_finds_what_a_person_reads(content: bytes, chunk: int, compressed: bool) -> None:
    with (
        TemporaryDirectory() as folder,
        patch.object(byte_scan, "_CHUNK", chunk),
        opened() as session,
    ):
        reference = Path(folder) / "reference.csv"
        reference.write_bytes(content)
        session.read("things", THINGS, [landed(Path(folder) / "x", gzip.compress(content) if compressed else content)])
        found = rows(session, "SELECT ID, TEXT, AMOUNT, _RESCUED FROM things")
        found = [(*values, json.loads(rescued or "{}")) for *values, rescued in found]
        refused = _refusal(reference)
        if refused:
            assert found == []
            assert [code for _, _, code in reported(session, "things")] == [refused]
        else:
            good, bad = as_a_person_reads(reference)
            assert sorted(found, key=repr) == sorted(good, key=repr)
            assert reported(session, "things") == bad
            assert session.outcomes("things")[0].read == len(good) + len(bad)


def _refusal(path: Path) -> str | None:
    try:
        _, dialect = open_as_utf8(path, Dialect(), THINGS.column_names, path.with_suffix(".opened"))
        match_columns(THINGS, dialect.header)
    except RejectedObjectError as rejection:
        return rejection.code
    return None


@settings(max_examples=200, deadline=None)
@given(
    records=st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=2, max_size=2), max_size=8
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    style=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_the_csv_module_writes_is_read_back_with_the_line_it_stands_on(
    records: list[list[str]], end: str, style: int
) -> None:
    # Python 3.11 leaves a lone carriage return unquoted.
    assume(style == csv.QUOTE_ALL or not any("\r" in value for record in records for value in record))
    written = io.StringIO(newline="")
    writer, lines = csv.writer(written, lineterminator=end, quoting=style), []
    writer.writerow(["ID", "TEXT"])
    for record in records:
        lines.append(len(re.findall("\r\n|\r|\n", written.getvalue())) + 1)
        writer.writerow(record)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_bytes(written.getvalue().encode())
        found = list(read_leniently(path, detect_dialect(path)))

    assert [record.fields for record in found] == [tuple(record) for record in records]
    assert [record.line for record in found] == lines


@settings(max_examples=200, deadline=None)
@given(content=files(), chunk=st.sampled_from([1, 5, 16]), data=st.data())
def test_the_fast_look_for_a_record_finds_the_line_and_text_of_the_slow_one(
    content: bytes, chunk: int, data: st.DataObject
) -> None:
    with (
        TemporaryDirectory() as folder,
        patch.object(byte_scan, "_CHUNK", chunk),
    ):
        path = Path(folder) / "x.csv"
        path.write_bytes(content)
        try:
            dialect = detect_dialect(path)
        except RejectedObjectError:
            return
        if not dialect.newline or scan_bytes(path, dialect) is None:
            return
        records = list(read_leniently(path, dialect))
        numbers = sorted(data.draw(st.sets(st.sampled_from(range(len(records)))))) if records else []

        slow = [(line, raw) for line, raw, _ in find_records_leniently(path, dialect, numbers)]
        assert [(line, raw) for line, raw, _ in find_records(path, numbers, dialect)] == slow
        assert len(slow) == len(numbers)


# --- single records ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_bad_record_is_reported_with_its_line_and_as_it_stood(tmp_path: Path, end: str, compressed: bool) -> None:
    """Lines count as an editor counts them: those inside a quoted field and blank ones too."""
    lines = ["ID,TEXT,AMOUNT", f'a,"one{end}two",1', "", 'b,"say ""hi""",x', f'toolong,"three{end}four",1', "d,,12"]
    content = ("\ufeff" + end.join(lines) + end).encode()
    with opened() as session:
        session.read("things", THINGS, [landed(tmp_path / "x", gzip.compress(content) if compressed else content)])

        assert reported(session, "things") == [
            (5, 'b,"say ""hi""",x', "not_a_number"),
            (6, f'toolong,"three{end}four",1', "too_long"),
        ]
        assert rows(session, "SELECT ID, TEXT FROM things") == [("a", f"one{end}two"), ("d", None)]


def test_a_broken_record_costs_its_own_line_only(tmp_path: Path) -> None:
    """Each in a file of its own."""
    strays = ['a,"b,1', '"a,b,1', 'a,b,"1', 'a,"b"c,1', "a,b,1,2", "a,b", '"', "a", ",,,,", 'a,"b" ,1']
    good = [f'g{number},"te,xt",1' for number in range(50)]
    files = ["\n".join(["ID,TEXT,AMOUNT", *good[:25], stray, *good[25:]]) for stray in strays]
    with opened() as session:
        session.read("things", THINGS, [landed(tmp_path / f"{n}", content) for n, content in enumerate(files)])

        assert sorted(reported(session, "things")) == sorted((27, stray, "malformed_record") for stray in strays)
        assert rows(session, "SELECT ID, COUNT(*) AS N FROM things GROUP BY ID") == sorted(
            (f"g{number}", len(strays)) for number in range(50)
        )


def test_a_byte_that_is_not_utf8_costs_its_own_record_only(tmp_path: Path) -> None:
    content = b"ID,TEXT,AMOUNT\na,caf\xe9,1\nb,caf\xc3\xa9,2\n"
    with opened() as session:
        session.read("things", THINGS, [landed(tmp_path / "x", content)])

        assert reported(session, "things") == [(2, "a,caf\\xe9,1", "malformed_record")]
        assert rows(session, "SELECT ID, TEXT FROM things") == [("b", "café")]


def test_what_is_wrong_with_a_record_is_said_with_it(tmp_path: Path) -> None:
    content = 'ID,TEXT,AMOUNT\na,b\nc,d,1,2\ne,"f\ng,"h"i,1\nj,k,1 EUR\n'
    with opened() as session:
        session.read("things", THINGS, [landed(tmp_path / "x", content)])

        assert [bad.reason for bad in session.bad_records("things")] == [
            "3 fields were expected, 2 found.",
            "3 fields were expected, 4 found.",
            "the quotes are wrong (',' expected after '\"').",
            "the quotes are wrong (',' expected after '\"').",
            'AMOUNT: a number that fits NUMBER(18,4) was expected, "1 EUR" found.',
        ]


def test_a_long_text_is_a_value_like_any_other(tmp_path: Path) -> None:
    """The csv module stops at 128 KiB a field, DuckDB at 2 MB a line; no line of a text says when it is too long."""
    texts = {"a": "x, " * 60_000, "b": "line\n" * 3_000, "c": '"' * 300_000, "d": "y" * 2_500_000, "e": 'z"' + "\n" * 9}
    content = io.StringIO(newline="")
    csv.writer(content, lineterminator="\n").writerows([["ID", "TEXT"], *texts.items(), ["f", 'short\nbut "odd']])
    for number, irregular in enumerate(("", 'g,5" disk\n')):
        with opened() as session:
            session.read("things", THINGS, [landed(tmp_path / f"{number}", content.getvalue() + irregular)])

            assert reported(session, "things") == []
            found = dict(rows(session, "SELECT ID, TEXT FROM things WHERE ID <> 'g'"))
            assert found == texts | {"f": 'short\nbut "odd'}


def test_what_data_and_names_say_is_never_run(tmp_path: Path) -> None:
    """FAULTS 31: SQL in a header, a value or a file name is text; so are spreadsheet formulas (FAULTS 14)."""
    header = 'ID,TEXT,x; drop table things,"a""b",SELECT,it\'s,_FILE,_FAULT,C0,ROWID'
    content = f'{header}\na,\'); drop table things; --,1,2,3,4,5,6,7,8\nb,"=HYPERLINK(""http://x"")",,,,,,,,\n'
    path = tmp_path / "it's [1] 50% *?{a,b}; drop table things.csv"
    with opened() as session:
        session.read("things", THINGS, [landed(path, content)])

        first, second = rows(session, "SELECT ID, TEXT, _RESCUED, _SOURCE_URI FROM things")
        assert first[:2] == ("a", "'); drop table things; --")
        assert json.loads(first[2]) == {
            "X; DROP TABLE THINGS": "1",
            'A"B': "2",
            "SELECT": "3",
            "IT'S": "4",
            "_FILE": "5",
            "_FAULT": "6",
            "C0": "7",
            "ROWID": "8",
        }
        assert first[3] == f"lake://bucket/raw/{path.name}"
        assert second[:3] == ("b", '=HYPERLINK("http://x")', None)


def test_spreadsheet_formulas_are_stored_as_they_came(tmp_path: Path) -> None:
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0"]
    lines = [f"{number},{formula}\n" for number, formula in enumerate(formulas)]
    with opened() as session:
        session.read("things", THINGS, [landed(tmp_path / "x", f"ID,TEXT\n{''.join(lines)}")])

        assert [text for _, text in rows(session, "SELECT ID, TEXT FROM things")] == formulas


def test_rescued_values_keep_their_case_quotes_and_blanks_and_lose_their_nulls(tmp_path: Path) -> None:
    content = 'ID,tier,Notes\na,"Gold ""A""", x \nb,,\nc,null,"{""k"":null}"\nd,\\,"l1\nl2"\n'
    with opened() as session:
        session.read("things", THINGS, [landed(tmp_path / "x", content)])

        found = rows(session, "SELECT ID, _RESCUED FROM things")
        assert [(key, json.loads(rescued) if rescued else None) for key, rescued in found] == [
            ("a", {"TIER": 'Gold "A"', "NOTES": " x "}),
            ("b", None),
            ("c", {"TIER": "null", "NOTES": '{"k":null}'}),
            ("d", {"TIER": "\\", "NOTES": "l1\nl2"}),
        ]
        assert session.outcomes("things")[0].unknown_columns == ("TIER", "NOTES")


def test_a_gzip_that_expands_to_a_thousand_times_its_size_goes_to_the_disk_a_bit_at_a_time(tmp_path: Path) -> None:
    packed, size = tmp_path / "x.csv.gz", 64 << 20
    with gzip.open(packed, "wb", compresslevel=1) as file:
        file.writelines(b"0" * (1 << 20) for _ in range(size >> 20))
    tracemalloc.start()
    try:
        plain = decompressed(packed, tmp_path / "x.csv")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert plain.stat().st_size == size
    assert peak < 8 << 20


def test_a_record_in_place_of_a_header_is_counted_and_not_repeated(tmp_path: Path) -> None:
    content = "C1,Ada,ada@example.org,ada@example.org\nC2,Bob,bob@example.org,\n"
    for text in (content, content.replace(",ada@example.org,ada", ",ada@example.org,eve")):
        with opened() as session:
            session.read("things", THINGS, [landed(tmp_path / "x", text)])
            session.deduplicate("things")
            (bad,) = session.bad_records("things")
        assert not re.search("ada|eve|bob", f"{bad.reason}{bad.columns}", re.IGNORECASE)


def test_a_record_with_one_name_of_a_column_among_its_values_is_no_header(tmp_path: Path) -> None:
    with opened() as session:
        session.read("things", THINGS, [landed(tmp_path / "x", "C1,Ada,TEXT,Smith\nC2,Bob,x,Jones\n")])
        session.deduplicate("things")
        (bad,) = session.bad_records("things")
    assert not re.search("ada|smith|bob", f"{bad.reason}{bad.columns}", re.IGNORECASE)


def test_a_file_without_a_required_column_counts_its_records_and_names_its_columns(tmp_path: Path) -> None:
    content = 'TEXT,amount,a@b.org\n"a\nb",1,x\nc,2,y\nonly\n'
    with opened() as session:
        session.read("things", THINGS, [landed(tmp_path / "x", content)])
        session.deduplicate("things")
        (bad,), (outcome,) = session.bad_records("things"), session.outcomes("things")
    assert (outcome.read, outcome.quarantined, outcome.loaded) == (3, 3, 0)
    assert "found TEXT, AMOUNT, 1 that are no identifiers" in bad.reason
