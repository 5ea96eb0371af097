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
from pipeline_assets_tests.support.small_pipelines import SmallLake, lake_of, pipeline_of

NOW = datetime.fromisoformat("2026-03-10T12:00:00")
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


def latency(lake: SmallLake, asset: str = "sales") -> Check:
    (check,) = [
        check
        for check in checks_of(lake.pipeline(), 26)
        if check.spec.name == "latency" and check.spec.asset_key.path[-1] == asset
    ]
    return check


def evaluated(lake: SmallLake, asset: str = "sales", *, now: datetime = NOW) -> dg.AssetCheckResult:
    with lake.platform.warehouse.read_only() as transaction:
        return latency(lake, asset).evaluate(transaction, replace(lake.platform, clock=lambda: now))


def land(lake: SmallLake, column: str, values: list[str]) -> None:
    other = {"SOLD_ON": "SOLD_AT", "SOLD_AT": "SOLD_ON"}[column]
    lake.csv("1", *({"SALE_ID": n, column: text, other: ""} for n, text in enumerate(values)))
    assert lake.run().rows["loaded"] == len(values)


# (column, value and unit, values in the table, passed, part of the description or None)
CASES: list[tuple[str, tuple[float, str], list[str], bool, str | None]] = [
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


@pytest.mark.parametrize(("column", "allowed", "values", "passed", "said"), CASES)
def test_a_table_is_late_if_its_newest_value_up_to_now_is_older_than_agreed(
    tmp_path: Path, column: str, allowed: tuple[float, str], values: list[str], passed: bool, said: str | None
) -> None:
    agreed = {"value": allowed[0], "unit": allowed[1], "element": f"SALES.{column}"}
    lake = lake_of(value(tmp_path / "value", sales=agreed)).with_tables(tmp_path / "home")
    if values:
        land(lake, column, values)

    check = evaluated(lake)

    assert (check.passed, check.severity) == (passed, dg.AssetCheckSeverity.WARN)
    assert (said or "") in (check.description or "")
    assert (check.description is None) == (said is None)


def test_values_after_now_are_counted_and_the_newest_before_is_shown(tmp_path: Path) -> None:
    agreed = {"value": 2, "unit": "d", "element": "SOLD_ON"}
    lake = lake_of(value(tmp_path / "value", sales=agreed)).with_tables(tmp_path / "home")
    land(lake, "SOLD_ON", ["2026-03-11", "2999-12-31", "2026-03-10", ""])

    shown = {name: entry.value for name, entry in evaluated(lake).metadata.items()}

    assert shown == {"newest_sold_on": "2026-03-10", "values_after_now": 2}


def test_latency_of_a_mart_is_that_of_its_rows_and_passes_with_time_no_more(tmp_path: Path) -> None:
    agreed = {"value": 2, "unit": "d", "element": "SOLD_ON"}
    lake = lake_of(value(tmp_path / "value", days=agreed)).with_tables(tmp_path / "home")
    land(lake, "SOLD_ON", ["2026-03-10"])

    end = datetime.fromisoformat("2026-03-13T00:00:00")
    assert [evaluated(lake, "days", now=end + timedelta(seconds=more)).passed for more in (0, 1)] == [True, False]
    assert latency(lake, "days").spec.description == "The newest SOLD_ON is not older than 2 days."


def test_a_run_that_finds_nothing_new_does_not_make_old_data_new(tmp_path: Path) -> None:
    agreed = {"value": 2, "unit": "d", "element": "SOLD_ON"}
    lake = lake_of(value(tmp_path / "value", sales=agreed)).with_tables(tmp_path / "home")
    land(lake, "SOLD_ON", ["2026-03-01"])
    lake.run()
    lake.run(reprocess=True)
    assert not evaluated(lake).passed


def test_a_check_reads_its_table_once(tmp_path: Path) -> None:
    agreed = {"value": 2, "unit": "d", "element": "SOLD_ON"}
    lake = lake_of(value(tmp_path / "value", sales=agreed)).with_tables(tmp_path / "home")
    with lake.platform.warehouse.read_only() as transaction:
        latency(lake).evaluate(transaction, lake.platform)
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


def test_lateness_shows_no_personal_date(tmp_path: Path) -> None:
    made = value(tmp_path / "value")
    path = tmp_path / "value" / "contracts" / "sales.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["schema"][0]["properties"][2]["classification"] = "personal"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    lake = lake_of(made).with_tables(tmp_path / "home")
    lake.csv("1", {"SALE_ID": 1, "SOLD_ON": "2026-03-10", "SOLD_AT": "1999-01-01 00:00:00"})
    lake.run()

    (check,) = [check for check in checks_of(lake.pipeline(), 26) if check.spec.name == "lateness"]
    with lake.platform.warehouse.read_only() as transaction:
        shown = check.evaluate(transaction, lake.platform).metadata

    assert [name for name in shown if name.startswith("newest_")] == ["newest_object", "newest_sold_on"]
