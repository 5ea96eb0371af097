"""Datasets have the names of OpenLineage's specification, without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.openlineage.names import DatasetName, dataset_names
from pipeline_assets.pipelines import pipelines
from pipeline_assets.settings import load_settings

AWS = {"profile": "aws", "bucket_prefix": "acme-", "snowflake_account": "acme-eu1"}


def names_of(pipeline: str, home: Path, **settings: object) -> dict[str, DatasetName]:
    read = load_settings(home=home, **settings)
    return dataset_names(pipelines(read)[pipeline], read)


@pytest.mark.parametrize(
    ("key", "namespace", "name"),
    [
        ("customers_files", "s3://acme-customer-booking-data-pipeline", "raw-data/customer_details*.csv"),
        ("customers", "snowflake://acme-eu1", "ANALYTICS.BOOKINGS.CUSTOMERS"),
        ("daily_spend", "snowflake://acme-eu1", "ANALYTICS.BOOKINGS.DAILY_SPEND"),
        (
            "customer_bookings_csv",
            "s3://acme-customer-booking-data-pipeline",
            "processed-data/customer_bookings_*_*.csv",
        ),
    ],
)
def test_names_in_the_profile_aws(tmp_path: Path, key: str, namespace: str, name: str) -> None:
    assert names_of("bookings", tmp_path, **AWS)[f"bookings/{key}"] == DatasetName(namespace, name)


def test_a_lake_table_is_named_by_its_folder(tmp_path: Path) -> None:
    name = names_of("orders", tmp_path, **AWS)["orders/orders_parquet_datalake"]
    assert name == DatasetName("s3://acme-orders-staging", "orders_parquet_datalake")


def test_names_in_the_profile_local_are_paths(tmp_path: Path) -> None:
    names = names_of("bookings", tmp_path)
    bucket = tmp_path / "lake" / "customer-booking-data-pipeline"
    assert names["bookings/customers_files"] == DatasetName("file", f"{bucket}/raw-data/customer_details*.csv")
    assert names["bookings/customers"].namespace == f"duckdb://{tmp_path}/warehouse/ANALYTICS.db"


@pytest.mark.parametrize(
    ("url", "server", "table"),
    [
        ("mysql+pymysql://me:s3cr%40t@db.example.org/shop", "mysql://db.example.org:3306", "shop.amazone_books"),
        ("mariadb://me:p/w@db:3307/shop?charset=utf8", "mysql://db:3307", "shop.amazone_books"),
        ("sqlite:////data/shop.db", "sqlite:///data/shop.db", "amazone_books"),
        ("mysql://me:s3cret@db:port/shop", "mysql", "amazone_books"),  # the run fails with it
    ],
)
def test_a_table_of_a_database_is_named_by_its_server(tmp_path: Path, url: str, server: str, table: str) -> None:
    names = names_of("reviews", tmp_path, reviews_source_url=url)
    assert names["reviews/amazone_books_source"] == DatasetName(server, table)


@pytest.mark.parametrize("pipeline", pipelines())
@pytest.mark.parametrize("settings", [{}, AWS])
def test_every_dataset_has_a_name_of_its_own(pipeline: str, settings: dict, tmp_path: Path) -> None:
    from pipeline_assets.catalog.datasets import datasets_of

    names = names_of(pipeline, tmp_path, **settings)
    assert list(names)
    assert names.keys() == {dataset.key for dataset in datasets_of([pipelines()[pipeline]])}
    assert len(set(names.values())) == len(names)
    assert all(name.namespace and name.name for name in names.values())
