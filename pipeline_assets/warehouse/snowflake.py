"""Snowflake itself, with key-pair authentication.

Everything that is not data exists beforehand (`pipeline-assets deploy snowflake`): the loading role may neither make
stages, which need a storage integration, nor alter tables. So a role, warehouse, database or schema that is missing is
found when a connection is opened, before any work has been done: Snowflake itself would open it all the same and refuse
the first statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline_assets.errors import ConfigurationError, PipelineError
from pipeline_assets.warehouse.connection import Warehouse, open_through_resource, query_tag
from pipeline_assets.warehouse.error_messages import SignIn, refused_sign_in
from pipeline_assets.warehouse.keys import host, load_private_key
from pipeline_assets.warehouse.snowpipe import Snowpipe

if TYPE_CHECKING:
    from pydantic import SecretStr

    from pipeline_assets.settings import Settings

# Accounts have defaults of their own for these.
SESSION = {
    # Moments are UTC without a zone everywhere in the platform, and texts of them are ISO.
    "TIMEZONE": "UTC",
    "TIMESTAMP_TYPE_MAPPING": "TIMESTAMP_NTZ",
    "TIMESTAMP_INPUT_FORMAT": "AUTO",
    # A worker that was killed leaves its transaction behind, and with it the lock on OPS.PIPELINES. Snowflake ends its
    # statement five minutes after the connection was lost and then, five idle minutes later, the transaction.
    "ABORT_DETACHED_QUERY": True,
    "LOCK_TIMEOUT": 1800,  # seconds; well past these ten minutes, and not the default's twelve hours
}


class SnowflakeWarehouse(Warehouse):
    """A database in a Snowflake account."""

    replaces_tables = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = settings.database
        if settings.snowflake_load == "snowpipe":
            self.loading = Snowpipe.of(settings)

    @contextmanager
    def connect(self, buckets: Sequence[str] = ()) -> Iterator[Any]:
        connection = _bounded(open_through_resource(self._options(), self._refused), self.settings)
        try:
            yield connection
        finally:
            connection.close()

    def _refused(self, error: Exception) -> PipelineError:
        return refused_sign_in(error, sign_in(self.settings))

    def _options(self) -> dict[str, object]:
        settings = self.settings
        required = ("snowflake_account", "snowflake_user", "snowflake_private_key")
        if missing := [f"PIPELINE_{name.upper()}" for name in required if not getattr(settings, name)]:
            raise ConfigurationError(f"Snowflake is not configured: {', '.join(missing)} missing.")
        assert settings.snowflake_private_key is not None
        return {
            **_reaching(settings),
            "user": settings.snowflake_user,
            **_key(settings.snowflake_private_key, settings.snowflake_private_key_password),
            "database": settings.database,
            "schema": "OPS",
            "warehouse": settings.snowflake_warehouse,
            "role": settings.snowflake_role,
            "validate_default_parameters": True,
        }


@contextmanager
def connect_as_admin(settings: Settings) -> Iterator[Any]:
    """A connection of whoever deploys; without a database, as it may not exist yet.

    Raises:
        ConfigurationError: who that is is not configured, or Snowflake does not let them in.
    """
    required = ("snowflake_account", "snowflake_admin_user")
    if missing := [f"PIPELINE_{name.upper()}" for name in required if not getattr(settings, name)]:
        raise ConfigurationError(f"Snowflake is not configured: {', '.join(missing)} missing.")
    options = _reaching(settings) | {"user": settings.snowflake_admin_user}
    if settings.snowflake_admin_private_key:
        load_private_key(settings.snowflake_admin_private_key, settings.snowflake_admin_private_key_password, "ADMIN_")
        options |= _key(settings.snowflake_admin_private_key, settings.snowflake_admin_private_key_password)
    else:
        options["authenticator"] = "externalbrowser"
    admin, begin = str(settings.snowflake_admin_user), "PIPELINE_SNOWFLAKE_ADMIN_"
    who = replace(sign_in(settings), user=admin, settings=begin)
    connection = _bounded(open_through_resource(options, lambda error: refused_sign_in(error, who)), settings)
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


def _reaching(settings: Settings) -> dict[str, object]:
    """Where the account is, how long to try signing in, and what every session is like."""
    arguments: dict[str, object] = {"session_parameters": SESSION | {"QUERY_TAG": query_tag.get()}}
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


def _bounded(connection: Any, settings: Settings) -> Any:
    """Bound each request of a connection and none of its statements.

    The connector (4.8.1) has one `network_timeout` for both: it would cancel a statement that runs longer, although
    Snowflake answers all the while. How long a statement may last is the warehouse's STATEMENT_TIMEOUT_IN_SECONDS to
    say; a peer that is gone is noticed by the requests that ask how it is getting on.
    """
    fetch, most = connection.rest.fetch, settings.snowflake_network_timeout

    def bounded(*given: Any, timeout: float | None = None, **named: Any) -> Any:
        return fetch(*given, timeout=most if timeout is None else min(timeout, most), **named)

    connection.rest.fetch = bounded
    return connection


def _key(key: SecretStr, password: SecretStr | None) -> dict[str, object]:
    options: dict[str, object] = {"private_key": key.get_secret_value()}
    if password:
        options["private_key_password"] = password.get_secret_value()
    return options
