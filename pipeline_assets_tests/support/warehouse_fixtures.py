"""An embedded warehouse of its own for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline_assets.lake import LocalLake
from pipeline_assets.warehouse import EmbeddedWarehouse
from pipeline_assets.warehouse.ledger import register_pipeline
from pipeline_assets.warehouse.schema import ops_tables
from pipeline_assets_tests.support.shop_warehouse import COUNTER, TABLES


def open_warehouse(root: Path, lake: LocalLake, patience: float = 30) -> EmbeddedWarehouse:
    root.mkdir(parents=True, exist_ok=True)
    return EmbeddedWarehouse(root, "ANALYTICS", patience, lake.stage_url)


@pytest.fixture
def shop_lake(tmp_path: Path) -> LocalLake:
    return LocalLake(tmp_path / "lake")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with every table, pipeline `shop` and a counter at 0, to copy from."""
    root = tmp_path_factory.mktemp("prepared")
    warehouse = open_warehouse(root, LocalLake(root))
    warehouse.prepare([*ops_tables(), *TABLES, COUNTER])
    with warehouse.transaction() as transaction:
        transaction.execute("INSERT INTO OPS.COUNTER (N) VALUES (0)")
        register_pipeline(transaction, "shop")
    return root


@pytest.fixture
def warehouse(tmp_path: Path, prepared: Path, shop_lake: LocalLake) -> EmbeddedWarehouse:
    shutil.copytree(prepared, tmp_path / "warehouse")
    return open_warehouse(tmp_path / "warehouse", shop_lake)
