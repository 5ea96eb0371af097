"""The local catalog: what is registered can be queried, and what has no files is forgotten."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.batch.run import required_tables
from pipeline_assets.contracts.arrow import lake_schema
from pipeline_assets.errors import WarehouseError
from pipeline_assets.warehouse import EmbeddedWarehouse
from pipeline_assets_tests.support.orders_lake import OrdersLake, lake_table

TABLE = lake_table()


@pytest.fixture
def prepared(orders_lake: OrdersLake) -> OrdersLake:
    orders_lake.platform.warehouse.prepare(required_tables(type(orders_lake).pipeline()))
    return orders_lake


def lay(lake: OrdersLake, day: str, *orders: str) -> Path:
    path = lake.lake_table / f"dt={day}" / "orders_x.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"order_id": order, "quantity": 1} for order in orders]
    pq.write_table(pa.Table.from_pylist(rows, lake_schema(TABLE.contract)), path)
    return path


def queried(lake: OrdersLake) -> list[tuple]:
    return lake.rows("SELECT ORDER_ID, DT::VARCHAR FROM ORDERS.ORDERS_PARQUET_DATALAKE ORDER BY 1")


def partitions(lake: OrdersLake) -> list[tuple]:
    return lake.rows("SELECT PARTITION_VALUE, FILES, LOCATION FROM OPS.LAKE_PARTITIONS ORDER BY 1")


def test_a_registered_table_is_queried_under_its_contracts_name(prepared: OrdersLake) -> None:
    lay(prepared, "2024-01-10", "1", "2")
    prepared.platform.catalog.register(TABLE, ["2024-01-10"])
    assert queried(prepared) == [("1", "2024-01-10"), ("2", "2024-01-10")]
    folder = "lake://orders-staging/orders_parquet_datalake/dt=2024-01-10/"
    assert partitions(prepared) == [("2024-01-10", 1, folder)]


def test_registering_twice_changes_nothing(prepared: OrdersLake) -> None:
    lay(prepared, "2024-01-10", "1")
    for _ in range(2):
        prepared.platform.catalog.register(TABLE, ["2024-01-10", "2024-01-10"])
    assert [row[:2] for row in partitions(prepared)] == [("2024-01-10", 1)]


def test_the_same_day_of_another_table_stays_registered(prepared: OrdersLake) -> None:
    other = replace(TABLE, contract=replace(TABLE.contract, table="OTHER"), prefix="other/")
    lay(prepared, "2024-01-10", "1")
    folder = prepared.lake_table.parent / "other" / "dt=2024-01-10"
    folder.mkdir(parents=True)
    shutil.copy(prepared.lake_table / "dt=2024-01-10" / "orders_x.parquet", folder)
    for table in (other, TABLE):
        prepared.platform.catalog.register(table, ["2024-01-10"])

    registered = prepared.rows("SELECT TABLE_NAME, FILES FROM OPS.LAKE_PARTITIONS ORDER BY 1")
    assert registered == [("ORDERS.ORDERS_PARQUET_DATALAKE", 1), ("ORDERS.OTHER", 1)]


def test_a_partition_without_files_is_forgotten_and_others_stay(prepared: OrdersLake) -> None:
    gone = lay(prepared, "2024-01-10", "1")
    lay(prepared, "2024-01-11", "2")
    prepared.platform.catalog.register(TABLE, ["2024-01-10", "2024-01-11"])
    gone.unlink()
    prepared.platform.catalog.register(TABLE, ["2024-01-10"])
    assert [row[0] for row in partitions(prepared)] == ["2024-01-11"]
    assert queried(prepared) == [("2", "2024-01-11")]


def test_a_table_without_any_file_is_no_table(prepared: OrdersLake) -> None:
    gone = lay(prepared, "2024-01-10", "1")
    prepared.platform.catalog.register(TABLE, ["2024-01-10"])
    gone.unlink()
    prepared.platform.catalog.register(TABLE, ["2024-01-10"])
    with pytest.raises(WarehouseError, match="ORDERS_PARQUET_DATALAKE"):
        queried(prepared)
    prepared.platform.warehouse.prepare(required_tables(type(prepared).pipeline()))


def test_a_home_whose_name_is_a_pattern_is_read_alike(tmp_path: Path) -> None:
    lake = OrdersLake.at(tmp_path / "home {1,2} [#~")
    assert isinstance(lake.platform.warehouse, EmbeddedWarehouse)
    lake.platform.warehouse.prepare(required_tables(type(lake).pipeline()))
    lay(lake, "2024-01-10", "1")
    lake.platform.catalog.register(TABLE, ["2024-01-10"])
    assert queried(lake) == [("1", "2024-01-10")]
