"""Statements inside one transaction, and errors of the warehouse as ours.

The emulator accepts more than Snowflake: `Transaction.execute` rejects statements that would commit in Snowflake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts.names import bindable
from pipeline_assets.errors import ConfigurationError, PipelineError, WarehouseError, one_line
from pipeline_assets.sqlfiles import statement_kind
from pipeline_assets.warehouse.error_messages import remedy_for

if TYPE_CHECKING:
    import pyarrow as pa

# In Snowflake each of these ends the open transaction with a commit.
_COMMITTING = frozenset(
    {"ALTER", "COMMENT", "CREATE", "DROP", "GRANT", "RENAME", "REVOKE", "TRUNCATE", "UNDROP", "USE"}
    | {"CALL", "EXECUTE"}  # they may run any of these
)
_TRANSACTION = frozenset({"BEGIN", "COMMIT", "ROLLBACK", "START"})
# Text is loaded unchanged, whatever Snowflake's defaults are: it is not trimmed, and no text becomes NULL.
FORMAT = "FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE TRIM_SPACE = FALSE NULL_IF = ())"
COPY_FILES_LIMIT = 1000  # names that Snowflake takes in FILES = (…)
# The place of `rows_loaded` in a row of COPY's result, https://docs.snowflake.com/en/sql-reference/sql/copy-into-table;
# if there was no file to load, the result has one column. Reading its names would cost the emulator a statement.
_ROWS_LOADED = 3
# Values for `%(name)s`, or for each `%s` in order; see `run_statement`.
Params = Mapping[str, object] | Sequence[object]


class Transaction:
    """Statements inside one transaction. `statements` keeps their SQL for the run's metadata."""

    def __init__(self, connection: Any, *, transactional: bool = True) -> None:
        self._connection = connection
        self._transactional = transactional
        self.statements: list[str] = []

    def execute(self, sql: str, params: Params | None = None) -> int:
        """Run one statement; returns the number of rows it affected.

        Raises:
            WarehouseError: the statement failed, or would commit the transaction in Snowflake.
        """
        return int(self._cursor(sql, params).rowcount or 0)

    def rows(self, sql: str, params: Params | None = None) -> list[tuple]:
        """All rows of a query."""
        return self._cursor(sql, params).fetchall()

    def scalar(self, sql: str, params: Params | None = None) -> Any:
        """The first value of the first row, or None."""
        row = self._cursor(sql, params).fetchone()
        return row[0] if row else None

    def arrow(self, sql: str, params: Params | None = None) -> Iterator[pa.Table]:
        """The rows of a query as Arrow tables, for results too large for Python objects.

        The driver chooses the types, which may differ between the tables of one query.

        Raises:
            WarehouseError: the statement failed, or the connection was lost.
        """
        cursor = self._cursor(sql, params)
        with _warehouse_errors(sql):
            yield from cursor.fetch_arrow_batches()

    def arrow_table(self, sql: str) -> pa.Table:
        """All rows of a query as one Arrow table, which has its columns also if there are no rows.

        Raises:
            ConfigurationError: two columns have the same name.
            WarehouseError: the statement failed, or the connection was lost.
        """
        import pyarrow as pa

        cursor = self._cursor(sql, None)
        names = distinct(_column_names(cursor))
        with _warehouse_errors(sql):
            tables = list(cursor.fetch_arrow_batches()) or [cursor.fetch_arrow_all(force_return_table=True)]
        return pa.concat_tables(tables, promote_options="permissive").rename_columns(names)

    def described(self, sql: str, params: Params | None = None) -> tuple[list[str], list[tuple]]:
        """Column names and rows of any statement."""
        cursor = self._cursor(sql, params)
        return _column_names(cursor), cursor.fetchall()

    def to_parquet(self, sql: str, schema: pa.Schema, path: Path, params: Params | None = None) -> int:
        """Write a query's rows to a Parquet file of that schema; returns the number of rows."""
        import pyarrow.parquet as pq

        written = 0
        with pq.ParquetWriter(path, schema) as writer:
            for rows in self.arrow(sql, params):
                # The driver may write a name in capitals, and choose another type for a column in each table.
                rows = rows.rename_columns([name.upper() for name in rows.column_names])
                rows = rows.select([name.upper() for name in schema.names]).rename_columns(schema.names)
                writer.write_table(rows.cast(schema))
                written += rows.num_rows
        return written

    def copy(self, table: str, stage: str, keys: Sequence[str]) -> int:
        """COPY Parquet files of an external stage into a table, by column name; returns the rows loaded."""
        loaded = 0
        for start in range(0, len(keys), COPY_FILES_LIMIT):
            files = keys[start : start + COPY_FILES_LIMIT]
            cursor = self._cursor(
                f"COPY INTO {bindable(table)} FROM @{stage} FILES = ({', '.join(['%s'] * len(files))}) {FORMAT} "
                "MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE",
                files,
            )
            loaded += sum(row[_ROWS_LOADED] for row in cursor.fetchall() if len(row) > _ROWS_LOADED)
        return loaded

    def _cursor(self, sql: str, params: Params | None) -> Any:
        kind = statement_kind(sql)
        if self._transactional and kind in _COMMITTING | _TRANSACTION:
            raise WarehouseError(
                f"{kind} inside a transaction: Snowflake would commit the open transaction.",
                remedy="Run it before the transaction begins.",
            )
        self.statements.append(sql)
        return run_statement(self._connection, sql, params)


def distinct(names: list[str]) -> list[str]:
    """The names of a result's columns, which must differ: the embedded driver returns one value for equal names.

    Raises:
        ConfigurationError: two columns have the same name.
    """
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigurationError(
            f"Columns have the same name: {', '.join(map(repr, repeated))}.", remedy="Name them with AS."
        )
    return names


def _column_names(cursor: Any) -> list[str]:
    try:
        return [column[0] for column in cursor.description or []]
    except NotImplementedError as error:  # from the emulator, for types that Snowflake lacks
        raise WarehouseError(
            f"The embedded warehouse cannot return a column of this type ({error}).", remedy="Cast it: …::VARCHAR."
        ) from None


def run_statement(connection: Any, sql: str, params: Params | None = None) -> Any:
    """Run one statement and return its cursor; raises errors of the warehouse as ours, on one line.

    Both drivers write a list as its values with commas between them, for `IN (%(name)s)`; an empty one becomes NULL,
    which no value equals. Do not use an empty list with NOT IN: no row would match.
    """
    with _warehouse_errors(sql):
        cursor = connection.cursor()
        return cursor.execute(sql, _bound(params)) if params is not None else cursor.execute(sql)


def _bound(params: Params) -> dict[str, object] | tuple[object, ...]:
    if not isinstance(params, Mapping):
        return tuple(params)
    return {
        name: (list(value) or [None]) if isinstance(value, (list, tuple)) else value for name, value in params.items()
    }


@contextmanager
def _warehouse_errors(sql: str) -> Iterator[None]:
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        if not is_database_error(error):
            raise
        raise WarehouseError(
            f"The warehouse refused `{_first_words(sql)}`: {driver_message(error)}", remedy=remedy_for(error)
        ) from error


def roll_back(connection: Any) -> None:
    """Roll back; if the connection is lost, the warehouse rolls back itself."""
    try:
        connection.cursor().execute("ROLLBACK")
    except Exception as error:
        if not is_database_error(error):
            raise


def is_database_error(error: Exception) -> bool:
    """Whether an exception comes from the driver, Snowflake or DuckDB, and not from a fault in our code."""
    return any(base.__module__.partition(".")[0] in ("snowflake", "duckdb", "_duckdb") for base in type(error).__mro__)


def driver_message(error: Exception) -> str:
    """The first two lines of a driver's message, on one line; further ones are advice and positions."""
    return one_line("\n".join([line for line in str(error).splitlines() if line.strip()][:2]))


def _first_words(sql: str) -> str:
    words = " ".join(line for line in sql.split("\n") if not line.startswith("--")).split()
    return " ".join(words[:6]) + (" …" if len(words) > 6 else "")
