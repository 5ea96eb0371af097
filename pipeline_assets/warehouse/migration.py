"""Bring tables and views to their contracts before a batch: create what is missing, add and widen columns.

Runs outside transactions: any DDL commits the open transaction in Snowflake.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from hashlib import blake2b

from pipeline_assets.contracts.ddl import Table, View
from pipeline_assets.contracts.names import name_parts, sql_name
from pipeline_assets.errors import WarehouseError
from pipeline_assets.warehouse.columns import changes, kind_of, replaceable_tables, require_matching_types
from pipeline_assets.warehouse.select_digests import changed_selects, store_digest
from pipeline_assets.warehouse.transaction import Transaction

logger = logging.getLogger("pipeline_assets")
_VIEWS = "SELECT TABLE_SCHEMA, TABLE_NAME FROM INFORMATION_SCHEMA.VIEWS"


def migrate(session: Transaction, wanted: Sequence[Table], *, replaces_tables: bool) -> None:
    """Create missing schemas and tables, add missing columns, widen columns that are too narrow.

    A table that has a column of another type is replaced if it has no rows, and never if it has some. Without
    `replaces_tables` it is not replaced either: there only `deploy` can mask its columns again, and analysts can read
    a created table only after it.

    Raises:
        WarehouseError: a table has a column of another type and is not replaced; nothing was changed.
    """
    present = present_columns(session)
    replaceable = replaceable_tables(
        wanted, present, lambda table: session.scalar(f"SELECT COUNT(*) FROM {table.qualified}")
    )
    require_matching_types([table for table in wanted if table not in replaceable], present)
    if replaceable and not replaces_tables:
        names = ", ".join(table.qualified for table in replaceable)
        raise WarehouseError(
            f"Types of columns differ from their contracts: {names}.",
            remedy="The tables have no rows: run `pipeline-assets deploy snowflake`, which replaces them.",
        )
    schemas = {name_parts(name)[0] for name in present}
    for schema in sorted({table.schema for table in wanted} - schemas):
        session.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    for table in wanted:
        if table.qualified not in present:
            session.execute(table.create())
            if not replaces_tables and table.schema != "OPS":
                logger.warning(
                    "%s is new: analysts can read it after `pipeline-assets deploy snowflake`, which masks it.",
                    table.qualified,
                )
            continue
        if table in replaceable:
            session.execute(table.create_anew())
            continue
        needed = changes(table, present[table.qualified])
        for name, new_type in needed.gained:
            session.execute(f"ALTER TABLE {table.qualified} ADD COLUMN IF NOT EXISTS {sql_name(name)} {new_type}")
        for name, new_type in needed.widened:
            session.execute(f"ALTER TABLE {table.qualified} ALTER COLUMN {sql_name(name)} SET DATA TYPE {new_type}")


def present_columns(session: Transaction) -> dict[str, dict[str, str]]:
    """The columns and types of every table and view that the role may see, by its name with the schema."""
    present: dict[str, dict[str, str]] = {}
    for schema, table, column, *kind in session.rows(
        "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, "
        "NUMERIC_PRECISION, NUMERIC_SCALE FROM INFORMATION_SCHEMA.COLUMNS"
    ):
        present.setdefault(f"{schema}.{sql_name(table)}", {})[column] = kind_of(*kind)
    return present


def table_exists(session: Transaction, table: Table) -> bool:
    """Whether somebody has created a table, with whatever columns."""
    sql = "SELECT COUNT(*) FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s"
    return int(session.scalar(sql, (table.schema, table.name))) > 0


def create_views(session: Transaction, wanted: Sequence[View]) -> None:
    """Create the views that are missing or whose statement has changed; OPS.MARTS keeps the digests."""
    if not wanted:
        return
    digests = {view.qualified: blake2b(view.create().encode(), digest_size=16).hexdigest() for view in wanted}
    present = {f"{schema}.{sql_name(name)}" for schema, name in session.rows(_VIEWS)}
    changed = changed_selects(session, digests)
    for view in wanted:
        if view.qualified not in present or view.qualified in changed:
            session.execute(view.create())
            store_digest(session, view.qualified, digests[view.qualified])
