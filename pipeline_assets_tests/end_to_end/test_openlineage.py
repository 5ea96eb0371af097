"""OpenLineage events of the demo, beside the catalog; and of `dagster dev`, at a collector."""

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
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.command_line import environment, process
from pipeline_assets_tests.support.dagster_dev import DagsterDev
from pipeline_assets_tests.support.lineage_events import collector_server, events_in, inputs_of, require_valid


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A home that a small demo filled, and the events of its runs."""
    home = tmp_path_factory.mktemp("demo")
    path = home / "events.ndjson"
    done = process(home, "demo", "--scale", "0.02", env=environment(home, PIPELINE_OPENLINEAGE_FILE=str(path)))
    assert done.returncode == 0, done.stderr
    return home, events_in(path)


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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_dev_sends_two_events_for_each_run_whoever_started_it(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    with collector_server() as collector:
        settings = {"PIPELINE_OPENLINEAGE_URL": collector.url, "PIPELINE_OPENLINEAGE_API_KEY": "s3cret"}
        dev = DagsterDev(lake.home, **settings)
        try:
            states = lambda: [(e["run"]["runId"], e["eventType"]) for e in collector.received]  # noqa: E731
            dev.until(lambda: [state for _, state in states()] == ["START", "COMPLETE"], 300)
            button = dev.launch("__ASSET_JOB", "customers", "customer_bookings", "daily_spend", "customer_bookings_csv")
            dev.until(lambda: (button, "COMPLETE") in states(), 120)
            job = dev.launch("bookings")
            dev.until(lambda: (job, "COMPLETE") in states(), 120)
            done = process(lake.home, "run", "bookings", "--json", env=environment(lake.home, **settings))
            own = json.loads(done.stdout)["run_id"]
            dev.until(lambda: (own, "COMPLETE") in states(), 60)
            assert sorted(states()) == sorted({(run, state) for run, _ in states() for state in ("START", "COMPLETE")})
            assert {button, job, own} < {run for run, _ in states()}
        finally:
            dev.stop()
    for event in collector.received:
        require_valid(event)
    assert {headers["Authorization"] for headers in collector.headers} == {"Bearer s3cret"}
    assert "s3cret" not in dev.log.read_text()
