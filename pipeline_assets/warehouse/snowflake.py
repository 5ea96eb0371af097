"""Snowflake itself, with key-pair authentication.

`pipeline-assets deploy snowflake` creates everything but data beforehand: the loading role may neither create stages,
which need a storage integration, nor alter tables. Opening a connection fails if the role, warehouse, database or
schema is missing, before any work is done: by default Snowflake would open it and fail at the first statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline_assets.errors import ConfigurationError, PipelineError
from pipeline_assets.warehouse.connection import Warehouse, open_through_resource, query_tag
from pipeline_assets.warehouse.error_messages import SignIn, sign_in_error
from pipeline_assets.warehouse.keys import host, load_private_key
from pipeline_assets.warehouse.snowpipe import Snowpipe

if TYPE_CHECKING:
    from pydantic import SecretStr

    from pipeline_assets.settings import Settings

# Set explicitly, as accounts have different defaults.
SESSION = {
    # The platform stores times in UTC without a zone, and writes them as ISO 8601.
    "TIMEZONE": "UTC",
    "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
    # A killed worker leaves an open transaction with a lock on OPS.PIPELINES. Snowflake aborts its statement five
    # minutes after the connection was lost and, five idle minutes later, the transaction.
    "ABORT_DETACHED_QUERY": True,
    "LOCK_TIMEOUT": 1800,  # seconds; longer than these ten minutes, shorter than the default of twelve hours
}


class SnowflakeWarehouse(Warehouse):
    """A database in a Snowflake account. Sign-in opens `schema`; analysts have no right to OPS."""

    replaces_tables = False

    def __init__(self, settings: Settings, *, schema: str = "OPS") -> None:
        self.settings = settings
        self.schema = schema
        self.database = settings.database
        if settings.snowflake_load == "snowpipe":
            self.loading = Snowpipe.of(settings)

    @contextmanager
    def connect(self, buckets: Sequence[str] = ()) -> Iterator[Any]:
        connection = _with_request_timeout(open_through_resource(self._options(), self._sign_in_error), self.settings)
        try:
            yield connection
        finally:
            connection.close()

    def _sign_in_error(self, error: Exception) -> PipelineError:
        return sign_in_error(error, sign_in(self.settings))

    def _options(self) -> dict[str, object]:
        settings = self.settings
        required = ("snowflake_account", "snowflake_user", "snowflake_private_key")
        if missing := [f"PIPELINE_{name.upper()}" for name in required if not getattr(settings, name)]:
            raise ConfigurationError(f"Snowflake is not configured: {', '.join(missing)} missing.")
        assert settings.snowflake_private_key is not None
        return {
            **_connection_options(settings),
            "user": settings.snowflake_user,
            **_key_options(settings.snowflake_private_key, settings.snowflake_private_key_password),
            "database": settings.database,
            "schema": self.schema,
            "warehouse": settings.snowflake_warehouse,
            "role": settings.snowflake_role,
            "validate_default_parameters": True,
        }


@contextmanager
def connect_as_admin(settings: Settings) -> Iterator[Any]:
    """A connection of the user in PIPELINE_SNOWFLAKE_ADMIN_USER, without a database, as it may not exist yet.

    Raises:
        ConfigurationError: that user is not configured, or Snowflake rejects the sign-in.
    """
    required = ("snowflake_account", "snowflake_admin_user")
    if missing := [f"PIPELINE_{name.upper()}" for name in required if not getattr(settings, name)]:
        raise ConfigurationError(f"Snowflake is not configured: {', '.join(missing)} missing.")
    options = _connection_options(settings) | {"user": settings.snowflake_admin_user}
    if settings.snowflake_admin_private_key:
        load_private_key(settings.snowflake_admin_private_key, settings.snowflake_admin_private_key_password, "ADMIN_")
        options |= _key_options(settings.snowflake_admin_private_key, settings.snowflake_admin_private_key_password)
    else:
        options["authenticator"] = "externalbrowser"
    admin, prefix = str(settings.snowflake_admin_user), "PIPELINE_SNOWFLAKE_ADMIN_"
    who = replace(sign_in(settings), user=admin, settings=prefix)
    opened = open_through_resource(options, lambda error: sign_in_error(error, who))
    connection = _with_request_timeout(opened, settings)
    try:
        yield connection
    finally:
        connection.close()


def sign_in(settings: Settings) -> SignIn:
    """Who signs in where, for messages."""
    return SignIn(
        account=str(settings.snowflake_account),
        host=host(settings),
        user=str(settings.snowflake_user),
        role=settings.snowflake_role,
        warehouse=settings.snowflake_warehouse,
        database=settings.database,
    )


def _connection_options(settings: Settings) -> dict[str, object]:
    """Account, host, login timeout and session parameters."""
    arguments: dict[str, object] = {
        "session_parameters": SESSION | {"QUERY_TAG": query_tag.get()},
        "arrow_number_to_decimal": True,  # by default the driver makes doubles of amounts of money in Arrow tables
    }
    if settings.snowflake_host:
        arguments |= {
            "host": settings.snowflake_host,
            "port": settings.snowflake_port,
            "protocol": settings.snowflake_protocol,
        }
    return {
        "account": settings.snowflake_account,
        "autocommit": True,
        "login_timeout": settings.snowflake_login_timeout,
        "additional_snowflake_connection_args": arguments,
    }


def _with_request_timeout(connection: Any, settings: Settings) -> Any:
    """Limit the time of each HTTP request of a connection, but not of its statements.

    The connector (4.8.1) has one `network_timeout` for both: it would cancel a long statement although Snowflake
    responds. The warehouse's STATEMENT_TIMEOUT_IN_SECONDS limits statements; a lost peer is detected by the requests
    that poll for the result.
    """
    fetch, longest = connection.rest.fetch, settings.snowflake_network_timeout

    def fetch_in_time(*given: Any, timeout: float | None = None, **named: Any) -> Any:
        return fetch(*given, timeout=longest if timeout is None else min(timeout, longest), **named)

    connection.rest.fetch = fetch_in_time
    return connection


def _key_options(key: SecretStr, password: SecretStr | None) -> dict[str, object]:
    options: dict[str, object] = {"private_key": key.get_secret_value()}
    if password:
        options["private_key_password"] = password.get_secret_value()
    return options
