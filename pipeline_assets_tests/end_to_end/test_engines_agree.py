"""Whole pipelines on Spark: real files and dirty samples come to the same tables, lake and quarantine as on DuckDB."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from pipeline_assets.samples import write_samples
from pipeline_assets_tests.support.bookings_lake import BookingsLake
from pipeline_assets_tests.support.commerce_deliveries import deliveries
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.commerce_model import expected as expected_rows
from pipeline_assets_tests.support.commerce_model import texts
from pipeline_assets_tests.support.orders_lake import OrdersLake
from pipeline_assets_tests.support.pipeline_lake import PipelineLake

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
# What differs from one run to the next: ids of runs and batches, when it was, and the files' own times.
_RUN = {"_BATCH_ID", "_LOADED_AT", "_SOURCE_MODIFIED_AT", "BATCH_ID", "RUN_ID", "LOADED_AT", "QUARANTINED_AT"}
_RUN |= {
    "ARRIVED_AT",
    "REPLACED_AT",
    "CLOSED_AT",
    "LAST_MODIFIED",
    "SOURCE_MODIFIED_AT",
    "QUARANTINE_ID",
    "REPLAYED_AT",
    "REPLAY_RUN_ID",
    "ETAG",
    "SOURCE_ETAG",
    "_SOURCE_ETAG",
}


def tables(lake: PipelineLake) -> dict[str, list[tuple]]:
    """Every row of every table, without what differs from run to run."""
    targets = type(lake).pipeline().targets
    found = {}
    with lake.platform.warehouse.autocommit() as session:
        for table in [f"{c.domain}.{c.table}" for c in targets] + ["OPS.FILE_LEDGER", "OPS.QUARANTINE"]:
            found[table] = without_the_run(*session.described(f"SELECT * FROM {table}"))
    return found


def without_the_run(columns: list[str], rows: list[tuple]) -> list[tuple]:
    """Rows without what differs from run to run, uris without their scheme, sorted."""
    kept = [index for index, name in enumerate(columns) if name not in _RUN]

    def plain(value: object) -> object:
        return value.partition("://")[2] if isinstance(value, str) and "://" in value[:8] else value

    return sorted((tuple(plain(row[index]) for index in kept) for row in rows), key=repr)


def lake_rows(lake: PipelineLake) -> list[dict]:
    root = lake.home / "lake"
    rows = []
    for table in type(lake).pipeline().lake_tables:
        rows += ds.dataset(root / table.bucket / table.prefix, partitioning="hive").to_table().to_pylist()
    return sorted(rows, key=repr)


@pytest.mark.parametrize(("kind", "seeds"), [(BookingsLake, (1,)), (OrdersLake, (1, 2))])
def test_a_pipeline_on_spark_comes_to_what_it_comes_to_on_duckdb(
    kind: type[PipelineLake], seeds: tuple[int, ...], tmp_path: Path
) -> None:
    """A second batch meets published rows, overwritten objects and records that waited."""
    found = {}
    samples = tmp_path / "samples"
    for engine in ("duckdb", "spark"):
        lake = kind.at(tmp_path / engine)
        bucket = lake.home / "lake" / kind.pipeline().sources[0].zone.bucket
        for seed in seeds:
            if not (samples / str(seed)).exists():
                (samples / str(seed)).mkdir(parents=True)
                write_samples(lake.name, samples / str(seed), scale=0.05, seed=seed)
            shutil.copytree(samples / str(seed), bucket, dirs_exist_ok=True)
            report = lake.run(f"run-{seed}", engine=engine)
            assert report.engine == engine
            assert report.rows["loaded"]
            assert report.rows["read"] == sum(report.rows[name] for name in ("loaded", "superseded", "quarantined"))
        found[engine] = (tables(lake), lake_rows(lake))
    for table, expected in found["duckdb"][0].items():
        assert found["spark"][0][table] == expected, table
    assert found["spark"][1] == found["duckdb"][1]


def test_commerce_on_spark_comes_to_what_it_comes_to_on_duckdb(tmp_path: Path) -> None:
    """Objects without a header that leave landing; a second batch has some of the first delivered again."""
    landed = deliveries(5, 0.2, objects=12)
    found = {}
    for engine in ("duckdb", "spark"):
        lake = CommerceLake.with_tables(tmp_path / engine)
        for number, part in enumerate((landed[:7], landed[4:])):
            for delivery in part:
                lake.write(delivery.key.removeprefix("firehose/"), delivery.content)
            report = lake.run(f"run-{number}", engine=engine)
            assert report.engine == engine
            assert report.known == (3 if number else 0)
        before = tables(lake)
        assert lake.run(engine=engine, reprocess=True).loaded == 12
        assert without_places(tables(lake)) == without_places(before)
        found[engine] = (without_places(before), lake.copied_rows(), lake.zones())
    assert found["spark"] == found["duckdb"]
    model = expected_rows(landed)
    assert texts(lake.tables()["ORDERS_RAW"]) == model.orders_raw
    assert texts(lake.tables()["ORDER_CUSTOMER_DATE_PRICE"]) == model.mart


def without_places(found: dict[str, list[tuple]]) -> dict[str, list[tuple]]:
    """Tables without the batch in the places of objects; without the ledger, whose counts follow the order of runs."""

    def plain(value: object) -> object:
        return re.sub("/[0-9a-f]{12}/", "/", value) if isinstance(value, str) else value

    return {
        name: sorted((tuple(map(plain, row)) for row in rows), key=repr)
        for name, rows in found.items()
        if name != "OPS.FILE_LEDGER"
    }
