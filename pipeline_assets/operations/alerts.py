"""Tell people: alerts with a level, a subject and plain facts, never a secret or personal data."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

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
        entry = {
            "at": at.isoformat(timespec="seconds") + "Z",
            "level": alert.level,
            "pipeline": alert.pipeline,
            "subject": alert.subject,
            "facts": dict(alert.facts),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, default=str) + "\n")
