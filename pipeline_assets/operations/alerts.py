"""Tell people: alerts with a level, a subject and plain facts, never a secret or personal data."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

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


class AlertTopic:
    """An SNS topic: the subject for people's mail, everything as JSON in the message.

    An alert that cannot be sent is logged and goes to `beside`; what it tells of has happened all the same.
    """

    def __init__(self, aws: Aws, topic_arn: str, beside: Alerts) -> None:
        self._aws = aws
        self._topic_arn = topic_arn
        self._beside = beside

    def send(self, alert: Alert, at: datetime) -> None:
        self._beside.send(alert, at)
        subject = f"[{alert.level}] {alert.pipeline}: {alert.subject}"
        plain = "".join(c if " " <= c <= "~" else " " for c in subject)
        short = plain if len(plain) <= SUBJECT_LIMIT else plain[: SUBJECT_LIMIT - 3] + "..."
        try:
            with aws_errors(f"sending an alert to {self._topic_arn}", "sns:Publish"):
                self._aws.client("sns").publish(
                    TopicArn=self._topic_arn, Subject=short, Message=json.dumps(_entry(alert, at), default=str)
                )
        except PipelineError as error:
            logger.error("%s", error)


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
