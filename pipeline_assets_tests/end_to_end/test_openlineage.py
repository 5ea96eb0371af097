"""OpenLineage events of the demo, beside the catalog; test_dagster_dev.py has those of `dagster dev`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.batch.build_platform import build_platform
from pipeline_assets.catalog.build import _with_learnt_columns
from pipeline_assets.catalog.datasets import datasets_of
from pipeline_assets.openlineage.names import dataset_names
from pipeline_assets.pipelines import pipelines
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.command_line import process
from pipeline_assets_tests.support.demo_home import DemoHome
from pipeline_assets_tests.support.lineage_events import events_in, inputs_of


@pytest.fixture(scope="module")
def demo(filled: DemoHome) -> tuple[Path, list[dict[str, Any]]]:
    """A home that a small demo filled, and the events of its runs."""
    return filled.home, events_in(filled.events)


@pytest.mark.slow
def test_each_run_of_the_demo_has_a_start_and_an_end(demo: tuple[Path, list[dict[str, Any]]]) -> None:
    _, events = demo
    found = [(event["job"]["name"], event["eventType"]) for event in events]
    assert found == [(name, state) for name in pipelines() for state in ("START", "COMPLETE")]
    assert len({event["run"]["runId"] for event in events}) == len(pipelines())


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", pipelines())
def test_every_written_column_has_the_inputs_that_the_catalog_shows(
    demo: tuple[Path, list[dict[str, Any]]], pipeline: str
) -> None:
    home, events = demo
    settings = load_settings(home=home)
    registered = pipelines(settings)[pipeline]
    names = dataset_names(registered, settings)
    shown = datasets_of([_with_learnt_columns(registered, build_platform(settings))])
    (end,) = [event for event in events if (event["job"]["name"], event["eventType"]) == (pipeline, "COMPLETE")]
    written = {(each["namespace"], each["name"]): each for each in end["outputs"]}

    assert {(names[each.key].namespace, names[each.key].name) for each in shown if each.kind != "source"} == set(
        written
    )
    for dataset in shown:
        if dataset.kind == "source":
            continue
        output = written[names[dataset.key].namespace, names[dataset.key].name]
        assert [field["name"] for field in output["facets"]["schema"]["fields"]] == [
            entry.column.name for entry in dataset.columns
        ]
        inputs = {
            entry.column.name: {(names[key].namespace, names[key].name, name) for key, name in entry.inputs}
            for entry in dataset.columns
            if entry.inputs
        }
        assert inputs_of(output) == inputs, dataset.key


@pytest.mark.slow
def test_no_value_of_a_row_is_in_an_event(demo: tuple[Path, list[dict[str, Any]]]) -> None:
    home, events = demo
    done = process(home, "query", "SELECT EMAIL, FIRST_NAME, LAST_NAME FROM BOOKINGS.CUSTOMERS", "--format", "json")
    rows = json.loads(done.stdout)
    text = json.dumps([event["inputs"] + event["outputs"] for event in events])
    assert rows
    assert not [row["EMAIL"] for row in rows if row["EMAIL"] and row["EMAIL"] in text]
