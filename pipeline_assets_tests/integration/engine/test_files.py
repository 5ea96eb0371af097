"""What becomes of whole files: what can be read, what is refused and why, and many files at once."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline_assets.engine import RejectPolicy
from pipeline_assets.engine.duckdb import csv_reader
from pipeline_assets.engine.duckdb.csv_reader import scan_regular
from pipeline_assets.engine.duckdb.engine import DuckDBEngine, DuckDBSession
from pipeline_assets.engine.formats.csv.dialect import FileDialect
from pipeline_assets_tests.support.engine_session import PEOPLE, VISITS, landed, opened, read, reported, rows

HEADER = "ID,NAME,NOTE"


# --- files that hold nothing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        "",
        "\ufeff",
        "\n\n\r\n",
        "   \n",
        HEADER,
        HEADER + "\n",
        f"\ufeff{HEADER}\r\n",
        f"\n\n{HEADER}\n\n\n",
        HEADER + "\r",
    ],
    ids=repr,
)
def test_an_empty_file_is_read_as_zero_rows(tmp_path: Path, content: str, compressed: bool) -> None:
    raw = content.encode()
    found, bad, (outcome,) = read(PEOPLE, landed(tmp_path / "x", gzip.compress(raw) if compressed else raw))

    assert (found, bad) == ([], [])
    assert (outcome.read, outcome.loaded, outcome.rejection) == (0, 0, None)


# --- files that are refused ----------------------------------------------------------------------------------


def zipped() -> bytes:
    import io

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("people.csv", f"{HEADER}\na,b,c\n")
    return content.getvalue()


WHOLE = f"{HEADER}\n" + "".join(f"{number},Ada,\n" for number in range(5000))
UNREADABLE = {
    "truncated gzip": gzip.compress(WHOLE.encode())[:-9],
    "gzip cut in its first bytes": gzip.compress(WHOLE.encode())[:12],
    "damaged gzip": gzip.compress(WHOLE.encode())[:400] + b"\0\0\0\0" + gzip.compress(WHOLE.encode())[404:],
    "gzip with rubbish behind it": gzip.compress(WHOLE.encode()) + b"rubbish",
    "gzip of a zip": gzip.compress(zipped()),
    "zip": zipped(),
    "binary": bytes(range(256)) * 40,
    "doubles": struct.pack("<64d", *range(64)),
    "UTF-16": f"{HEADER}\na,b,c\n".encode("utf-16"),
    "UTF-16 without a mark": f"{HEADER}\na,b,c\n".encode("utf-16-le"),
    "Latin-1 header": f"{HEADER},Café\na,b,c,d\n".encode("latin-1"),
    "open quote in the header": f'{HEADER},"x\na,b,c,d\n',
    "quotes in the header that are wrong": '"ID" ,NAME,NOTE\na,b,c\n',
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_csv_is_refused_and_no_row_of_it_seen(tmp_path: Path, content: str | bytes) -> None:
    good = landed(tmp_path / "good", f"{HEADER}\ng,Grace,\n")
    found, bad, outcomes = read(PEOPLE, landed(tmp_path / "bad", content), good)

    assert found == [("g", "Grace", None)]  # the rest of the batch goes on
    ((rejection, code),) = [(reported, reported.code) for reported in bad]
    assert (code, rejection.line, rejection.raw) == ("unreadable_object", None, None)
    assert rejection.landed.uri.endswith("/bad")
    assert "Deliver the file" in rejection.reason
    refused = next(outcome for outcome in outcomes if outcome.rejection)
    assert (refused.read, refused.loaded, refused.quarantined) == (0, 0, 0)


def test_a_missing_required_column_is_reported_as_a_difference(tmp_path: Path) -> None:
    with opened() as session:
        session.read("visits", VISITS, [landed(tmp_path / "x", "id,Customer,DAY\n1,2,2026-01-01\n")])
        (bad,) = session.bad_records("visits")

        assert rows(session, "SELECT ID FROM visits") == []
    assert bad.code == "missing_column"
    assert bad.reason == (
        "Required columns are missing: PERSON_ID, AMOUNT. Expected ID, PERSON_ID, DAY, AMOUNT; "
        "found ID, CUSTOMER, DAY; not in the contract: CUSTOMER. "
        "Deliver the file with these columns, or change the contract visits."
    )


@pytest.mark.parametrize(
    ("header", "named"),
    [("ID,NAME,NOTE,NAME", "NAME"), ("ID,NAME,NOTE, name ", "NAME"), ("ID,x,X", "a column")],
)
def test_a_header_that_names_a_column_twice_is_refused(tmp_path: Path, header: str, named: str) -> None:
    """A name that the contract lacks is not repeated: in a file without a header it is a value."""
    found, (bad,), _ = read(PEOPLE, landed(tmp_path / "x", f"{header}\n1,2,3\n"))

    assert (found, bad.code) == ([], "malformed_header")
    assert bad.reason.startswith(f"The header names {named} more than once.")


@pytest.mark.parametrize(
    ("rows_in_all", "bad_rows", "refused"),
    [(19, 19, False), (20, 10, False), (20, 11, True), (21, 11, True), (1, 1, False)],
)
@pytest.mark.parametrize("bad_row", [",no id,", "a,b"], ids=["breaks a rule", "malformed"])
def test_more_than_half_of_at_least_twenty_rows_bad_refuses_the_file(
    tmp_path: Path, rows_in_all: int, bad_rows: int, refused: bool, bad_row: str
) -> None:
    lines = [f"{number},Ada," for number in range(rows_in_all - bad_rows)] + [bad_row] * bad_rows
    found, bad, (outcome,) = read(PEOPLE, landed(tmp_path / "x", "\n".join([HEADER, *lines])))

    assert outcome.read == rows_in_all
    if refused:
        assert (found, outcome.loaded, outcome.quarantined) == ([], 0, rows_in_all)
        ((code, line, reason),) = [(record.code, record.line, record.reason) for record in bad]
        assert (code, line) == ("too_many_bad_rows", None)
        assert f"{bad_rows} of {rows_in_all} rows are bad, more than 50%" in reason
        assert f"Line {rows_in_all - bad_rows + 2}: " in reason
    else:
        assert (len(found), outcome.quarantined, len(bad)) == (rows_in_all - bad_rows, bad_rows, bad_rows)
        assert outcome.rejection is None


def test_the_share_is_configurable_and_counted_by_file(tmp_path: Path) -> None:
    mostly_bad = "\n".join([HEADER, "a,,", ",,", ",,", ",,"])
    files = [landed(tmp_path / "bad", mostly_bad), landed(tmp_path / "good", f"{HEADER}\ng,,\n")]

    found, bad, _ = read(PEOPLE, *files, policy=RejectPolicy(share=0.5, minimum_rows=4))

    assert found == [("g", None, None)]
    assert [(record.code, record.landed.uri[-4:]) for record in bad] == [("too_many_bad_rows", "/bad")]


# --- headers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["note,ID,Name", " Note , id ,NAME ", '"NOTE","ID","NAME"', "\ufeffNOTE,ID,NAME"])
def test_columns_are_found_by_name_in_any_case_and_order(tmp_path: Path, header: str) -> None:
    found, bad, (outcome,) = read(PEOPLE, landed(tmp_path / "x", f"{header}\n hi ,1, Ada \n"))

    assert (found, bad) == ([("1", "Ada", " hi ")], [])
    assert (outcome.unknown_columns, outcome.missing_columns) == ((), ())


def test_a_missing_optional_column_is_null_and_reported(tmp_path: Path) -> None:
    found, bad, (outcome,) = read(PEOPLE, landed(tmp_path / "x", "ID,NAME\n1,Ada\n"))

    assert (found, bad, outcome.missing_columns) == ([("1", "Ada", None)], [], ("NOTE",))


def test_a_column_without_a_name_is_rescued_by_its_place(tmp_path: Path) -> None:
    with opened() as session:
        session.read("people", PEOPLE, [landed(tmp_path / "x", "ID,,NAME,\n1,a,Ada,b\n")])

        assert rows(session, "SELECT NAME, _RESCUED FROM people") == [("Ada", '{"COLUMN_2":"a","COLUMN_4":"b"}')]
        assert session.outcomes("people")[0].unknown_columns == ("COLUMN_2", "COLUMN_4")


# --- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [f"{HEADER}\na,Ada,\n", f'{HEADER}\na,5" Ada,\n', f"{HEADER}\r\na,b\r\n"])
@pytest.mark.parametrize("name", ["it's", "a b%20c", "[1]", "*", "?x", "{a,b}", "back\\slash", "-r", "ü", "a\nb", '"'])
def test_any_file_name_is_a_file_name(tmp_path: Path, name: str, content: str) -> None:
    other = landed(tmp_path / "other.csv", f"{HEADER}\no,Other,\n")
    found, bad, (first, _) = read(PEOPLE, landed(tmp_path / f"{name}.csv", content), other)

    assert (first.read, first.landed.uri) == (1, f"lake://bucket/raw/{name}.csv")
    assert [row[0] for row in found] == (["o"] if bad else ["a", "o"])


# --- many files ----------------------------------------------------------------------------------------------

HEADERS = ("ID,NAME,NOTE", "NOTE,ID,NAME", "id,name,note,tier")


def tiny(folder: Path, count: int, irregular: str = "") -> list:
    folder.mkdir()
    values = {"ID": "{n}", "NAME": "Ada", "NOTE": "x", "TIER": "gold"}
    files = []
    for number in range(count):
        header = HEADERS[number % 3]
        line = ",".join(values[name.upper()] for name in header.split(",")).format(n=number)
        content = f"{header}\n{line}\n" + (irregular if number == count // 2 else "")
        files.append(landed(folder / f"{number}.csv", content))
    return files


def test_one_scan_reads_no_more_than_a_thousand_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB keeps memory for each file until its scan ends: 1.3 GB for 17,000 objects of one record."""
    scanned: list[int] = []

    def scan(paths: list[Path], dialect: FileDialect) -> str:
        scanned.append(len(paths))
        return scan_regular(paths, dialect)

    monkeypatch.setattr(csv_reader, "_FILES_AT_ONCE", 3)
    monkeypatch.setattr(csv_reader, "scan_regular", scan)
    files = [landed(tmp_path / f"{n}.csv", f"{HEADER}\n{n},Ada,\n{'too,many,fields,' * (n == 5)}\n") for n in range(7)]

    found, bad, outcomes = read(PEOPLE, *files, policy=RejectPolicy(share=1.0))

    assert scanned == [3, 3, 1]
    assert sorted(row[0] for row in found) == list("0123456")
    assert [outcome.loaded for outcome in outcomes] == [1] * 7
    assert [(each.landed.uri, each.line) for each in bad] == [(files[5].landed.uri, 3)]


class Counted:
    """A connection that counts its statements."""

    def __init__(self, connection) -> None:
        self.connection = connection
        self.statements = 0

    def execute(self, *arguments):
        self.statements += 1
        return self.connection.execute(*arguments)


@pytest.mark.parametrize("irregular", ["", "a,b\n", 'x,5" disk,1\n', "\n\ry,b,1\n", "\xff,b,c\n"], ids=repr)
def test_the_number_of_statements_does_not_follow_the_number_of_files(tmp_path: Path, irregular: str) -> None:
    counts = []
    for count in (31, 301):
        with opened() as session:
            session._connection = counted = Counted(session._connection)
            session.read("people", PEOPLE, tiny(tmp_path / f"{count}", count, irregular))
            session.deduplicate("people")
            list(session.bad_records("people"))
            counts.append(counted.statements)

    assert counts[0] == counts[1] < 40


@pytest.mark.parametrize(
    "irregular", ["a,b\n", 'x,"5" disk,1\n', b"\xff,b,c\n", "x,Ada,1\r\n", 'x,"never closed,1\n'], ids=repr
)
def test_one_irregular_file_among_many_spoils_no_other(tmp_path: Path, irregular: str | bytes) -> None:
    files = tiny(tmp_path / "files", 60)
    with open(files[31].path, "ab") as file:
        file.write(irregular if isinstance(irregular, bytes) else irregular.encode())
    with opened() as session:
        session.read("people", PEOPLE, files)

        found = rows(session, "SELECT ID, NAME, _SOURCE_URI FROM people")
        expected = [(str(number), "Ada", f"lake://bucket/raw/{number}.csv") for number in range(60)]
        assert set(expected) <= set(found)
        assert len(found) + len(reported(session, "people")) == 61


@pytest.mark.slow
def test_a_thousand_tiny_files_are_one_session(tmp_path: Path) -> None:
    files = tiny(tmp_path / "files", 1000, "a,b\n")
    with opened() as session:
        session.read("people", PEOPLE, files)
        session.deduplicate("people")

        assert rows(session, "SELECT COUNT(*) AS N, COUNT(DISTINCT _SOURCE_URI) AS U FROM people") == [(1000, 1000)]
        assert rows(session, "SELECT COUNT(*) AS N FROM people WHERE _RESCUED IS NOT NULL") == [(333,)]
        ((bad, line),) = [(record.landed.uri, record.line) for record in session.bad_records("people")]
        assert (bad, line) == ("lake://bucket/raw/500.csv", 3)


def test_a_reader_that_miscounts_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB 2.0.0 returns no row and no error for a line end that it was reported and did not find."""

    honest = csv_reader.scan_regular

    def mistaken(*arguments) -> str:
        return honest(*arguments).replace("strict_mode", r"new_line='\r\n', strict_mode")

    monkeypatch.setattr(csv_reader, "scan_regular", mistaken)
    files = [landed(tmp_path / str(number), f"{HEADER}\n{number},Ada,\n") for number in range(4)]

    found, bad, outcomes = read(PEOPLE, *files)

    assert [row[0] for row in found] == ["0", "1", "2", "3"]
    assert [outcome.read for outcome in outcomes] == [1, 1, 1, 1]
    assert not bad


def test_temporary_files_stay_in_the_scratch_folder(tmp_path: Path) -> None:
    source = landed(tmp_path / "x.csv.gz", gzip.compress(f'{HEADER}\na,5" disk,\n'.encode()))
    scratch = tmp_path / "scratch"
    with DuckDBEngine(threads=2).session(scratch, RejectPolicy()) as session:
        assert isinstance(session, DuckDBSession)
        session.read("people", PEOPLE, [source])

    assert {path.name for path in tmp_path.iterdir()} == {"x.csv.gz", "scratch"}


# --- what is written -----------------------------------------------------------------------------------------


def test_row_groups_of_results_are_no_larger_than_those_of_tables(tmp_path: Path) -> None:
    """Rows without superseded ones come in odd numbers at a time, so a row group ends late; tables have 122,880."""
    records = "".join(f"{number if number % 17 else number // 2},Ada,\n" for number in range(300_000))

    with opened() as session:
        session.read("people", PEOPLE, [landed(tmp_path / "people.csv", f"{HEADER}\n{records}")])
        session.deduplicate("people")
        session.write("SELECT * FROM PEOPLE", tmp_path / "out.parquet", "parquet")

    groups = pq.ParquetFile(tmp_path / "out.parquet").metadata
    assert max(groups.row_group(number).num_rows for number in range(groups.num_row_groups)) <= 122_880
