"""Tables and columns whose names are no plain identifiers, through every part of a batch and on each engine.

FAULTS 31: a name from a source cannot change a statement.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.contracts.ddl import PROVENANCE
from pipeline_assets.contracts.masking import MASK
from pipeline_assets.orchestration.checks import checks_of
from pipeline_assets.orchestration.results import batch_events
from pipeline_assets.orchestration.specs import output_specs
from pipeline_assets.pipeline.resolve import derive
from pipeline_assets_tests.support import odd_names
from pipeline_assets_tests.support.odd_names import ODD, OddLake, order, parent
from pipeline_assets_tests.support.pipeline_lake import copy_home
from pipeline_assets_tests.support.small_pipelines import lake_of, temporary


@cache
def kind() -> type[OddLake]:
    return lake_of(derive(odd_names.pipeline(temporary())), OddLake)  # type: ignore[return-value]


def first_batch(shop: OddLake) -> None:
    shop.parents("1", parent(1, "one"), parent(2, "two"), at=0)
    shop.orders("1", order("x", 1, 10), order("y", 2, 20, "2026-01-02"), order("z", 9), order("w", 1, "much"), at=1)
    report = shop.run()
    assert report.rows == {"read": 6, "loaded": 4, "superseded": 0, "quarantined": 2}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> OddLake:
    """A home after the first batch; tests read it or get copies."""
    lake = kind().with_tables(tmp_path_factory.mktemp("loaded") / "home")
    first_batch(lake)
    return lake


@pytest.fixture
def shop(loaded: OddLake, tmp_path: Path) -> OddLake:
    return kind().at(copy_home(loaded.home, tmp_path / "home", "shop-bucket/in"))


def test_every_kind_of_table_has_names_that_need_quotes(loaded: OddLake) -> None:
    shop = loaded
    cells = shop.cells()
    assert cells["named"] == [("x", "N", "one"), ("y", "N", "two")]
    assert cells["totals"] == [("2026-01-01", "10.0000", "1"), ("2026-01-02", "20.0000", "1")]
    assert sorted(row[4:] for row in cells["past"]) == [("x", "10.0000", "n"), ("y", "20.0000", "n")]
    key, name, day = (f'"{ODD[column]}"'.replace('A"B', 'A""B') for column in ("KEY", "NAME", "DAY"))
    lake_rows = shop.rows(f'SELECT {key}, {name}, {day}::VARCHAR FROM SHOP."WHERE" ORDER BY 1')
    assert lake_rows == [("x", "n", "2026-01-01"), ("y", "n", "2026-01-02")]
    copied = shop.rows(f'SELECT {name}, {day}::VARCHAR FROM SHOP."LIMIT" ORDER BY 2')
    assert copied == [("n", "2026-01-01"), ("n", "2026-01-02")]
    assert [row[ODD["KEY"]] for row in exported(shop)] == ["x", "y"]


def exported(shop: OddLake) -> list[dict[str, str]]:
    """The rows of the newest export."""
    paths = (shop.home / "lake" / "shop-bucket" / "out").glob("*.csv")
    text = max(paths, key=lambda path: path.stat().st_mtime_ns).read_text(encoding="utf-8")
    return sorted(csv.DictReader(text.splitlines()), key=lambda row: row[ODD["KEY"]])


def test_newer_versions_late_parents_and_reprocessing_find_the_published_rows(shop: OddLake) -> None:
    shop.orders("2", order("x", 2, 30, "2026-01-03"), at=2)
    shop.parents("2", parent(2, "changed"), at=2)
    shop.run()
    assert shop.cells()["named"] == [("x", "N", "changed"), ("y", "N", "changed")]
    assert shop.cells()["totals"] == [("2026-01-02", "20.0000", "1"), ("2026-01-03", "30.0000", "1")]
    assert [row[ODD["KEY"]] for row in exported(shop)] == ["x"]
    intervals = sorted((row[4], row[5], row[2] == "None") for row in shop.cells()["past"])
    assert intervals == [("x", "10.0000", False), ("x", "30.0000", True), ("y", "20.0000", True)]
    before = shop.cells()
    shop.run(reprocess=True)
    assert shop.cells() == before


def test_quarantined_records_are_replayed(shop: OddLake) -> None:
    found = dict(shop.rows("SELECT REASON_CODE, REASON FROM OPS.QUARANTINE"))
    assert found["missing_reference"].startswith(ODD["PARENT"])
    assert found["not_a_number"].startswith(ODD["AMOUNT"])
    shop.parents("2", parent(9, "nine"), at=2)
    shop.run()
    shop.run(replay=True)
    assert ("z", "N", "nine") in shop.cells()["named"]
    assert shop.rows("SELECT REASON_CODE FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL") == [("not_a_number",)]


def test_checks_and_previews_read_such_tables(tmp_path: Path) -> None:
    shop = kind().with_tables(tmp_path / "home")
    shop.parents("1", parent(1), at=0)
    shop.orders("1", order("x", 1, 10), order("y", 1, 20), at=1)
    report = shop.run()
    pipeline = kind().pipeline()
    with shop.platform.warehouse.read_only() as transaction:
        results = {
            (check.spec.asset_key.path[-1], check.spec.name): check.evaluate(transaction, shop.platform)
            for check in checks_of(pipeline, 10**6)
        }
    assert {name for name, result in results.items() if not result.passed} == set()
    assert {name for _, name in results} >= {"unique_key", "reconciles", "current_rows", "disjoint_intervals"}
    previews = {
        event.asset_key.path[-1]: event.metadata["preview"].value
        for event in batch_events(report, pipeline, shop.platform)
        if "preview" in (event.metadata or {})
    }
    assert ODD["AMOUNT"].replace("`", r"\`") in previews["order"]
    assert MASK in previews["order"]


def test_lineage_and_columns_in_dagster_have_the_raw_names() -> None:
    specs = {spec.key.path[-1]: spec.metadata for spec in output_specs(kind().pipeline(), 26)}
    assert [column.name for column in specs["order"]["dagster/column_schema"].columns] == [
        *(ODD[name] for name in ("KEY", "PARENT", "AMOUNT", "DAY", "NAME")),
        *PROVENANCE,
    ]
    assert specs["order"]["dagster/table_name"] == 'SHOP."ORDER"'
    lineage = specs["named"]["dagster/column_lineage"].deps_by_column
    assert {name: [dep.column_name for dep in deps] for name, deps in lineage.items()} == {
        ODD[name]: [ODD[name]] for name in ("KEY", "NAME", "LINE")
    }


def test_parquet_files_have_such_columns(tmp_path: Path) -> None:
    shop = kind().with_tables(tmp_path / "home")
    shop.parents("1", parent(1), at=0)
    path = shop.path("../order/1.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([order("x", "1", "10"), order("y", "1", "much")]), path)
    report = shop.run()
    assert report.rows["loaded"] == 2
    assert [row[0] for row in shop.cells()["order"]] == ["x"]


def test_spark_gives_the_same_tables(shop: OddLake, tmp_path: Path) -> None:
    kind().with_tables(tmp_path / "spark")
    on_spark = kind().at(tmp_path / "spark", engine="spark")
    first_batch(on_spark)
    for lake in (shop, on_spark):
        lake.orders("2", order("x", 2, 30, "2026-01-03"), at=2)
        lake.parents("2", parent(2, "changed"), parent(9, "nine"), at=2)
        lake.run(replay=True)
    assert on_spark.cells() == shop.cells()
    reasons = "SELECT REASON_CODE, REASON, RAW_RECORD FROM OPS.QUARANTINE ORDER BY 1"
    assert on_spark.rows(reasons) == shop.rows(reasons)
