"""The local catalog: lake tables as external tables of the warehouse, and a list of their partitions in OPS.

Where another catalog is the master (Glue), its adapter takes the place of this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from pipeline_assets.lake import Lake, LakeTable
from pipeline_assets.warehouse.embedded import EmbeddedWarehouse
from pipeline_assets.warehouse.schema import LAKE_PARTITIONS


class WarehouseCatalog:
    """See `pipeline_assets.lake.tables.Catalog`."""

    def __init__(self, lake: Lake, warehouse: EmbeddedWarehouse, clock: Callable[[], datetime]) -> None:
        self._lake = lake
        self._warehouse = warehouse
        self._clock = clock

    def register(self, table: LakeTable, partitions: Sequence[str]) -> None:
        name = f"{table.contract.domain.upper()}.{table.contract.table}"
        found = []
        for partition in sorted(set(partitions)):
            files = table.files(self._lake, partition)
            if files:
                location = self._lake.uri(table.bucket, table.folder(partition))
                size = sum(file.size for file in files)
                found.append((name, partition, location, len(files), size, self._clock()))
        with self._warehouse.transaction() as transaction:
            marks = ", ".join(["%s"] * len(set(partitions))) or "NULL"
            transaction.execute(
                f"DELETE FROM OPS.LAKE_PARTITIONS WHERE TABLE_NAME = %s AND PARTITION_VALUE IN ({marks})",
                (name, *sorted(set(partitions))),
            )
            if found:
                rows = ", ".join(["(%s, %s, %s, %s, %s, %s)"] * len(found))
                columns = ", ".join(column for column, *_ in LAKE_PARTITIONS.columns)
                transaction.execute(
                    f"INSERT INTO OPS.LAKE_PARTITIONS ({columns}) VALUES {rows}",
                    [value for row in found for value in row],
                )
            left = int(transaction.scalar("SELECT COUNT(*) FROM OPS.LAKE_PARTITIONS WHERE TABLE_NAME = %s", (name,)))
        self._warehouse.show_lake_table(table, has_files=left > 0)
