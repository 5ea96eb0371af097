"""What people find in Dagster's UI: every asset owned, described, grouped and traced."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.properties import BUILT_IN_CHECKS
from pipeline_assets.definitions import build_definitions
from pipeline_assets.orchestration.assets import RunRequestConfig
from pipeline_assets.pipelines import pipelines
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support import bookings_lake as bookings
from pipeline_assets_tests.support import orders_lake as orders


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("definitions") / "home"


@pytest.fixture(scope="module")
def definitions(home: Path) -> dg.Definitions:
    return build_definitions(load_settings(home=home))


@pytest.fixture(scope="module")
def specs(definitions: dg.Definitions) -> list[dg.AssetSpec]:
    return definitions.resolve_all_asset_specs()


def tables(specs: list[dg.AssetSpec]) -> list[dg.AssetSpec]:
    return [spec for spec in specs if "table" in spec.kinds]


def declared(specs: list[dg.AssetSpec]) -> list[dg.AssetSpec]:
    """The assets whose columns are in contracts; runs learn those of others, and a bucket has none."""
    return [spec for spec in specs if "dagster/column_schema" in spec.metadata]


def test_building_definitions_touches_no_file(definitions: dg.Definitions, home: Path) -> None:
    assert definitions.resolve_all_asset_keys()
    assert not home.exists()


def test_every_asset_is_a_noun_of_its_pipeline(specs: list[dg.AssetSpec]) -> None:
    for spec in specs:
        pipeline, noun = spec.key.path
        assert pipeline in {*pipelines(), "ops"}
        assert spec.group_name == pipeline
        assert noun == noun.lower()


def test_every_asset_tells_people_whose_it_is_and_what_it_is(specs: list[dg.AssetSpec]) -> None:
    """A spec that stands in `deps=` only would show as an empty stub."""
    for spec in specs:
        assert spec.owners, spec.key
        assert all(owner.startswith("team:") for owner in spec.owners), spec.key
        assert spec.kinds, spec.key
        assert len(spec.description or "") > 20, spec.key
    known = {spec.key for spec in specs}
    assert {dep.asset_key for spec in specs for dep in spec.deps} <= known


def test_every_table_says_where_it_is_and_when_it_is_stale(specs: list[dg.AssetSpec]) -> None:
    assert tables(specs)
    for spec in tables(specs):
        assert spec.freshness_policy, spec.key
        assert spec.metadata["dagster/table_name"] == ".".join(spec.key.path).upper()
        assert "Grain: " in (spec.description or "")
    for spec in tables(declared(specs)):
        columns = spec.metadata["dagster/column_schema"].columns
        assert all(column.description for column in columns), spec.key


@pytest.mark.parametrize(
    ("key", "shape", "constants"),
    [
        (["bookings", "customer_bookings"], bookings.contract("customer_bookings"), 0),
        (["orders", "order_headers"], orders.contract("order_headers"), 1),  # LINE_COUNT counts rows
        (["orders", "order_lines"], orders.contract("order_lines"), 1),  # LINE_NUMBER is a place
        (["orders", "orders_parquet_datalake"], orders.contract("orders_parquet_datalake"), 0),
    ],
)
def test_every_column_is_traced(specs: list[dg.AssetSpec], key: list[str], shape: Contract, constants: int) -> None:
    (spec,) = [spec for spec in specs if spec.key.path == key]

    traced = spec.metadata["dagster/column_lineage"].deps_by_column

    assert list(traced) == list(shape.column_names)
    known = {spec.key: {c.name for c in spec.metadata["dagster/column_schema"].columns} for spec in declared(specs)}
    assert sum(not deps for deps in traced.values()) == constants
    for column, deps in traced.items():
        assert all(dep.column_name in known[dep.asset_key] for dep in deps), column


def test_personal_data_is_tagged(specs: list[dg.AssetSpec]) -> None:
    tagged = {spec.key.path[-1] for spec in specs if spec.tags.get("personal_data") == "yes"}

    assert {"customers", "customer_bookings", "customers_files"} <= tagged
    assert {"orders_files", "order_lines", "orders_parquet_datalake"} <= tagged
    assert not {"daily_spend", "order_headers", "daily_category_sales"} & tagged


def test_the_resources_have_their_public_keys(definitions: dg.Definitions) -> None:
    assert {"s3", "glue", "snowflake", "alerts"} <= set(definitions.resources or {})


@pytest.mark.parametrize("pipeline", pipelines())
def test_every_pipeline_has_a_job_a_sensor_and_a_schedule(definitions: dg.Definitions, pipeline: str) -> None:
    repository = definitions.get_repository_def()

    assert repository.has_job(pipeline)
    assert any(sensor.job_name == pipeline for sensor in repository.sensor_defs if sensor.has_jobs)
    schedules = [schedule for schedule in repository.schedule_defs if schedule.job_name == pipeline]
    assert f"{pipeline}_daily" in {schedule.name for schedule in schedules}
    assert {schedule.execution_timezone for schedule in schedules} == {"UTC"}
    assert {schedule.default_status for schedule in schedules} == {dg.DefaultScheduleStatus.RUNNING}


def test_every_asset_check_is_described(definitions: dg.Definitions) -> None:
    checks = definitions.resolve_asset_graph().asset_check_keys
    assert checks
    for key in checks:
        assert definitions.resolve_asset_graph().get_check_spec(key).description, key


def test_everything_that_people_start_or_configure_is_described(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    described = {sensor.name: sensor.description for sensor in repository.sensor_defs}
    described |= {schedule.name: schedule.description for schedule in repository.schedule_defs}
    described |= {name: resource.description for name, resource in repository.get_top_level_resources().items()}
    described |= {job.name: job.description for job in repository.get_all_jobs() if not job.name.startswith("__")}
    fields = RunRequestConfig.to_fields_dict()
    described |= {f"config {name}": field.description for name, field in fields.items()}
    assert {"platform", "bookings_daily", "failed_runs", "config replay_ids"} <= set(described)
    assert [name for name, text in described.items() if len(text or "") < 20] == []


def test_landed_files_are_described_as_files(specs: list[dg.AssetSpec]) -> None:
    texts = {spec.key.path[-1]: spec.description or "" for spec in specs if spec.key.path[-1].endswith("_files")}
    assert "`orders-source/incoming/**/*.json` or `orders-source/incoming/**/*.ndjson`" in texts["orders_files"]
    for name, text in texts.items():
        lands = (
            "CSV files as they land",
            "JSON files as they land",
            "Zip archives as they land",
            "CSV and PARQUET files",
        )
        assert text.startswith((*lands, "Elements of the lists in ")), name
        assert "|" not in text, name


def test_contracts_reserve_the_names_of_all_built_in_checks(definitions: dg.Definitions) -> None:
    names = {key.name for key in definitions.resolve_asset_graph().asset_check_keys}
    rules = {rule.name for pipeline in pipelines().values() for table in pipeline.targets for rule in table.quality}
    assert rules
    assert names - rules == {*BUILT_IN_CHECKS} - {"latency"}, "no contract declares a latency"
