"""`query` prints what the warehouse returned: each format read back gives the same names and values, NULL too."""

from __future__ import annotations

import csv
import io
import json
from contextlib import redirect_stdout
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from pipeline_assets.commands.query import Format, print_rows
from pipeline_assets.console import plain, visible

HARD = [
    *("", " ", "NULL", "null", "\\N", "nan", "a\nb", "a\r\nb", "\r", "\n", "a\tb", '"', '""', "a,b", "'", "\\", "\\n"),
    *(
        ":on:",
        ":100:",
        "a:x:b",
        "[bold]x[/bold]",
        "[/]",
        "[link=x]",
        "│",
        "┃ ━╇ │ ",
        "━━ 1 ━",
        "<U+202E>",
        "␊",
        "#",
        ";",
    ),
    *(
        "日本",
        "👩‍👩‍👧",
        "❤️",
        "e\u0301",
        "\u0301",
        "\u202eabc",
        "\u2028",
        "\x85",
        "\xa0x\xa0",
        "\ufeff",
        "\x1b[31mred",
        "\x7f",
    ),
]
# Without NUL, which no CSV reader keeps.
texts = st.sampled_from(HARD) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
names = st.sampled_from([text for text in HARD if text]) | texts.filter(bool)
values = st.none() | texts
rowsets = st.lists(names, min_size=1, max_size=8, unique=True).flatmap(
    lambda columns: st.tuples(st.just(columns), st.lists(st.tuples(*[values for _ in columns]), max_size=5))
)


def printed(form: str, columns: list[str], rows: list[tuple], monkeypatch: pytest.MonkeyPatch, width: int = 80) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    with redirect_stdout(io.StringIO(newline="")) as out:
        print_rows(columns, rows, Format(form))
    return out.getvalue()


any_rows = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


@any_rows
@given(rowsets)
def test_json_reads_back_with_every_value(monkeypatch: pytest.MonkeyPatch, given_rows) -> None:
    columns, rows = given_rows
    objects = json.loads(printed("json", columns, rows, monkeypatch), object_pairs_hook=list)
    assert objects == [list(zip(columns, row, strict=True)) for row in rows]


def read_with_duckdb(path: Path, columns: int) -> list[tuple]:
    """The records, header included: as names DuckDB would change those that differ only in case."""
    types = {f"c{number}": "VARCHAR" for number in range(columns)}
    return duckdb.sql(
        f"FROM read_csv('{path}', header = false, columns = {types}, auto_detect = false, delim = ',', quote = '\"', "
        "escape = '\"', new_line = '\\n', nullstr = '', allow_quoted_nulls = false)"
    ).fetchall()


@any_rows
@given(rowsets)
def test_csv_reads_back_and_null_differs_from_an_empty_text(tmp_path_factory, monkeypatch, given_rows) -> None:
    columns, rows = given_rows
    path = tmp_path_factory.getbasetemp() / "out.csv"
    path.write_text(text := printed("csv", columns, rows, monkeypatch), encoding="utf-8", newline="")

    assert read_with_duckdb(path, len(columns)) == [tuple(columns), *rows]
    empty = [tuple("" if value is None else value for value in row) for row in rows]
    header, *records = csv.reader(io.StringIO(text, newline=""))
    assert header == columns
    assert [tuple(record or [""]) for record in records] == empty
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
    assert [tuple(row) for row in frame.itertuples(index=False, name=None)] == empty


def shown(value: str | None) -> str:
    return "NULL" if value is None else visible(value)


def cells(line: str, widths: list[int], separator: str) -> list[str]:
    """The cells of a line of a table whose columns have these widths."""
    found, start = [], 0
    for number, width in enumerate(widths):
        last = number == len(widths) - 1
        ends = [n for n in range(start, len(line) + 1) if cell_len(line[start:n]) == width]
        end = next(n for n in reversed(ends) if (n == len(line) if last else line[n : n + 1] == separator))
        found.append(line[start + 1 : end - 1])
        start = end + 1
    return found


def read_table(text: str) -> tuple[list[str], list[list[str]]]:
    """Names and values as a person reads them off; blanks at the end of a value cannot be seen."""
    lines = text.removesuffix("\n").split("\n")
    if not lines[0].startswith("━━ "):
        widths = [len(part) for part in lines[1].split("╇")]
        names, _, *records = [cells(lines[0], widths, "┃"), None, *(cells(line, widths, "│") for line in lines[2:])]
        return names, records
    width = lines[0].index("┯")
    names, records = [], []
    for line in lines:
        if line.startswith("━━ "):
            records.append([])
            continue
        end = next(n for n in range(len(line)) if cell_len(line[:n]) >= width and line[n] == "│")
        records[-1].append(line[end + 2 :])
        if len(records) == 1:
            names.append(line[1 : end - 1])
    return names, records


def stripped(row) -> list[str]:
    return [shown(value).rstrip() for value in row]


@any_rows
@given(rowsets, st.integers(20, 200))
def test_a_table_has_every_value_whole_at_any_width(monkeypatch: pytest.MonkeyPatch, given_rows, width: int) -> None:
    columns, rows = given_rows
    text = printed("table", columns, rows, monkeypatch, width)

    names, records = read_table(text)
    assert [name.rstrip() for name in names] == stripped(columns)
    assert [[value.rstrip() for value in record] for record in records] == [stripped(row) for row in rows]
    is_by_record = text.startswith("━━ ")
    assert all(character.isprintable() or character.isspace() for character in text)
    if rows and not is_by_record:
        assert max(map(cell_len, text.split("\n"))) <= width


@given(texts, texts)
def test_two_texts_never_look_alike(left: str, right: str) -> None:
    assert (visible(left) == visible(right)) == (left == right)
    assert "\n" not in visible(left)


@pytest.mark.parametrize("columns", [60, 70, 300])
def test_many_columns_are_shown_by_record(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    row = [f"value {n}" for n in range(columns)]
    names, records = read_table(printed("table", [f"COLUMN_{n}" for n in range(columns)], [tuple(row)], monkeypatch))
    assert (len(names), records) == (columns, [row])


def test_a_result_without_rows_has_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_table(printed("table", ["A", "B" * 100], [], monkeypatch, 20)) == (["A", "B" * 100], [])
    assert printed("csv", ["A", "B"], [], monkeypatch) == "A,B\n"
    assert json.loads(printed("json", ["A", "B"], [], monkeypatch)) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("10.1000"), "10.1000"),
        (Decimal("0E-10"), "0.0000000000"),
        (Decimal("-0.0000001"), "-0.0000001"),
        (Decimal("1E+3"), "1000"),
        (Decimal("12345678901234567890123456789.012345678"), "12345678901234567890123456789.012345678"),
        (Decimal(10**38 - 1), 10**38 - 1),
        (10**38 - 1, 10**38 - 1),
        (-(2**63), -(2**63)),
        (True, True),
        (0.1, 0.1),
        (1e22, 1e22),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (b"\x00\xff", "00ff"),
        (bytearray(b"\x01"), "01"),
        (date(1, 1, 1), "0001-01-01"),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), "9999-12-31T23:59:59.999999+00:00"),
        (time(1, 2, 3, 4), "01:02:03.000004"),
        ('{"a":1.10}', '{"a":1.10}'),
        (None, None),
    ],
    ids=repr,
)
def test_a_value_has_one_exact_form_in_every_format(value, expected, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain(value) == expected
    assert json.loads(printed("json", ["A"], [(value,)], monkeypatch)) == [{"A": expected}]
    text = "NULL" if expected is None else str(expected)
    assert read_table(printed("table", ["A"], [(value,)], monkeypatch))[1] == [[text]]
    assert list(csv.reader(io.StringIO(printed("csv", ["A", "B"], [(value, 1)], monkeypatch))))[1] == [
        "" if expected is None else str(expected),
        "1",
    ]
