"""What an extract covers: a JSON file beside the files of the extract, written after them.

Files of an extract without it are not complete, and wait. Files that others land have none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pipeline_assets.errors import RejectedObjectError
from pipeline_assets.reviews.columns import SourceColumn

_FORMAT = 1
# The rows that an extract has: all of the table, those since a watermark, or those that reconcile it with its source.
Kind = Literal["full", "changes", "corrections"]


@dataclass(frozen=True)
class ExtractedFile:
    """A file of an extract, by its name beside the manifest."""

    name: str
    bytes: int
    sha256: str
    rows: int


@dataclass(frozen=True)
class Watermark:
    """How far a table has been extracted.

    `position` are the values of cursor and key, as text, of the last row in their order; empty if the table has no
    cursor or no row with one. `snapshot_at` is the time of the snapshot, UTC, ISO 8601; `source_time` is the server's
    own, in the session and as the cursor's type writes it, before which all rows but those of open transactions are
    visible.
    """

    position: tuple[str, ...] = ()
    snapshot_at: str = ""
    source_time: str = ""


@dataclass(frozen=True)
class Manifest:
    """One extract of one table: what it covers, `since` (None: from the beginning) up to `until`.

    `deleted` of the rows are no longer in the source.
    """

    extract_id: str
    source: str
    table: str
    kind: Kind
    since: Watermark | None
    until: Watermark
    rows: int
    columns: tuple[SourceColumn, ...]
    files: tuple[ExtractedFile, ...]
    notes: tuple[str, ...] = field(default=())
    deleted: int = 0


def write_manifest(manifest: Manifest) -> bytes:
    return (json.dumps({"format": _FORMAT, **asdict(manifest)}, indent=2, ensure_ascii=False) + "\n").encode()


def read_manifest(data: bytes, uri: str) -> Manifest:
    """The manifest at a uri.

    Raises:
        RejectedObjectError: it is not one of `write_manifest`.
    """
    try:
        read: dict[str, Any] = json.loads(data)
        if read.pop("format") != _FORMAT:
            raise ValueError
        since = read.pop("since")
        return Manifest(
            since=Watermark(**_tupled(since)) if since is not None else None,
            until=Watermark(**_tupled(read.pop("until"))),
            columns=tuple(SourceColumn(**column) for column in read.pop("columns")),
            files=tuple(ExtractedFile(**file) for file in read.pop("files")),
            **_tupled(read),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise RejectedObjectError(
            f"{uri} is not the manifest of an extract.",
            code="manifest_mismatch",
            remedy="Delete it and its files, and extract again.",
        ) from None


def _tupled(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def file_names(table: str, day: str, batch_id: str, suffixes: Sequence[str]) -> tuple[Sequence[str], str]:
    """The names of the files of an extract, and that of its manifest; `day` is YYYYMMDD, a suffix such as `.csv`."""
    stem = f"{day}-{table.replace('_', '-')}-{batch_id}"
    return [f"{stem}-{number}{suffix}" for number, suffix in enumerate(suffixes, 1)], f"{stem}.json"
