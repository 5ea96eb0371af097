"""Read tables of a SQLite file. SQLite keeps any value in any column, so all are extracted as texts.

An integer is its digits, a real the shortest digits that are read as the same number, a BLOB its bytes in hex.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.errors import ConfigurationError, SourceError, one_line
from pipeline_assets.reviews.position import Dialect
from pipeline_assets.reviews.source import SETTING, Times, no_table
from pipeline_assets.reviews.types import MappedColumn, quote_sqlite, sqlite_column

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 2_000
_LOCK_SECONDS = 30


def require_file(database: str) -> None:
    """Raises ConfigurationError if the SQLite file does not exist."""
    if not Path(database).is_file():
        # `sqlite:///tmp/shop.db` reads as absolute, and is tmp/shop.db in the current folder.
        slashes = "" if Path(database).is_absolute() else " An absolute one begins after four slashes: sqlite:////path."
        raise ConfigurationError(
            f"The SQLite file {database} of {SETTING} does not exist.", remedy=f"Correct the path.{slashes}"
        )


@contextmanager
def open_sqlite(database: str) -> Iterator[SqliteSource]:
    """A SQLite file, read-only.

    Raises:
        ConfigurationError: it is not a database.
    """
    path = Path(database).absolute()
    label = f"sqlite:{path.name}"
    with closing(
        sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_LOCK_SECONDS, isolation_level=None)
    ) as connection:
        connection.text_factory = lambda text: text.decode("utf-8", "backslashreplace")
        yield SqliteSource(label, connection)


class SqliteSource:
    """See `source.Source`."""

    dialect: Dialect = "sqlite"

    def __init__(self, label: str, connection: sqlite3.Connection) -> None:
        self.label, self._connection = label, connection

    def columns(self, table: str) -> tuple[MappedColumn, ...]:
        with _errors(self.label):
            tables = [row[0] for row in self._connection.execute("SELECT name FROM pragma_table_list")]
            # Hidden columns of virtual tables have 1; generated ones 2 and 3.
            found = self._connection.execute(
                'SELECT name, type, "notnull" FROM pragma_table_xinfo(?) WHERE hidden <> 1', (table,)
            ).fetchall()
        if table not in tables or not found:
            raise no_table(self.label, table, [name for name in tables if not name.startswith("sqlite_")])
        return tuple(sqlite_column(name, declared, nullable=not required) for name, declared, required in found)

    def indexed(self, table: str) -> set[str]:
        columns = "SELECT i.name FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i WHERE i.seqno = 0"
        key = "SELECT name FROM pragma_table_info(?) WHERE pk = 1"  # an INTEGER PRIMARY KEY has no index of its own
        with _errors(self.label):
            return {name for (name,) in self._connection.execute(f"{columns} UNION {key}", (table, table))}

    def times(self) -> Times:
        utc = datetime.now(UTC).replace(tzinfo=None)
        return Times(utc, min(utc, datetime.now().astimezone().replace(tzinfo=None)))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with _errors(self.label):
            return self._connection.execute(sql).fetchall()

    def read(
        self, table: str, columns: Sequence[MappedColumn], condition: str, scratch: Path, invalid: Counter[str]
    ) -> Generator[pa.RecordBatch, None, None]:
        import pyarrow as pa

        names = [column.name for column in columns]
        where = f" WHERE {condition}" if condition else ""
        values = ", ".join(column.expression for column in columns)
        with _errors(f"{self.label}, table {table}"):
            rows = self._connection.execute(f"SELECT {values} FROM {quote_sqlite(table)}{where}")
            while chunk := rows.fetchmany(_BATCH_ROWS):
                arrays = [pa.array(map(_text, column), pa.string()) for column in zip(*chunk, strict=True)]
                yield pa.record_batch(arrays, names=names)


def _text(value: str | float | bytes | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return value.hex().upper() if isinstance(value, bytes) else str(value)


@contextmanager
def _errors(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        message = one_line(error)
        if "locked" in message or "busy" in message:
            raise SourceError(f"{what} failed: {message}.", remedy="Nothing landed; run again.") from None
        raise ConfigurationError(f"{what} cannot be read: {message}.", remedy=f"Check {SETTING}.") from None
