"""Movies from a database, any that SQLAlchemy has a dialect for, as a stream with bounded memory.

A SELECT in the database's own SQL names the 26 columns of a movie; by default it is all of a table `movies`, in the
order of imdbID. One SELECT is one snapshot, and its beginning is the snapshot's time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.errors import ConfigurationError, PipelineError, SourceError, masked, one_line
from pipeline_assets.movies.columns import PRIMARY_KEY, Row, column_of, row_builder
from pipeline_assets.movies.source import Snapshot, without_values

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL
    from sqlalchemy.exc import SQLAlchemyError

SETTING = "PIPELINE_MOVIES_SOURCE_URL"
TABLE = "movies"
ROWS_AT_A_TIME = 2_000


def open_database(url: str | URL, select: str) -> AbstractContextManager[Snapshot]:
    """A snapshot of a database.

    Raises:
        ConfigurationError: the URL, its driver or its SQLite file is wrong; when it is entered, the table or SELECT is.
        SourceError: when it is entered, the database cannot be reached.
    """
    return _opened(_engine(url), select)


@contextmanager
def _opened(engine: Engine, select: str) -> Iterator[Snapshot]:
    try:
        with _errors(engine.url, is_connected=False):
            connection = engine.connect().execution_options(yield_per=ROWS_AT_A_TIME)
        with connection:
            with _errors(engine.url):
                snapshot = _snapshot(connection, select)
            yield snapshot
    finally:
        engine.dispose()


@contextmanager
def _errors(url: URL, *, is_connected: bool = True) -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        raise _explained(error, url, is_connected) from None


def _snapshot(connection: Connection, select: str) -> Snapshot:
    total = None
    created_at = datetime.now(UTC)
    if select:
        # Without parameters the driver does not read a percent sign as one.
        result = connection.execution_options(no_parameters=True).exec_driver_sql(select)
    else:
        from sqlalchemy import MetaData, Table, func, inspect
        from sqlalchemy import select as select_of

        if not inspect(connection).has_table(TABLE):
            raise ConfigurationError(
                f"The database {label(connection.engine.url)} has no table {TABLE}.",
                remedy="Write a SELECT that names the columns of a movie into PIPELINE_MOVIES_SELECT.",
            )
        table = Table(TABLE, MetaData(), autoload_with=connection)
        row_builder(table.columns.keys())  # refuse unknown columns before the rows are counted
        total = connection.scalar(select_of(func.count()).select_from(table))
        order = [column for name, column in table.columns.items() if column_of(name) == PRIMARY_KEY]
        result = connection.execute(select_of(table).order_by(*order))
    if not result.returns_rows:
        raise ConfigurationError("PIPELINE_MOVIES_SELECT yields no rows.", remedy="Write one SELECT statement.")
    build = row_builder(list(result.keys()))

    def rows() -> Iterator[Row]:
        with _errors(connection.engine.url):
            for chunk in result.partitions(ROWS_AT_A_TIME):
                yield from map(build, chunk)

    return Snapshot(label(connection.engine.url), created_at, rows(), total)


def label(url: URL) -> str:
    """A database without user, password and parameters, for manifests and messages."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:{Path(url.database or '').name}"
    return f"{url.get_backend_name()}://{url.host or 'localhost'}/{url.database or ''}"


def _engine(url: str | URL) -> Engine:
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database and not Path(parsed.database).is_file():
            raise ConfigurationError(
                f"The SQLite file {parsed.database} of {SETTING} does not exist.", remedy="Correct the path."
            )
        return create_engine(parsed)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The driver {error.name} of {SETTING} is not installed.",
            remedy="Install it, or name another one, e.g. mysql+pymysql://…",
        ) from None
    except NoSuchModuleError:
        problem = "SQLAlchemy has no such dialect"
    except (ArgumentError, ValueError):  # their messages may repeat the password
        problem = "it is not a SQLAlchemy URL"
    raise ConfigurationError(
        f"{SETTING} cannot be used: {problem}.",
        remedy="Write e.g. postgresql://user:password@host/database, sqlite:////path/movies.db or file:///path/movies.json.",
    )


def _explained(error: SQLAlchemyError, url: URL, is_connected: bool) -> PipelineError:
    """The error to raise; without the statement, its values and the password."""
    from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError

    message = masked(one_line(getattr(error, "orig", None) or type(error).__name__))[:300]
    if url.password:
        message = message.replace(str(url.password), "********")
    if isinstance(error, DataError):
        message = without_values(message)
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    # SQLite reports a wrong SELECT as it reports a locked file; elsewhere these are programming errors.
    is_wrong = url.get_backend_name() == "sqlite" and "locked" not in message
    if is_lost or (isinstance(error, OperationalError | InterfaceError) and not (is_connected and is_wrong)):
        return SourceError(
            f"The database {label(url)} failed: {message}.", remedy=f"Nothing landed; check {SETTING} and run again."
        )
    return ConfigurationError(
        f"The SELECT of movies over {label(url)} fails: {message}.", remedy="Correct PIPELINE_MOVIES_SELECT."
    )
