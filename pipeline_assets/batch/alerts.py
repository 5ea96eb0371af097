"""Alerts for people: a level, a subject and plain facts, never a secret or personal data."""

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
MESSAGE_LIMIT = 200 * 1024  # bytes; SNS accepts 256 KiB, attributes and envelope included
LINE_LIMIT = 1000  # characters per line of a fact, and of a subject; alerts.jsonl has the full text
QUIET = 300  # seconds for which a topic is not used after a failure
_ATTEMPTS, _SECONDS = 4, 10.0  # few: the batch is published already, and the run only waits for its alerts


class AlertTopic:
    """An SNS topic: the subject for people's mail, everything as JSON in the message.

    Every alert also goes to `local_alerts`, so one that cannot be sent is not lost. After a failure the topic is not
    used for `QUIET` seconds: a batch may reject a thousand files, and must not wait for SNS at each.
    """

    def __init__(
        self, aws: Aws, topic_arn: str, local_alerts: Alerts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._aws = aws
        self._topic_arn = topic_arn
        self._local_alerts = local_alerts
        self._clock = clock
        self._quiet_until = -math.inf

    def send(self, alert: Alert, at: datetime) -> None:
        self._local_alerts.send(alert, at)
        if self._clock() < self._quiet_until:
            logger.error("This alert was not sent to %s, as sending failed a moment ago.", self._topic_arn)
            return
        subject = f"[{alert.level}] {alert.pipeline}: {alert.subject}"
        printable = "".join(c if " " <= c <= "~" else " " for c in subject)
        subject_line = printable if len(printable) <= SUBJECT_LIMIT else printable[: SUBJECT_LIMIT - 3] + "..."
        # SNS may refuse one alert as invalid and still accept the next.
        invalid, action = ("InvalidParameter", "InvalidParameterException"), f"sending an alert to {self._topic_arn}"
        try:
            with aws_errors(action, "sns:Publish", expected=invalid) as errors:
                self._client.publish(
                    TopicArn=self._topic_arn, Subject=subject_line, Message=_message(_entry(alert, at))
                )
        except PipelineError as error:
            self._quiet_until = self._clock() + QUIET
            logger.error("%s", error)
        else:
            if errors:
                logger.error("Failed %s: %s. The alert is in the log and the file only.", action, errors[0])

    @cached_property
    def _client(self) -> Any:
        return self._aws.client("sns", attempts=_ATTEMPTS, timeout=_SECONDS)


class AlertFile:
    """The local profile's alerts: the log, and one JSON object per line in `path`."""

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
    """The alert as JSON, shortened to what SNS accepts: an error may contain long lines of a log."""
    full = json.dumps(entry, default=str)
    limit = LINE_LIMIT * 50
    cut = {**entry, "facts": {name: _cut(value, limit) for name, value in entry["facts"].items()}}
    cut["subject"] = _cut(entry["subject"], LINE_LIMIT)
    while len(json.dumps(cut, default=str)) > MESSAGE_LIMIT and limit > 1:
        limit //= 2
        cut["facts"] = {name: _cut(value, limit) for name, value in entry["facts"].items()}
    if json.dumps(cut, default=str) == full:
        return full
    notice = {"cut": "This is shortened; alerts.jsonl of the machine that sent it has all."}
    return json.dumps(cut | notice, default=str)


def _cut(value: object, limit: int) -> object:
    """The beginning of a text: at most `limit` characters, in lines of at most LINE_LIMIT characters."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    lines = [line if len(line) <= LINE_LIMIT else f"{line[:LINE_LIMIT]}…" for line in text.split("\n")]
    short = "\n".join(lines)
    short = short if len(short) <= limit else f"{short[:limit]}…"
    return value if short == text else short
