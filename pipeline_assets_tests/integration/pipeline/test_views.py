"""Views of the warehouse: created from their SELECT, replaced when it changes, reported like tables."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.errors import ConfigurationError, ContractError
from pipeline_assets.orchestration.checks import checks_of
from pipeline_assets.orchestration.results import batch_events
from pipeline_assets.orchestration.specs import output_specs
from pipeline_assets.pipeline import LandedFiles, Mart, Pipeline, Table, View
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets_tests.support.small_pipelines import SmallLake, lake_of, pipeline_of, temporary

CONTRACTS = {
    "ratings": ("table", ["FILM text key", "PROVIDER text key", "RATING integer"]),
    "films": ("table", ["FILM text key", "RATINGS integer"]),
    "charts": ("table", ["FILM text key", "BEST integer", "WORST integer"]),
    "best": ("table", ["FILM text", "BEST integer"]),
    "others": ("csv", ["ID text key"]),
}
SQL = {
    "films": "SELECT R.FILM, COUNT(*) AS RATINGS FROM SHOP.RATINGS AS R GROUP BY R.FILM",
    "charts": "SELECT R.FILM, MIN(R.RATING) AS WORST, MAX(R.RATING) AS BEST FROM SHOP.RATINGS AS R GROUP BY R.FILM",
    "best": "SELECT C.FILM, C.BEST FROM SHOP.CHARTS AS C INNER JOIN SHOP.FILMS AS F ON C.FILM = F.FILM",
}
TABLES = [View("charts"), Table("ratings"), Mart("films", refresh_by="FILM"), View("best")]


def value(folder: Path, tables: list = TABLES, **sql: str) -> Pipeline:
    return pipeline_of(folder, CONTRACTS, SQL | sql, sources=[LandedFiles("ratings", "in/*.csv")], tables=tables)


@cache
def kind() -> type[SmallLake]:
    return lake_of(value(temporary()))


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return kind().with_tables(tmp_path / "home")


def rating(film: str, provider: str, rating: int) -> dict:
    return {"FILM": film, "PROVIDER": provider, "RATING": rating}


def test_a_view_shows_the_published_rows_in_the_columns_of_its_contract(lake: SmallLake) -> None:
    lake.csv("1", rating("x", "a", 3), rating("x", "b", 5), at=1)
    lake.run()
    assert lake.rows("SELECT * FROM SHOP.CHARTS") == [("x", 5, 3)]
    assert lake.rows("SELECT * FROM SHOP.BEST") == [("x", 5)]
    lake.csv("2", rating("x", "a", 9), at=2)
    lake.run()
    assert lake.rows("SELECT * FROM SHOP.BEST") == [("x", 9)]


def test_a_view_is_replaced_when_its_select_changes_and_created_when_it_is_gone(
    lake: SmallLake, tmp_path: Path
) -> None:
    lake.csv("1", rating("x", "a", 3), rating("x", "b", 5), at=1)
    lake.run()

    by_hand(lake, "CREATE OR REPLACE VIEW SHOP.CHARTS AS SELECT 'by hand' AS FILM, 1 AS BEST, 2 AS WORST")
    lake.run()
    assert lake.rows("SELECT * FROM SHOP.CHARTS") == [("by hand", 1, 2)]  # the same SELECT is not run again

    swapped = SQL["charts"].replace("MIN", "X").replace("MAX", "MIN").replace("X(", "MAX(")
    other = lake_of(value(tmp_path / "other", charts=swapped)).at(tmp_path / "home")
    other.run()
    assert other.rows("SELECT * FROM SHOP.CHARTS") == [("x", 3, 5)]

    by_hand(lake, "DROP VIEW SHOP.CHARTS")
    other.run()
    assert other.rows("SELECT * FROM SHOP.CHARTS") == [("x", 3, 5)]


def by_hand(lake: SmallLake, statement: str) -> None:
    with lake.platform.warehouse.autocommit() as session:
        session.execute(statement)


def test_a_view_is_materialized_by_the_run_that_changes_what_it_reads(lake: SmallLake) -> None:
    def events() -> dict[str, tuple[type, object]]:
        report = lake.run()
        found = batch_events(report, type(lake).pipeline(), lake.platform)
        return {
            event.asset_key.path[-1]: (type(event), rows_in(event))
            for event in found
            if event.asset_key and event.asset_key.path[-1] in ("charts", "best", "ratings")
        }

    def rows_in(event: dg.MaterializeResult | dg.AssetObservation) -> object:
        rows = (event.metadata or {})["dagster/row_count"]
        return rows.value if isinstance(rows, dg.IntMetadataValue) else rows

    lake.csv("1", rating("x", "a", 3), rating("y", "b", 5), at=1)
    made, unchanged = dg.MaterializeResult, dg.AssetObservation
    assert events() == {"ratings": (made, 2), "charts": (made, 2), "best": (made, 2)}
    assert events() == {"ratings": (unchanged, 2), "charts": (unchanged, 2), "best": (unchanged, 2)}


def test_assets_checks_and_lineage_of_views_follow_from_the_value(tmp_path: Path) -> None:
    pipeline = resolve(value(tmp_path))
    specs = {spec.key.path[-1]: spec for spec in output_specs(pipeline, 24)}
    assert list(specs) == ["charts", "ratings", "films", "best"]
    assert specs["charts"].kinds == {"snowflake", "view"}
    assert [dep.asset_key.path[-1] for dep in specs["best"].deps] == ["charts", "films"]
    lineage = specs["charts"].metadata["dagster/column_lineage"].deps_by_column["BEST"]
    assert [(dep.asset_key.path[-1], dep.column_name) for dep in lineage] == [("ratings", "RATING")]
    checks = {check.spec.name for check in checks_of(pipeline, 24) if check.spec.asset_key.path[-1] == "charts"}
    assert checks == {"unique_key"}
    assert [contract.name for contract in pipeline.targets] == ["ratings", "films"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"charts": SQL["charts"].replace("SHOP.RATINGS", "RATINGS")}, "reads RATINGS, which this pipeline does not"),
        ({"charts": "SELECT B.FILM, B.BEST, 1 AS WORST FROM SHOP.BEST AS B"}, "sql/shop/charts.sql reads SHOP.BEST"),
        ({"charts": "SELECT 'x' AS FILM, 1 AS BEST, 1 AS WORST"}, "sql/shop/charts.sql reads no table"),
        ({"charts": SQL["films"]}, "sql/shop/charts.sql does not select BEST, WORST and selects RATINGS"),
        ({"films": "SELECT C.FILM, COUNT(*) AS RATINGS FROM SHOP.CHARTS AS C GROUP BY C.FILM"}, "reads SHOP.CHARTS"),
    ],
)
def test_a_mistake_in_a_view_is_an_error_before_anything_runs(tmp_path: Path, changes: dict, text: str) -> None:
    with pytest.raises((ConfigurationError, ContractError)) as error:
        resolve(value(tmp_path, **changes))
    assert text in str(error.value)
