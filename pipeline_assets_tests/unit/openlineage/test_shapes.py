"""Events have the published shapes, and the check of that finds each kind of mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from openlineage.client.serde import Serde

from pipeline_assets.openlineage.events import run_events
from pipeline_assets.openlineage.facets import DescribedPipeline
from pipeline_assets.openlineage.recorded import changes_after, newest_changes
from pipeline_assets.pipelines import pipelines
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.lineage_events import require_valid

SETTINGS = load_settings(home=Path("/home"))


def events_of(pipeline: str) -> list[dict[str, Any]]:
    """The events of a run that was canceled before it started."""
    with dg.DagsterInstance.ephemeral() as instance:
        before = newest_changes(instance)
        run = instance.create_run_for_job(dg.GraphDefinition(name=pipeline).to_job())
        instance.report_run_canceled(run)
        described = {pipeline: DescribedPipeline(pipelines()[pipeline], SETTINGS)}
        (change,) = changes_after(instance, before)
        return [json.loads(Serde.to_json(event)) for event in run_events(instance, change, described, "jobs")]


@pytest.mark.parametrize("pipeline", pipelines())
def test_events_of_every_pipeline_have_the_published_shapes(pipeline: str) -> None:
    start, end = events_of(pipeline)
    for event in (start, end):
        require_valid(event)
    assert (start["eventType"], end["eventType"], start["job"]["namespace"]) == ("START", "ABORT", "jobs")
    assert start["outputs"]
    assert end["outputs"] == []


@pytest.fixture(scope="module")
def start() -> dict[str, Any]:
    return events_of("bookings")[0]


def moved_facet(event: dict[str, Any]) -> None:
    event["inputs"][0]["inputFacets"]["schema"] = event["inputs"][0]["facets"]["schema"]


def renamed_facet(event: dict[str, Any]) -> None:
    event["job"]["facets"]["SQL"] = event["job"]["facets"].pop("sql")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda event: event.pop("eventTime"),
        lambda event: event.update(eventTime="yesterday"),
        lambda event: event.update(other=1),
        lambda event: event["run"].update(runId="1"),
        lambda event: event["job"].pop("namespace"),
        lambda event: event["inputs"][0]["facets"]["schema"]["fields"][0].pop("name"),
        lambda event: event["inputs"][0]["facets"]["schema"]["fields"][0].update(kind="text"),
        lambda event: event["inputs"][0]["facets"]["schema"]["fields"][0].update(type=None),
        lambda event: event["outputs"][0]["facets"]["columnLineage"]["fields"].update(X={"inputFields": [{}]}),
        lambda event: event["job"]["facets"]["sql"].update(query=1),
        moved_facet,
        renamed_facet,
    ],
)
def test_the_check_finds_what_the_schemas_refuse(
    start: dict[str, Any], spoil: Callable[[dict[str, Any]], object]
) -> None:
    event = json.loads(json.dumps(start))
    require_valid(event)
    spoil(event)
    with pytest.raises((AssertionError, KeyError, TypeError, ValueError)):
        require_valid(event)
