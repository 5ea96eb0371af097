"""The sensor with a queue of S3's events requests runs sooner and loses none; the listing stays the truth."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest

from pipeline_assets.aws import Aws
from pipeline_assets.definitions import build_definitions
from pipeline_assets.errors import ConfigurationError, LakeError
from pipeline_assets.lake import notifications, zone_poll
from pipeline_assets.lake.notifications import EventQueue
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.bookings_lake import BUCKET, LANDING, booking, customer
from pipeline_assets_tests.support.fault_proxy import SLOW_DOWN, FaultProxy, since
from pipeline_assets_tests.support.moto_aws import buckets_in
from pipeline_assets_tests.support.s3_lake import REGION, S3BookingsLake
from pipeline_assets_tests.support.sensor_ticks import evaluate_tick

LIST_EVERY = 4


@pytest.fixture(autouse=True)
def _few_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "LIST_EVERY", LIST_EVERY)
    monkeypatch.setattr(notifications, "WAIT", 0)


@pytest.fixture
def client(moto_url: str, aws_keys: None) -> Iterator[Any]:
    with buckets_in(moto_url, BUCKET) as client:
        yield client


@pytest.fixture
def sqs(client: Any, moto_url: str) -> Any:
    return boto3.client("sqs", endpoint_url=moto_url, region_name=REGION)


@pytest.fixture
def url(sqs: Any, client: Any) -> Iterator[str]:
    """A queue that gets the events of the landing zone, as the stack in infra/ makes it."""
    url = sqs.create_queue(QueueName="bookings-events")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    wanted = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}
    client.put_bucket_notification_configuration(
        Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [wanted]}
    )
    sqs.purge_queue(QueueUrl=url)
    yield url
    sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def proxy(moto_url: str) -> Iterator[FaultProxy]:
    """Between the sensor and S3; it counts the listings."""
    with FaultProxy(moto_url) as proxy:
        yield proxy


class QueueSensor:
    """A new_files_sensor with its cursor, as one daemon keeps it."""

    def __init__(self, lake: S3BookingsLake, queue: EventQueue) -> None:
        self.definitions = build_definitions(load_settings(home=lake.home))
        self.lake = lake.with_platform(queues={"bookings": queue})
        self.cursor: str | None = None
        self.instance = dg.DagsterInstance.ephemeral()  # else each tick makes one, which takes longer than the tick
        self.keys: set[str | None] = set()

    def tick(self, *, recorded: bool = True) -> list[str | None]:
        """The run keys of one tick; the daemon starts one run for each key. It may die before it `recorded` them."""
        data = evaluate_tick(self.definitions, "bookings_new_files", self.instance, self.lake.platform, self.cursor)
        if not recorded:
            return []
        self.cursor = data.cursor
        requested = [request.run_key for request in data.run_requests or [] if request.run_key not in self.keys]
        self.keys |= set(requested)
        return requested


@pytest.fixture
def lake(proxy: FaultProxy, client: Any, tmp_path: Path) -> S3BookingsLake:
    return S3BookingsLake.behind(proxy.url, tmp_path / "home", client)


@pytest.fixture
def queue(lake: S3BookingsLake, url: str, moto_url: str) -> QueueSensor:
    """A queue that has listed once, and whose next listing is far away."""
    queue = QueueSensor(lake, EventQueue(Aws(REGION, moto_url), url))
    assert queue.tick() == []
    return queue


def messages(sqs: Any, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(map(int, found.values()))


def lose_all(sqs: Any, url: str) -> None:
    """What waits in the queue never arrives."""
    while found := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in found:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def event(key: str, bucket: str = BUCKET, sequencer: str = "1") -> str:
    entry = {"key": key, "sequencer": sequencer}
    record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": entry}}
    return json.dumps({"Records": [record]})


def listings(proxy: FaultProxy) -> int:
    return sum("list-type=2" in call.path for call in proxy.calls)


def test_a_quiet_queue_costs_no_listing_until_one_is_due(queue: QueueSensor, proxy: FaultProxy) -> None:
    proxy.reset()
    for _ in range(LIST_EVERY - 1):
        assert queue.tick() == []
    assert listings(proxy) == 0
    queue.tick()
    assert listings(proxy) == 1


def test_an_object_that_lands_requests_one_run_at_the_next_tick(
    queue: QueueSensor, lake: S3BookingsLake, sqs: Any, url: str
) -> None:
    lake.customers("", customer(1))
    assert len(queue.tick()) == 1
    assert [queue.tick() for _ in range(LIST_EVERY + 1)] == [[]] * (LIST_EVERY + 1)
    assert messages(sqs, url) == 0


def test_what_lands_outside_the_zone_requests_no_run(
    queue: QueueSensor, lake: S3BookingsLake, proxy: FaultProxy
) -> None:
    proxy.reset()
    lake.client.put_object(Bucket=BUCKET, Key="processed-data/a.csv", Body=b"x")
    lake.client.put_object(Bucket=BUCKET, Key="raw-data-2/customer_details.csv", Body=b"x")
    assert queue.tick() == []
    assert listings(proxy) == 0


def test_row_2_the_same_event_a_hundred_times_is_one_load(
    queue: QueueSensor, lake: S3BookingsLake, sqs: Any, url: str
) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    for start in range(0, 100, 10):
        entries = [{"Id": str(start + n), "MessageBody": event(f"{LANDING}booking_details.csv")} for n in range(10)]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)

    requested = [key for _ in range(4) for key in queue.tick()]
    assert len(requested) == 1
    assert [queue.lake.run().loaded for _ in requested] == [2]
    sqs.send_message(QueueUrl=url, MessageBody=event(f"{LANDING}booking_details.csv"))
    assert queue.tick() == [], "a small zone was listed whole, and the news is old"
    assert lake.run().new == 0
    assert lake.rows("SELECT COUNT(*) FROM OPS.FILE_LEDGER") == [(2,)]


def test_row_2_two_consumers_of_one_queue_load_once(
    queue: QueueSensor, lake: S3BookingsLake, url: str, moto_url: str
) -> None:
    other = QueueSensor(lake, EventQueue(Aws(REGION, moto_url), url))
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))

    requested = [*queue.tick(), *other.tick()]

    assert requested
    assert [lake.run().loaded for _ in [*requested, "daily_schedule"]] == [2] + [0] * len(requested)
    assert lake.rows("SELECT COUNT(*) FROM OPS.FILE_LEDGER") == [(2,)]
    assert lake.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMER_BOOKINGS") == [(1,)]


def test_row_3_events_in_reverse_are_one_load(queue: QueueSensor, lake: S3BookingsLake, sqs: Any, url: str) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    lose_all(sqs, url)
    for sequencer in ("10", "F", "E"):
        sqs.send_message(QueueUrl=url, MessageBody=event(f"{LANDING}booking_details.csv", sequencer=sequencer))

    assert len(queue.tick()) == 1
    assert lake.run().loaded == 2
    assert lake.run().new == 0


def test_row_3_an_object_without_event_is_found_by_the_next_listing(
    queue: QueueSensor, lake: S3BookingsLake, sqs: Any, url: str
) -> None:
    lake.customers("", customer(1))
    lose_all(sqs, url)

    requested = [queue.tick() for _ in range(LIST_EVERY)]

    assert [len(keys) for keys in requested] == [0] * (LIST_EVERY - 1) + [1]
    assert lake.run().loaded == 1


def test_events_of_a_tick_that_was_never_recorded_request_the_run_again(
    queue: QueueSensor, lake: S3BookingsLake, sqs: Any, url: str, moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon, and the process with it, dies after the sensor has returned and before its result is kept."""
    lake.customers("", customer(1))
    with monkeypatch.context() as patched:
        patched.setattr(notifications, "INVISIBLE", 0)
        patched.setattr(notifications, "MESSAGES_LIMIT", 1)
        queue.tick(recorded=False)
    assert messages(sqs, url) == 1

    restarted = QueueSensor(lake, EventQueue(Aws(REGION, moto_url), url))
    restarted.cursor = queue.cursor
    assert len(restarted.tick()) == 1
    assert messages(sqs, url) == 1, "its request_run may not be recorded yet"
    restarted.tick()
    assert messages(sqs, url) == 0


def test_events_are_kept_while_s3_cannot_be_listed(
    queue: QueueSensor, lake: S3BookingsLake, proxy: FaultProxy, sqs: Any, url: str
) -> None:
    lake.customers("", customer(1))
    lake.platform.lake.patience = 0.2  # type: ignore[attr-defined]
    lake.platform.lake._stores.clear()  # type: ignore[attr-defined]
    proxy.reset(since(1, SLOW_DOWN))
    with pytest.raises(LakeError):
        queue.tick()
    assert messages(sqs, url) == 1


def test_a_key_that_sorts_early_in_a_large_zone_requests_a_run_by_its_event(
    queue: QueueSensor, lake: S3BookingsLake, sqs: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large zone is listed from its highest key on, so only the event knows of it before the reconcile."""
    monkeypatch.setattr(zone_poll, "SMALL_ZONE", 0)
    monkeypatch.setattr(notifications, "LIST_EVERY", 100)
    lake.customers("", customer(1))
    assert len(queue.tick()) == 1
    lake.bookings("", booking(1, 1))
    assert len(queue.tick()) == 1
    sqs.send_message(QueueUrl=url, MessageBody=event(f"{LANDING}booking_details.csv"))
    assert len(queue.tick()) == 1, "in doubt it rings"
    sqs.send_message(QueueUrl=url, MessageBody=event(f"{LANDING}booking_details.csv"))
    assert queue.tick() == [], "the same news has the same run key"


def test_a_queue_that_cannot_be_read_is_reported_and_the_zone_is_listed(
    queue: QueueSensor, lake: S3BookingsLake, sqs: Any, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    sqs.delete_queue(QueueUrl=url)
    lake.customers("", customer(1))
    with caplog.at_level(logging.ERROR):
        assert len(queue.tick()) == 1
    assert "queue cannot be read" in caplog.text
    sqs.create_queue(QueueName="bookings-events")


# --- the setting -----------------------------------------------------------------------------------------------


def test_queues_are_a_json_object_by_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_QUEUES", '{"bookings": "https://sqs.eu-west-1.amazonaws.com/1/b"}')
    assert load_settings().queues == {"bookings": "https://sqs.eu-west-1.amazonaws.com/1/b"}
    monkeypatch.delenv("PIPELINE_QUEUES")
    assert load_settings().queues == {}


@pytest.mark.parametrize("text", ["https://sqs/1/b", "{", "[]", "5", '{"bookings": 5}', '{"bookings": "b"}'])
def test_queues_that_are_none_are_reported_with_an_example(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_QUEUES", text)
    with pytest.raises(ConfigurationError, match=r'PIPELINE_QUEUES: .*\{"bookings": "https://sqs'):
        load_settings()


def test_a_queue_of_no_pipeline_is_reported(tmp_path: Path) -> None:
    """A wrong name would go unnoticed: the pipeline would list, later than it could request_run."""
    with pytest.raises(ConfigurationError, match="names unknown pipelines: booking"):
        build_definitions(load_settings(home=tmp_path, queues={"booking": "https://sqs/1/b"}))
