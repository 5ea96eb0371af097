"""Tell whether a zone changed since the last poll, with a cursor whose size does not grow with the zone.

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
    """What the last poll saw. `polls` counts those since the last full listing, `changes` those that saw a change."""

    count: int = 0
    digest: int = 0
    highest: str = ""
    polls: int = 0
    changes: int = 0

    @classmethod
    def load(cls, text: str | None) -> Cursor:
        """Read a cursor; one that cannot be read counts as none, which costs one idle run."""
        try:
            cursor = cls(**json.loads(text)) if text else cls()
        except (ValueError, TypeError):
            return cls()
        whole = all(type(number) is int for number in (cursor.count, cursor.digest, cursor.polls, cursor.changes))
        return cursor if whole and isinstance(cursor.highest, str) else cls()

    def dump(self) -> str:
        return json.dumps(asdict(self))


def poll_zone(lake: Lake, bucket: str, prefix: str, cursor: Cursor, *, whole: bool = False) -> Cursor:
    """The cursor after one poll of a zone; it differs in `digest` when anything is new, changed or gone.

    `polls` is 0 after a full listing, which `whole` asks for.
    """
    if whole or cursor.count <= SMALL_ZONE or cursor.polls + 1 >= RECONCILE_EVERY:
        seen = _advance(Cursor(), lake.batches(bucket, prefix))
    else:
        seen = _advance(cursor, lake.batches(bucket, prefix, after=cursor.highest))
        seen = replace(seen, polls=cursor.polls + 1)
    return replace(seen, changes=cursor.changes + (seen.digest != cursor.digest))


def _advance(cursor: Cursor, batches: Iterable[pa.RecordBatch]) -> Cursor:
    """Hash and add in DuckDB: for a million objects Python alone takes longer than the listing."""
    count, digest, highest = cursor.count, cursor.digest, cursor.highest
    with _duckdb().cursor() as database:
        for batch in batches:
            database.register("batch", batch)
            # `highest` is no part of the digest of a zone, so a store that lists it again must not count it twice.
            ((seen, added, last),) = database.execute(_SUM, [cursor.highest]).fetchall()
            if seen:
                count, digest, highest = count + seen, (digest + int(added)) % _MODULUS, max(highest, last)
    return Cursor(count, digest, highest, 0)


@cache
def _duckdb() -> DuckDBPyConnection:
    """One in-memory database for all polls of this process; opening one takes longer than polling a small zone."""
    import duckdb

    return duckdb.connect(config={"threads": 1})
