"""What `doctor` says of the listed tables: the list, the source and the warehouse compared. Nothing is extracted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.errors import RejectedObjectError
from pipeline_assets.pipeline import DoctorCheck
from pipeline_assets.reviews.batches import source_url
from pipeline_assets.reviews.connect import open_source
from pipeline_assets.reviews.extract import ordered_columns
from pipeline_assets.reviews.metadata import ListedTable, TableList
from pipeline_assets.reviews.schema import ObjectColumns, column_name, learn
from pipeline_assets.reviews.tables import NAME, open_contract
from pipeline_assets.reviews.watermark import read_state
from pipeline_assets.warehouse import ledger
from pipeline_assets.warehouse.migration import table_exists
from pipeline_assets.warehouse.schema import ops_tables

if TYPE_CHECKING:
    from pipeline_assets.batch.platform import Platform
    from pipeline_assets.contracts.ddl import Table

_NOW = "9999"  # a version behind those of all objects


def table_checks(listed: TableList, contracts: Path, platform: Platform) -> Iterator[DoctorCheck]:
    """A check for each table that is extracted; none if no source is configured."""
    if platform.settings is None or source_url(platform.settings) is None:
        return
    for table in listed.tables:
        if not table.event:
            target = target_table(open_contract(listed, table, contracts))
            yield DoctorCheck(f"{NAME}: {table.name}", partial(_check, table, target, platform))


def _check(table: ListedTable, target: Table, platform: Platform) -> tuple[str, list[str]]:
    """Compare a table with its source, and with what its runs have learnt.

    Raises:
        ConfigurationError: it or a listed column is not there, cannot be used, or may not be read.
        SourceError: the source cannot be reached.
    """
    assert platform.settings is not None
    url = source_url(platform.settings)
    assert url is not None
    with open_source(url) as source:
        mapped = source.columns(table.name)
        ordered_columns(table, mapped)
        indexed = source.indexed(table.name)
        columns = tuple(column.column for column in mapped)
    warnings = []
    if table.cursor and table.cursor[0] not in indexed:
        warnings.append(f"no index begins with the cursor {table.cursor[0]}: each extract reads the whole table")
    platform.warehouse.prepare(ops_tables())
    with platform.warehouse.read_only() as transaction:
        exists = table_exists(transaction, target)
        shape = read_state(ledger.watermark(transaction, NAME, table.name)).shape
    if not exists or not shape.columns:
        return f"{len(columns)} columns; its first run creates {target.qualified}", warnings
    try:
        learn(shape, ObjectColumns(columns, "types", _NOW), table, target.qualified)
    except RejectedObjectError as drift:
        warnings.append(f"the next extract would be rejected. {drift}")
    now = {column_name(column) for column in columns}
    if dropped := [name for column in shape.columns if (name := column_name(column)) not in now]:
        warnings.append(f"the source no longer has {', '.join(dropped)}")
    return f"{len(columns)} columns, as in {target.qualified}", warnings
