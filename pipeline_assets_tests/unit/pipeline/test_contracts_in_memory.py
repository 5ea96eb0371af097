"""Contracts of a value instead of files: complete ones of a run, and open ones, whose columns a run learns."""

from __future__ import annotations

import gc
import weakref
from datetime import date

import dagster as dg
import pytest

from pipeline_assets.deploy.snowflake.plan import steps
from pipeline_assets.deploy.snowflake.tables import tables
from pipeline_assets.errors import ContractError
from pipeline_assets.orchestration.assets import pipeline_assets
from pipeline_assets.orchestration.checks import checks_of
from pipeline_assets.pipeline import History, LandedFiles, Pipeline, Table
from pipeline_assets.pipeline.resolve import derive
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.small_pipelines import contract

KEY, NAME = "ID integer key", "NAME text personal"
INTERVAL = ("SK text key history:surrogate_key", "VALID_FROM timestamp history:valid_from")
INTERVAL_END = ("VALID_TO timestamp history:valid_to", "IS_CURRENT boolean history:is_current")


def shop(*, is_open: bool = False) -> Pipeline:
    """Goods, and the history of actors."""
    names = () if is_open else (NAME,)
    versions = () if is_open else ("NAME text personal history:version",)
    contracts = [
        contract("goods", KEY, *names, is_open=is_open),
        contract("actor", KEY, *names, is_open=is_open),
        contract("actor_history", "ID integer", *versions, *INTERVAL, *INTERVAL_END, is_open=is_open),
    ]
    return Pipeline(
        "shop",
        "shop-bucket",
        sources=[LandedFiles("goods", "in/goods/*.parquet"), LandedFiles("actor", "in/actor/*.parquet")],
        tables=[Table("goods"), Table("actor", write="append"), History("actor_history", of="actor")],
        contracts={made.name: made for made in contracts},
    )


def test_contracts_of_a_value_need_no_files() -> None:
    assert [table.name for table in derive(shop()).warehouse_tables if table.schema == "SHOP"] == [
        "GOODS",
        "ACTOR",
        "ACTOR_HISTORY",
    ]


def test_a_contract_of_a_value_has_the_name_that_the_pipeline_uses() -> None:
    value = shop()
    value.contracts["goods"] = contract("wares", KEY)  # type: ignore[index]
    with pytest.raises(ContractError, match=r"^goods: name and domain are wares and shop"):
        derive(value)


def test_a_value_that_is_made_in_a_run_does_not_outlive_it() -> None:
    value = shop()
    derived = derive(value)
    assert derived.warehouse_tables  # cached properties do not keep it either
    kept = weakref.ref(value)
    del value, derived
    gc.collect()
    assert kept() is None


def test_tables_of_open_contracts_are_neither_created_nor_deployed_from_definitions() -> None:
    pipeline = derive(shop(is_open=True))
    settings = load_settings(snowflake_change_capture=True, snowflake_load="snowpipe")
    assert pipeline.warehouse_tables == ()
    assert all(table.schema.endswith(".OPS") and "SHOP" not in table.name for table in tables(settings, [pipeline]))
    planned = [step.what for step in steps(settings, [pipeline])]
    assert [what for what in planned if "GOODS" in what or "ACTOR" in what] == []
    assert any(what.startswith("schema") and what.endswith("SHOP") for what in planned)
    grants = [step.sql for step in steps(settings, [pipeline]) if step.entry.sql == "grant_create_table"]
    assert [sql.partition(" TO ROLE")[0].rpartition(".")[2] for sql in grants] == ["OPS", "SHOP"]
    assert not [step for step in steps(settings, [derive(shop())]) if step.entry.sql == "grant_create_table"]


def test_a_personal_double_is_masked_like_any_other_personal_column() -> None:
    value = shop()
    value.contracts["goods"] = contract("goods", KEY, "WEIGHT double personal")  # type: ignore[index]
    masks = [step.sql for step in steps(load_settings(), [derive(value)]) if "MASK_FLOAT" in step.sql]
    assert any("WEIGHT" in sql for sql in masks)


def test_assets_show_the_columns_of_contracts_that_are_not_open() -> None:
    def columns(value: Pipeline) -> dict[str, list[str]]:
        found = {}
        for asset in pipeline_assets(derive(value), 24, date(2026, 1, 1)):
            for spec in asset.specs if isinstance(asset, dg.AssetsDefinition) else [asset]:
                shown = sorted(key for key in spec.metadata if key.startswith("dagster/column"))
                found[spec.key.path[-1]] = shown
        return found

    both = ["dagster/column_lineage", "dagster/column_schema"]
    tables_and_history = dict.fromkeys(("goods", "actor", "actor_history"), both)
    assert (
        columns(shop())
        == {
            "shop_bucket_bucket": [],
            "goods_files": ["dagster/column_schema"],
            "actor_files": ["dagster/column_schema"],
        }
        | tables_and_history
    )
    assert set(map(len, columns(shop(is_open=True)).values())) == {0}


def test_the_select_of_an_open_history_is_not_compared_with_its_rows() -> None:
    def checks(value: Pipeline) -> list[str]:
        return [c.spec.name for c in checks_of(derive(value), 24) if c.spec.asset_key.path[-1] == "actor_history"]

    assert sorted(checks(shop())) == [
        "current_rows",
        "disjoint_intervals",
        "reconciles",
        "unique_key",
        "unknown_columns",
    ]
    assert sorted(set(checks(shop())) - set(checks(shop(is_open=True)))) == ["reconciles"]
