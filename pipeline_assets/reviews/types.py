"""How columns of MySQL, MariaDB and SQLite map to Snowflake types, and the SELECT expressions that yield their values.

docs/reviews.md has the same as a table. A value that Snowflake's type lacks (a date 0000-00-00) becomes NULL, and is
counted; nothing else is changed. SQLite does not enforce the types of columns: its values are extracted as texts, and
validated when they are loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.reviews.columns import SourceColumn

if TYPE_CHECKING:
    import pyarrow as pa

# How values are compared and written as literals. `label` may be in a key and not in a cursor, `opaque` in neither.
Kind = Literal["number", "float", "date", "timestamp", "text", "binary", "label", "opaque"]

TIMESTAMP, DATE, FLOAT, TEXT = "TIMESTAMP_NTZ(6)", "DATE", "FLOAT", "VARCHAR"
_DIGITS = 38  # of Snowflake's NUMBER
_INTEGERS = {"tinyint": 3, "smallint": 5, "mediumint": 8, "int": 10, "bigint": 19}
_TEXTS = ("tinytext", "text", "mediumtext", "longtext")
_BINARY = ("binary", "varbinary")
_BLOBS = ("tinyblob", "blob", "mediumblob", "longblob")
_GEOMETRIES = (
    *("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"),
    *("geometrycollection", "geomcollection"),
)
_LABELS = ("time", "enum", "set", "uuid", "inet4", "inet6")


@dataclass(frozen=True)
class MappedColumn:
    """A column of a source with what it takes to extract it.

    `expression` is SQL over the quoted column; `makes_null` says that it makes NULL of some values, `nullable` that the
    source has NULL as well. `convert` makes the array that is written of the one that was read.
    """

    column: SourceColumn
    kind: Kind
    expression: str
    nullable: bool = True
    makes_null: bool = False
    convert: Callable[[pa.Array], pa.Array] | None = None

    @property
    def name(self) -> str:
        return self.column.name


@dataclass(frozen=True)
class MySqlType:
    """A column as information_schema describes it; `name` is the type without arguments, in lower case."""

    name: str
    full: str
    length: int | None = None
    precision: int | None = None
    scale: int | None = None


def quote_mysql(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def quote_sqlite(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def mysql_column(table: str, name: str, declared: MySqlType, *, nullable: bool) -> MappedColumn:
    """A column of MySQL or MariaDB, mapped.

    Raises:
        ConfigurationError: its type is not in the mapping.
    """
    quoted = quote_mysql(name)

    def mapped(
        physical: str,
        kind: Kind,
        expression: str = quoted,
        *,
        valid: str | None = None,
        convert: Callable[[pa.Array], pa.Array] | None = None,
        sized: bool = False,
    ) -> MappedColumn:
        if valid is not None:
            expression = f"IF({valid}, {quoted}, NULL)"
        column = SourceColumn(name, declared.full, physical, nullable or valid is not None, sized)
        return MappedColumn(column, kind, expression, nullable, valid is not None, convert)

    kind = declared.name
    if kind in _INTEGERS:
        unsigned = kind == "bigint" and "unsigned" in declared.full
        return mapped(f"NUMBER({20 if unsigned else _INTEGERS[kind]},0)", "number", sized=True)
    if kind == "decimal":
        precision, scale = declared.precision or 10, declared.scale or 0
        as_text = f"CAST({quoted} AS CHAR)"
        if precision > _DIGITS:
            return mapped(TEXT, "number", as_text)
        # connectorx reads decimals with 10 digits behind the point, and 28 in all.
        is_read = scale <= 10 and precision - scale <= 18
        return mapped(
            f"NUMBER({precision},{scale})",
            "number",
            quoted if is_read else as_text,
            convert=_to_decimal(precision, scale),
            sized=True,
        )
    if kind in ("float", "double"):
        return mapped(FLOAT, "float", convert=_to_double)
    if kind == "bit":
        return mapped("NUMBER(20,0)", "number", f"CAST({quoted} AS UNSIGNED)", sized=True)
    if kind == "year":
        return mapped("NUMBER(4,0)", "number", valid=f"{quoted} > 0", sized=True)
    if kind == "timestamp":
        return mapped(TIMESTAMP, "timestamp", valid=f"YEAR({quoted}) > 0")  # its only invalid value is zero
    if kind in ("date", "datetime"):
        # Neither zero dates nor days and months 0, days beyond the end of their month, or the year 0.
        valid = f"FROM_DAYS(TO_DAYS({quoted})) = DATE({quoted})"
        return mapped(DATE if kind == "date" else TIMESTAMP, "date" if kind == "date" else "timestamp", valid=valid)
    if kind in ("char", "varchar"):
        return mapped(f"VARCHAR({max(1, declared.length or 1)})", "text", sized=True)
    if kind in _TEXTS:
        return mapped(TEXT, "text")
    if kind in _BINARY:
        return mapped(TEXT, "binary", convert=_to_hex)
    if kind in _BLOBS:
        return mapped(TEXT, "opaque", convert=_to_hex)
    if kind in _LABELS or kind == "json":
        return mapped(TEXT, "opaque" if kind == "json" else "label", f"CAST({quoted} AS CHAR)")
    if kind in _GEOMETRIES:
        return mapped(TEXT, "opaque", f"ST_AsText({quoted})")
    raise ConfigurationError(
        f"The column {name} of the table {table} has the type {declared.full}, which cannot be extracted.",
        remedy="See the types in docs/reviews.md; list a view without the column in place of the table.",
    )


def sqlite_column(name: str, declared: str, *, nullable: bool) -> MappedColumn:
    """A column of SQLite, mapped by its declared type, which may be empty, as SQLite derives affinities from it."""
    quoted, upper = quote_sqlite(name), declared.upper()
    number = re.fullmatch(r"\s*(?:DECIMAL|NUMERIC|NUMBER)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)\s*", upper)
    physical: str
    kind: Kind
    if upper.startswith(("DATETIME", "TIMESTAMP")):
        physical, kind = TIMESTAMP, "timestamp"
    elif upper.startswith("DATE"):
        physical, kind = DATE, "date"
    elif "INT" in upper:
        physical, kind = "NUMBER(19,0)", "number"
    elif "BOOL" in upper:
        physical, kind = "NUMBER(1,0)", "number"
    elif number and 1 <= int(number[1]) <= _DIGITS and int(number[2] or 0) <= int(number[1]):
        physical, kind = f"NUMBER({number[1]},{number[2] or 0})", "number"
    elif any(word in upper for word in ("REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL", "NUMBER")):
        physical, kind = FLOAT, "float"
    elif "BLOB" in upper or not upper.strip():
        physical, kind = TEXT, "opaque" if upper.strip() else "label"
    else:
        physical, kind = TEXT, "text"
    return MappedColumn(SourceColumn(name, declared, physical, nullable, kind == "number"), kind, quoted, nullable)


def _to_decimal(precision: int, scale: int) -> Callable[[pa.Array], pa.Array]:
    def convert(array: pa.Array) -> pa.Array:
        import pyarrow as pa

        return array.cast(pa.decimal128(precision, scale))

    return convert


def _to_double(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    return array.cast(pa.float64())


def _to_hex(array: pa.Array) -> pa.Array:
    # HEX() in the server would make NULL of what exceeds its max_allowed_packet.
    import pyarrow as pa

    return pa.array([None if value is None else value.hex().upper() for value in array.to_pylist()], pa.string())
