"""The embedded warehouse: Snowflake SQL on DuckDB (fakesnow), one file under the home.

DuckDB lets only one process write a file, so each transaction holds an inter-process lock; the kernel releases it when
a process dies. The emulator keeps external stages in memory, so each connection creates them again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from pipeline_assets.contracts.ddl import literal, target_table
from pipeline_assets.contracts.names import lake_name, sql_name
from pipeline_assets.errors import WarehouseBusyError, WarehouseError
from pipeline_assets.lake import LakeTable
from pipeline_assets.warehouse.connection import Warehouse, take_connection
from pipeline_assets.warehouse.driver import snowflake_resource
from pipeline_assets.warehouse.emulator import leave_no_folder, patched_emulator, silence_warnings
from pipeline_assets.warehouse.emulator_instance import emulated_connector

_ROOT = "warehouse_root"


class EmbeddedWarehouse(Warehouse):
    """`root` holds the database file, waited for up to `patience` seconds; `stage_url` gives the url of a bucket."""

    def __init__(self, root: Path, database: str, patience: float, stage_url: Callable[[str], str]) -> None:
        self.root = root
        self.database = database
        self.patience = patience
        self._stage_url = stage_url
        self._thread: int | None = None

    @property
    def is_created(self) -> bool:
        return (self.root / f"{self.database}.db").exists()

    @contextmanager
    def connect(self, buckets: Sequence[str] = ()) -> Iterator[Any]:
        from filelock import FileLock, Timeout

        silence_warnings()
        leave_no_folder()
        if self._thread == threading.get_ident():
            raise WarehouseError("A transaction inside another one: the inner one would wait for ever.")
        lock = FileLock(self.root / ".lock", timeout=self.patience)
        try:
            lock.acquire()
        except Timeout:
            raise WarehouseBusyError(
                f"Another process has kept the warehouse in {self.root} locked for {self.patience:g} seconds.",
                remedy="Wait for it, end it, or raise PIPELINE_WAREHOUSE_PATIENCE.",
            ) from None
        self._thread = threading.get_ident()
        try:
            with patched_emulator(), emulated_connector(self.root, self.database):
                connection = take_connection(lambda: _resource(self.database))
                try:
                    # Views name files relative to the warehouse, so that they work after a home was moved.
                    connection._duck_conn.execute(f"SET VARIABLE {_ROOT} = {literal(_glob_escaped(str(self.root)))}")
                    for bucket in buckets:
                        connection._duck_conn.create_stage(
                            connection.database, self.stage(bucket), self._stage_url(bucket)
                        )
                    yield connection
                finally:
                    connection.close()
        finally:
            self._thread = None
            lock.release()

    def show_lake_table(self, table: LakeTable, *, has_files: bool) -> None:
        """Create a view over the files of a lake table under its contract's name; safe to repeat."""
        contract = table.contract
        view_name = f"{self.database}.{target_table(contract).qualified}"
        if not has_files:  # DuckDB fails if a pattern matches no file
            view = f"DROP VIEW IF EXISTS {view_name}"
        else:
            partition = table.partition_column
            bucket = os.path.relpath(self._stage_url(table.bucket).removeprefix("file://"), self.root)
            pattern = f"/{_glob_escaped(f'{bucket}/{table.prefix}')}*/*.parquet"
            names = [column.name for column in contract.columns if not column.partition]
            columns = ", ".join(f"{sql_name(lake_name(name))} AS {sql_name(name)}" for name in names)
            files = f"getvariable('{_ROOT}') || {literal(pattern)}"
            folder = f"regexp_extract(filename, '{partition.lower()}=([^/]+)/[^/]+$', 1)"
            view = (
                f"CREATE OR REPLACE VIEW {view_name} AS "
                f"SELECT {columns}, CAST({folder} AS DATE) AS {sql_name(partition)} FROM "
                f"read_parquet({files}, filename = true, hive_partitioning = false)"
            )
        with self.connect() as connection:
            # Directly on DuckDB, which reads the files; the emulator has no external tables.
            connection._duck_conn.execute(view)


@cache
def _resource(database: str) -> Any:
    """Dagster needs longer to validate the options of a resource than the emulator to connect."""
    return snowflake_resource()(
        account="embedded", user="embedded", password="embedded", database=database, schema="OPS", autocommit=True
    )


def _glob_escaped(path: str) -> str:
    """A path as a DuckDB pattern that matches only this path."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)
