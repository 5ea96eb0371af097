"""One version of one object: its uri, etag and size."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

# SQL for an object version of a dataset as 32 characters, the same in Snowflake and DuckDB. Only the uri may hold
# blanks, so different versions are different texts; 128 bits of MD5 do not collide by chance.
FINGERPRINT = "MD5({dataset} || ' ' || {size} || ' ' || {etag} || ' ' || {uri})"


@dataclass(frozen=True)
class LandedObject:
    """One version of one object.

    The identity is (uri, etag, size), never the name alone: the same key with new bytes is a new object.
    `modified` is by the store's clock, UTC; it orders versions and is never compared with the local clock.
    """

    uri: str
    etag: str
    size: int
    modified: datetime

    @property
    def identity(self) -> tuple[str, str, int]:
        return (self.uri, self.etag, self.size)

    @property
    def version(self) -> tuple[datetime, str]:
        """A newer version compares greater. The uri breaks ties, so that runs in any order choose the same version."""
        return (self.modified, self.uri)

    @property
    def bucket(self) -> str:
        return self.uri.split("/", 3)[2]

    @property
    def key(self) -> str:
        return self.uri.split("/", 3)[3]


def as_utc_naive(moment: datetime) -> datetime:
    """The same moment without a time zone, in UTC: what the warehouse stores as TIMESTAMP_NTZ."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
