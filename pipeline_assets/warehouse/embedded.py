"""The embedded warehouse: Snowflake SQL on DuckDB (fakesnow), one file under the home.

DuckDB lets one process write a file, so each unit of work holds a lock between processes for as long as it is
open; the kernel lets go of it when a process dies. External stages live in the memory of a connection here, so
they are made anew each time.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline_assets.contracts.ddl import literal
from pipeline_assets.errors import WarehouseBusyError, WarehouseError
from pipeline_assets.lake import LakeTable
from pipeline_assets.warehouse.connection import Warehouse, open_through_resource, run_statement


class EmbeddedWarehouse(Warehouse):
    """`root` holds the database file; `patience` is in seconds; `stage_url` maps a bucket to its url."""

    def __init__(self, root: Path, database: str, patience: float, stage_url: Callable[[str], str]) -> None:
        self.root = root
        self.database = database
        self.patience = patience
        self._stage_url = stage_url
        self._thread: int | None = None

    @contextmanager
    def connect(self, buckets: Sequence[str] = ()) -> Iterator[Any]:
        import fakesnow
        from filelock import FileLock, Timeout

        _hush()
        _leave_no_folder()
        if self._thread == threading.get_ident():
            raise WarehouseError("A unit of work inside another one: the inner one would wait for ever.")
        lock = FileLock(self.root / ".lock", timeout=self.patience)
        try:
            lock.acquire()
        except Timeout:
            raise WarehouseBusyError(
                f"Another process has kept the warehouse in {self.root} locked for {self.patience:g} seconds.",
                remedy="Wait for it, end it, or raise PIPELINE_WAREHOUSE_PATIENCE.",
            ) from None
        self._thread = threading.get_ident()
        try:
            with _exact_sums(), _quoted_comments(), fakesnow.patch(db_path=self.root):
                connection = open_through_resource(
                    {
                        "account": "embedded",
                        "user": "embedded",
                        "password": "embedded",
                        "database": self.database,
                        "schema": "OPS",
                        "autocommit": True,
                    }
                )
                try:
                    for bucket in buckets:
                        url = literal(self._stage_url(bucket))
                        run_statement(connection, f"CREATE STAGE IF NOT EXISTS {self.stage(bucket)} URL = {url}")
                    yield connection
                finally:
                    connection.close()
        finally:
            self._thread = None
            lock.release()

    def show_lake_table(self, table: LakeTable, *, has_files: bool) -> None:
        """Let people query the files of a lake table under its contract's name; safe to repeat."""
        contract = table.contract
        name = f"{self.database}.{contract.domain.upper()}.{contract.table}"
        if not has_files:  # a pattern that matches nothing is an error to DuckDB
            view = f"DROP VIEW IF EXISTS {name}"
        else:
            partition = table.partition_column
            pattern = self._stage_url(table.bucket).removeprefix("file://") + table.prefix
            pattern = "".join(f"[{c}]" if c in "*?[" else c for c in pattern) + "*/*.parquet"
            columns = ", ".join(f"{c.name.lower()} AS {c.name}" for c in contract.columns if not c.partition)
            folder = f"regexp_extract(filename, '{partition.lower()}=([^/]+)/[^/]+$', 1)"
            view = (
                f"CREATE OR REPLACE VIEW {name} AS SELECT {columns}, CAST({folder} AS DATE) AS {partition} FROM "
                f"read_parquet({literal(pattern)}, filename = true, hive_partitioning = false)"
            )
        with self.connect() as connection:
            # Past the emulator: it has no external tables, DuckDB reads the files themselves.
            connection._duck_conn.execute(view)


@contextmanager
def _exact_sums() -> Iterator[None]:
    """Let SUM keep exact decimals, and SUM and COUNT the column names that Snowflake gives them.

    fakesnow 0.12.0 casts the argument of every SUM to DOUBLE, in case it is text: a sum of money then comes back as
    67406.55999999223. Without the cast a sum over text is refused, which is the lesser evil.
    """
    from unittest import mock

    import fakesnow.transforms
    from sqlglot import exp

    theirs = fakesnow.transforms.numeric_agg_implicit_cast

    def ours(expression: exp.Expression) -> exp.Expression:
        if not isinstance(expression, (exp.Sum, exp.Count)):
            return theirs(expression)
        if isinstance(expression.parent, exp.Select):
            return exp.alias_(expression, expression.sql(dialect="snowflake").upper(), quoted=True)
        return expression

    with mock.patch.object(fakesnow.transforms, "numeric_agg_implicit_cast", ours):
        yield


@contextmanager
def _quoted_comments() -> Iterator[None]:
    """Quote the comments of tables: fakesnow 0.12.0 pastes them into its own SQL, where an apostrophe ends them."""
    from unittest import mock

    import fakesnow.info_schema

    theirs = fakesnow.info_schema.insert_table_comment_sql

    def ours(catalog: str, schema: str, table: str, comment: str) -> str:
        return theirs(catalog, schema, table, comment.replace("'", "''"))

    with mock.patch.object(fakesnow.info_schema, "insert_table_comment_sql", ours):
        yield


def _hush() -> None:
    """Silence what the stand-in says about itself on every statement; it is nobody's concern here."""
    warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")
    logger = logging.getLogger("sqlglot")
    if not any(isinstance(known, _ColumnComments) for known in logger.filters):
        logger.addFilter(_ColumnComments())


def _leave_no_folder() -> None:
    """Remove the folder for internal stages that fakesnow makes on import and forgets; nothing here uses them."""
    from fakesnow.transforms import stage

    with suppress(OSError):
        os.rmdir(stage.LOCAL_BUCKET_PATH)


class _ColumnComments(logging.Filter):
    """DuckDB's DDL has no column comments; Snowflake's has, and ours are for Snowflake."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "CommentColumnConstraint" not in record.getMessage()
