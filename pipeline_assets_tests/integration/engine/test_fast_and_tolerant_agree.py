"""However a CSV is written, the fast reader and the tolerant one see the same records, and none is lost or shifted."""

from __future__ import annotations

import gzip
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.engine import RejectPolicy, SourceFile
from pipeline_assets.engine.duckdb.engine import DuckDBEngine, DuckDBSession
from pipeline_assets.engine.formats.csv.dialect import detect_dialect
from pipeline_assets.engine.formats.csv.lenient_reader import read_leniently
from pipeline_assets.lake import LandedObject

CONTRACT = Contract(
    name="things",
    table="THINGS",
    version="1",
    domain="test",
    description="",
    grain="",
    owner="me",
    columns=(
        Column("ID", "string", "VARCHAR"),
        Column("TEXT", "string", "VARCHAR", keep_blanks=True),
        Column("AMOUNT", "number", "NUMBER(18,4)"),
    ),
)
HEADER = "ID,TEXT,AMOUNT"
NEVER = RejectPolicy(share=1.0)

plain = st.text(alphabet="ab=é\t ", max_size=4)
quoted = st.text(alphabet='ab,"\n\r é', max_size=6).map(lambda text: '"' + text.replace('"', '""') + '"')
numbers = st.sampled_from(["1", "-2.5", "1.00000", "", "x", "1e3", '"3"'])
records = st.tuples(plain | quoted, plain | quoted, numbers).map(",".join)
broken = st.sampled_from(
    ["a", "a,b", "a,b,1,2", 'a,"b,1', '"a"b,c,1', 'a,5" disk,1', ' "a" ,b,1', "a,b,1,", "", "\x00,b,1"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(records | records | broken, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@example(["a,b,1", "a,b", "c,d,2"], "\r\n", True, True, True)
@example(['a,"b', "c,d,1", 'e,f",2'], "\n", False, False, True)
def test_the_session_sees_what_a_reader_of_single_records_sees(
    lines: list[str], end: str, compressed: bool, with_bom: bool, final_end: bool
) -> None:
    text = ("\ufeff" if with_bom else "") + end.join([HEADER, *lines]) + (end if final_end else "")
    with tempfile.TemporaryDirectory() as folder:
        good, bad, expected_good, expected_bad = _both(Path(folder), text.encode(), compressed)
    assert good == expected_good
    assert bad == expected_bad


NUMBER = re.compile(r"[+-]?[0-9]+([.][0-9]*)?|1e3")


def _both(folder: Path, content: bytes, compressed: bool) -> tuple:
    plain = folder / "plain.csv"
    plain.write_bytes(content)
    expected_good, expected_bad = [], []
    for record in read_leniently(plain, detect_dialect(plain)):
        amount = record.fields[2].strip(" ") if record.fields else ""
        if record.fields is None or (amount and not NUMBER.fullmatch(amount)):
            expected_bad.append((record.line, record.raw))
        else:
            expected_good.append((record.fields[0].strip(" ") or None, record.fields[1] or None, amount or None))
    path = folder / "landed.csv"
    path.write_bytes(gzip.compress(content) if compressed else content)
    with DuckDBEngine(threads=2).session(folder / "scratch", NEVER) as session:
        session.read("things", CONTRACT, [source(path)])
        good = rows(session, "SELECT ID, TEXT, AMOUNT FROM things")
        (outcome,) = session.outcomes("things")
        bad = [(record.line, record.raw) for record in session.bad_records("things")]
        assert outcome.rejection is None
        assert outcome.read == len(good) + len(bad)
    numbers = [None if amount is None else float(amount) for *_, amount in expected_good]
    expected = [(key, text, number) for (key, text, _), number in zip(expected_good, numbers, strict=True)]
    found = [(key, text, None if amount is None else float(amount)) for key, text, amount in good]
    return found, bad, expected, expected_bad


def source(path: Path) -> SourceFile:
    state = path.stat()
    landed = LandedObject(f"lake://b/{path.name}", "1", state.st_size, datetime(2026, 1, 1, tzinfo=UTC))
    return SourceFile(path, landed)


def rows(session: DuckDBSession, select: str) -> list[tuple]:
    return session._connection.execute(select).fetchall()


@pytest.mark.parametrize("junk", [b"", b"\n", b"\xef\xbb\xbf", b"\r\n\r\n", b"  \n"])
def test_a_file_without_records_is_read_as_zero_rows(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(junk)
    with DuckDBEngine().session(tmp_path / "scratch", NEVER) as session:
        session.read("things", CONTRACT, [source(tmp_path / "x.csv")])
        (outcome,) = session.outcomes("things")
    assert (outcome.read, outcome.rejection) == (0, None)


def test_one_stray_quote_costs_one_line(tmp_path: Path) -> None:
    lines = [f"{n},text,{n}" for n in range(5000)]
    lines[17] = '17,"text,17'
    (tmp_path / "x.csv").write_text("\n".join([HEADER, *lines]))
    with DuckDBEngine().session(tmp_path / "scratch", NEVER) as session:
        session.read("things", CONTRACT, [source(tmp_path / "x.csv")])
        (bad,) = session.bad_records("things")
        (outcome,) = session.outcomes("things")
    assert (bad.line, bad.raw, bad.code) == (19, lines[17], "malformed_record")
    assert (outcome.read, outcome.quarantined) == (5000, 1)


@pytest.mark.slow
def test_quoted_line_ends_across_the_readers_buffers_shift_nothing(tmp_path: Path) -> None:
    """80 MB, more than twice DuckDB's buffer, every third record over two lines, one bad record at the very end."""
    count = 1_000_000
    with open(tmp_path / "x.csv", "w", newline="") as file:
        file.write(HEADER + "\n")
        file.writelines(
            f'{n},"line one{chr(10) if n % 3 == 0 else " "}and ""two"" of the text {"x" * (n % 50)}",{n}.25\n'
            for n in range(count)
        )
        file.write("last,bad,x\n")
    with DuckDBEngine(threads=2).session(tmp_path / "scratch", NEVER) as session:
        session.read("things", CONTRACT, [source(tmp_path / "x.csv")])
        (bad,) = session.bad_records("things")
        ((read, total, keys),) = rows(session, "SELECT COUNT(*), SUM(AMOUNT), COUNT(DISTINCT ID) FROM things")
    assert (bad.line, bad.raw) == (count + 1 + (count + 2) // 3 + 1, "last,bad,x")
    assert (read, keys) == (count, count)
    assert float(total) == sum(n + 0.25 for n in range(count))


@pytest.mark.slow
def test_thousands_of_tiny_files_with_one_irregular_among_them(tmp_path: Path) -> None:
    headers = ["ID,TEXT,AMOUNT", "AMOUNT,ID,TEXT", "id, text ,amount,more"]
    files = []
    for number in range(3000):
        header = headers[number % 3]
        values = {"ID": str(number), "TEXT": "t", "AMOUNT": "1", "MORE": "m"}
        line = ",".join(values[name.strip().upper()] for name in header.split(","))
        path = tmp_path / f"{number}.csv"
        path.write_text(f"{header}\n{line}\n" + ("a,b\n" if number == 1234 else ""))
        files.append(source(path))
    with DuckDBEngine().session(tmp_path / "scratch", NEVER) as session:
        session.read("things", CONTRACT, files)
        (bad,) = session.bad_records("things")
        assert rows(session, "SELECT COUNT(*), COUNT(DISTINCT ID), SUM(AMOUNT) FROM things") == [(3000, 3000, 3000)]
        assert rows(session, "SELECT COUNT(*) FROM things WHERE _RESCUED IS NOT NULL") == [(1000,)]
    assert (bad.landed.uri, bad.line) == ("lake://b/1234.csv", 3)
