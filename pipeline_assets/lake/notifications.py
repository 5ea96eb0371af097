"""S3 event notifications from an SQS queue, which announce a landed object before the next listing finds it.

An event only requests a run. It may come twice, late, out of order or never; the listing and the ledger decide what is
loaded, so a lost message costs time and never data. A sensor cannot act after its result was recorded. Therefore each
tick deletes the messages of the previous tick, and only if that tick's cursor came back: then its run request was
recorded too. SQS delivers the messages of a lost tick again; unreadable ones end in the dead-letter queue.
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
from pipeline_assets.errors import masked

logger = logging.getLogger("pipeline_assets")
MESSAGES_LIMIT = 1000  # received at one tick; the rest waits for the next one
SECONDS = 15  # for which one tick receives messages, well within a sensor's minute
WAIT = 1  # second for a message; without a wait SQS queries only some of its servers and may miss messages
BATCH = 10  # messages that SQS gives, or deletes, in one call
INVISIBLE = 300  # seconds for which SQS hides a received message; several ticks
LIST_EVERY = 20  # ticks from one listing to the next, even if events were received in between
_KEPT = 3  # ticks whose messages may still be confirmed
_DEPTH = 3  # levels of envelopes: an event in an SNS envelope in an SQS message, and one to spare


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

        Without a sequencer a creation counts as the last event, a removal as the first.
        """
        try:
            return int(self.sequencer, 16)
        except ValueError:
            return float("inf") if self.created else -1


def events_in(body: str, depth: int = _DEPTH) -> list[Event]:
    """The events of one message: from S3 itself, through SNS, or from EventBridge; a test event of S3 holds none.

    Raises:
        ValueError: the message is something else.
    """
    try:
        message = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    if isinstance(message.get("Message"), str) and depth:
        return events_in(message["Message"], depth - 1)
    if message.get("Event") == "s3:TestEvent":
        return []
    try:
        if message.get("source") == "aws.s3":
            return [_from_event_bridge(message)]
        return [_from_s3(record) for record in message["Records"]]
    except (KeyError, TypeError, AttributeError):
        raise ValueError("not an event of S3") from None


def landed_last(events: Iterable[Event]) -> list[Event]:
    """The last event of each key, if it is a creation."""
    last: dict[tuple[str, str], Event] = {}
    for event in events:
        previous = last.get((event.bucket, event.key))
        if previous is None or (event.rank, event.created) > (previous.rank, previous.created):
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
        # S3 encodes keys like HTML forms: a blank is `+`, a plus is `%2B`.
        key=unquote_plus(entry["key"]),
        created=record["eventName"].removeprefix("s3:").startswith(("ObjectCreated", "ObjectRestore")),
        version_id=_text(entry.get("versionId") or ""),
        sequencer=_text(entry.get("sequencer") or ""),
    )


def _from_event_bridge(message: dict[str, Any]) -> Event:
    detail, entry = message["detail"], message["detail"]["object"]
    return Event(
        bucket=_text(detail["bucket"]["name"]),
        key=_text(entry["key"]),  # not encoded, unlike in S3's own messages
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
    """The state of a sensor between two ticks: ticks since the last listing, and the name of the last poll result."""

    ticks: int = 0
    polled: str = ""

    @classmethod
    def load(cls, text: str) -> QueueCursor:
        """Read a cursor. An unreadable one is replaced by an empty one: the next tick lists, messages come again."""
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
    """The events that one tick received; pass `name` to `EventQueue.confirm` at the next tick."""

    name: str = ""
    messages: int = 0
    events: list[Event] = field(default_factory=list)


def dead_letters(client: Any, url: str) -> dict[str, Any]:
    """The dead-letter `queue` of a queue and how many `messages` wait there; empty if it has none.

    Raises:
        ClientError: as the client of SQS does.
    """
    response = client.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
    policy = json.loads(response.get("Attributes", {}).get("RedrivePolicy", "{}"))
    if not policy:
        return {}
    # SQS requires it to be in the same account and region.
    queue = policy["deadLetterTargetArn"].rpartition(":")[2]
    dead_letter_url = f"{url.rpartition('/')[0]}/{queue}"
    counts = client.get_queue_attributes(QueueUrl=dead_letter_url, AttributeNames=["ApproximateNumberOfMessages"])
    return {"queue": queue, "messages": int(counts["Attributes"]["ApproximateNumberOfMessages"])}


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
            PipelineError: the queue cannot be reached or a permission is missing.
        """
        handles: list[str] = []
        events: list[Event] = []
        deadline = self._clock() + SECONDS
        while len(handles) < MESSAGES_LIMIT and self._clock() < deadline:
            messages = self._receive()
            if not messages:
                break
            for message in messages:
                try:
                    events += events_in(message["Body"])
                except ValueError as error:
                    # Not deleted: after several receives SQS moves it to the dead-letter queue, which has an alarm.
                    logger.warning(
                        "Message %s of %s is not an event: %s.", message["MessageId"], masked(self.url), error
                    )
                else:
                    handles.append(message["ReceiptHandle"])
        name = uuid.uuid4().hex[:12]
        self._unconfirmed = dict([*self._unconfirmed.items(), (name, handles)][-_KEPT:])
        return PollResult(name, len(handles), events)

    def confirm(self, name: str) -> None:
        """Delete the messages of a poll whose run request is recorded; after a failure they are received again.

        Raises:
            PipelineError: the queue cannot be reached or a permission is missing.
        """
        for some in slices(self._unconfirmed.pop(name, []), BATCH):
            entries = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(some)]
            with aws_errors(f"deleting messages of {masked(self.url)}", "sqs:DeleteMessage"):
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
        with aws_errors(f"receiving from {masked(self.url)}", "sqs:ReceiveMessage"):
            response = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=BATCH,
                WaitTimeSeconds=WAIT,
                VisibilityTimeout=INVISIBLE,
            )
        return response.get("Messages", [])

    @cached_property
    def _client(self) -> Any:
        # A tick has a minute, and if the queue cannot be reached, the zones are listed within it.
        return self._aws.client("sqs", attempts=2, timeout=5)
