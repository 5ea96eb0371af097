"""Snowflake itself, with key-pair authentication.

External stages exist beforehand: they need a storage integration, which the loading role may not create.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.lake import LakeTable
from pipeline_assets.warehouse.connection import Warehouse, open_through_resource

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings


def external_table(table: LakeTable, stage: str) -> str:
    """The DDL of a lake table over its external stage."""
    contract, partition = table.contract, table.partition_column
    kinds = {"STRING": "VARCHAR", "DOUBLE": "FLOAT", "BIGINT": "NUMBER(38,0)", "DATE": "DATE", "BOOLEAN": "BOOLEAN"}
    columns = [
        f"{c.name} {kinds[c.physical_type]} AS (VALUE:{c.name.lower()}::{kinds[c.physical_type]})"
        for c in contract.columns
        if not c.partition
    ]
    folder = f"SPLIT_PART(SPLIT_PART(METADATA$FILENAME, '/{partition.lower()}=', 2), '/', 1)"
    columns.append(f"{partition} DATE AS (TO_DATE({folder}))")
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {contract.domain.upper()}.{contract.table} ({', '.join(columns)}) "
        f"PARTITION BY ({partition}) LOCATION = @{stage}/{table.prefix} AUTO_REFRESH = FALSE "
        "FILE_FORMAT = (TYPE = PARQUET)"
    )


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

    def show_lake_table(self, table: LakeTable, *, has_files: bool) -> None:
        with self.session() as session:
            session.execute(external_table(table, self.stage(table.bucket)))
            name = f"{table.contract.domain.upper()}.{table.contract.table}"
            session.execute(f"ALTER EXTERNAL TABLE {name} REFRESH")

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
