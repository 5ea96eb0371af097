"""One transaction at a time: open, begin, commit or roll back, close.

The same code runs on Snowflake and on the embedded warehouse, through `dagster_snowflake`'s resource. That resource
(0.29.27) neither closes nor rolls back when the body raises, so this module takes its connection over and closes it.
The emulator accepts more than Snowflake: `Transaction.execute` rejects statements that would commit in Snowflake.
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
from pipeline_assets.warehouse.columns import changes, kind_of, replaceable_tables, require_matching_types
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
# What Snowflake's query history shows beside each statement of a connection; see `tagged`.
query_tag: ContextVar[str] = ContextVar("query_tag", default='{"platform":"pipeline_assets"}')


class Transaction:
    """Statements inside one transaction. `statements` keeps their SQL for the run's metadata."""

    def __init__(self, connection: Any, *, transactional: bool = True) -> None:
        self._connection = connection
        self._transactional = transactional
        self.statements: list[str] = []

    def execute(self, sql: str, params: Sequence[object] | None = None) -> int:
        """Run one statement; returns the number of rows it affected.

        Raises:
            WarehouseError: the statement failed, or would commit the transaction in Snowflake.
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
        """The rows of a query as Arrow tables, for results too large for Python objects.

        The driver chooses the types, which may differ between the tables of one query.

        Raises:
            WarehouseError: the statement failed, or the connection was lost.
        """
        cursor = self._cursor(sql, params)
        with _warehouse_errors(sql):
            yield from cursor.fetch_arrow_batches()

    def described(self, sql: str) -> tuple[list[str], list[tuple]]:
        """Column names and rows of any statement."""
        cursor = self._cursor(sql, None)
        return [column[0] for column in cursor.description or []], cursor.fetchall()

    def to_parquet(self, sql: str, schema: pa.Schema, path: Path) -> int:
        """Write a query's rows to a Parquet file of that schema, in slices; returns the number of rows."""
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
        if self._transactional and kind in _COMMITTING | _TRANSACTION:
            raise WarehouseError(
                f"{kind} inside a transaction: Snowflake would commit the open transaction.",
                remedy="Run it before the transaction begins.",
            )
        self.statements.append(sql)
        return run_statement(self._connection, sql, params)


class Loading:
    """How staged files are loaded into the staging tables: here by COPY, within the publishing transaction."""

    def preload(self, database: str, files: Sequence[tuple[Table, str, int]]) -> None:
        """Prepare the files (staging table, key, rows) before that transaction; COPY needs nothing."""

    def fill(self, transaction: Transaction, table: Table, stage: str, key: str) -> int:
        """Load one file into its empty staging table within the transaction; returns the number of rows."""
        return transaction.copy(table.qualified, stage, [key])


class Warehouse(ABC):
    """Opens transactions on one database."""

    database: str
    loading: Loading = Loading()
    # Whether `prepare` may replace empty tables; not in Snowflake, where only `deploy` can mask their columns again.
    replaces_tables = True

    @abstractmethod
    @contextmanager
    def connect(self, buckets: Sequence[str] = ()) -> Iterator[Any]:
        """A connection with autocommit, closed at the end; external stages exist for `buckets`."""
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
        """One transaction that is rolled back at the end: for reads, also over rows staged only for them."""
        with self.connect(buckets) as connection:
            run_statement(connection, "BEGIN")
            try:
                yield Transaction(connection)
            finally:
                _roll_back(connection)

    @contextmanager
    def autocommit(self) -> Iterator[Transaction]:
        """Statements outside a transaction, each committed by itself: DDL, and the command `query`."""
        with self.connect() as connection:
            yield Transaction(connection, transactional=False)

    def stage(self, bucket: str) -> str:
        """The name of the external stage for a bucket of the lake."""
        return "OPS.LAKE_" + "".join(c if c.isalnum() else "_" for c in bucket).upper()

    def prepare(self, tables: Iterable[Table]) -> None:
        """Create missing schemas and tables, add missing columns, widen columns that are too narrow.

        A table that has a column of another type is replaced if it has no rows, and never if it has some.

        Raises:
            WarehouseError: a table with rows has a column of another type; nothing was changed.
        """
        wanted = list(tables)
        with self.autocommit() as session:
            present: dict[str, dict[str, str]] = {}
            for schema, table, column, *kind in session.rows(
                "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, "
                "NUMERIC_PRECISION, NUMERIC_SCALE FROM INFORMATION_SCHEMA.COLUMNS"
            ):
                present.setdefault(f"{schema}.{table}", {})[column] = kind_of(*kind)
            replaceable = replaceable_tables(
                wanted, present, lambda table: session.scalar(f"SELECT COUNT(*) FROM {table.qualified}")
            )
            require_matching_types([table for table in wanted if table not in replaceable], present)
            if replaceable and not self.replaces_tables:
                names = ", ".join(table.qualified for table in replaceable)
                raise WarehouseError(
                    f"Types of columns differ from their contracts: {names}.",
                    remedy="The tables have no rows: run `pipeline-assets deploy snowflake`, which replaces them.",
                )
            schemas = {name.partition(".")[0] for name in present}
            for schema in sorted({table.schema for table in wanted} - schemas):
                session.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            for table in wanted:
                if table.qualified not in present:
                    session.execute(table.create())
                    continue
                if table in replaceable:
                    session.execute(table.create_anew())
                    continue
                needed = changes(table, present[table.qualified])
                for name, new_type in needed.gained:
                    session.execute(f"ALTER TABLE {table.qualified} ADD COLUMN IF NOT EXISTS {name} {new_type}")
                for name, new_type in needed.widened:
                    session.execute(f"ALTER TABLE {table.qualified} ALTER COLUMN {name} SET DATA TYPE {new_type}")


@contextmanager
def tagged(pipeline: str, run_id: str) -> Iterator[None]:
    """Tag the connections opened in this context with the pipeline and run, for Snowflake's query history."""
    token = query_tag.set(json.dumps({"platform": "pipeline_assets", "pipeline": pipeline, "run": run_id}))
    try:
        yield
    finally:
        query_tag.reset(token)


def run_statement(connection: Any, sql: str, params: Sequence[object] | None = None) -> Any:
    """Run one statement and return its cursor; raises errors of the warehouse as ours, on one line."""
    with _warehouse_errors(sql):
        cursor = connection.cursor()
        return cursor.execute(sql, tuple(params)) if params is not None else cursor.execute(sql)


@contextmanager
def _warehouse_errors(sql: str) -> Iterator[None]:
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
    """Roll back; if the connection is lost, the warehouse rolls back itself."""
    try:
        connection.cursor().execute("ROLLBACK")
    except Exception as error:
        if not _is_database_error(error):
            raise


def _is_database_error(error: Exception) -> bool:
    """Whether an exception comes from the driver, Snowflake or DuckDB, and not from a fault in our code."""
    return any(base.__module__.partition(".")[0] in ("snowflake", "duckdb", "_duckdb") for base in type(error).__mro__)


def _one_line(error: Exception) -> str:
    return " ".join([line.strip() for line in str(error).splitlines() if line.strip()][:2])


def _first_words(sql: str) -> str:
    words = " ".join(line for line in sql.split("\n") if not line.startswith("--")).split()
    return " ".join(words[:6]) + (" …" if len(words) > 6 else "")


def open_through_resource(
    options: dict[str, object], explain: Callable[[Exception], PipelineError] | None = None
) -> Any:
    """Connect with `dagster_snowflake`'s resource and take the connection over.

    Args:
        explain: makes our error of the driver's or warehouse's.

    Raises:
        ConfigurationError: the options or the key are invalid; the message does not repeat them.
        WarehouseError: the warehouse rejects the connection or cannot be reached.
    """
    from pydantic import ValidationError

    from pipeline_assets.warehouse.driver import snowflake_resource

    try:
        manager = snowflake_resource()(**options).get_connection()
    except ValidationError as error:
        fields = ", ".join(sorted({str(part) for problem in error.errors() for part in problem["loc"]}))
        raise ConfigurationError(f"The Snowflake connection is not configured: {fields}.") from None
    try:
        return manager.__enter__()
    except (ValueError, TypeError):  # from cryptography, for an invalid key
        raise ConfigurationError(
            "PIPELINE_SNOWFLAKE_PRIVATE_KEY is not a PEM key, or PIPELINE_SNOWFLAKE_PRIVATE_KEY_PASSWORD does not open "
            "it."
        ) from None
    except Exception as error:
        if not _is_database_error(error):
            raise
        if explain:
            raise explain(error) from None  # the driver's own message may repeat what was sent
        raise WarehouseError(f"No connection to the warehouse: {_one_line(error)}") from error
