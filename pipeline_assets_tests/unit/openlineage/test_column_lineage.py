"""The column lineage of events is that of the SQL and of the catalog: no input more, none less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from openlineage.client.serde import Serde

from pipeline_assets.catalog.datasets import datasets_of
from pipeline_assets.openlineage.facets import DescribedPipeline
from pipeline_assets.pipeline import LandedFiles, Table, View
from pipeline_assets.pipeline.resolve import derive
from pipeline_assets.pipeline.selects import Select
from pipeline_assets.pipelines import pipelines
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.lineage_events import inputs_of
from pipeline_assets_tests.support.small_pipelines import pipeline_of, temporary
from pipeline_assets_tests.unit.pipeline.test_column_steps import SCHEMA, Columns, statements

SETTINGS = load_settings(home=Path("/home"))


def described(described: DescribedPipeline, key: str) -> dict[str, Any]:
    """A dataset as an event has it."""
    return {"facets": Serde.to_dict({n: Serde.to_dict(f) for n, f in described.dataset_facets(key, {}).items()})}


@pytest.mark.parametrize("pipeline", pipelines())
def test_every_column_has_the_inputs_that_the_catalog_shows(pipeline: str) -> None:
    made = DescribedPipeline(pipelines()[pipeline], SETTINGS)
    for dataset in datasets_of([pipelines()[pipeline]]):
        names = {
            entry.column.name: {(made.names[key].namespace, made.names[key].name, name) for key, name in entry.inputs}
            for entry in dataset.columns
            if entry.inputs
        }
        assert inputs_of(described(made, dataset.key)) == names, dataset.key


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(statements())
def test_events_have_the_lineage_of_any_select(statement: tuple[str, Columns]) -> None:
    text, columns = statement
    landed = {name: [f"{c} text{' key' * (c == 'A')}" for c in SCHEMA[f"S.{name.upper()}"]] for name in ("t", "u")}
    contracts: dict[str, Any] = {"made": ("table", [f"{column} text" for column in columns])}
    sql = {"made": text}
    for name, of in landed.items():
        contracts |= {f"{name}_in": ("csv", of), name: ("table", of)}
        sql[name] = f"SELECT {', '.join(SCHEMA[f'S.{name.upper()}'])} FROM {name.upper()}_IN"
    value = pipeline_of(
        temporary(),
        contracts,
        sql,
        name="s",
        sources=[LandedFiles(f"{name}_in", f"in/{name}*.csv") for name in landed],
        tables=[*(Table(name) for name in landed), View("made")],
    )
    pipeline = derive(value)
    made = DescribedPipeline(pipeline, SETTINGS)
    select = Select("generated", text, SCHEMA)

    found = inputs_of(described(made, "s/made"))

    for column in columns:
        sources, warehouse = select.sources_of(column), made.names["s/t"].namespace
        expected = {(warehouse, f"ANALYTICS.{table}", name) for table, name in sources}
        assert found.get(column, set()) == expected, text


def test_the_uses_of_inputs_are_those_of_the_sql() -> None:
    made = DescribedPipeline(pipelines()["bookings"], SETTINGS)
    spend = described(made, "bookings/daily_spend")["facets"]["columnLineage"]
    booked = described(made, "bookings/customer_bookings")["facets"]["columnLineage"]

    (amount,) = spend["fields"]["AMOUNT_SPENT"]["inputFields"]
    assert amount["transformations"] == [
        {"type": "DIRECT", "subtype": "AGGREGATION", "description": "SUM(BOOKED.AMOUNT_SPENT)"}
    ]
    (day,) = spend["fields"]["BOOKING_DATE"]["inputFields"]
    assert day["transformations"] == [{"type": "DIRECT", "subtype": "IDENTITY"}]
    assert {(each["field"], each["transformations"][0]["subtype"]) for each in spend["dataset"]} == {
        ("BOOKING_DATE", "GROUP_BY"),
        ("CURRENCY_CODE", "GROUP_BY"),
        ("DESTINATION_TYPE", "GROUP_BY"),
    }
    assert {each["transformations"][0]["subtype"] for each in booked["dataset"]} == {"JOIN"}


def test_columns_that_the_platform_sets_are_no_inputs() -> None:
    for pipeline in pipelines().values():
        made = DescribedPipeline(pipeline, SETTINGS)
        shown = {
            (made.names[key].namespace, made.names[key].name, entry.column.name)
            for key, dataset in made.datasets.items()
            for entry in dataset.columns
        }
        for key in made.datasets:
            lineage = described(made, key)["facets"].get("columnLineage", {})
            of_rows = {(each["namespace"], each["name"], each["field"]) for each in lineage.get("dataset", [])}
            assert of_rows <= shown, key


def test_an_export_repeats_its_table() -> None:
    export = described(DescribedPipeline(pipelines()["bookings"], SETTINGS), "bookings/customer_bookings_csv")
    for column, found in export["facets"]["columnLineage"]["fields"].items():
        (of_table,) = found["inputFields"]
        assert (of_table["name"], of_table["field"]) == ("ANALYTICS.BOOKINGS.CUSTOMER_BOOKINGS", column)


def test_personal_columns_are_tagged() -> None:
    facets = described(DescribedPipeline(pipelines()["bookings"], SETTINGS), "bookings/customers")["facets"]
    assert {"key": "classification", "value": "personal", "source": "CONTRACT", "field": "EMAIL"} in facets["tags"][
        "tags"
    ]
