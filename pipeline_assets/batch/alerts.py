"""Tell people: alerts with a level, a subject and plain facts, never a secret or personal data."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from pipeline_assets.aws import Aws, aws_errors
from pipeline_assets.errors import PipelineError

logger = logging.getLogger("pipeline_assets.alerts")


@dataclass(frozen=True)
class Alert:
    """`level` is warning or error; `facts` are shown as they are."""

    level: Literal["warning", "error"]
    pipeline: str
    subject: str
    facts: Mapping[str, object]


class Alerts(Protocol):
    """Where alerts go."""

    def send(self, alert: Alert, at: datetime) -> None: ...


SUBJECT_LIMIT = 99  # characters; SNS takes fewer than 100 in a subject, printable ASCII
MESSAGE_LIMIT = 200 * 1024  # bytes; SNS takes 256 KiB, with attributes and what it puts around them
LINE_LIMIT = 1000  # characters of a fact or subject in a message or a line of the log; the file has all of them
QUIET = 300  # seconds in which a topic that failed is not asked again
_ATTEMPTS, _SECONDS = 4, 10.0  # what was done is published already, and the run ends when its alerts are out


class AlertTopic:
    """An SNS topic: the subject for people's mail, everything as JSON in the message.

    An alert that cannot be sent is logged and goes to `beside`; what it tells of has happened all the same. After that
    the topic is left alone for a while: a batch may reject a thousand files, and must not wait for SNS at each.
    """

    def __init__(self, aws: Aws, topic_arn: str, beside: Alerts, clock: Callable[[], float] = time.monotonic) -> None:
        self._aws = aws
        self._topic_arn = topic_arn
        self._beside = beside
        self._clock = clock
        self._quiet_until = -math.inf

    def send(self, alert: Alert, at: datetime) -> None:
        self._beside.send(alert, at)
        if self._clock() < self._quiet_until:
            logger.error("This alert was not sent to %s either, which failed a moment ago.", self._topic_arn)
            return
        subject = f"[{alert.level}] {alert.pipeline}: {alert.subject}"
        plain = "".join(c if " " <= c <= "~" else " " for c in subject)
        short = plain if len(plain) <= SUBJECT_LIMIT else plain[: SUBJECT_LIMIT - 3] + "..."
        # That one alert is none that SNS takes says nothing of the next.
        unfit, doing = ("InvalidParameter", "InvalidParameterException"), f"sending an alert to {self._topic_arn}"
        try:
            with aws_errors(doing, "sns:Publish", expected=unfit) as refused:
                self._client.publish(TopicArn=self._topic_arn, Subject=short, Message=_message(_entry(alert, at)))
        except PipelineError as error:
            self._quiet_until = self._clock() + QUIET
            logger.error("%s", error)
        else:
            if refused:
                logger.error("Failed %s: %s. The alert is in the log and the file only.", doing, refused[0])

    @cached_property
    def _client(self) -> Any:
        return self._aws.client("sns", attempts=_ATTEMPTS, timeout=_SECONDS)


class AlertFile:
    """The embedded stand-in: the log, and one JSON object a line in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def send(self, alert: Alert, at: datetime) -> None:
        logger.log(
            logging.ERROR if alert.level == "error" else logging.WARNING,
            "%s: %s",
            alert.pipeline,
            alert.subject,
        )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(_entry(alert, at), default=str) + "\n")


def _entry(alert: Alert, at: datetime) -> dict[str, object]:
    return {
        "at": at.isoformat(timespec="seconds") + "Z",
        "level": alert.level,
        "pipeline": alert.pipeline,
        "subject": alert.subject,
        "facts": dict(alert.facts),
    }


def _message(entry: Mapping[str, Any]) -> str:
    """The alert as JSON that SNS takes: an error may carry the end of a log, whose lines are of any length."""
    whole = json.dumps(entry, default=str)
    room = LINE_LIMIT * 50
    cut = {**entry, "facts": {name: _cut(value, room) for name, value in entry["facts"].items()}}
    cut["subject"] = _cut(entry["subject"], LINE_LIMIT)
    while len(json.dumps(cut, default=str)) > MESSAGE_LIMIT and room > 1:
        room //= 2
        cut["facts"] = {name: _cut(value, room) for name, value in entry["facts"].items()}
    if json.dumps(cut, default=str) == whole:
        return whole
    told = {"cut": "This is shortened; alerts.jsonl of the machine that sent it has all."}
    return json.dumps(cut | told, default=str)


def _cut(value: object, room: int) -> object:
    """Text with lines of LINE_LIMIT characters at most and `room` in all, its end rather than its beginning lost."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    lines = [line if len(line) <= LINE_LIMIT else f"{line[:LINE_LIMIT]}…" for line in text.split("\n")]
    short = "\n".join(lines)
    short = short if len(short) <= room else f"{short[:room]}…"
    return value if short == text else short
