"""Open the files of typed records: Parquet, and JSON lines of quarantined records that are replayed.

A damaged file can make DuckDB refuse all further work of an instance. So a file is read once by an instance of its
own, which keeps nothing, before the session reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.model import Dialect
from pipeline_assets.engine.duckdb.inputs import path_list, quoted
from pipeline_assets.engine.formats.csv.dialect import decompressed, normalized_header
from pipeline_assets.engine.formats.csv.record_parser import PushBack, parser
from pipeline_assets.engine.formats.json.documents import LARGEST_RECORD
from pipeline_assets.engine.formats.parquet.record_sql import (
    TypedColumn,
    kind_of,
    records_of,
    text_of,
    typed_header,
)
from pipeline_assets.engine.interface import SourceFile
from pipeline_assets.engine.validation_query import Columns, match_columns
from pipeline_assets.errors import RejectedObjectError

if TYPE_CHECKING:
    import duckdb
    import numpy as np

PARQUET_NAME = re.compile("[.]parquet([.]gz)?$", re.IGNORECASE)
_MAGIC = b"PAR1"
_ENCRYPTED = b"PARE"
_DAMAGED = "The Parquet file is damaged, or is of a kind that cannot be read"
_MOST_DIGITS = 38  # of a decimal in DuckDB and Snowflake; DuckDB reads longer ones as doubles


@dataclass(frozen=True)
class TypedFile:
    """A readable file on the local disk, decompressed, with its columns and how they match those of the contract."""

    path: Path
    columns: tuple[TypedColumn, ...]
    matched: Columns

    @property
    def header(self) -> tuple[str, ...]:
        """The columns as they are kept with a quarantined record."""
        return tuple(map(str, self.columns))


def is_typed(file: SourceFile, contract: Contract) -> bool:
    """Whether a landed file is Parquet, by its name, or a replayed one has records of a Parquet file."""
    if contract.form == "json":
        return False
    if file.waiting:
        assert file.path is not None  # the platform writes replay files
        return bool(_replayed_columns(file.path, contract.dialect))
    return PARQUET_NAME.search((file.place or file.landed).uri) is not None


def _replayed_columns(path: Path, dialect: Dialect) -> tuple[TypedColumn, ...]:
    with open(path, encoding="utf-8", newline="") as file:
        lines = PushBack(file)
        _, fields, _ = parser(dialect).one_record(lines.take() or "", lines)
    return typed_header(fields or ())


class TypedFileOpener:
    """Opens files before `connection` reads them, with its limits; times with a zone are read in UTC."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        names = ("memory_limit", "threads")
        settings = ", ".join(f"current_setting({quoted(name)})" for name in names)
        (values,) = connection.execute(f"SELECT {settings}").fetchall()
        # A second instance with the same folder would delete the files of the first.
        self._settings: dict[str, Any] = dict(zip(names, values, strict=True)) | {"temp_directory": ""}
        self._reader: duckdb.DuckDBPyConnection | None = None

    def open(self, path: Path, contract: Contract, target: Path, *, waiting: bool) -> TypedFile:
        """Open a file; `target` is for its decompressed content.

        Raises:
            RejectedObjectError: it cannot be read, names a column twice, or a required column is missing.
        """
        if waiting:
            with open(path, "rb") as lines:
                if path.stat().st_size > LARGEST_RECORD and any(len(line) > LARGEST_RECORD for line in lines):
                    raise _unreadable(f"A record is larger than {LARGEST_RECORD >> 20} MB")
            columns, rows = _replayed_columns(path, contract.dialect), 0
        else:
            path = decompressed(path, target)
            columns, rows = self.examine(path, contract.column_names)
        try:
            return TypedFile(path, columns, match_columns(contract, [column.name for column in columns]))
        except RejectedObjectError as rejection:
            rejection.rows = rows
            raise

    def examine(self, path: Path, names: Sequence[str]) -> tuple[tuple[TypedColumn, ...], int]:
        """The columns of a Parquet file and the number of its records; reads all of its values.

        `names` are the columns of a contract; a column that differs from one only in case gets its name.

        Raises:
            RejectedObjectError: it cannot be read, or names a column twice.
        """
        import duckdb

        _refuse_other_format(path)
        described = f"DESCRIBE SELECT * FROM read_parquet({path_list([path])}, hive_partitioning = false)"
        self._reader = self._reader or duckdb.connect(":memory:", config=self._settings)
        try:
            fields = self._reader.execute(
                f"SELECT name, COALESCE(num_children, 0), type, precision FROM parquet_schema({path_list([path])})"
            ).fetchall()
            types = [row[1] for row in self._reader.execute(described).fetchall()]
            unnamed = [TypedColumn("", kind_of(type_name), type_name) for type_name in types]
            values = [text_of(f"X{n}", c.type) if c.kind == "json" else f"X{n}" for n, c in enumerate(unnamed)]
            ((rows, _),) = self._reader.execute(
                f"SELECT COUNT(*), bit_xor(hash({', '.join(values)})) FROM {records_of([path], unnamed)}"
            ).fetchall()
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error:  # its message may show a value
            self._reader = None
            raise _unreadable(_DAMAGED) from None
        top_level = _top_level(fields)
        if len(top_level) != len(types):
            raise _unreadable(_DAMAGED)
        if any(precision and precision > _MOST_DIGITS for *_, precision in fields):
            raise _unreadable(
                f"The Parquet file has decimals of more than {_MOST_DIGITS} digits",
                f"Deliver them as decimals of at most {_MOST_DIGITS} digits, or as text.",
            )
        if _has_nanoseconds(path, [name for name, _, type_name, _ in top_level if type_name == "INT96"]):
            raise _unreadable(
                "The Parquet file has timestamps of the type INT96 with digits below a microsecond",
                "Deliver them as TIMESTAMP with the unit NANOS.",
            )
        stored = [name for name, *_ in top_level]
        if any("\0" in name for name in stored):
            raise _unreadable("The Parquet file has a column name with a NUL character")
        header = normalized_header(stored, names)
        columns = (TypedColumn(name, kind_of(t), t, own) for name, t, own in zip(header, types, stored, strict=True))
        return tuple(columns), rows


def _refuse_other_format(path: Path) -> None:
    with open(path, "rb") as file:
        first = file.read(len(_MAGIC))
        file.seek(-min(len(_MAGIC), path.stat().st_size), 2)
        last = file.read()
    if _ENCRYPTED in (first, last):
        raise _unreadable("The Parquet file is encrypted", "Deliver it without encryption of its own.")
    if first != _MAGIC:
        raise _unreadable("The file is not a Parquet file, though its name ends in .parquet")
    if last != _MAGIC:
        raise _unreadable("The Parquet file is truncated")


def _unreadable(what: str, remedy: str = "Deliver the file again.") -> RejectedObjectError:
    return RejectedObjectError(f"{what}.", code="unreadable_object", remedy=remedy)


def _top_level(fields: Sequence[tuple]) -> list[tuple]:
    """The columns among all fields (name, number of children, …), which follow their parents."""
    columns, left = [], 0
    for field in fields[1:]:
        if not left:
            columns.append(field)
            left = 1
        left += field[1] - 1
    return columns


def _has_nanoseconds(path: Path, names: list[str]) -> bool:
    """Whether a column of the old type INT96 has digits below a microsecond, which DuckDB 2.0.0 cuts off."""
    if not names:
        return False
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    def numbers(unit: str) -> Iterator[np.ndarray]:
        for batch in pq.ParquetFile(path, coerce_int96_timestamp_unit=unit).iter_batches(columns=names):
            yield from (np.asarray(values.cast(pa.int64()).fill_null(0)) for values in batch.columns)

    try:
        # Nanoseconds of years beyond 2262 wrap around, and so does the product.
        return any((exact != cut * 1000).any() for exact, cut in zip(numbers("ns"), numbers("us"), strict=True))
    except (pa.ArrowException, OSError):
        raise _unreadable(_DAMAGED) from None
