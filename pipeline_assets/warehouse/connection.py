"""One transaction at a time: open, begin, commit or roll back, close.

The same code runs on Snowflake and on the embedded warehouse, through `dagster_snowflake`'s resource. That resource
(0.29.27) neither closes nor rolls back when the body raises, so this module takes its connection over and closes it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pipeline_assets.contracts.ddl import Table, View
from pipeline_assets.errors import ConfigurationError, PipelineError, WarehouseError
from pipeline_assets.warehouse.error_messages import remedy_for
from pipeline_assets.warehouse.ledger import register_pipeline
from pipeline_assets.warehouse.migration import create_views, migrate
from pipeline_assets.warehouse.transaction import (
    Transaction,
    driver_message,
    is_database_error,
    roll_back,
    run_statement,
)

# What Snowflake's query history shows beside each statement of a connection; see `tagged`.
query_tag: ContextVar[str] = ContextVar("query_tag", default='{"platform":"pipeline_assets"}')


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

    @property
    def is_created(self) -> bool:
        """Whether the database exists; opening the embedded one would create it."""
        return True

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
                roll_back(connection)
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
                roll_back(connection)

    @contextmanager
    def autocommit(self) -> Iterator[Transaction]:
        """Statements outside a transaction, each committed by itself: DDL, and the command `query`."""
        with self.connect() as connection:
            yield Transaction(connection, transactional=False)

    def stage(self, bucket: str) -> str:
        """The name of the external stage for a bucket of the lake."""
        return "OPS.LAKE_" + "".join(c if c.isalnum() else "_" for c in bucket).upper()

    def prepare(self, tables: Iterable[Table], views: Iterable[View] = (), *, pipeline: str = "") -> None:
        """Bring the tables to their contracts, then the views (see `migration`); register the pipeline that will run.

        All on one connection: opening one takes Snowflake a second.
        """
        with self.autocommit() as session:
            migrate(session, list(tables), replaces_tables=self.replaces_tables)
            create_views(session, list(views))
            if pipeline:
                register_pipeline(session, pipeline)


@contextmanager
def tagged(pipeline: str, run_id: str) -> Iterator[None]:
    """Tag the connections opened in this context with the pipeline and run, for Snowflake's query history."""
    token = query_tag.set(json.dumps({"platform": "pipeline_assets", "pipeline": pipeline, "run": run_id}))
    try:
        yield
    finally:
        query_tag.reset(token)


def open_through_resource(
    options: dict[str, object], explain: Callable[[Exception], PipelineError] | None = None
) -> Any:
    """Connect with a `dagster_snowflake` resource of these options; see `take_connection`."""
    from pipeline_assets.warehouse.driver import snowflake_resource

    return take_connection(lambda: snowflake_resource()(**options), explain)


def take_connection(resource: Callable[[], Any], explain: Callable[[Exception], PipelineError] | None = None) -> Any:
    """Connect with `dagster_snowflake`'s resource and take the connection over.

    Args:
        explain: makes our error of the driver's or warehouse's.

    Raises:
        ConfigurationError: the options or the key are invalid; the message does not repeat them.
        WarehouseError: the warehouse rejects the connection or cannot be reached.
    """
    from pydantic import ValidationError

    try:
        manager = resource().get_connection()
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
        if not is_database_error(error):
            raise
        if explain:
            raise explain(error) from None  # the driver's own message may repeat what was sent
        raise WarehouseError(
            f"No connection to the warehouse: {driver_message(error)}", remedy=remedy_for(error)
        ) from error
