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


SUBJECT_LIMIT = 100  # characters that SNS takes in a subject, printable ASCII
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
        try:
            with aws_errors(f"sending an alert to {self._topic_arn}", "sns:Publish"):
                self._client.publish(
                    TopicArn=self._topic_arn, Subject=short, Message=json.dumps(_entry(alert, at), default=str)
                )
        except PipelineError as error:
            self._quiet_until = self._clock() + QUIET
            logger.error("%s", error)

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
