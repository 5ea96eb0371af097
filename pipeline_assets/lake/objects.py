"""What an object is called and which version of it is meant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

# SQL that names an object version of a dataset in 32 characters, alike for Snowflake and DuckDB. Only the uri may hold
# blanks, so different versions are different texts; and 128 bits of MD5 do not meet by chance.
FINGERPRINT = "MD5({dataset} || ' ' || {size} || ' ' || {etag} || ' ' || {uri})"


@dataclass(frozen=True)
class LandedObject:
    """One version of one object.

    The identity is (uri, etag, size), never the name alone: the same key with new bytes is a new object.
    `modified` is the store's clock, UTC; it orders versions and is never compared with the local clock.
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
        """Newer compares greater; the uri breaks ties so that any order of runs decides alike."""
        return (self.modified, self.uri)

    @property
    def bucket(self) -> str:
        return self.uri.split("/", 3)[2]

    @property
    def key(self) -> str:
        return self.uri.split("/", 3)[3]


def as_utc_naive(moment: datetime) -> datetime:
    """The same moment as TIMESTAMP_NTZ in UTC, the form in which the warehouse keeps it."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
