"""The rows of an input that SELECTs read: good rows of files and published rows, without those that are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import null_columns
from pipeline_assets.contracts.names import sql_name, sql_names
from pipeline_assets.contracts.validation import FLOATS
from pipeline_assets.engine.duckdb.inputs import GROUP, PUBLISHED, InputTables
from pipeline_assets.engine.formats.json.record_sql import ITEM_COLUMNS, items_select, no_items
from pipeline_assets.sqlfiles import transpile

if TYPE_CHECKING:
    import duckdb


def good_rows(tables: InputTables) -> str:
    """The good rows of an input that are not left out, with their identity, published rows included."""
    parts, items = group_selects(tables), tables.contract.items
    if tables.has_published:
        parts.append(
            f"SELECT {sql_names(tables.contract.column_names)}, _SOURCE_URI, _SOURCE_MODIFIED_AT, _RESCUED, "
            f"FALSE AS _IS_NEW, {PUBLISHED * GROUP} + rowid AS _ROW_ID, NULL::INTEGER AS _FILE"
            f"{no_items(items) if items else ''} FROM {tables.name}__published"
        )
    rows = " UNION ALL ".join(parts or [no_rows(tables.contract)])
    return (
        f"SELECT * FROM ({rows}) ANTI JOIN {tables.name}__left_out USING (_ROW_ID)"
        if tables.has_left_out_rows
        else rows
    )


def group_selects(tables: InputTables) -> list[str]:
    """A SELECT of the good rows of each group of files."""
    columns, parts = sql_names(tables.contract.column_names), []
    listed = "".join(f", {name}" for name in ITEM_COLUMNS) if tables.contract.items else ""
    for group in tables.groups:
        left_out = sorted(tables.left_out.intersection(group.files))
        conditions = ["_FAULT IS NULL"] * group.has_faults
        conditions += [f"_FILE NOT IN ({', '.join(map(str, left_out))})"] if left_out else []
        parts.append(
            f"SELECT {columns}, list_extract(getvariable('{tables.name}__uris'), _FILE + 1) AS _SOURCE_URI, "
            f"list_extract(getvariable('{tables.name}__modified'), _FILE + 1) AS _SOURCE_MODIFIED_AT, "
            f"{'_RESCUED' if group.has_rescued else 'NULL::VARCHAR AS _RESCUED'}, "
            f"TRUE AS _IS_NEW, {group.identity()} AS _ROW_ID, _FILE{listed} FROM {group.table}"
            + (f" WHERE {' AND '.join(conditions)}" if conditions else "")
        )
    return parts


def define_relations(connection: duckdb.DuckDBPyConnection, tables: InputTables) -> None:
    """Define the relations for SELECTs again, without the rows that are left out."""
    items, rows = tables.contract.items, good_rows(tables)
    hidden = ", ".join(("_ROW_ID", "_FILE", *(ITEM_COLUMNS if items else ())))
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW {sql_name(tables.name)} AS SELECT * EXCLUDE ({hidden}) FROM ({rows})"
    )
    if items:
        kept = (*tables.contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_IS_NEW")
        connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {sql_name(items.name)} AS SELECT * EXCLUDE (_FAULT"
            f"{f', {FLOATS}' * bool(items.floats)}) FROM ({items_select(items, rows, kept)})"
        )


def no_rows(contract: Contract) -> str:
    """An empty relation with the columns of `good_rows`."""
    return (
        f"{transpile(f'SELECT {null_columns(contract)}', 'duckdb')}, NULL::VARCHAR AS _SOURCE_URI, NULL::TIMESTAMP AS "
        "_SOURCE_MODIFIED_AT, NULL::VARCHAR AS _RESCUED, NULL::BOOLEAN AS _IS_NEW, NULL::BIGINT AS _ROW_ID, "
        f"NULL::INTEGER AS _FILE{no_items(contract.items) if contract.items else ''} WHERE FALSE"
    )
