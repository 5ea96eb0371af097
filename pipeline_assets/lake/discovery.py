"""Tell whether a zone changed since the last look, with a cursor whose size does not grow with the zone.

The cursor keeps a count and an order-free digest of all (uri, etag, size), and the highest key seen. A small
zone is listed whole at every look. In a large one the common look lists only keys beyond the highest one, as
producers date their keys; at every `RECONCILE_EVERY`th look the whole zone is listed and the digest compared, which
finds overwritten objects and keys that sort early. The cursor only decides whether to ring; what to load is
decided by the ledger, so a lost or stale cursor costs one idle run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import blake2b

from pipeline_assets.lake.objects import LandedObject
from pipeline_assets.lake.store import Lake

SMALL_ZONE = 1000  # one page of a listing
RECONCILE_EVERY = 20
_MODULUS = 1 << 128


@dataclass(frozen=True)
class Cursor:
    """What the last look saw. `looks` counts those since the last full listing."""

    count: int = 0
    digest: int = 0
    highest: str = ""
    looks: int = 0

    @classmethod
    def load(cls, text: str | None) -> Cursor:
        """Read a cursor; one that cannot be read counts as none, which costs one idle run."""
        try:
            cursor = cls(**json.loads(text)) if text else cls()
        except (ValueError, TypeError):
            return cls()
        whole = all(type(number) is int for number in (cursor.count, cursor.digest, cursor.looks))
        return cursor if whole and isinstance(cursor.highest, str) else cls()

    def dump(self) -> str:
        return json.dumps(asdict(self))


def look(lake: Lake, bucket: str, prefix: str, cursor: Cursor) -> Cursor:
    """The cursor after one look at a zone; it differs in `digest` when anything is new, changed or gone."""
    if cursor.count <= SMALL_ZONE or cursor.looks + 1 >= RECONCILE_EVERY:
        return _advance(Cursor(), lake.list(bucket, prefix))
    seen = _advance(cursor, (o for o in lake.list(bucket, prefix, after=cursor.highest) if o.key > cursor.highest))
    return Cursor(seen.count, seen.digest, seen.highest, cursor.looks + 1)


def _advance(cursor: Cursor, objects: Iterable[LandedObject]) -> Cursor:
    count, digest, highest = cursor.count, cursor.digest, cursor.highest
    for landed in objects:
        text = f"{landed.uri}\n{landed.etag}\n{landed.size}"
        digest = (digest + int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "big")) % _MODULUS
        highest = max(highest, landed.key)
        count += 1
    return Cursor(count, digest, highest, 0)
