"""Parquet files of tests, the contract that they are read by, and a model in Python of what becomes of their values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.engine import SourceFile
from pipeline_assets_tests.support.engine_session import landed

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
