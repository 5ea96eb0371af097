"""The check `latency`: how old the newest date or timestamp of a table is, by the platform's clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipeline_assets.errors import ContractError
from pipeline_assets.orchestration.checks import Check, checks_of
from pipeline_assets.pipeline import LandedFiles, Mart, Pipeline, Table
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets_tests.support.small_pipelines import SmallLake, lake_of, pipeline_of

NOW = datetime.fromisoformat("2026-03-10T12:00:00")
TWO_DAYS = {"value": 2, "unit": "d", "element": "SOLD_ON"}
SQL = {"days": "SELECT SOLD_ON, COUNT(*) AS SALES FROM SHOP.SALES GROUP BY SOLD_ON"}


def value(folder: Path, **agreed: dict[str, Any]) -> Pipeline:
    """Sales with a date and a time, and a mart of their days; `agreed` are latencies by contract."""
    contracts: dict[str, tuple[Any, ...]] = {
        "sales": ("csv", ["SALE_ID text key", "SOLD_ON date", "SOLD_AT date"]),
        "days": ("table", ["SOLD_ON date", "SALES integer"]),
    }
    made = pipeline_of(
        folder,
        contracts,
        SQL,
        sources=[LandedFiles("sales", "in/*.csv")],
        tables=[Table("sales"), Mart("days", refresh_by="SOLD_ON")],
    )
    for name in contracts:
        path = folder / "contracts" / f"{name}.yaml"
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for column in document["schema"][0]["properties"]:
            if column["name"] == "SOLD_AT":
                column.update(logicalType="timestamp", physicalType="TIMESTAMP_NTZ(6)")
        if name in agreed:
            document["slaProperties"] = [{"property": "latency"} | agreed[name]]
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return made


def latency(pipeline: ResolvedPipeline, asset: str = "sales") -> Check:
    (check,) = [
        check
        for check in checks_of(pipeline, 26)
        if check.spec.name == "latency" and check.spec.asset_key.path[-1] == asset
    ]
    return check


def evaluated(check: Check, home: SmallLake, *, only: str = "", now: datetime = NOW) -> dg.AssetCheckResult:
    """The result of a check over the rows of one case of `sales`, or over all rows."""
    with home.platform.warehouse.read_only() as transaction:
        if only:
            transaction.execute(f"DELETE FROM SHOP.SALES WHERE NOT STARTSWITH(SALE_ID, '{CASE_NAMES.index(only)}-')")
        return check.evaluate(transaction, replace(home.platform, clock=lambda: now))


def land(lake: SmallLake, *sales: dict[str, Any]) -> None:
    lake.csv("1", *sales)
    assert lake.run().rows["loaded"] == len(sales)


Case = tuple[str, tuple[float, str], list[str], bool, str | None]
# (column, value and unit, values in the table, passed, part of the description or None)
CASES: list[Case] = [
    ("SOLD_ON", (2, "d"), [], True, "The table is empty."),
    ("SOLD_ON", (2, "d"), ["2026-03-10", "1999-01-01"], True, None),
    ("SOLD_ON", (2, "d"), ["2026-03-08"], True, None),
    ("SOLD_ON", (2, "d"), ["2026-03-07"], False, "The newest SOLD_ON, 2026-03-07, is 2.5 days old; 2 days are allowed"),
    ("SOLD_ON", (12, "h"), ["2026-03-09"], True, None),
    ("SOLD_ON", (11.9, "hours"), ["2026-03-09"], False, "is 12 hours old; 11.9 hours are allowed."),
    ("SOLD_ON", (2, "d"), ["2026-03-07", "2026-03-11", "2999-12-31"], False, "2026-03-07, is 2.5 days"),
    ("SOLD_ON", (2, "d"), ["2026-03-10", "2999-12-31"], True, None),
    ("SOLD_ON", (2, "d"), ["2999-12-31"], False, "No row has a SOLD_ON that is not after now."),
    ("SOLD_ON", (2, "d"), ["", ""], False, "No row has a SOLD_ON that is not after now."),
    ("SOLD_ON", (2, "d"), ["", "2026-03-09"], True, None),
    ("SOLD_ON", (2, "d"), ["", "2026-03-01"], False, "2026-03-01"),
    ("SOLD_ON", (2, "d"), ["0001-01-01"], False, "0001-01-01"),
    ("SOLD_AT", (1, "h"), ["2026-03-10 12:00:00"], True, None),
    ("SOLD_AT", (1, "h"), ["2026-03-10 11:00:00"], True, None),
    ("SOLD_AT", (1, "h"), ["2026-03-10 10:59:59.999999"], False, "is 1 hours old; 1 hours are allowed."),
    ("SOLD_AT", (1, "d"), ["2026-03-09 12:00:00"], True, None),
    ("SOLD_AT", (1, "h"), ["2026-03-10 09:00:00", "2026-03-10 12:00:00.000001"], False, "09:00:00, is 3 hours old"),
    ("SOLD_AT", (1, "h"), ["", ""], False, "No row has a SOLD_AT that is not after now."),
    ("SOLD_AT", (1, "h"), [], True, "The table is empty."),
]


AFTER_NOW: Case = ("SOLD_ON", (2, "d"), ["2026-03-11", "2999-12-31", "2026-03-10", ""], True, None)


def name_of(case: Case) -> str:
    column, (allowed, unit), values, *_ = case
    return f"{column}, {allowed} {unit} allowed: {', '.join(map(repr, values)) or 'no row'}"


CASE_NAMES = [name_of(case) for case in [*CASES, AFTER_NOW]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> SmallLake:
    """A home in which one batch loaded the values of every case; it is only read."""
    folder = tmp_path_factory.mktemp("sales")
    lake = lake_of(value(folder / "value")).with_tables(folder / "home")
    sales = [
        {"SALE_ID": f"{number}-{n}", "SOLD_ON": "", "SOLD_AT": "", column: text}
        for number, (column, _, values, *_) in enumerate([*CASES, AFTER_NOW])
        for n, text in enumerate(values)
    ]
    land(lake, *sales)
    return lake


def test_a_table_is_late_if_its_newest_value_up_to_now_is_older_than_agreed(home: SmallLake, tmp_path: Path) -> None:
    agreements = {(column, allowed) for column, allowed, *_ in CASES}
    checks = {
        (column, (allowed, unit)): latency(
            resolve(value(tmp_path / str(number), sales={"value": allowed, "unit": unit, "element": f"SALES.{column}"}))
        )
        for number, (column, (allowed, unit)) in enumerate(agreements)
    }
    found, expected = {}, {}
    for case in CASES:
        name, (column, allowed, _, passed, said) = name_of(case), case
        check = evaluated(checks[column, allowed], home, only=name)
        description = said if said and said in (check.description or "") else check.description
        found[name] = (check.passed, check.severity, description)
        expected[name] = (passed, dg.AssetCheckSeverity.WARN, said)
    assert found == expected


def test_values_after_now_are_counted_and_the_newest_before_is_shown(home: SmallLake, tmp_path: Path) -> None:
    check = latency(resolve(value(tmp_path, sales=TWO_DAYS)))
    shown = {name: entry.value for name, entry in evaluated(check, home, only=name_of(AFTER_NOW)).metadata.items()}
    assert shown == {"newest_sold_on": "2026-03-10", "values_after_now": 2}


def test_latency_of_a_mart_is_that_of_its_rows_and_passes_with_time_no_more(tmp_path: Path) -> None:
    lake = lake_of(value(tmp_path / "value", days=TWO_DAYS)).with_tables(tmp_path / "home")
    land(lake, {"SALE_ID": 1, "SOLD_ON": "2026-03-10", "SOLD_AT": ""})

    check, end = latency(lake.pipeline(), "days"), datetime.fromisoformat("2026-03-13T00:00:00")
    assert [evaluated(check, lake, now=end + timedelta(seconds=more)).passed for more in (0, 1)] == [True, False]
    assert check.spec.description == "The newest SOLD_ON is not older than 2 days."


def test_a_run_that_finds_nothing_new_does_not_make_old_data_new(tmp_path: Path) -> None:
    lake = lake_of(value(tmp_path / "value", sales=TWO_DAYS)).with_tables(tmp_path / "home")
    land(lake, {"SALE_ID": 1, "SOLD_ON": "2026-03-01", "SOLD_AT": ""})
    lake.run()
    lake.run(reprocess=True)
    assert not evaluated(latency(lake.pipeline()), lake).passed


def test_a_check_reads_its_table_once(home: SmallLake, tmp_path: Path) -> None:
    check = latency(resolve(value(tmp_path, sales=TWO_DAYS)))
    with home.platform.warehouse.read_only() as transaction:
        check.evaluate(transaction, home.platform)
        assert len(transaction.statements) == 1


@pytest.mark.parametrize("asked", ["slaProperties", "quality"])
def test_a_check_in_the_contract_of_files_that_are_no_table_is_an_error(tmp_path: Path, asked: str) -> None:
    made = value(tmp_path)
    path = tmp_path / "contracts" / "sales.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    if asked == "slaProperties":
        document["slaProperties"] = [{"property": "latency", "value": 2, "unit": "d", "element": "SOLD_ON"}]
    else:
        rule = {"type": "sql", "name": "some", "query": "SELECT COUNT(*) FROM SHOP.SALES", "mustBeGreaterThan": 0}
        document["schema"][0]["quality"] = [rule]
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    table = document | {"name": "all_sales", "slaProperties": [], "schema": [document["schema"][0] | {"quality": []}]}
    table["schema"][0] |= {"name": "all_sales", "physicalName": "ALL_SALES", "physicalType": "table"}
    (tmp_path / "contracts" / "all_sales.yaml").write_text(yaml.safe_dump(table), encoding="utf-8")
    (tmp_path / "sql" / "all_sales.sql").write_text(
        "-- Grain: one row.\nSELECT SALE_ID, SOLD_ON, SOLD_AT FROM SALES\n", encoding="utf-8"
    )

    with pytest.raises(ContractError, match=f"^sales: {asked}: is not checked, as sales is not a table of shop"):
        checks_of(resolve(replace(made, tables=[Table("all_sales")])), 26)


def test_lateness_shows_no_personal_date(home: SmallLake, tmp_path: Path) -> None:
    made = value(tmp_path)
    path = tmp_path / "contracts" / "sales.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["schema"][0]["properties"][2]["classification"] = "personal"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    (check,) = [check for check in checks_of(resolve(made), 26) if check.spec.name == "lateness"]

    shown = evaluated(check, home).metadata

    assert home.rows("SELECT COUNT(SOLD_AT) > 0 FROM SHOP.SALES") == [(True,)]
    assert [name for name in shown if name.startswith("newest_")] == ["newest_object", "newest_sold_on"]
