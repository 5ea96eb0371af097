"""S3 event notifications from an SQS queue: news of what landed, sooner than a listing would find it.

An event only requests a run. It may come twice, late, out of order or never; the listing and the ledger decide what is
loaded, so a lost message costs time and never data. A sensor cannot act after its result was recorded. Therefore each
tick deletes the messages of the tick before, and only if that tick's cursor came back: then its run request was
recorded with it. Messages of a lost tick come back by themselves; what cannot be read ends in the dead-letter queue.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote_plus

from pipeline_assets.aws import Aws, aws_errors, slices

logger = logging.getLogger("pipeline_assets")
MESSAGES_LIMIT = 1000  # received at one tick; the rest waits for the next one
SECONDS = 15  # for which one tick receives messages, well within a sensor's minute
WAIT = 1  # second for a message; without any wait SQS asks some of its servers only, and may not find what waits
BATCH = 10  # messages that SQS gives, or deletes, in one call
INVISIBLE = 300  # seconds in which nobody else gets a received message; several ticks
LIST_EVERY = 20  # ticks from one listing to the next, whatever is received in between
_KEPT = 3  # ticks whose messages may still be confirmed
_DEPTH = 3  # an event in an SNS envelope in an SQS message, and one to spare


@dataclass(frozen=True)
class Event:
    """Something was written to or removed from a key. `sequencer` orders the events of one key; not all have one."""

    bucket: str
    key: str
    created: bool
    version_id: str = ""
    sequencer: str = ""

    @property
    def rank(self) -> float:
        """Later is greater. Sequencers are hexadecimal numbers of differing length, so their text does not sort.

        Without one nobody can tell: a creation then counts as the last event, a removal as the first.
        """
        try:
            return int(self.sequencer, 16)
        except ValueError:
            return float("inf") if self.created else -1


def events_in(body: str, depth: int = _DEPTH) -> list[Event]:
    """The events of one message: from S3 itself, through SNS, or from EventBridge; a test event of S3 holds none.

    Raises:
        ValueError: that is none of these.
    """
    try:
        message = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("no JSON object")
    if isinstance(message.get("Message"), str) and depth:
        return events_in(message["Message"], depth - 1)
    if message.get("Event") == "s3:TestEvent":
        return []
    try:
        if message.get("source") == "aws.s3":
            return [_from_event_bridge(message)]
        return [_from_s3(record) for record in message["Records"]]
    except (KeyError, TypeError, AttributeError):
        raise ValueError("no event of S3") from None


def landed_last(events: Iterable[Event]) -> list[Event]:
    """Of each key the event that counts, if it is a creation."""
    last: dict[tuple[str, str], Event] = {}
    for event in events:
        known = last.get((event.bucket, event.key))
        if known is None or (event.rank, event.created) > (known.rank, known.created):
            last[event.bucket, event.key] = event
    return sorted((event for event in last.values() if event.created), key=lambda event: (event.bucket, event.key))


def digest(events: Iterable[Event]) -> str:
    """A name for these events; the same events, received again in any order, have the same name."""
    identities = sorted({(e.bucket, e.key, e.version_id, e.sequencer) for e in events})
    return blake2b(json.dumps(identities).encode(), digest_size=16).hexdigest()


def _from_s3(record: dict[str, Any]) -> Event:
    entry = record["s3"]["object"]
    return Event(
        bucket=_text(record["s3"]["bucket"]["name"]),
        # S3 writes keys as forms do: a plus is a blank, a plus itself is %2B.
        key=unquote_plus(entry["key"]),
        created=record["eventName"].removeprefix("s3:").startswith(("ObjectCreated", "ObjectRestore")),
        version_id=_text(entry.get("versionId") or ""),
        sequencer=_text(entry.get("sequencer") or ""),
    )


def _from_event_bridge(message: dict[str, Any]) -> Event:
    detail, entry = message["detail"], message["detail"]["object"]
    return Event(
        bucket=_text(detail["bucket"]["name"]),
        key=_text(entry["key"]),  # as it is, unlike in S3's own messages
        created=message["detail-type"] in ("Object Created", "Object Restore Completed"),
        version_id=_text(entry.get("version-id") or ""),
        sequencer=_text(entry.get("sequencer") or ""),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


@dataclass(frozen=True)
class QueueCursor:
    """What a sensor keeps between two ticks: the ticks since the last listing, and the name of its last poll result."""

    ticks: int = 0
    polled: str = ""

    @classmethod
    def load(cls, text: str) -> QueueCursor:
        """Read it; one that cannot be read counts as none: the next tick lists, and messages come again."""
        try:
            cursor = cls(**json.loads(text)) if text else cls()
        except (ValueError, TypeError):
            return cls()
        return cursor if type(cursor.ticks) is int and isinstance(cursor.polled, str) else cls()

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @property
    def is_listing_due(self) -> bool:
        return self.ticks == 0

    def after(self, polled: str) -> QueueCursor:
        return QueueCursor((self.ticks + 1) % LIST_EVERY, polled)


@dataclass(frozen=True)
class PollResult:
    """What one tick received; pass `name` to `EventQueue.confirm` at the next tick."""

    name: str = ""
    messages: int = 0
    events: list[Event] = field(default_factory=list)


def dead_letters(client: Any, url: str) -> dict[str, Any]:
    """Where a queue moves what nobody could read, as `queue`, and how many `messages` wait there; empty without one.

    Raises:
        ClientError: as the client of SQS does.
    """
    found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
    policy = json.loads(found.get("Attributes", {}).get("RedrivePolicy", "{}"))
    if not policy:
        return {}
    # SQS has it in the same account and region, whoever made it.
    queue = policy["deadLetterTargetArn"].rpartition(":")[2]
    there = f"{url.rpartition('/')[0]}/{queue}"
    counted = client.get_queue_attributes(QueueUrl=there, AttributeNames=["ApproximateNumberOfMessages"])
    return {"queue": queue, "messages": int(counted["Attributes"]["ApproximateNumberOfMessages"])}


class EventQueue:
    """The queue of one pipeline. `bucket_prefix` goes before every bucket name, as it does in the lake."""

    def __init__(
        self, aws: Aws, url: str, bucket_prefix: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.url = url
        self._aws = aws
        self._bucket_prefix = bucket_prefix
        self._clock = clock
        self._unconfirmed: dict[str, list[str]] = {}

    def poll(self) -> PollResult:
        """Receive the waiting messages, within limits of time and number.

        Raises:
            PipelineError: the queue cannot be asked.
        """
        handles: list[str] = []
        events: list[Event] = []
        until = self._clock() + SECONDS
        while len(handles) < MESSAGES_LIMIT and self._clock() < until:
            messages = self._receive()
            if not messages:
                break
            for message in messages:
                try:
                    events += events_in(message["Body"])
                except ValueError as error:
                    # Left alone: after a few times the queue itself moves it to the dead letters, where people look.
                    logger.warning("Message %s of %s is no event: %s.", message["MessageId"], self.url, error)
                else:
                    handles.append(message["ReceiptHandle"])
        name = uuid.uuid4().hex[:12]
        self._unconfirmed = dict([*self._unconfirmed.items(), (name, handles)][-_KEPT:])
        return PollResult(name, len(handles), events)

    def confirm(self, name: str) -> None:
        """Delete the messages of a poll whose run request is recorded; after a failure they are received again.

        Raises:
            PipelineError: the queue cannot be asked.
        """
        for some in slices(self._unconfirmed.pop(name, []), BATCH):
            entries = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(some)]
            with aws_errors(f"deleting messages of {self.url}", "sqs:DeleteMessage"):
                self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)

    def landed_in(self, bucket: str, prefixes: Iterable[str], polled: PollResult) -> list[Event]:
        """The creations in a poll result that lie below these prefixes of a bucket of the lake."""
        zones = tuple(prefixes)
        return [
            event
            for event in landed_last(polled.events)
            if event.bucket == self._bucket_prefix + bucket and event.key.startswith(zones)
        ]

    def _receive(self) -> list[dict[str, Any]]:
        with aws_errors(f"receiving from {self.url}", "sqs:ReceiveMessage"):
            response = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=BATCH,
                WaitTimeSeconds=WAIT,
                VisibilityTimeout=INVISIBLE,
            )
        return response.get("Messages", [])

    @cached_property
    def _client(self) -> Any:
        # A tick has a minute, and the listing comes after a queue that cannot be asked.
        return self._aws.client("sqs", attempts=2, timeout=5)
