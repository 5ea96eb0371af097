"""Read tables of MySQL and MariaDB: their columns and clock through PyMySQL, their rows through connectorx.

One SELECT over one connection is one snapshot of InnoDB. Its session is in UTC.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pipeline_assets.errors import ConfigurationError, PipelineError, SourceError, masked, one_line
from pipeline_assets.reviews import mysql_reader
from pipeline_assets.reviews.position import Dialect
from pipeline_assets.reviews.source import SETTING, Times, no_table
from pipeline_assets.reviews.types import MappedColumn, MySqlType, mysql_column, quote_mysql

if TYPE_CHECKING:
    import pyarrow as pa
    from pymysql.connections import Connection
    from sqlalchemy.engine import URL

PATIENCE = 600.0  # seconds without a batch of rows after which an extract fails
_CONNECT_SECONDS = 10
_BATCH_ROWS, _BATCH_BYTES = 25_000, 4_000_000
_LONG_ROWS = 2_000  # of a batch with texts or bytes of any length
_FLAGS = 32  # of a number, which connectorx reads as one of 64 bits
# An empty mode refuses no date, pads no CHAR and quotes as always; the server waits for us as long as we for it.
_SESSION = f"SET SESSION time_zone = '+00:00', sql_mode = '', net_write_timeout = {PATIENCE:.0f}"
_DENIED, _UNKNOWN = (1044, 1045, 1142, 1143, 1227, 1698), (1049, 1054, 1146)
_COLUMNS = """
    SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION,
        NUMERIC_SCALE, IS_NULLABLE
    FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION
"""
_INDEXED = """
    SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s AND SEQ_IN_INDEX = 1
"""


@contextmanager
def open_mysql(url: URL) -> Iterator[MySqlSource]:
    """A server's database.

    Raises:
        ConfigurationError: the server refuses the user, has no such database, or the URL has other parameters.
        SourceError: the server cannot be reached.
    """
    import pymysql

    label = f"mysql://{url.host or 'localhost'}/{url.database}"
    if unknown := sorted(set(url.query) - {"charset", "ssl_ca"}):
        raise ConfigurationError(
            f"{SETTING} has parameters that extracts do not support: {', '.join(unknown)}.", remedy="Remove them."
        )
    authority = url.query.get("ssl_ca")
    if authority and not Path(str(authority)).is_file():
        raise ConfigurationError(f"The file ssl_ca of {SETTING} does not exist.", remedy="Correct its path.")
    tls = {"ssl_ca": authority, "ssl_verify_cert": True, "ssl_verify_identity": True} if authority else {}
    with _errors(label):
        connection = pymysql.connect(
            host=url.host or "localhost",
            port=url.port or 3306,
            user=url.username,
            password=str(url.password or ""),
            database=url.database,
            charset="utf8mb4",
            connect_timeout=_CONNECT_SECONDS,
            autocommit=True,  # each statement is a snapshot of its own
            read_timeout=PATIENCE,
            **tls,
        )
    try:
        yield MySqlSource(label, url, connection)
    finally:
        connection.close()


class MySqlSource:
    """See `source.Source`."""

    dialect: Dialect = "mysql"

    def __init__(self, label: str, url: URL, connection: Connection) -> None:
        self.label, self._url, self._connection = label, url, connection

    def columns(self, table: str) -> tuple[MappedColumn, ...]:
        # Names in information_schema are compared without case, but tables may differ by case alone.
        found = [row[1:] for row in self.rows(_COLUMNS, table) if row[0] == table]
        if not found:
            raise no_table(self.label, table, [row[0] for row in self.rows("SHOW TABLES")])
        return tuple(
            mysql_column(
                table, name, MySqlType(kind.lower(), full, length, precision, scale), nullable=nullable == "YES"
            )
            for name, kind, full, length, precision, scale, nullable in found
        )

    def indexed(self, table: str) -> set[str]:
        return {column for name, column in self.rows(_INDEXED, table) if name == table}

    def times(self) -> Times:
        ((own, utc),) = self.rows("SELECT NOW(6), UTC_TIMESTAMP(6)")
        return Times(utc, min(own, utc))

    def rows(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        with _errors(self.label), self._connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())

    def read(
        self, table: str, columns: Sequence[MappedColumn], condition: str, scratch: Path, invalid: Counter[str]
    ) -> Generator[pa.RecordBatch, None, None]:
        import pyarrow as pa

        names = [column.name for column in columns]
        # Others have no NULL of their own, though MySQL says so of a DATE 0000-00-00.
        flagged = [column.name for column in columns if column.makes_null and column.nullable]
        request = {
            "url": self._connectorx_url(),
            "before": [_SESSION],
            "query": _select(table, columns, flagged, condition),
            "batch_rows": self._batch_rows(table, columns),
            "folder": str(scratch),
        }
        for batch in _batches(request, f"{self.label}, table {table}"):
            arrays = [
                self._converted(table, column, array) for column, array in zip(columns, batch.columns, strict=False)
            ]
            nulls = _count_flags(batch.columns[len(columns) :], flagged)
            for column, array in zip(columns, arrays, strict=True):
                if column.makes_null and (count := array.null_count - nulls[column.name]):
                    invalid[column.name] += count
            yield pa.record_batch(arrays, names=names)

    def _converted(self, table: str, column: MappedColumn, array: pa.Array) -> pa.Array:
        import pyarrow as pa

        try:
            return column.convert(array) if column.convert else array
        except pa.ArrowInvalid:  # its message has values
            raise SourceError(
                f"{self.label}, table {table}: values of {column.name} are not of the type "
                f"{column.column.source_type}; the table was changed during the extract.",
                remedy="Nothing landed; run again.",
            ) from None

    def _connectorx_url(self) -> str:
        url = self._url
        user, password, database = (
            quote(str(part or ""), safe="") for part in (url.username, url.password, url.database)
        )
        milliseconds = _CONNECT_SECONDS * 1000
        authority = url.query.get("ssl_ca")
        tls = f"&ssl-mode=VERIFY_IDENTITY&ssl-ca={quote(str(authority))}" if authority else ""
        return (
            f"mysql://{user}:{password}@{url.host or 'localhost'}:{url.port or 3306}/{database}"
            f"?tcp_connect_timeout_ms={milliseconds}&tcp_keepalive_time_ms={milliseconds}{tls}"
        )

    def _batch_rows(self, table: str, columns: Sequence[MappedColumn]) -> int:
        """Rows of a batch, fewer if they are long by the server's estimate, which may be of yesterday."""
        sizes = self.rows(
            "SELECT COALESCE(MAX(AVG_ROW_LENGTH), 0) FROM information_schema.TABLES "
            "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s",
            table,
        )
        is_long = any(re.search("text|blob|json", column.column.source_type) for column in columns)
        return max(1, min(_LONG_ROWS if is_long else _BATCH_ROWS, _BATCH_BYTES // max(1, int(sizes[0][0]))))


def _select(table: str, columns: Sequence[MappedColumn], flagged: Sequence[str], condition: str) -> str:
    """The SELECT of an extract; behind its columns are numbers whose bits say which of `flagged` are NULL."""
    values = [f"{column.expression} AS {quote_mysql(column.name)}" for column in columns]
    for start in range(0, len(flagged), _FLAGS):
        bits = (f"({quote_mysql(name)} IS NULL) << {bit}" for bit, name in enumerate(flagged[start : start + _FLAGS]))
        values.append(f"{' | '.join(bits)} AS `{start}.`")
    where = f" WHERE {condition}" if condition else ""
    return f"SELECT {', '.join(values)} FROM {quote_mysql(table)}{where}"


def _count_flags(numbers: Sequence[pa.Array], flagged: Sequence[str]) -> Counter[str]:
    """How many values of each column were NULL in the source."""
    counts: Counter[str] = Counter()
    for position, array in enumerate(numbers):
        for found in array.value_counts():
            flags, count = found["values"].as_py(), found["counts"].as_py()
            for bit, name in enumerate(flagged[position * _FLAGS : (position + 1) * _FLAGS]):
                counts[name] += count if flags >> bit & 1 else 0
    return counts


def _batches(request: dict[str, Any], what: str) -> Iterator[pa.RecordBatch]:
    """The batches that the reading process writes; each file is deleted once it is read."""
    import pyarrow as pa

    process = subprocess.Popen(
        # Without the folder of the script on the path, where a module has the name of one of Python's own.
        [sys.executable, "-P", mysql_reader.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # panics show values there
    )
    try:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
        for line in _lines(process.stdout.fileno(), what):
            if line == "end":
                return
            if line.startswith("error "):
                raise _failed(json.loads(line.removeprefix("error ")), what)
            path = Path(request["folder"]) / f"{line}.arrow"
            with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
                batch = stream.read_next_batch()
            path.unlink()  # the memory keeps the bytes as long as the batch
            yield batch
        raise SourceError(f"The process that reads {what} ended.", remedy="Nothing landed; run again.")
    finally:
        process.kill()
        process.wait()


def _lines(file: int, what: str) -> Iterator[str]:
    rest = b""
    while select.select([file], [], [], PATIENCE)[0]:
        data = os.read(file, 65_536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode() for line in lines)
    raise SourceError(f"{what} sent no rows for {PATIENCE:.0f} seconds.", remedy="Nothing landed; run again.")


@contextmanager
def _errors(what: str) -> Iterator[None]:
    from pymysql.err import Error

    try:
        yield
    except Error as error:
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        raise _explained(code, one_line(error.args[-1] if error.args else error), what) from None


def _failed(message: str, what: str) -> PipelineError:
    code = re.search(r"ERROR (\d+) \(", message)
    if code:
        return _explained(int(code[1]), one_line(message.partition("): ")[2].rstrip("} ")), what)
    # Values of a row are between backticks or quotes.
    return _explained(0, re.sub(r"`[^`]*`|\"[^\"]*\"|'[^']*'", "a value", one_line(message)), what)


def _explained(code: int, message: str, what: str) -> PipelineError:
    shown = masked(message)[:300]
    if code in _DENIED:
        return ConfigurationError(
            f"{what} refuses the user (error {code}).",
            remedy=f"Correct user and password in {SETTING}, or grant SELECT on the listed tables.",
        )
    if code in _UNKNOWN:
        return ConfigurationError(
            f"{what} refuses a name: {shown}.", remedy=f"Correct {SETTING} or the list of tables."
        )
    return SourceError(f"{what} failed: {shown}.", remedy=f"Nothing landed; check {SETTING} and run again.")
