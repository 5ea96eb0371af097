"""Tables whose columns are learnt in a run: their checks before it, and what Dagster shows after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from pipeline_assets.batch.build_platform import build_platform
from pipeline_assets.batch.run import run_batch
from pipeline_assets.contracts.ddl import PROVENANCE
from pipeline_assets.contracts.ddl import Table as WarehouseTable
from pipeline_assets.orchestration.check_steps import evaluations
from pipeline_assets.orchestration.results import batch_events
from pipeline_assets.pipeline import LandedFiles, Pipeline, Table
from pipeline_assets.pipeline.resolve import derive
from pipeline_assets.settings import load_settings, prepare_home
from pipeline_assets.warehouse import Transaction
from pipeline_assets.warehouse.connection import Loading
from pipeline_assets.warehouse.schema import ops_tables
from pipeline_assets_tests.support.small_pipelines import contract


def goods(*columns: str, is_open: bool = False) -> Pipeline:
    return Pipeline(
        "shop",
        "shop-bucket",
        sources=[LandedFiles("goods", "in/goods/*.csv")],
        tables=[Table("goods")],
        contracts={"goods": contract("goods", "ID integer key", *columns, is_open=is_open)},
    )


class NoPipes(Loading):
    """Pipes that `deploy` has not created."""

    def preload(self, database: str, files: Sequence[tuple[WarehouseTable, str, int]]) -> None:
        assert not files

    def fill(self, transaction: Transaction, table: WarehouseTable, stage: str, key: str) -> int:
        raise AssertionError(f"{table.name} has no pipe.")


def test_tables_that_a_run_creates_are_loaded_by_copy(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    prepare_home(settings)
    platform = build_platform(settings)
    platform.warehouse.loading = NoPipes()
    zone = tmp_path / "lake" / "shop-bucket" / "in" / "goods"
    zone.mkdir(parents=True)
    (zone / "one.csv").write_text("ID\n1\n")
    assert run_batch(platform, derive(goods()), "run").loaded == 1


def test_a_run_shows_the_columns_that_it_learnt(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    prepare_home(settings)
    platform = build_platform(settings)
    declared, learnt = derive(goods(is_open=True)), derive(goods("NAME text", "PRICE number"))
    platform.warehouse.prepare(ops_tables())
    before = {check.check_name: check for check in evaluations(declared, platform, 24)}
    assert before["unique_key"].passed
    assert before["unique_key"].description == "SHOP.GOODS does not exist yet: nothing was loaded."

    zone = tmp_path / "lake" / "shop-bucket" / "in" / "goods"
    zone.mkdir(parents=True)
    (zone / "one.csv").write_text("ID,NAME,PRICE\n1,Pen,1.5\n2,Ink,2\n")
    report = run_batch(platform, learnt, "run")
    (event,) = [e for e in batch_events(report, learnt, platform) if isinstance(e, dg.MaterializeResult)]
    assert event.metadata is not None
    schema, lineage = event.metadata["dagster/column_schema"], event.metadata["dagster/column_lineage"]
    assert [column.name for column in schema.columns] == ["ID", "NAME", "PRICE", *PROVENANCE]
    assert lineage.deps_by_column["NAME"] == [dg.TableColumnDep(dg.AssetKey(["shop", "goods_files"]), "NAME")]

    after = {check.check_name: check for check in evaluations(declared, platform, 24)}
    assert after["unique_key"].passed
    assert after["unique_key"].description is None
    with platform.warehouse.autocommit() as session:  # somebody publishes a row twice
        session.execute(
            "CREATE OR REPLACE TABLE SHOP.GOODS AS SELECT * FROM SHOP.GOODS UNION ALL SELECT * FROM SHOP.GOODS"
        )
    broken = {check.check_name: check for check in evaluations(declared, platform, 24)}
    assert not broken["unique_key"].passed
