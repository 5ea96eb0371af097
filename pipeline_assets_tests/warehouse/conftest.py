"""An embedded warehouse of its own for each test, and one account of Snowflake for all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import boto3
import pytest

from pipeline_assets.deploy.snowflake.apply import deploy
from pipeline_assets.lake import LocalLake
from pipeline_assets.warehouse import EmbeddedWarehouse
from pipeline_assets.warehouse.ledger import register_pipeline
from pipeline_assets.warehouse.schema import ops_tables
from pipeline_assets_tests.support import bookings_lake as bookings
from pipeline_assets_tests.support.moto_aws import moto_process
from pipeline_assets_tests.support.shop_warehouse import BUCKET, COUNTER, TABLES, Shop
from pipeline_assets_tests.support.snowflake_account import Key, TestAccount
from pipeline_assets_tests.support.snowflake_server import serving


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


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestAccount]:
    """An account of Snowflake (played by fakesnow's server) on which everything is deployed, pipes included."""
    admin, loader = Key.new(), Key.new()
    environment = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-used"}
    with (
        moto_process() as s3_url,
        mock.patch.dict(os.environ, environment),
        serving("--admin", f"ADMIN:{admin.public}", "--s3", s3_url) as port,
    ):
        account = TestAccount(port, admin, loader, s3_url)
        settings = account.settings(tmp_path_factory.mktemp("deploys"), snowflake_load="snowpipe")
        deploy(settings, [bookings.pipeline(), Shop()], dry_run=False, say=lambda line: None)
        for bucket in (BUCKET, bookings.BUCKET):
            boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1").create_bucket(Bucket=bucket)
        yield account
