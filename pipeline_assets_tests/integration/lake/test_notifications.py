"""S3's events as they come out of a queue: read whatever their wrapping, ordered, and never a crash."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote_plus

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.aws import Aws
from pipeline_assets.errors import ConfigurationError, PipelineError
from pipeline_assets.lake import notifications
from pipeline_assets.lake.notifications import (
    Event,
    EventQueue,
    PollResult,
    QueueCursor,
    digest,
    events_in,
    landed_last,
)
from pipeline_assets_tests.support.object_stores import BUCKET, REGION

AWKWARD = [
    "in/a b.csv",
    "in/a+b.csv",
    "in/100%.csv",
    "in/%20.csv",
    "in/ä€🦆.csv",
    "in/a&b=c?d#e.csv",
    "in/a%2Bb c+.csv",
]


def s3_record(event: Event) -> dict:
    """As S3 writes it."""
    name = "ObjectCreated:Put" if event.created else "ObjectRemoved:Delete"
    entry = {"key": quote_plus(event.key), "size": 5, "eTag": "e"}
    entry |= {"versionId": event.version_id} if event.version_id else {}
    entry |= {"sequencer": event.sequencer} if event.sequencer else {}
    return {"eventSource": "aws:s3", "eventName": name, "s3": {"bucket": {"name": event.bucket}, "object": entry}}


def direct(*events: Event) -> str:
    return json.dumps({"Records": [s3_record(event) for event in events]})


def through_sns(*events: Event) -> str:
    return json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:::topic", "Message": direct(*events)})


def event_bridge(event: Event) -> str:
    entry = {"key": event.key, "size": 5, "etag": "e"}
    entry |= {"version-id": event.version_id} if event.version_id else {}
    entry |= {"sequencer": event.sequencer} if event.sequencer else {}
    kind = "Object Created" if event.created else "Object Deleted"
    detail = {"version": "0", "bucket": {"name": event.bucket}, "object": entry}
    return json.dumps({"source": "aws.s3", "detail-type": kind, "detail": detail})


keys = st.text(min_size=1, max_size=20).filter(lambda key: key.isprintable()) | st.sampled_from(AWKWARD)
sequencers = st.one_of(st.just(""), st.integers(0, 1 << 80).map(lambda number: f"{number:X}"))
some_events = st.builds(
    Event, st.sampled_from(["a", "b"]), keys, st.booleans(), st.sampled_from(["", "v1"]), sequencers
)


@given(some_events, st.sampled_from([direct, through_sns, event_bridge]))
def test_an_event_is_read_as_it_was_meant_whatever_its_wrapping(event: Event, wrapped: Callable) -> None:
    assert events_in(wrapped(event)) == [event]


@given(st.lists(some_events, max_size=5))
def test_every_record_of_a_message_is_read(events: list[Event]) -> None:
    """The code this replaces handled the first one only."""
    assert events_in(through_sns(*events)) == events


def test_an_event_bridge_event_through_sns_is_read() -> None:
    event = Event("a", "in/a b+c%20.csv", True, "v", "0A")
    assert events_in(json.dumps({"Type": "Notification", "Message": event_bridge(event)})) == [event]


def test_the_test_event_of_s3_is_no_creation() -> None:
    body = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "a", "RequestId": "x", "HostId": "y"}
    assert events_in(json.dumps(body)) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Records", "Message", "s3", "object", "bucket", "name", "key", "detail", "source", "eventName"]
            )
            | st.text(max_size=5),
            inner | st.just("aws.s3"),
            max_size=4,
        )
    ),
    max_leaves=15,
)


@settings(max_examples=300)
@given(json_values.map(json.dumps) | st.text())
def test_whatever_comes_is_events_or_a_value_error(body: str) -> None:
    with suppress(ValueError):
        assert all(isinstance(event, Event) for event in events_in(body))


@pytest.mark.parametrize("body", ["", "hello", "[]", "7", "{}", '{"Records": 5}', '{"Records": [{}]}', "[" * 100_000])
def test_what_is_no_event_says_so(body: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        events_in(body)


# --- which event of a key counts -------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1 << 70)), min_size=1, unique_by=lambda e: e[1]), st.randoms())
def test_the_highest_sequencer_counts_in_whatever_order_they_come(history: list, random: object) -> None:
    """Sequencers are compared as numbers: as text, `9` would come after `10`."""
    events = [Event("a", "in/x", created, "", f"{number:x}") for created, number in history]
    random.shuffle(events)  # type: ignore[attr-defined]
    landed_in_the_end, _ = max(history, key=lambda entry: entry[1])

    assert bool(landed_last(events)) is landed_in_the_end


def test_sequencers_of_differing_length_are_compared_as_if_padded() -> None:
    assert landed_last([Event("a", "x", False, "", "F"), Event("a", "x", True, "", "0010")])
    assert not landed_last([Event("a", "x", True, "", "f"), Event("a", "x", False, "", "0010")])


def test_a_creation_that_cannot_be_ordered_is_new() -> None:
    """In doubt the bell rings; an idle run costs less than news that is not told."""
    assert landed_last([Event("a", "x", True), Event("a", "x", False, "", "FF")])
    assert landed_last([Event("a", "x", False), Event("a", "x", True, "", "01")])
    assert landed_last([Event("a", "x", False), Event("a", "x", True)])


@given(st.lists(some_events, min_size=1), st.randoms())
def test_the_same_events_have_the_same_name_however_often_and_in_whatever_order(events: list, random: object) -> None:
    again = events * 3
    random.shuffle(again)  # type: ignore[attr-defined]
    assert digest(again) == digest(events)
    assert digest([*events, Event("c", "new", True)]) != digest(events)


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "null", '{"ticks": "x"}', '{"count": 5}', '{"polled": null}'])
def test_what_a_sensor_kept_and_cannot_be_read_makes_it_list(text: str) -> None:
    assert QueueCursor.load(text).is_listing_due


# --- a real queue ----------------------------------------------------------------------------------------------


@pytest.fixture
def sqs(s3: object, s3_url: str):
    return boto3.client("sqs", endpoint_url=s3_url, region_name=REGION)


@pytest.fixture
def url(sqs, s3, request: pytest.FixtureRequest) -> str:
    """A queue with dead letters that gets the bucket's events, as the stack in infra/ makes it."""
    name = f"queue-{abs(hash(request.node.name))}"
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
    url = sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": redrive})["QueueUrl"]
    own = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    notify = {"QueueConfigurations": [{"QueueArn": own, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]}
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration=notify)
    _ = sqs.purge_queue(QueueUrl=url)  # the test event that S3 sends
    return url


@pytest.fixture
def queue(url: str, s3_url: str) -> EventQueue:
    return EventQueue(Aws(REGION, s3_url), url, "landing-")


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "WAIT", 0)


def waiting(sqs, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(map(int, found.values()))


def test_every_key_that_s3_takes_comes_through_a_real_queue(s3, queue: EventQueue) -> None:
    for key in AWKWARD:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")

    polled = queue.poll()

    assert [event.key for event in queue.landed_in("bucket", ["in/"], polled)] == sorted(AWKWARD)


def test_only_creations_in_the_zones_are_new(s3, queue: EventQueue) -> None:
    for key in ("in/a", "inside/b", "staging/c", "other/d"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")

    polled = queue.poll()

    assert polled.messages == 4
    assert [event.key for event in queue.landed_in("bucket", ["in/", "other/"], polled)] == ["in/a", "other/d"]
    assert queue.landed_in("another-bucket", ["in/"], polled) == []


def test_a_message_is_deleted_when_its_tick_is_confirmed_and_not_before(s3, sqs, url: str, queue: EventQueue) -> None:
    for number in range(25):
        s3.put_object(Bucket=BUCKET, Key=f"in/{number}", Body=b"x")
    polled = queue.poll()
    assert (polled.messages, waiting(sqs, url)) == (25, 25)

    queue.confirm("of another process")
    assert waiting(sqs, url) == 25
    queue.confirm(polled.name)
    assert waiting(sqs, url) == 0
    queue.confirm(polled.name)


def test_messages_of_a_process_that_died_are_received_by_the_next_one(s3, s3_url: str, sqs, url: str) -> None:
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})
    s3.put_object(Bucket=BUCKET, Key="in/a", Body=b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notifications, "INVISIBLE", 0)
        died = EventQueue(Aws(REGION, s3_url), url, clock=iter([0, 0, 99]).__next__)
        assert died.poll().messages == 1

    assert EventQueue(Aws(REGION, s3_url), url).poll().messages == 1


def test_what_is_no_event_is_logged_and_goes_to_the_dead_letters(
    sqs, url: str, queue: EventQueue, caplog: pytest.LogCaptureFixture
) -> None:
    sqs.send_message(QueueUrl=url, MessageBody="not JSON")
    sqs.send_message(QueueUrl=url, MessageBody=direct(Event(BUCKET, "in/a", True)))
    with caplog.at_level(logging.WARNING), pytest.MonkeyPatch.context() as patch:
        patch.setattr(notifications, "INVISIBLE", 0)
        polled = queue.poll()
        queue.confirm(polled.name)
        queue.poll()

    assert "is not an event" in caplog.text
    assert [event.key for event in polled.events][:1] == ["in/a"]
    dead = sqs.get_queue_url(QueueName=url.rpartition("/")[2] + "-dead")["QueueUrl"]
    assert [m["Body"] for m in sqs.receive_message(QueueUrl=dead)["Messages"]] == ["not JSON"]
    assert waiting(sqs, url) == 0


def test_a_flood_is_received_in_bounded_polls(
    sqs, url: str, queue: EventQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "MESSAGES_LIMIT", 20)
    for start in range(0, 50, 10):
        entries = [{"Id": str(n), "MessageBody": direct(Event(BUCKET, f"in/{start + n}", True))} for n in range(10)]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)

    assert [queue.poll().messages for _ in range(4)] == [20, 20, 10, 0]


def test_listening_ends_at_its_deadline(sqs, url: str, s3_url: str) -> None:
    for number in range(30):
        sqs.send_message(QueueUrl=url, MessageBody=direct(Event(BUCKET, f"in/{number}", True)))
    moments = iter([0, 1, notifications.SECONDS + 1])

    assert EventQueue(Aws(REGION, s3_url), url, clock=moments.__next__).poll().messages == 10


def test_a_queue_that_is_not_there_is_an_error_on_one_line(queue: EventQueue, s3_url: str) -> None:
    gone = EventQueue(Aws(REGION, s3_url), f"{s3_url}/123456789012/no-such-queue")

    with pytest.raises(PipelineError, match="no-such-queue") as refused:
        gone.poll()
    assert "\n" not in str(refused.value)


def test_without_credentials_it_says_what_is_missing(url: str, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "absent")

    with pytest.raises(ConfigurationError, match="no AWS credentials"):
        EventQueue(Aws(REGION, s3_url), url).poll()


def test_an_empty_poll_has_no_creations(queue: EventQueue) -> None:
    assert queue.landed_in("bucket", ["in/"], PollResult()) == []
