"""Files that DuckDB reads in several row groups, or in splits of 32 MB."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from pipeline_assets.contracts import Column, Contract
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
        Column("ID", "string", "VARCHAR"),
        Column("TEXT", "string", "VARCHAR", keep_blanks=True),
        Column("AMOUNT", "number", "NUMBER(18,4)"),
    ),
)
TEXTS = 75  # of 0.9 MB: splits meet twice


@pytest.mark.slow
@pytest.mark.parametrize(
    ("poison", "count"), [("777x,a,twelve\n", 1_000_000), ("777,a\n", 150_000), ('777,"a,1\n', 150_000)]
)
def test_one_poison_row_in_a_million_is_the_only_one_set_aside(tmp_path: Path, poison: str, count: int) -> None:
    """FAULTS 7; of other kinds of poison fewer rows, but more than DuckDB has in a row group."""
    good = [f"{number},text {number},{number}.25\n" for number in range(count)]
    place = count * 3 // 4
    good[place] = poison
    with opened() as session:
        session.read("things", THINGS, [landed(tmp_path / "x", f"ID,TEXT,AMOUNT\n{''.join(good)}")])

        assert [bad[:2] for bad in reported(session, "things")] == [(place + 2, poison.rstrip("\n"))]
        assert session.outcomes("things")[0].read == count
        counts = "SELECT COUNT(*) AS N, COUNT(DISTINCT ID) AS KEYS, SUM(AMOUNT) AS TOTAL FROM things"
        total = Decimal(sum(range(count)) - place) + Decimal("0.25") * (count - 1)
        assert rows(session, counts) == [(count - 1, count - 1, total)]


@pytest.mark.slow
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_texts_that_look_like_records_shift_nothing_where_the_readers_buffers_meet(tmp_path: Path, end: str) -> None:
    """DuckDB reads splits of 32 MB in parallel and guesses whether each starts inside quotes.

    Here nearly all of the file is inside quotes and looks like records of the same width.
    """
    fake = f"1,{'2' * 96},3{end}" * 9_000
    with open(tmp_path / "big.csv", "w", newline="") as file:
        file.write(f"ID,TEXT,AMOUNT{end}")
        file.writelines(f'k{number},"{fake}",{number}{end}' for number in range(TEXTS))
        file.write(f"last,,bad{end}")
    source = landed(tmp_path / "x", "")
    with opened() as session:
        session.read("things", THINGS, [type(source)(tmp_path / "big.csv", source.landed)])

        sizes = "SELECT ID, LENGTH(CAST(TEXT AS VARCHAR)) AS SIZE, AMOUNT FROM things"
        assert rows(session, sizes) == sorted((f"k{n}", len(fake), Decimal(n)) for n in range(TEXTS))
        assert reported(session, "things") == [(1 + TEXTS * (fake.count(end) + 1) + 1, "last,,bad", "not_a_number")]
