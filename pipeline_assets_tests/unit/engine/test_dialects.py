"""Delimited files are read by the dialect that their contract declares, and bad records are reported as ever."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts.model import Dialect
from pipeline_assets.engine import SourceFile
from pipeline_assets.engine.distributed import split_reader
from pipeline_assets.engine.distributed.object_io import scratch_folder
from pipeline_assets.engine.distributed.split_reader import FileSplit
from pipeline_assets.engine.formats.csv.byte_scan import scan_bytes
from pipeline_assets.engine.formats.csv.dialect import open_as_utf8
from pipeline_assets.engine.formats.csv.lenient_reader import read_leniently
from pipeline_assets.engine.formats.csv.replay_file import write_replay_file
from pipeline_assets_tests.support.dialect_files import (
    BOM,
    CASES,
    DIALECTS,
    LINES,
    NAMES,
    all_files,
    contract,
    declared,
    record,
    written,
)
from pipeline_assets_tests.support.engine_session import NEVER, PEOPLE, VISITS, landed, opened, read, rows

# --- every dialect, every case ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIALECTS)
def test_every_case_is_read_in_every_dialect(name: str, tmp_path: Path) -> None:
    files = all_files(DIALECTS[name], tmp_path / "files")
    its = contract(name)
    with opened(NEVER) as session:
        session.read(its.name, its, [file for file, _ in files.values()])
        session.deduplicate(its.name)
        found = rows(session, f"SELECT _SOURCE_URI, {', '.join(NAMES)} FROM {its.name}")
        bad = list(session.bad_records(its.name))
        outcomes = {outcome.landed.uri: outcome for outcome in session.outcomes(its.name)}
    for file, made in files.values():
        uri = file.landed.uri
        assert [row[1:] for row in found if row[0] == uri] == sorted(made.rows, key=repr), uri
        assert [(b.line, b.raw) for b in bad if b.landed.uri == uri] == made.bad, uri
        assert outcomes[uri].read == len(made.rows) + len(made.bad), uri
        assert outcomes[uri].header_skipped is uri.endswith("-3")
    assert all(b.columns == NAMES for b in bad)
    assert {b.code for b in bad} == {"malformed_record", "missing_value", "too_long"}


@pytest.mark.parametrize("name", DIALECTS)
def test_regular_files_keep_the_fast_reader(name: str, tmp_path: Path) -> None:
    dialect = DIALECTS[name]
    path = tmp_path / "x"
    path.write_bytes(written(CASES["delimiters in quotes"], dialect).content)
    plain, found = open_as_utf8(path, dialect, NAMES, tmp_path / "y")
    assert (found.newline is not None and scan_bytes(plain, found) is not None) is (dialect.delimiter != "¦")


def test_a_doubled_quote_is_wrong_where_a_backslash_escapes(tmp_path: Path) -> None:
    its = declared(Dialect(escape="\\"))
    found, (bad,), _ = read(its, landed(tmp_path / "x", 'ID,NAME,NOTE\n1,"a""b",x\n2,"",y\n'))
    assert (found, bad.line, bad.raw) == ([("2", None, "y")], 2, '1,"a""b",x')
    assert bad.reason == "the quotes are wrong (',' expected after '\"')."


# --- without a header --------------------------------------------------------------------------------------------

BARE = Dialect(header=False)


@pytest.mark.parametrize("content", [b"", BOM, b"\n\r\n", b"  \n"], ids=repr)
def test_an_empty_file_without_header_is_zero_rows(tmp_path: Path, content: bytes) -> None:
    found, bad, (outcome,) = read(declared(BARE), landed(tmp_path / "x", content))
    assert (found, bad, outcome.read, outcome.rejection) == ([], [], 0, None)


def test_a_file_of_delimiters_is_not_empty(tmp_path: Path) -> None:
    _, (bad,), (outcome,) = read(declared(Dialect(header=False, delimiter="\t")), landed(tmp_path / "x", "\t\t\n"))
    assert (bad.line, bad.code, outcome.read) == (1, "missing_value", 1)


@pytest.mark.parametrize("mark", [b"", BOM], ids=["plain", "BOM"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""], ids=repr)
def test_the_first_record_is_a_row(tmp_path: Path, mark: bytes, end: str) -> None:
    found, bad, (outcome,) = read(declared(BARE), landed(tmp_path / "x", mark + f"1,Ada,x{end}".encode()))
    assert (found, bad, outcome.header_skipped) == ([("1", "Ada", "x")], [], False)


@pytest.mark.parametrize("header", ["ID,NAME,NOTE", "id, Name ,NOTE", '"Id","NAME",note'])
def test_a_header_put_there_by_hand_is_no_row_but_a_line(tmp_path: Path, header: str) -> None:
    its = declared(BARE)
    found, (bad,), (outcome,) = read(its, landed(tmp_path / "x", f"{header}\n1,Ada,x\n2,few\n"))
    assert found == [("1", "Ada", "x")]
    assert (bad.line, bad.raw, bad.columns) == (3, "2,few", NAMES)
    assert (outcome.read, outcome.header_skipped) == (2, True)


@pytest.mark.parametrize("header", ["NOTE,NAME,ID", "note,MORE,id, Name ", '"NOTE","NAME","ID"'])
def test_a_header_with_columns_in_another_order_gives_each_value_to_its_column(tmp_path: Path, header: str) -> None:
    row = {"NOTE": "x", "NAME": "Ada", "ID": "1", "MORE": "surplus"}
    names = [name.strip(' "').upper() for name in header.split(",")]
    content = f"{header}\n{','.join(row[name] for name in names)}\n"
    found, bad, (outcome,) = read(declared(BARE), landed(tmp_path / "x", content))
    assert (found, bad) == ([("1", "Ada", "x")], [])
    assert (outcome.read, outcome.header_skipped) == (1, True)
    assert outcome.unknown_columns == tuple({"MORE"} & set(names))


@pytest.mark.parametrize("header", ["ID,NAME", "ID,NAME,NOTES"])
def test_only_some_of_the_names_are_a_record_like_any_other(tmp_path: Path, header: str) -> None:
    found, bad, (outcome,) = read(declared(BARE), landed(tmp_path / "x", f"{header}\n1,Ada,x\n"))
    assert len(found) + len(bad) == outcome.read == 2
    assert not outcome.header_skipped


def test_column_names_further_down_are_a_record(tmp_path: Path) -> None:
    found, _, (outcome,) = read(declared(BARE), landed(tmp_path / "x", "1,Ada,x\nID,NAME,NOTE\n"))
    assert (len(found), outcome.header_skipped) == (2, False)


def test_no_reason_repeats_the_first_record_of_a_file_without_header(tmp_path: Path) -> None:
    """It may be personal data; of a header, `found` names the columns."""
    content = "".join(f"secret{n},Ada Secret,x,surplus\n" for n in range(30))
    _, (bad,), (outcome,) = read(declared(BARE, PEOPLE), landed(tmp_path / "x", content))
    assert (bad.code, outcome.rejection) == ("too_many_bad_rows", bad)
    assert "ecret" not in bad.reason
    assert "surplus" not in bad.reason


def test_a_binary_file_without_header_is_refused(tmp_path: Path) -> None:
    _, (bad,), _ = read(declared(BARE), landed(tmp_path / "x", bytes(range(256)) * 9))
    assert (bad.code, bad.line) == ("unreadable_object", None)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_nul_in_the_first_record_is_read_as_in_any_other(tmp_path: Path, position: int) -> None:
    records = ["1,Ada,x", "2,Bob,y"]
    records.insert(position, "3,C\0,z")
    found, bad, (outcome,) = read(declared(BARE), landed(tmp_path / "x", "\n".join(records) + "\n"))
    assert (sorted(found), bad) == ([("1", "Ada", "x"), ("2", "Bob", "y"), ("3", "C\0", "z")], [])
    assert (outcome.read, outcome.rejection) == (3, None)


# --- encodings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "windows-1252", "ascii", "shift_jis"])
def test_a_record_that_is_not_of_the_encoding_is_malformed(tmp_path: Path, encoding: str, header: bool) -> None:
    content = b"ID,NAME,NOTE\n" * header + b"1,Ada,x\n2,\x81\x20,y\n3,\xc3\xa9\xff,y\n"
    its = declared(Dialect(header=header, encoding=encoding))
    found, bad, (outcome,) = read(its, landed(tmp_path / "x", content))
    lines = {"windows-1252": [2]}.get(encoding, [2, 3])
    assert [(b.code, b.line) for b in bad] == [("malformed_record", line + header) for line in lines]
    shown = "UTF-8" if encoding == "utf-8" else encoding
    assert {b.reason.partition(":")[0] for b in bad} == {f"the record is not {shown}"}
    assert bad[0].raw == "2,\\x81 ,y"
    assert (outcome.read, len(found)) == (3, 3 - len(lines))


@pytest.mark.parametrize("header", [True, False])
def test_a_file_of_another_encoding_is_rejected_with_the_remedy_and_loads_where_it_is_declared(
    tmp_path: Path, header: bool
) -> None:
    lines = ["1,Zoë,x", "2,Ada,y", "3,Müller,y", "4,Bob,x"]
    content = "\n".join(["ID,NAME,NOTE"] * header + lines).encode("windows-1252")
    found, (bad,), _ = read(declared(Dialect(header=header)), landed(tmp_path / "x", content))
    assert (found, bad.code, bad.line) == ([], "unreadable_object", None)
    assert "2 of" in bad.reason
    assert "Declare `encoding: windows-1252`" in bad.reason
    found, bad_records, _ = read(
        declared(Dialect(header=header, encoding="windows-1252")), landed(tmp_path / "x", content)
    )
    assert ([name for _, name, _ in found], bad_records) == (["Zoë", "Ada", "Müller", "Bob"], [])


def test_a_damaged_line_among_good_ones_is_quarantined_alone(tmp_path: Path) -> None:
    content = "1,Zoë,x\n2,Müller,y\n".encode() + b"3,M\xfcller,z\n4,Ada,\n"
    found, (bad,), _ = read(declared(Dialect(header=False)), landed(tmp_path / "x", content))
    assert (len(found), bad.code, bad.line) == (3, "malformed_record", 3)


def test_bytes_that_are_characters_of_utf8_only_are_reported_where_another_encoding_is_declared(tmp_path: Path) -> None:
    """Passed on as they are, two bytes that are none of ASCII would come out as one letter of UTF-8."""
    for chunk_of_it in ("é", "x" * ((1 << 20) - 3) + "é"):
        its = declared(Dialect(header=False, encoding="ascii"))
        content = f"1,{chunk_of_it},\n2,Bob,\n".encode()
        found, (bad,), _ = read(its, landed(tmp_path / "x", content))
        assert found == [("2", "Bob", None)]
        assert (bad.line, bad.code) == (1, "malformed_record")


def test_a_header_of_another_encoding_names_the_declared_one(tmp_path: Path) -> None:
    its = declared(Dialect(encoding="windows-1252", delimiter=";"))
    _, (bad,), _ = read(its, landed(tmp_path / "x", b"ID;NAME;\x81\n1;2;3\n"))
    assert bad.code == "unreadable_object"
    assert bad.reason == (
        "The header is no windows-1252 text with ';' between its fields (the record is not windows-1252). "
        "Deliver the file as windows-1252 CSV, plain or gzip."
    )


@pytest.mark.parametrize("part", [slice(0, -1), slice(2, None)], ids=["cut in a character", "without its mark"])
def test_a_file_that_is_not_of_its_encoding_as_a_whole_is_refused(tmp_path: Path, part: slice) -> None:
    content = "ID,NAME,NOTE\n1,Ada,x\n".encode("utf-16")[part]
    found, (bad,), _ = read(declared(Dialect(encoding="utf-16")), landed(tmp_path / "x", content))
    assert (found, bad.code) == ([], "unreadable_object")
    assert "utf-16" in bad.reason


def test_a_byte_order_mark_says_more_than_the_declared_encoding(tmp_path: Path) -> None:
    its = declared(Dialect(header=False, encoding="windows-1252"))
    found, *_ = read(its, landed(tmp_path / "x", BOM + "1,Zoë,€\n".encode()))
    assert found == [("1", "Zoë", "€")]


# --- the text for nothing -----------------------------------------------------------------------------------------


def test_the_null_text_is_nothing_in_columns_that_the_contract_does_not_know_either(tmp_path: Path) -> None:
    its = declared(Dialect(null_text="\\N"))
    with opened(NEVER) as session:
        session.read("lines", its, [landed(tmp_path / "x", 'ID,NAME,NOTE,MORE,"A""S"\n1,\\N,,\\N,m\n2,,,\\N,\\N\n')])
        session.deduplicate("lines")
        found = rows(session, "SELECT ID, NAME, _RESCUED FROM lines")
    assert found == [("1", None, '{"A\\"S":"m"}'), ("2", None, None)]


def test_a_key_of_nothing_is_reported_as_nothing(tmp_path: Path) -> None:
    _, (bad,), _ = read(declared(Dialect(null_text="NULL"), PEOPLE), landed(tmp_path / "x", "ID,NAME,NOTE\n NULL,a,\n"))
    assert (bad.code, bad.reason) == ("missing_key", "ID: a value was expected, nothing found.")


# --- replay ---------------------------------------------------------------------------------------------------------


def waiting_file(folder: Path, dialect: Dialect, records: list) -> SourceFile:
    """What is read again of quarantined records, as a run writes it."""
    path = folder / "waiting"
    write_replay_file(path, records[0].columns, [record.raw for record in records], dialect)
    return replace(landed(path, path.read_bytes(), days=9), waiting=tuple((f"q{r.line}", r.line) for r in records))


@pytest.mark.parametrize("name", DIALECTS)
def test_records_that_waited_are_read_again_as_they_stood(name: str, tmp_path: Path) -> None:
    dialect = replace(DIALECTS[name], null_text=None)
    its = declared(dialect, VISITS)
    content = visits_in(dialect)
    with opened(NEVER) as session:
        session.read("people", PEOPLE, [landed(tmp_path / "p", "ID,NAME,NOTE\n")])
        session.read("visits", its, [landed(tmp_path / "v", content)])
        session.deduplicate("people")
        session.deduplicate("visits")
        bad = list(session.bad_records("visits"))
    assert [record.code for record in bad] == ["orphan_visit"] * 3 + ["not_a_number"]
    assert 'has "é;\\,|\t¦" yet' in bad[2].reason

    with opened(NEVER) as session:
        people = landed(tmp_path / "p", 'ID,NAME,NOTE\n"Q""\n\\",Ada,\n"é;\\,|\t¦",Bob,\n')
        session.read("people", PEOPLE, [people])
        session.read("visits", its, [waiting_file(tmp_path, dialect, bad)])
        session.deduplicate("people")
        session.deduplicate("visits")
        assert rows(session, "SELECT ID, PERSON_ID FROM visits") == [("v1", 'Q"\n\\'), ("v3", "é;\\,|\t¦")]
        (outcome,) = session.outcomes("visits")
        assert [(b.raw, b.line, b.columns) for b in session.bad_records("visits")] == [
            (b.raw, b.line, b.columns) for b in (bad[1], bad[3])
        ]
    assert (outcome.read, outcome.loaded, outcome.quarantined, outcome.header_skipped) == (4, 2, 2, False)
    assert outcome.released == (f"q{bad[0].line}", f"q{bad[2].line}")

    split = FileSplit(0, str(tmp_path / "waiting"), waiting=4, size=(tmp_path / "waiting").stat().st_size)
    with scratch_folder() as scratch:
        batches = list(split_reader.read(its, split, tmp_path / "waiting", scratch))
    keys = [row["C0"] for batch in batches for row in batch.to_pylist() if not row["_STATISTICS"]]
    assert keys == ["v1", "v2", "v3", "v4"]


def visits_in(dialect: Dialect) -> bytes:
    lines = [VISITS.column_names] * dialect.header
    lines += [("v1", 'Q"\n\\', "", "1"), ("v2", "nobody", "", "2"), ("v3", "é;\\,|\t¦", "", "3"), ("v4", "x", "", "y")]
    return "".join(record(line, dialect) + "\n" for line in lines).encode(dialect.encoding)


def test_columns_that_nobody_knew_are_kept_while_a_record_waits(tmp_path: Path) -> None:
    dialect = Dialect(escape="\\", delimiter=";")
    with opened(NEVER) as session:
        file = landed(tmp_path / "x", '"a\\";b";id;NAME;NOTE\nkept;way too long;Ada;\n')
        session.read("lines", declared(dialect), [file])
        session.deduplicate("lines")
        (bad,) = session.bad_records("lines")
    assert bad.columns == ('A";B', *NAMES)
    with opened(NEVER) as session:
        longer = replace(LINES, dialect=dialect, columns=(replace(LINES.columns[0], max_length=20), *LINES.columns[1:]))
        session.read("lines", longer, [waiting_file(tmp_path, dialect, [bad])])
        session.deduplicate("lines")
        assert rows(session, "SELECT ID, _RESCUED FROM lines") == [("way too long", '{"A\\";B":"kept"}')]


# --- against the csv module -----------------------------------------------------------------------------------------

values = st.text(st.sampled_from('ab,;|\t"\\ \r\n\u00e9'), max_size=6)
tables = st.lists(st.tuples(values, values, values), max_size=8)
dialects = st.builds(
    Dialect,
    header=st.booleans(),
    delimiter=st.sampled_from([None, ",", ";", "|", "\t", "é"]),
    escape=st.sampled_from(['"', "\\"]),
    encoding=st.sampled_from(["utf-8", "windows-1252", "utf-16-le"]),
)


def written_by_csv(table: list[tuple], dialect: Dialect, end: str) -> bytes:
    """Where a backslash escapes, the csv module also escapes outside quotes, so all values are quoted.

    So they are where one holds a carriage return, which Python 3.11 leaves unquoted.
    """
    text = io.StringIO(newline="")
    doubled = dialect.escape == '"'
    escaping = {} if doubled else {"doublequote": False, "escapechar": "\\"}
    minimal = doubled and not any("\r" in value for record in table for value in record)
    writer = csv.writer(
        text,
        delimiter=dialect.delimiter or ",",
        lineterminator=end,
        quoting=csv.QUOTE_MINIMAL if minimal else csv.QUOTE_ALL,
        **escaping,
    )
    writer.writerows([NAMES] * dialect.header + table)
    return text.getvalue().encode(dialect.encoding)


@settings(max_examples=150, deadline=None)
@given(table=tables, dialect=dialects, end=st.sampled_from(["\n", "\r\n"]))
@example(table=[('\\"', "\\\\", '\\\n"')], dialect=Dialect(escape="\\"), end="\n")
def test_what_the_csv_module_writes_is_read_back(table: list[tuple], dialect: Dialect, end: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(written_by_csv(table, dialect, end))
        plain, found = open_as_utf8(path, dialect, NAMES, Path(folder) / "y")
        assert [record.fields for record in read_leniently(plain, found)] == table


@settings(max_examples=25, deadline=None)
@given(tables=st.lists(tables, min_size=3, max_size=3), dialect=dialects)
def test_a_session_reads_what_the_csv_module_writes(tables: list[list[tuple]], dialect: Dialect) -> None:
    texts = replace(declared(dialect), columns=tuple(replace(LINES.columns[2], name=name) for name in NAMES))
    with TemporaryDirectory() as folder:
        files = [landed(Path(folder) / str(n), written_by_csv(table, dialect, "\n")) for n, table in enumerate(tables)]
        found, bad, _ = read(texts, *files, policy=NEVER)
    assert bad == []
    everything = [tuple(value or None for value in record) for table in tables for record in table]
    assert found == sorted(everything, key=repr)
