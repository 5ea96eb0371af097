"""Positions in the order of (cursor, key): literals in SQL, the condition for rows behind one, and their comparison.

NULL comes last in this order, and a row with one in its cursor or key never moves a position: such rows are extracted
again until they have a value. The server compares texts by their collation, Python by their characters. Both are safe,
as a position is always that of a row that was extracted, and rows at or behind it are extracted again at worst.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.reviews.columns import SourceColumn
from pipeline_assets.reviews.types import FLOAT, Kind, MappedColumn, quote_mysql, quote_sqlite

if TYPE_CHECKING:
    import pyarrow as pa

Dialect = Literal["mysql", "sqlite"]
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_FORMS: dict[Kind, str] = {
    "number": r"-?[0-9]+(\.[0-9]+)?",
    "float": r"-?[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?",
    "date": _DAY,
    "timestamp": _DAY + r"[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?",
    "binary": r"([0-9A-F]{2})*",
}


@dataclass(frozen=True)
class Ordered:
    """The columns of cursor and key of a table, in their order; the first `cursors` are those of the cursor."""

    columns: tuple[MappedColumn, ...]
    cursors: int


def literal(dialect: Dialect, kind: Kind, text: str) -> str:
    """A value of a position as a literal that the server reads as exactly this value.

    Raises:
        ConfigurationError: the text is not a value of this kind.
    """
    if dialect == "sqlite":
        return _of_sqlite(kind, text)
    if kind in _FORMS and not re.fullmatch(_FORMS[kind], text):
        raise ConfigurationError(
            "The watermark does not fit the columns of cursor and key.", remedy="Extract all rows again."
        )
    if kind == "number":
        return text
    if kind == "float":
        return f"{text}e0" if "e" not in text else text  # without an exponent MySQL reads a decimal
    if kind in ("date", "timestamp"):
        return f"'{text}'"
    return f"X'{text}'" if kind == "binary" else f"_utf8mb4 X'{text.encode().hex()}'"


def _of_sqlite(kind: Kind, text: str) -> str:
    # SQLite converts a text by the affinity of the column that it is compared with; numbers keep their own type.
    if kind in ("number", "float") and re.fullmatch(_FORMS["float"], text):
        return text
    return f"CAST(X'{text.encode('utf-8', 'surrogateescape').hex()}' AS TEXT)"


def rows_behind(dialect: Dialect, ordered: Ordered, position: Sequence[str], from_time: str | None) -> str:
    """The condition for rows behind a position, and all whose first cursor is not before `from_time` or is NULL.

    Raises:
        ConfigurationError: the position does not fit the columns.
    """
    if len(position) != len(ordered.columns):
        raise ConfigurationError(
            "The watermark does not fit the columns of cursor and key.", remedy="Extract all rows again."
        )
    first = ordered.columns[0]
    cursor, start = quoted(dialect, first.name), literal(dialect, first.kind, position[0])
    behind = ""
    for column, text in reversed(list(zip(ordered.columns, position, strict=True))):
        name, value = quoted(dialect, column.name), literal(dialect, column.kind, text)
        is_last = f"{name} > {value}" + (
            f" OR {name} IS NULL" if column is not first and column.column.nullable else ""
        )
        behind = f"{is_last} OR ({name} = {value} AND ({behind}))" if behind else is_last
    # The first conditions alone decide which range of an index on the cursor is read.
    ranges = [f"{cursor} >= {start}"]
    accepted = [behind]
    others = [f"{cursor} IS NULL"] if first.column.nullable else []
    if dialect == "mysql" and first.kind in ("date", "timestamp"):
        # These are NULL in the extract. Before the first TIMESTAMP, MariaDB would not read a range of the index.
        is_timestamp = first.column.source_type.startswith("timestamp")
        others.append(f"{cursor} < '{'1970-01-01 00:00:01' if is_timestamp else '0001-01-01'}'")
    if from_time is not None:
        others.append(f"{cursor} >= {literal(dialect, first.kind, from_time)}")
    return f"({' OR '.join(ranges + others)}) AND ({' OR '.join(accepted + others)})"


def rows_with(dialect: Dialect, key: Sequence[MappedColumn], keys: Sequence[Sequence[str]]) -> str:
    """The condition for rows with some keys, given as texts."""
    names = [quoted(dialect, column.name) for column in key]
    values = [[literal(dialect, c.kind, text) for c, text in zip(key, texts, strict=True)] for texts in keys]
    if len(names) == 1:
        return f"{names[0]} IN ({', '.join(value for (value,) in values)})"
    rows = (" AND ".join(f"{name} = {value}" for name, value in zip(names, row, strict=True)) for row in values)
    return " OR ".join(f"({row})" for row in rows)


def quoted(dialect: Dialect, name: str) -> str:
    """A name of a table or column in the SQL of a source."""
    return quote_mysql(name) if dialect == "mysql" else quote_sqlite(name)


def greatest_position(columns: Sequence[SourceColumn], batch: pa.RecordBatch) -> tuple[str, ...] | None:
    """The greatest values of these columns, compared in order, of the rows that have no NULL in them; or None."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [column.name for column in columns]
    rows = pa.Table.from_batches([batch]).select(names).drop_null()
    if not rows.num_rows:
        return None
    if any(_is_number(column) and pa.types.is_string(rows[column.name].type) for column in columns):
        texts = zip(*(rows[name].to_pylist() for name in names), strict=True)
        return max((tuple(map(_text, row)) for row in texts), key=position_order(columns))
    values = []
    for name in names:
        greatest = pc.max(rows[name])
        values.append(_text(greatest.as_py()))
        rows = rows.filter(pc.equal(rows[name], greatest))
    return tuple(values)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def position_order(columns: Sequence[SourceColumn]) -> Callable[[Sequence[str]], tuple[Any, ...]]:
    """A function to compare positions with, as `key=`, given the columns of cursor and key in order.

    The empty position comes first.
    """
    return lambda position: tuple(_comparable(column, text) for column, text in zip(columns, position, strict=False))


def _comparable(column: SourceColumn, text: str) -> Any:
    if not _is_number(column):
        return text
    # Texts that are not numbers come behind numbers, as in SQLite.
    return (0, Decimal(text), "") if re.fullmatch(_FORMS["float"], text) else (1, Decimal(), text)


def _is_number(column: SourceColumn) -> bool:
    # A decimal of MySQL with more than 38 digits is a text.
    return column.physical_type.startswith((FLOAT, "NUMBER")) or column.source_type.startswith("decimal")
