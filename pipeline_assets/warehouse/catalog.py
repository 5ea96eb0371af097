"""The local catalog: lake tables as external tables of the warehouse, and a list of their partitions in OPS.

With Glue as the catalog, `pipeline_assets.lake.glue_catalog` replaces it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime

from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.lake import Lake, LakeTable
from pipeline_assets.warehouse.embedded import EmbeddedWarehouse
from pipeline_assets.warehouse.schema import ops_sql
from pipeline_assets.warehouse.transaction import Transaction


class WarehouseCatalog:
    """See `pipeline_assets.lake.tables.Catalog`."""

    def __init__(self, lake: Lake, warehouse: EmbeddedWarehouse, clock: Callable[[], datetime]) -> None:
        self._lake = lake
        self._warehouse = warehouse
        self._clock = clock

    def register(self, table: LakeTable, partitions: Sequence[str]) -> None:
        name = target_table(table.contract).qualified
        registered = []
        found = table.files_by_partition(self._lake, partitions)
        for partition, files in found.items():
            if files:
                location = self._lake.uri(table.bucket, table.folder(partition))
                size = sum(file.size for file in files)
                registered.append((name, partition, location, len(files), size))
        with self._warehouse.transaction() as transaction:
            # Each list is one value, as a statement with thousands of values takes seconds to parse.
            transaction.execute(
                ops_sql("delete_lake_partitions"), {"table_name": name, "partitions": json.dumps(list(found))}
            )
            if registered:
                rows = {"registered": json.dumps(registered), "at": self._clock()}
                transaction.execute(ops_sql("insert_lake_partitions"), rows)
            remaining = int(transaction.scalar(ops_sql("count_lake_partitions"), {"table_name": name}))
        self._warehouse.show_lake_table(table, has_files=remaining > 0)


def lake_tables(transaction: Transaction) -> list[str]:
    """The names of the lake tables that have partitions, sorted: `<schema>.<table>`."""
    return [name for (name,) in transaction.rows(ops_sql("lake_tables"))]


def lake_sizes(transaction: Transaction) -> dict[str, tuple[int, int, int, datetime]]:
    """(Partitions, files, bytes, last change, UTC) of each lake table that has partitions, by its name."""
    rows = transaction.rows(ops_sql("lake_sizes"))
    return {name: (int(partitions), int(files), int(size), at) for name, partitions, files, size, at in rows}
