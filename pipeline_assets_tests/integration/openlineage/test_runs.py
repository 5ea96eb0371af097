"""Every run has one first and one last event, however it is started and however it ends."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_assets.batch.report import Request
from pipeline_assets.definitions import build_definitions
from pipeline_assets.errors import ContractError, InterruptedRunError
from pipeline_assets.openlineage import sender as sending
from pipeline_assets.openlineage.events import child_id
from pipeline_assets.orchestration import assets
from pipeline_assets.orchestration.execution import dagster_instance, run_pipeline
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.lineage_events import CollectorServer, collector_server, events_in, inputs_of
from pipeline_assets_tests.support.sensor_ticks import evaluate_tick


class Observed:
    """A home whose events go to a file; runs as the command line and as the instance starts them."""

    def __init__(self, lake: BookingsLake, **settings: object) -> None:
        self.lake, self.path = lake, lake.home / "events.ndjson"
        settings = settings or {"openlineage_file": self.path}
        self.definitions = build_definitions(load_settings(home=lake.home, **settings))

    def run(self) -> dict[str, Any]:
        """As `pipeline-assets run bookings`."""
        return run_pipeline(self.definitions, self.lake.home / "dagster", "bookings", Request())

    def tick(self, instance: dg.DagsterInstance) -> str:
        data = evaluate_tick(self.definitions, "openlineage_events", instance, self.lake.platform, None)
        return str(data.skip_message)

    @property
    def events(self) -> list[dict[str, Any]]:
        return events_in(self.path)

    @property
    def states(self) -> list[tuple[str, str, str]]:
        """(run, job, state) of each event."""
        return [(e["run"]["runId"], e["job"]["name"], e["eventType"]) for e in self.events]


@pytest.fixture
def observed(lake: BookingsLake) -> Observed:
    """A home in which nothing has landed, so that a run is short."""
    return Observed(lake)


@pytest.fixture
def landed(observed: Observed) -> Observed:
    """The same with two files."""
    observed.lake.customers("", customer(1))
    observed.lake.bookings("", booking(1, 1), booking(2, 1, "x"))
    return observed


@pytest.fixture
def instance(observed: Observed) -> Iterator[dg.DagsterInstance]:
    with dagster_instance(observed.lake.home / "dagster") as instance:
        assert observed.tick(instance) == "Every event was sent."  # the first tick begins here
        yield instance


@pytest.fixture
def collector() -> Iterator[CollectorServer]:
    with collector_server() as server:
        yield server


def failing(*_: object) -> None:
    raise ContractError("Wrong.", remedy="Correct it.")


def test_a_run_of_the_command_line_needs_no_daemon_and_what_it_left_unchanged_is_no_output(landed: Observed) -> None:
    observed, summary = landed, landed.run()

    assert observed.states == [(summary["run_id"], "bookings", "START"), (summary["run_id"], "bookings", "COMPLETE")]
    start, end = observed.events
    warehouse = f"duckdb://{observed.lake.home}/warehouse/ANALYTICS.db"
    landed = f"{observed.lake.home}/lake/customer-booking-data-pipeline/raw-data"
    tables = [f"ANALYTICS.BOOKINGS.{table}" for table in ("CUSTOMERS", "CUSTOMER_BOOKINGS", "DAILY_SPEND")]
    written = {(dataset["namespace"], dataset["name"]) for dataset in end["outputs"]}
    exported = f"{observed.lake.home}/lake/customer-booking-data-pipeline/processed-data/customer_bookings_*_*.csv"
    assert written == {*((warehouse, table) for table in tables), ("file", exported)}
    assert {dataset["name"] for dataset in start["outputs"]} == {name for _, name in written}
    bookings = next(each for each in end["inputs"] if each["name"] == f"{landed}/booking_details*.csv")
    assert bookings["inputFacets"]["inputStatistics"]["rowCount"] == 2
    (spend,) = [each for each in end["outputs"] if each["name"].endswith("DAILY_SPEND")]
    assert spend["outputFacets"]["outputStatistics"]["rowCount"] == 1
    assert inputs_of(spend)["AMOUNT_SPENT"] == {(warehouse, "ANALYTICS.BOOKINGS.CUSTOMER_BOOKINGS", "AMOUNT_SPENT")}
    (checked,) = [each for each in end["inputs"] if each["name"].endswith(".CUSTOMERS")]
    results = {each["assertion"]: each for each in checked["inputFacets"]["dataQualityAssertions"]["assertions"]}
    assert (results["unique_key"]["success"], results["quarantine"]["success"]) == (True, False)
    assert "GROUP BY" in end["job"]["facets"]["sql"]["query"]
    assert "BOOKINGS = Pipeline(" in end["job"]["facets"]["sourceCode"]["sourceCode"]

    observed.run()
    assert [len(event["outputs"]) for event in observed.events] == [4, 4, 4, 0]


def test_a_failed_run_says_why_and_wrote_nothing(observed: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "run_batch", failing)
    summary = observed.run()

    start, end = observed.events
    assert (start["eventType"], end["eventType"], end["outputs"]) == ("START", "FAIL", [])
    assert end["run"]["facets"]["errorMessage"]["message"] == summary["error"] == "Wrong. Correct it."
    assert {each["name"].rpartition("/")[2] for each in end["inputs"]} >= {"booking_details*.csv"}


def test_events_of_the_command_line_and_of_the_sensor_are_sent_once_and_again_the_same(
    observed: Observed, instance: dg.DagsterInstance
) -> None:
    job = observed.definitions.resolve_job_def("bookings")
    first = job.execute_in_process(instance=instance).run_id
    observed.tick(instance)
    sent = [(first, "bookings", "START"), (first, "bookings", "COMPLETE")]
    assert observed.states == sent
    observed.tick(instance)
    assert observed.states == sent

    second = observed.run()["run_id"]
    observed.tick(instance)
    sent += [(second, "bookings", "START"), (second, "bookings", "COMPLETE")]
    assert observed.states == sent

    cursor = instance.daemon_cursor_storage.get_cursor_values({sending._CURSOR})[sending._CURSOR]
    behind = {kind: [0] for kind in json.loads(cursor)}
    instance.daemon_cursor_storage.set_cursor_values({sending._CURSOR: json.dumps(behind)})
    observed.tick(instance)
    events = observed.events
    assert events[4:] == events[:4]


def test_the_button_of_the_ui_gives_each_of_several_pipelines_a_run_below_that_of_the_button(
    observed: Observed, instance: dg.DagsterInstance
) -> None:
    job = observed.definitions.resolve_implicit_global_asset_job_def()
    keys = [key for key in job.asset_layer.executable_asset_keys if key.path[0] in ("bookings", "orders")]
    run_id = job.execute_in_process(instance=instance, asset_selection=keys).run_id
    observed.tick(instance)

    jobs = [(run_id, "__ASSET_JOB"), *((child_id(run_id, name), name) for name in ("bookings", "orders"))]
    assert observed.states == [(*job, state) for state in ("START", "COMPLETE") for job in jobs]
    for event in observed.events:
        parent = event["run"]["facets"].get("parent")
        assert (parent["run"]["runId"] if parent else None) == (None if event["run"]["runId"] == run_id else run_id)

    several = len(observed.states)
    of_one = [key for key in keys if key.path[0] == "bookings"]
    run_id = job.execute_in_process(instance=instance, asset_selection=of_one).run_id
    observed.tick(instance)
    assert observed.states[several:] == [(run_id, "bookings", "START"), (run_id, "bookings", "COMPLETE")]


def test_runs_that_no_process_ends_have_a_start_an_end_and_the_facets_of_their_tags(
    observed: Observed, instance: dg.DagsterInstance
) -> None:
    job = observed.definitions.resolve_job_def("bookings")
    due = {"dagster/scheduled_execution_time": "2026-03-01T05:15:00+00:00"}
    days = {"dagster/asset_partition_range_start": "2026-03-01", "dagster/asset_partition_range_end": "2026-03-02"}
    names = ("deleted", "canceled in the queue", "failed in the queue", "killed")
    runs = {name: instance.create_run_for_job(job) for name in names}
    runs |= {
        name: instance.create_run_for_job(job, tags=tags) for name, tags in (("scheduled", due), ("backfill", days))
    }
    root = runs["canceled in the queue"].run_id
    runs["repeated"] = instance.create_run_for_job(job, parent_run_id=root, root_run_id=root)
    started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "bookings", message="Started.")
    instance.report_dagster_event(started, runs["killed"].run_id)
    for name, run in runs.items():
        if name == "failed in the queue":
            instance.report_run_failed(run)
        elif name != "killed":
            instance.report_run_canceled(run)
    instance.delete_run(runs["deleted"].run_id)
    observed.tick(instance)
    instance.report_run_failed(runs["killed"])  # as Dagster does when it notices
    observed.tick(instance)

    events = {name: [e for e in observed.events if e["run"]["runId"] == run.run_id] for name, run in runs.items()}
    assert sum(map(len, events.values())) == len(observed.events)
    assert {event["job"]["name"] for event in observed.events} == {"bookings"}
    assert {name: [event["eventType"] for event in found] for name, found in events.items()} == {
        "deleted": [],
        "canceled in the queue": ["START", "ABORT"],
        "failed in the queue": ["START", "FAIL"],
        "killed": ["START", "FAIL"],
        "scheduled": ["START", "ABORT"],
        "backfill": ["START", "ABORT"],
        "repeated": ["START", "ABORT"],
    }
    last = {name: found[-1]["run"]["facets"] for name, found in events.items() if found}
    assert "it was killed" in last["killed"]["errorMessage"]["message"]
    assert {name: facets["parent"]["run"]["runId"] for name, facets in last.items() if "parent" in facets} == {
        "repeated": root
    }
    nominal = {name: facets["nominalTime"] for name, facets in last.items() if "nominalTime" in facets}
    assert {name: (each["nominalStartTime"], each.get("nominalEndTime")) for name, each in nominal.items()} == {
        "scheduled": ("2026-03-01T05:15:00+00:00", None),
        "backfill": ("2026-03-01T00:00:00+00:00", "2026-03-03T00:00:00+00:00"),
    }


def test_runs_before_the_first_event_are_old_news(lake: BookingsLake) -> None:
    definitions = build_definitions(load_settings(home=lake.home))
    run_pipeline(definitions, lake.home / "dagster", "bookings", Request())
    observed = Observed(lake)
    summary = observed.run()
    assert {run for run, _, _ in observed.states} == {summary["run_id"]}


def test_what_a_dead_collector_missed_is_sent_later_in_order(
    observed: Observed, collector: CollectorServer, caplog: pytest.LogCaptureFixture
) -> None:
    collector.rule = lambda number: 503
    to_collector = Observed(observed.lake, openlineage_url=collector.url)
    started = time.monotonic()
    first = to_collector.run()
    assert first["success"]
    assert time.monotonic() - started < 60
    complaints = [record.message for record in caplog.records if "OpenLineage" in record.message]
    assert len(complaints) == 1, "it is told once"

    collector.received.clear()
    collector.rule = lambda number: 201
    second = to_collector.run()
    sent = [(body["run"]["runId"], body["eventType"]) for body in collector.received]
    assert sent == [(run["run_id"], state) for run in (first, second) for state in ("START", "COMPLETE")]


def test_a_collector_that_never_answers_delays_a_run_by_seconds(
    observed: Observed, collector: CollectorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    forever = threading.Event()
    collector.rule = lambda number: forever
    monkeypatch.setattr(assets, "run_batch", failing)  # so that the run itself takes no time
    to_collector = Observed(observed.lake, openlineage_url=collector.url)
    with dagster_instance(observed.lake.home / "dagster") as instance:
        began = to_collector.definitions.resources["openlineage"].resource_fn(None)  # type: ignore[index]
        ended: list[float] = []
        with began.sending(instance):
            run = instance.create_run_for_job(to_collector.definitions.resolve_job_def("bookings"))
            instance.report_run_canceled(run)
            ended.append(time.monotonic())
        waited = time.monotonic() - ended[0]
    forever.set()
    assert waited < sending.PATIENCE + 1


def test_an_event_that_is_refused_for_good_stops_no_other(observed: Observed, collector: CollectorServer) -> None:
    collector.rule = lambda number: 422 if number == 1 else 201
    to_collector = Observed(observed.lake, openlineage_url=collector.url)
    to_collector.run()
    assert [body["eventType"] for body in collector.received] == ["START", "COMPLETE"]


def test_a_change_that_becomes_visible_after_a_later_one_is_sent_too(
    observed: Observed, instance: dg.DagsterInstance
) -> None:
    """PostgreSQL numbers events before they are committed."""
    job = observed.definitions.resolve_job_def("bookings")
    runs = [instance.create_run_for_job(job) for _ in range(3)]
    for run in runs:
        instance.report_run_canceled(run)
    observed.tick(instance)
    sent = json.loads(instance.daemon_cursor_storage.get_cursor_values({sending._CURSOR})[sending._CURSOR])
    kind = dg.DagsterEventType.RUN_CANCELED.value
    first, second, third = sent[kind][-3:]
    sent[kind] = [first, third]  # as if the second had not been committed when the third was read
    instance.daemon_cursor_storage.set_cursor_values({sending._CURSOR: json.dumps(sent)})
    observed.path.unlink()

    observed.tick(instance)
    assert {run for run, _, _ in observed.states} == {runs[1].run_id}
    assert json.loads(instance.daemon_cursor_storage.get_cursor_values({sending._CURSOR})[sending._CURSOR])[kind] == [
        first,
        second,
        third,
    ]


def test_a_run_that_a_person_stops_has_an_end(observed: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "run_batch", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(InterruptedRunError):
        observed.run()
    start, end = observed.events
    assert (start["eventType"], end["eventType"]) == ("START", "FAIL")
    assert start["run"]["runId"] == end["run"]["runId"]


def test_without_a_destination_there_is_neither_a_sensor_nor_an_import(tmp_path: Path) -> None:
    definitions = build_definitions(load_settings(home=tmp_path))
    assert "openlineage" not in (definitions.resources or {})
    assert "openlineage_events" not in [sensor.name for sensor in definitions.get_repository_def().sensor_defs]
