"""The time at which a delivery stream delivered an object, read from its key.

Firehose writes `<prefix>YYYY/MM/DD/HH/<stream>-<version>-YYYY-MM-DD-HH-MM-SS-<id>`, in UTC. The object's own time means
less: a copy or a second delivery of the same bytes is younger than what it repeats.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_FOLDERS = re.compile(r"(\d{4})/(\d\d)/(\d\d)/(?:(\d\d)/)?")
_NAME = re.compile(r"[-/](\d{4})-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)(?=[-.]|$)")


def delivery_time(key: str, modified: datetime) -> datetime:
    """When an object was delivered, UTC; `key` is the part below its zone's prefix, `modified` the object's own time.

    A key contains the second, the hour or the day. Within that second, hour or day the object's own time decides, so
    that objects of one folder keep their order. If a key has no date, or an impossible one, its own time is returned.
    """
    start, length = _period(key)
    if start is None:
        return modified
    return start + min(max(modified - start, timedelta()), length - timedelta(microseconds=1))


def _period(key: str) -> tuple[datetime | None, timedelta]:
    """The start and the length of the period in a key; no start if there is none."""
    folders = _FOLDERS.match(key)
    if folders is None:
        return None, timedelta()
    year, month, day, hour = folders.groups()
    start = _moment(year, month, day, hour or 0)
    if start is None:
        return None, timedelta()
    length = timedelta(hours=1) if hour else timedelta(days=1)
    # A time in the name counts only if it is within the period of the folder: another number may look like a time.
    for name in _NAME.finditer(key, folders.end() - 1):
        second = _moment(*name.groups())
        if second is not None and timedelta() <= second - start < length:
            return second, timedelta(seconds=1)
    return start, length


def _moment(*parts: str | int) -> datetime | None:
    try:
        year, month, day, hour, minute, second = (*map(int, parts), 0, 0)[:6]
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
