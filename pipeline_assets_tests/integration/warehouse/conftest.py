"""An embedded warehouse of its own for each test, and one account of Snowflake for all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import boto3
import pytest

from pipeline_assets.deploy.snowflake.apply import deploy
from pipeline_assets_tests.support import bookings_lake as bookings
from pipeline_assets_tests.support.moto_aws import moto_process
from pipeline_assets_tests.support.shop_warehouse import BUCKET, Shop
from pipeline_assets_tests.support.snowflake_account import Key, TestAccount
from pipeline_assets_tests.support.snowflake_server import serving
from pipeline_assets_tests.support.warehouse_fixtures import prepared, shop_lake, warehouse

__all__ = ["account", "prepared", "shop_lake", "warehouse"]


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
