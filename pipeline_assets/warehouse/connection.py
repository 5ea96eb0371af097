"""One transaction at a time: open, begin, commit or roll back, close.

The same code drives Snowflake and its embedded stand-in, through `dagster_snowflake`'s resource. That resource
(0.29.27) neither closes nor rolls back when the body raises, so the connection is taken from it and closed here.
The stand-in is kinder than Snowflake; `Transaction.execute` refuses what Snowflake would refuse or silently commit.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts.ddl import Table, literal
from pipeline_assets.errors import ConfigurationError, PipelineError, WarehouseError
from pipeline_assets.sqlfiles import statement_kind
from pipeline_assets.warehouse.columns import changes, kind_of, refuse_differences, without_rows
from pipeline_assets.warehouse.error_messages import remedy_for

if TYPE_CHECKING:
    import pyarrow as pa

# In Snowflake each of these ends the open transaction with a commit.
_COMMITS_THERE = frozenset(
    {"ALTER", "COMMENT", "CREATE", "DROP", "GRANT", "RENAME", "REVOKE", "TRUNCATE", "UNDROP", "USE"}
    | {"CALL", "EXECUTE"}  # what they run may hold any of these
)
_TRANSACTION = frozenset({"BEGIN", "COMMIT", "ROLLBACK", "START"})
# Text arrives as it is, whatever Snowflake's defaults are: untrimmed, and no text stands for NULL.
FORMAT = "FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE TRIM_SPACE = FALSE NULL_IF = ())"
COPY_FILES_LIMIT = 1000  # names that Snowflake takes in FILES = (…)
# What Snowflake's query history shows beside each statement of a connection; see `tagged`.
query_tag: ContextVar[str] = ContextVar("query_tag", default='{"platform":"pipeline_assets"}')


class Transaction:
    """Statements inside one transaction. `statements` keeps what ran, for the run's metadata."""

    def __init__(self, connection: Any, *, transactional: bool = True) -> None:
        self._connection = connection
        self._transactional = transactional
        self.statements: list[str] = []

    def execute(self, sql: str, params: Sequence[object] | None = None) -> int:
        """Run one statement; returns the number of rows it affected.

        Raises:
            WarehouseError: the warehouse refused it, or Snowflake would end the transaction with it.
        """
        return int(self._cursor(sql, params).rowcount or 0)

    def rows(self, sql: str, params: Sequence[object] | None = None) -> list[tuple]:
        """All rows of a query."""
        return self._cursor(sql, params).fetchall()

    def scalar(self, sql: str, params: Sequence[object] | None = None) -> Any:
        """The first value of the first row, or None."""
        row = self._cursor(sql, params).fetchone()
        return row[0] if row else None

    def arrow(self, sql: str, params: Sequence[object] | None = None) -> Iterator[pa.Table]:
        """The rows of a query as the driver gets them, for more of them than should become Python objects.

        Types are the driver's choice and may differ between the tables of one query.

        Raises:
            WarehouseError: the warehouse refused it, or the connection was lost on the way.
        """
        cursor = self._cursor(sql, params)
        with _refused(sql):
            yield from cursor.fetch_arrow_batches()

    def described(self, sql: str) -> tuple[list[str], list[tuple]]:
        """Column names and rows of any statement."""
        cursor = self._cursor(sql, None)
        return [column[0] for column in cursor.description or []], cursor.fetchall()

    def to_parquet(self, sql: str, schema: pa.Schema, path: Path) -> int:
        """Write a query's rows to a Parquet file of that schema, in slices; returns their number."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        cursor = self._cursor(sql, None)
        names = [column[0].upper() for column in cursor.description]
        written = 0
        with pq.ParquetWriter(path, schema) as writer:
            while rows := cursor.fetchmany(50_000):
                columns = dict(zip(names, zip(*rows, strict=True), strict=True))
                writer.write_table(pa.table([pa.array(columns[f.name], f.type) for f in schema], schema))
                written += len(rows)
        return written

    def copy(self, table: str, stage: str, keys: Sequence[str]) -> int:
        """COPY Parquet files of an external stage into a table, by column name; returns the rows loaded."""
        loaded = 0
        for start in range(0, len(keys), COPY_FILES_LIMIT):
            files = ", ".join(literal(key) for key in keys[start : start + COPY_FILES_LIMIT])
            cursor = self._cursor(
                f"COPY INTO {table} FROM @{stage} FILES = ({files}) {FORMAT} MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE",
                None,
            )
            names = [column[0].lower() for column in cursor.description]
            loaded += sum(dict(zip(names, row, strict=True)).get("rows_loaded", 0) for row in cursor.fetchall())
        return loaded

    def _cursor(self, sql: str, params: Sequence[object] | None) -> Any:
        kind = statement_kind(sql)
        if self._transactional and kind in _COMMITS_THERE | _TRANSACTION:
            raise WarehouseError(
                f"{kind} inside a transaction: Snowflake would commit the open transaction.",
                remedy="Run it before the transaction begins.",
            )
        self.statements.append(sql)
        return run_statement(self._connection, sql, params)


class Loading:
    """How staged files reach the staging tables: here by COPY, within the publishing transaction."""

    def ahead(self, database: str, files: Sequence[tuple[Table, str, int]]) -> None:
        """Before that transaction: whatever brings (staging table, key, rows) nearer."""

    def fill(self, transaction: Transaction, table: Table, stage: str, key: str) -> int:
        """Within it: bring one file into its empty staging table; returns the rows that it gave."""
        return transaction.copy(table.qualified, stage, [key])


class Warehouse(ABC):
    """Opens transactions on one database."""

    database: str
    loading: Loading = Loading()
    # Whether `prepare` may make empty tables anew; not where only `deploy` can mask their columns again.
    replaces_tables = True

    @abstractmethod
    @contextmanager
    def connect(self, buckets: Sequence[str] = ()) -> Iterator[Any]:
        """A connection with autocommit that is closed whatever happens; `buckets` get their external stage."""
        yield

    @contextmanager
    def transaction(self, buckets: Sequence[str] = ()) -> Iterator[Transaction]:
        """One transaction: committed at the end, rolled back when the body raises."""
        with self.connect(buckets) as connection:
            run_statement(connection, "BEGIN")
            try:
                yield Transaction(connection)
            except BaseException:
                _roll_back(connection)
                raise
            run_statement(connection, "COMMIT")

    @contextmanager
    def read_only(self, buckets: Sequence[str] = ()) -> Iterator[Transaction]:
        """One transaction that is rolled back at the end: reads, with staged keys if need be."""
        with self.connect(buckets) as connection:
            run_statement(connection, "BEGIN")
            try:
                yield Transaction(connection)
            finally:
                _roll_back(connection)

    @contextmanager
    def autocommit(self) -> Iterator[Transaction]:
        """Statements outside a transaction, each committed by itself: DDL, and what people type."""
        with self.connect() as connection:
            yield Transaction(connection, transactional=False)

    def stage(self, bucket: str) -> str:
        """The external stage on a bucket of the lake."""
        return "OPS.LAKE_" + "".join(c if c.isalnum() else "_" for c in bucket).upper()

    def prepare(self, tables: Iterable[Table]) -> None:
        """Create what is missing, add columns that a contract gained, widen what it widened.

        A table that has a column of another type and no rows is made anew; one that has rows is never replaced.

        Raises:
            WarehouseError: a table with rows has a column of another type; nothing was changed.
        """
        wanted = list(tables)
        with self.autocommit() as session:
            found: dict[str, dict[str, str]] = {}
            for schema, table, column, *kind in session.rows(
                "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, "
                "NUMERIC_PRECISION, NUMERIC_SCALE FROM INFORMATION_SCHEMA.COLUMNS"
            ):
                found.setdefault(f"{schema}.{table}", {})[column] = kind_of(*kind)
            anew = without_rows(wanted, found, lambda table: session.scalar(f"SELECT COUNT(*) FROM {table.qualified}"))
            refuse_differences([table for table in wanted if table not in anew], found)
            if anew and not self.replaces_tables:
                raise WarehouseError(
                    f"Types of columns differ from their contracts: {', '.join(table.qualified for table in anew)}.",
                    remedy="The tables have no rows: run `pipeline-assets deploy snowflake`, which makes them anew.",
                )
            present = {name.partition(".")[0] for name in found}
            for schema in sorted({table.schema for table in wanted} - present):
                session.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            for table in wanted:
                if table.qualified not in found:
                    session.execute(table.create())
                    continue
                if table in anew:
                    session.execute(table.create_anew())
                    continue
                needed = changes(table, found[table.qualified])
                for name, kind in needed.gained:
                    session.execute(f"ALTER TABLE {table.qualified} ADD COLUMN IF NOT EXISTS {name} {kind}")
                for name, kind in needed.widened:
                    session.execute(f"ALTER TABLE {table.qualified} ALTER COLUMN {name} SET DATA TYPE {kind}")


@contextmanager
def tagged(pipeline: str, run_id: str) -> Iterator[None]:
    """Let connections opened meanwhile say whose statements they run."""
    token = query_tag.set(json.dumps({"platform": "pipeline_assets", "pipeline": pipeline, "run": run_id}))
    try:
        yield
    finally:
        query_tag.reset(token)


def run_statement(connection: Any, sql: str, params: Sequence[object] | None = None) -> Any:
    """Run one statement and return its cursor; errors come back as ours, on one line."""
    with _refused(sql):
        cursor = connection.cursor()
        return cursor.execute(sql, tuple(params)) if params is not None else cursor.execute(sql)


@contextmanager
def _refused(sql: str) -> Iterator[None]:
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        if not _is_database_error(error):
            raise
        raise WarehouseError(
            f"The warehouse refused `{_first_words(sql)}`: {_one_line(error)}", remedy=remedy_for(error)
        ) from error


def _roll_back(connection: Any) -> None:
    """Roll back; a connection that is gone has been rolled back by the other side."""
    try:
        connection.cursor().execute("ROLLBACK")
    except Exception as error:
        if not _is_database_error(error):
            raise


def _is_database_error(error: Exception) -> bool:
    """Whether an exception is the driver's, Snowflake's or DuckDB's, and not a fault of ours."""
    return any(base.__module__.partition(".")[0] in ("snowflake", "duckdb", "_duckdb") for base in type(error).__mro__)


def _one_line(error: Exception) -> str:
    return " ".join([line.strip() for line in str(error).splitlines() if line.strip()][:2])


def _first_words(sql: str) -> str:
    words = " ".join(line for line in sql.split("\n") if not line.startswith("--")).split()
    return " ".join(words[:6]) + (" …" if len(words) > 6 else "")


def open_through_resource(
    options: dict[str, object], refused: Callable[[Exception], PipelineError] | None = None
) -> Any:
    """Connect with `dagster_snowflake`'s resource and take the connection over.

    Args:
        refused: says in our words why the driver or the warehouse did not open one.

    Raises:
        ConfigurationError: the resource refuses the options or the key; their values are not repeated.
        WarehouseError: the warehouse refuses the connection or cannot be reached.
    """
    from pydantic import ValidationError

    from pipeline_assets.warehouse.driver import snowflake_resource

    try:
        manager = snowflake_resource()(**options).get_connection()  # type: ignore[arg-type]
    except ValidationError as error:
        fields = ", ".join(sorted({str(part) for problem in error.errors() for part in problem["loc"]}))
        raise ConfigurationError(f"The Snowflake connection is not configured: {fields}.") from None
    try:
        return manager.__enter__()
    except (ValueError, TypeError):  # what cryptography says of a key
        raise ConfigurationError(
            "PIPELINE_SNOWFLAKE_PRIVATE_KEY is no PEM key, or PIPELINE_SNOWFLAKE_PRIVATE_KEY_PASSWORD does not open it."
        ) from None
    except Exception as error:
        if not _is_database_error(error):
            raise
        if refused:
            raise refused(error) from None  # the driver's own message may repeat what was sent
        raise WarehouseError(f"No connection to the warehouse: {_one_line(error)}") from error
