"""Snowflake itself, with key-pair authentication.

External stages exist beforehand: they need a storage integration, which the loading role may not create.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.warehouse.connection import Warehouse, open_through_resource

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings


class SnowflakeWarehouse(Warehouse):
    """A database in a Snowflake account."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = settings.database

    @contextmanager
    def connect(self, buckets: Sequence[str] = ()) -> Iterator[Any]:
        connection = open_through_resource(self._options())
        try:
            yield connection
        finally:
            connection.close()

    def _options(self) -> dict[str, object]:
        settings = self.settings
        required = ("snowflake_account", "snowflake_user", "snowflake_private_key")
        if missing := [f"PIPELINE_{name.upper()}" for name in required if not getattr(settings, name)]:
            raise ConfigurationError(f"Snowflake is not configured: {', '.join(missing)} missing.")
        assert settings.snowflake_private_key is not None
        options: dict[str, object] = {
            "account": settings.snowflake_account,
            "user": settings.snowflake_user,
            "private_key": settings.snowflake_private_key.get_secret_value(),
            "database": settings.database,
            "schema": "OPS",
            "warehouse": settings.snowflake_warehouse,
            "role": settings.snowflake_role,
            "autocommit": True,
        }
        if settings.snowflake_private_key_password:
            options["private_key_password"] = settings.snowflake_private_key_password.get_secret_value()
        return options
