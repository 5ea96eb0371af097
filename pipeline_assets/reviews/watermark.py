"""The state of a table in OPS.WATERMARKS: how far it has been extracted, and the columns that it has learnt."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

from pipeline_assets.reviews.columns import SourceColumn
from pipeline_assets.reviews.manifest import Manifest, Watermark
from pipeline_assets.reviews.schema import Shape


@dataclass(frozen=True)
class TableState:
    """What is committed of a table. `watermark` is None before the first extract; `rows` are those of the last one.

    `reconciled_at` is the time of the source, UTC, ISO 8601, at which its keys were last compared; empty if never.
    `digest` is the SHA-256 of the last extract's file. `refused` is the number of rows that are kept though the source
    lacks them, as they were too many at once.
    """

    watermark: Watermark | None = None
    rows: int = 0
    shape: Shape = field(default_factory=Shape)
    reconciled_at: str = ""
    digest: str = ""
    refused: int = 0


def read_state(text: str | None) -> TableState:
    """The state that `write_state` has written; an empty one without a text."""
    if not text:
        return TableState()
    stored = json.loads(text)
    columns = tuple(SourceColumn(**column) for column in stored["columns"])
    shape = Shape(columns, frozenset(stored["dropped"]), stored["version"])
    position = stored["position"]
    watermark = None
    if position is not None:
        watermark = Watermark(tuple(position), stored["snapshot_at"], stored["source_time"])
    later = {name: stored[name] for name in ("reconciled_at", "digest", "refused") if name in stored}
    return TableState(watermark, stored["rows"], shape, **later)


def write_state(state: TableState) -> str:
    watermark = asdict(state.watermark or Watermark())
    return json.dumps(
        {
            "position": list(state.watermark.position) if state.watermark else None,
            "snapshot_at": watermark["snapshot_at"],
            "source_time": watermark["source_time"],
            "rows": state.rows,
            "reconciled_at": state.reconciled_at,
            "digest": state.digest,
            "refused": state.refused,
            "columns": [asdict(column) for column in state.shape.columns],
            "dropped": sorted(state.shape.dropped),
            "version": state.shape.version,
        },
        ensure_ascii=False,
    )


def advanced(state: TableState, loaded: Iterable[Manifest]) -> TableState:
    """The state after extracts whose files are all loaded.

    The watermark follows an extract that begins at it or before and was taken later; it never moves back, and not over
    a gap. The order is that of the snapshots. A first extract of all rows has all keys, so nothing is to be compared.
    """
    for manifest in sorted(loaded, key=lambda manifest: manifest.until.snapshot_at):
        if manifest.kind == "corrections":
            continue
        if state.watermark is None and manifest.kind == "full":
            state = replace(state, reconciled_at=max(state.reconciled_at, manifest.until.snapshot_at))
        at = state.watermark.snapshot_at if state.watermark else ""
        is_contiguous = manifest.since is None or manifest.since.snapshot_at <= at
        if is_contiguous and manifest.until.snapshot_at > at:
            digest = manifest.files[0].sha256 if len(manifest.files) == 1 else ""
            state = replace(state, watermark=manifest.until, rows=manifest.rows, digest=digest)
    return state
