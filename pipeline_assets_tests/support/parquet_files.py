"""Parquet files of tests, the contract that they are read by, and a model in Python of what becomes of their values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.engine import BadRecord, SourceFile
from pipeline_assets.engine.formats.csv.replay_file import write_replay_file
from pipeline_assets_tests.support.engine_session import NEVER, landed, opened, rows

MOMENTS = "TIMESTAMP_NTZ(6)"
SALES = Contract(
    "sales",
    "SALES",
    "1",
    "shop",
    "",
    "one row per sale, without a key: nothing is superseded",
    "",
    (
        Column("NAME", "string", "VARCHAR(12)", required=True, max_length=12),
        Column("AMOUNT", "number", "NUMBER(18,4)"),
        Column("PIECES", "integer", "NUMBER(9,0)"),
        Column("DAY", "date", "DATE", input_formats=("DD-MM-YYYY", "YYYYMMDD")),
        Column("MOMENT", "timestamp", MOMENTS),
        Column("PAID", "boolean", "BOOLEAN"),
        Column("KIND", "string", "VARCHAR", accepted=("a", "b")),
    ),
)
CODES = {
    "AMOUNT": "not_a_number",
    "PIECES": "not_a_number",
    "DAY": "not_a_date",
    "MOMENT": "not_a_timestamp",
    "PAID": "not_a_boolean",
    "KIND": "not_accepted_value",
}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


NS = 1_767_323_045_000_000_000  # 2026-01-02 03:04:05


def parquet(path: Path, table: pa.Table, days: int = 0, **options: Any) -> SourceFile:
    """Land a table as a Parquet file."""
    pq.write_table(table, path, **options)
    return landed(path, path.read_bytes(), days=days)


def sales(**columns: pa.Array | Sequence[Any]) -> pa.Table:
    """A table of sales; NAME is n0, n1, … and other columns are NULL if they are not given."""
    rows = len(next(iter(columns.values())))
    given = {name: pa.nulls(rows) for name in SALES.column_names} | {"NAME": [f"n{n}" for n in range(rows)]}
    return pa.table(given | columns)


def expected(values: Mapping[str, Any]) -> tuple | str:
    """The typed columns of a sale, from the values of a record as Python has them, or the code of its first fault."""
    if values.get("NAME") is None:
        return "missing_value"
    typed: list[Any] = []
    for column in SALES.columns:
        value = values.get(column.name)
        try:
            typed.append(None if value is None else _typed(column, value))
        except ValueError:
            return "too_long" if column.name == "NAME" else CODES[column.name]
    return tuple(typed)


def _typed(column: Column, value: Any) -> Any:
    """The value of a column.

    Raises:
        ValueError: it breaks the contract.
    """
    match column.logical_type:
        case "number" | "integer":
            return _number(column, value)
        case "boolean":
            if not isinstance(value, bool) and str(value).lower() not in ("true", "false"):
                raise ValueError
            return str(value).lower() == "true"
        case "date":
            return _day(value)
        case "timestamp":
            return _moment(value)
    text = text_of(value)
    if (column.max_length and len(text) > column.max_length) or (column.accepted and text not in column.accepted):
        raise ValueError
    return text


def text_of(value: Any) -> str:
    """What a text column has for a value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = repr(value)
        return text.removesuffix(".0") if re.fullmatch(r"-?\d+\.0", text) else text
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.partition(".")[0] if re.fullmatch(r"-?\d+\.0+", text) else text
    if isinstance(value, datetime):
        text = str(value.replace(tzinfo=None))
        text = text.rstrip("0") if "." in text else text
        return text + "+00" * (value.tzinfo is not None)
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, list | dict) else str(value)


def _number(column: Column, value: Any) -> Decimal:
    text = text_of(value)
    if not re.fullmatch(r"[+-]?(\d+[.]?\d*|[.]\d+)([eE][+-]?\d{1,2})?", text, re.ASCII):
        raise ValueError
    precision, scale = column.precision_and_scale
    number = Decimal(text)
    if abs(number) >= Decimal(10) ** (precision - scale):
        raise ValueError
    rounded = number.quantize(Decimal(1).scaleb(-scale)) if number else Decimal(0)
    if rounded != number:
        raise ValueError
    return rounded


def _day(value: Any) -> date:
    if isinstance(value, datetime):
        if value.tzinfo:
            value = value.astimezone(UTC).replace(tzinfo=None)
        if value.time() != time():
            raise ValueError
        return value.date()
    if isinstance(value, date):
        return value
    for pattern, form in ((r"\d{2}-\d{2}-\d{4}", "%d-%m-%Y"), (r"\d{8}", "%Y%m%d")):
        if re.fullmatch(pattern, text_of(value), re.ASCII):
            return datetime.strptime(text_of(value), form).date()  # noqa: DTZ007
    raise ValueError


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if not re.fullmatch(r"\d{4}-\d\d-\d\d([ Tt]\d\d:\d\d(:\d\d([.]\d{0,6}0*)?)?)?", text_of(value), re.ASCII):
        raise ValueError
    return datetime.fromisoformat(text_of(value))


CASES: list[tuple[str, pa.Array]] = [
    ("AMOUNT", pa.array([1, -7, None, 10**14], pa.int64())),
    ("AMOUNT", pa.array([2**64 - 1, 5], pa.uint64())),
    ("AMOUNT", pa.array([1.5, 0.1, 1e-5, 1e15, 7.0, 0.30000000000000004, -0.0, 1e22, float("nan"), float("inf")])),
    ("AMOUNT", pa.array([Decimal("1.5000"), Decimal("-12345678901234.5678"), None], pa.decimal128(20, 4))),
    ("AMOUNT", pa.array([Decimal("1.50000"), Decimal("1.50001")], pa.decimal128(38, 5))),
    ("AMOUNT", pa.array([Decimal("1.5")], pa.decimal256(38, 4))),
    ("AMOUNT", pa.array(["1.5", " 1.5", "", "1e2", "x"])),
    ("AMOUNT", pa.array([True])),
    ("AMOUNT", pa.array([date(2026, 1, 2)])),
    ("PIECES", pa.array([1, 999_999_999, 1_000_000_000], pa.int64())),
    ("PIECES", pa.array([1, 127], pa.int8())),
    ("PIECES", pa.array([7.0, 7.5, None])),
    ("PIECES", pa.array([Decimal("7.00"), Decimal("7.01")], pa.decimal128(9, 2))),
    ("DAY", pa.array([date(2026, 1, 2), date(1, 1, 1), date(9999, 12, 31), None])),
    ("DAY", pa.array([at("2026-01-02"), at("2026-01-02T00:00:00.000001")], pa.timestamp("us"))),
    ("DAY", pa.array([at("2026-01-02"), at("2026-01-02T01:00")], pa.timestamp("ms"))),
    ("DAY", pa.array([datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, 23, tzinfo=UTC)])),
    ("DAY", pa.array(["02-01-2026", "20260102", "2026-01-02", "02-01-2026 ", "31-02-2026"])),
    ("DAY", pa.array([20260102, 5])),
    ("MOMENT", pa.array([at("2026-01-02T03:04:05.6"), at("0001-01-01"), at("9999-12-31T23:59")])),
    ("MOMENT", pa.array([datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))], pa.timestamp("us", "+02:00"))),
    ("MOMENT", pa.array([date(2026, 1, 2)])),
    ("MOMENT", pa.array(["2026-01-02T03:04", "2026-01-02 03:04:05.1234567", "2026-01-02 03:04Z", ""])),
    ("PAID", pa.array([True, False, None])),
    ("PAID", pa.array(["TRUE", "yes", "true "])),
    ("PAID", pa.array([1, 0])),
    ("KIND", pa.array(["a", "b ", "c", ""])),
    ("KIND", pa.array([b"a", b"c"])),
    ("KIND", pa.array(["a", "b", "a"]).dictionary_encode()),
    ("NAME", pa.array([7.0, 7.5, 123456789012.0, 1e300])),
    ("NAME", pa.array([7, None], pa.int32())),
    ("NAME", pa.array([Decimal("7.00"), Decimal("7.10")], pa.decimal128(9, 2))),
    ("NAME", pa.array([True, False])),
    ("NAME", pa.array([date(2026, 1, 2)])),
    ("NAME", pa.array(["", " ", "x" * 13, "é" * 12, "a\0b"])),
    ("NAME", pa.array([b"abc", "é".encode()])),
    ("NAME", pa.nulls(2)),
]


KINDS_OF_VALUES = {
    "TEXT": ["", ' "quoted", \n text\t', None],
    "BYTES": [b"x", b"", None],
    "DAY": [date(2026, 1, 2), date(1, 1, 1), None],
    "AT": pa.array([NS + 1, NS, None], pa.timestamp("ns")),
    "UTC": pa.array([datetime(2026, 1, 2, tzinfo=UTC), None, None], pa.timestamp("us", "Europe/Berlin")),
    "DECIMAL": pa.array([Decimal("7.00"), Decimal("12345678901234567890.12"), None], pa.decimal128(38, 2)),
    "DOUBLE": [7.0, 1e300, float("nan")],
    "YES": [True, False, None],
    "NESTED": [{"d": 1.5, "n": float("nan")}, {"d": 1e5, "n": None}, None],
    "12 text": ["like a kind", None, ""],
}


def every_case() -> list[pa.Table]:
    return [sales(**{column: values}) for column, values in CASES]


def check_cases(folder: Path, tables: Sequence[pa.Table]) -> None:
    """Read each table as a file, all in one session, and compare what becomes of its records with the model."""
    files = [parquet(folder / f"{number}.parquet", table) for number, table in enumerate(tables)]
    with opened(NEVER) as session:
        session.read("sales", SALES, files)
        session.deduplicate("sales")
        good: dict[str, list[tuple]] = {}
        for *row, uri in rows(session, f"SELECT {', '.join(SALES.column_names)}, _SOURCE_URI FROM sales"):
            good.setdefault(uri, []).append(tuple(row))
        bad: dict[str, list[tuple]] = {}
        for record in session.bad_records("sales"):
            bad.setdefault(record.landed.uri, []).append((record.line, record.code))
        outcomes = {outcome.landed.uri: outcome for outcome in session.outcomes("sales")}
    for table, file in zip(tables, files, strict=True):
        uri, outcome = file.landed.uri, outcomes[file.landed.uri]
        assert outcome.read == table.num_rows == outcome.loaded + outcome.quarantined
        outcomes_of = [(number, expected(record)) for number, record in enumerate(table.to_pylist(), 1)]
        assert good.get(uri, []) == sorted((o for _, o in outcomes_of if isinstance(o, tuple)), key=repr), table
        assert bad.get(uri, []) == [(number, o) for number, o in outcomes_of if isinstance(o, str)], table


def replay(folder: Path, contract: Contract, bad: Sequence[BadRecord]) -> SourceFile:
    """The replay file of quarantined records, as the platform writes it."""
    path = folder / "waiting-0.csv"
    write_replay_file(path, bad[0].columns, (record.raw for record in bad), contract.dialect)
    waiting = tuple((f"q{record.line}", record.line) for record in bad)
    return replace(landed(path, path.read_bytes(), waiting=waiting), landed=bad[0].landed)
