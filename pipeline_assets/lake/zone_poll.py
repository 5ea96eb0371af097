"""Detect whether a zone changed since the last poll, with a cursor whose size does not grow with the zone.

The cursor keeps a count, a digest of all (key, etag, size) that ignores their order, and the highest key seen. A small
zone is listed whole at every poll. In a large zone a poll lists only keys above the highest one, since producers date
their keys; every `RECONCILE_EVERY`th poll lists the whole zone, which finds overwritten objects and keys that sort
early. The cursor only decides whether to request a run; the ledger decides what is loaded, so a lost or stale cursor
costs one idle run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from pipeline_assets.lake.store import Lake

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

SMALL_ZONE = 1000  # one page of a listing
RECONCILE_EVERY = 20
_MODULUS = 1 << 64
_SUM = "SELECT count(*), sum(hash(path, e_tag, size)::HUGEINT), max(path) FROM batch WHERE path > ?"


@dataclass(frozen=True)
class Cursor:
    """The result of the last poll. `polls` counts polls since the last full listing, `changes` polls with a change."""

    count: int = 0
    digest: int = 0
    highest: str = ""
    polls: int = 0
    changes: int = 0

    @classmethod
    def load(cls, text: str | None) -> Cursor:
        """Read a cursor. One that cannot be read is replaced by an empty one, which costs one idle run."""
        try:
            cursor = cls(**json.loads(text)) if text else cls()
        except (ValueError, TypeError):
            return cls()
        valid = all(type(number) is int for number in (cursor.count, cursor.digest, cursor.polls, cursor.changes))
        return cursor if valid and isinstance(cursor.highest, str) else cls()

    def dump(self) -> str:
        return json.dumps(asdict(self))


def poll_zone(lake: Lake, bucket: str, prefix: str, cursor: Cursor, *, whole: bool = False) -> Cursor:
    """Poll a zone once; returns the new cursor, with another `digest` when an object is new, changed or gone.

    `whole` requests a full listing; `polls` is 0 after one.
    """
    if whole or cursor.count <= SMALL_ZONE or cursor.polls + 1 >= RECONCILE_EVERY:
        polled = _advance(Cursor(), lake.list_batches(bucket, prefix))
    else:
        polled = _advance(cursor, lake.list_batches(bucket, prefix, after=cursor.highest))
        polled = replace(polled, polls=cursor.polls + 1)
    return replace(polled, changes=cursor.changes + (polled.digest != cursor.digest))


def _advance(cursor: Cursor, batches: Iterable[pa.RecordBatch]) -> Cursor:
    """Add a listing to a cursor. DuckDB hashes: for a million objects Python alone takes longer than the listing."""
    count, digest, highest = cursor.count, cursor.digest, cursor.highest
    with _duckdb().cursor() as database:
        for batch in batches:
            database.register("batch", batch)
            # The key `highest` is in the cursor already: if the store lists it again, it must not count twice.
            ((rows, hashes, last_key),) = database.execute(_SUM, [cursor.highest]).fetchall()
            if rows:
                count, digest, highest = count + rows, (digest + int(hashes)) % _MODULUS, max(highest, last_key)
    return Cursor(count, digest, highest, 0)


@cache
def _duckdb() -> DuckDBPyConnection:
    """One in-memory database for all polls of this process; opening one takes longer than polling a small zone."""
    import duckdb

    return duckdb.connect(config={"threads": 1})
