"""A file takes whole lines of any number of processes, a collector is waited for seconds, no secret is shown."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from pydantic import SecretStr

from pipeline_assets.doctor.installation import CheckResult, check_installation
from pipeline_assets.openlineage.destinations import TIMEOUT, Collector, EventFile, NotSentError, RefusedEventError
from pipeline_assets.settings import Settings
from pipeline_assets_tests.support.lineage_events import CollectorServer, collector_server

RUN = "0194f0a0-0000-7000-8000-000000000001"


def event(name: str = "bookings") -> RunEvent:
    return RunEvent(
        eventType=RunState.START,
        eventTime="2026-01-01T00:00:00Z",
        run=Run(RUN),
        job=Job("ns", name),
        producer="pkg:a/b",
    )


@pytest.fixture
def collector() -> Iterator[CollectorServer]:
    with collector_server() as server:
        yield server


def append(path: Path, writer: int) -> None:
    for number in range(20):
        EventFile(path).send(event(f"{writer}-{number}-" + "x" * 200_000))


def test_lines_of_several_processes_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.ndjson"
    processes = [multiprocessing.get_context("fork").Process(target=append, args=(path, n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    names = [json.loads(line)["job"]["name"].rstrip("x") for line in path.read_text().splitlines()]
    assert sorted(names) == sorted(f"{writer}-{number}-" for writer in range(4) for number in range(20))


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    with pytest.raises(NotSentError, match=r"events \(PIPELINE_OPENLINEAGE_FILE\) cannot be written: Is a directory"):
        EventFile(tmp_path / "events").send(event())


def test_an_event_is_posted_once_to_the_path_of_the_specification(collector: CollectorServer) -> None:
    Collector(collector.url, SecretStr("s3cret")).send(event())
    Collector(f"{collector.url}/tenant/lineage").send(event())

    assert collector.paths == ["/api/v1/lineage", "/tenant/lineage"]
    assert [headers.get("Authorization") for headers in collector.headers] == ["Bearer s3cret", None]
    assert [body["job"]["name"] for body in collector.received] == ["bookings", "bookings"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (500, "answered HTTP 500"),
        (401, "answered HTTP 401"),
        (429, "answered HTTP 429"),
        (302, "redirects elsewhere"),
        (None, "cannot be reached"),
        ("never", f"did not answer within {TIMEOUT:g} seconds"),
    ],
)
def test_a_failing_collector_is_reported_in_seconds_without_its_secrets(
    collector: CollectorServer, answer: int | str | None, said: str
) -> None:
    forever = threading.Event()
    collector.rule = lambda number: forever if answer == "never" else answer  # type: ignore[return-value]
    started = time.monotonic()
    with pytest.raises(NotSentError, match=said) as refused:
        Collector(f"{collector.url}/lineage?token=hidden", SecretStr("s3cret")).send(event())
    forever.set()

    assert not isinstance(refused.value, RefusedEventError)
    assert len(collector.received) == 1, "the sender repeats, not the transport"
    assert time.monotonic() - started < TIMEOUT + 5
    assert "hidden" not in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_doctor_says_whether_events_can_be_sent_and_sends_none(collector: CollectorServer, tmp_path: Path) -> None:
    def result(**options: object) -> CheckResult:
        settings = Settings(home=tmp_path / "home", **options)  # type: ignore[arg-type]
        return next(each for each in check_installation(settings, []) if each.what == "openlineage")

    assert result(openlineage_url=f"{collector.url}?token=s3cret").passed
    assert not collector.received
    nobody = result(openlineage_url="http://127.0.0.1:1")
    assert not nobody.passed
    assert "cannot be reached" in nobody.detail
    assert result(openlineage_file=tmp_path / "new" / "events.ndjson").passed
    folder = result(openlineage_file=tmp_path)
    assert not folder.passed
    assert "(PIPELINE_OPENLINEAGE_FILE) cannot be written" in folder.detail


def test_nobody_listens() -> None:
    with pytest.raises(NotSentError, match="cannot be reached"):
        Collector("http://127.0.0.1:1").send(event())


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_event_that_a_collector_will_never_take_is_told_apart(collector: CollectorServer, status: int) -> None:
    collector.rule = lambda number: status
    with pytest.raises(RefusedEventError, match=f"refused an event: HTTP {status}"):
        Collector(collector.url).send(event())
