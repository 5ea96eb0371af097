"""Extract one listed table: all of it, or the rows behind a watermark, in one SELECT and so in one snapshot.

An extract is one file and a manifest. The times of a manifest are taken before the SELECT, so what commits in between
is extracted again, and never lost. What a long transaction commits with an old time is found within the lag.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.progress import progress
from pipeline_assets.reviews.files import write_file
from pipeline_assets.reviews.manifest import ExtractedFile, Kind, Manifest, Watermark, file_names, write_manifest
from pipeline_assets.reviews.metadata import DELETED, ListedTable
from pipeline_assets.reviews.position import Ordered, greatest_position, position_order, rows_behind
from pipeline_assets.reviews.source import Source, Times
from pipeline_assets.reviews.types import MappedColumn
from pipeline_assets.spelling import resembling

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline_assets.lake import Lake

_TIMES = ("date", "timestamp")


@dataclass(frozen=True)
class Extracted:
    """A finished extract: its files, and the manifest, which has their names in the lake; not landed yet."""

    paths: tuple[Path, ...]
    manifest: Manifest
    manifest_name: str


def extract_table(
    source: Source,
    table: ListedTable,
    since: Watermark | None,
    folder: Path,
    batch_id: str,
    *,
    source_name: str,
    lag_seconds: float,
) -> Extracted | None:
    """Write the rows of a table behind `since`, or all, to a file in `folder`; None if there are none.

    All rows are extracted without a watermark or a cursor, and by `full_refresh`. `source_name` is the source's in the
    keys of the lake.

    Raises:
        ConfigurationError: the table or one of its columns is missing or unusable, or the user may not read it.
        SourceError: the database failed; the file is not complete, and nothing may land.
    """
    columns = source.columns(table.name)
    ordered = ordered_columns(table, columns)
    in_order = [column.column for column in ordered.columns]
    times = source.times()
    condition = changed_rows(source, ordered, since, lag_seconds)
    behind = since if condition else None
    invalid: Counter[str] = Counter()
    position = behind.position if behind else ()
    order = position_order(in_order)
    path, rows = folder / f"extract.{table.format}", 0

    def batches() -> Generator[pa.RecordBatch, None, None]:
        nonlocal position, rows
        for batch in source.read(table.name, columns, condition, folder, invalid):
            if ordered.cursors and (greatest := greatest_position(in_order, batch)):
                position = max(position, greatest, key=order)
            yield marked(table, batch)
            rows += batch.num_rows
            step.advance(batch.num_rows)

    # Closed also if the disk is full, so that nothing goes on reading.
    with progress(f"Extracting {table.name}", "rows") as step, closing(batches()) as read:
        digest = write_file(path, read)
    if not rows:
        return None
    until = Watermark(position, times.utc.isoformat(timespec="microseconds"), _source_time(ordered, times))
    return finished(
        source_name,
        table,
        batch_id,
        "changes" if behind else "full",
        behind,
        until,
        columns,
        [(path, rows)],
        notes_of(invalid),
        digests={path: digest},
    )


def changed_rows(source: Source, ordered: Ordered, since: Watermark | None, lag_seconds: float) -> str:
    """The condition for what an extract since a watermark has; empty if that is every row."""
    if not (ordered.cursors and since and since.position):
        return ""
    return rows_behind(source.dialect, ordered, since.position, _from(ordered, since, lag_seconds))


def marked(table: ListedTable, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of the source as they are in a file: not deleted, if the table marks those that are."""
    import pyarrow as pa

    if not table.marks_deleted:
        return batch
    return batch.append_column(DELETED, pa.array([False] * batch.num_rows, pa.bool_()))


def notes_of(invalid: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(f"{count} invalid values of {column} are NULL" for column, count in sorted(invalid.items()))


def finished(
    source_name: str,
    table: ListedTable,
    batch_id: str,
    kind: Kind,
    since: Watermark | None,
    until: Watermark,
    columns: Sequence[MappedColumn],
    files: Sequence[tuple[Path, int]],
    notes: tuple[str, ...],
    deleted: int = 0,
    digests: Mapping[Path, str] | None = None,
) -> Extracted:
    """The extract with some files, each with its number of rows; `digests` are the known SHA-256 of files."""
    day = f"{datetime.fromisoformat(until.snapshot_at):%Y%m%d}"
    names, manifest_name = file_names(table.folder, day, batch_id, [path.suffix for path, _ in files])
    listed = []
    for name, (path, rows) in zip(names, files, strict=True):
        digest = (digests or {}).get(path) or _sha256(path)
        listed.append(ExtractedFile(name, path.stat().st_size, digest, rows))
    manifest = Manifest(
        extract_id=batch_id,
        source=source_name,
        table=table.name,
        kind=kind,
        since=since,
        until=until,
        rows=sum(rows for _, rows in files),
        columns=tuple(column.column for column in columns),
        files=tuple(listed),
        notes=notes,
        deleted=deleted,
    )
    return Extracted(tuple(path for path, _ in files), manifest, manifest_name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def land_extract(lake: Lake, bucket: str, prefix: str, extracted: Extracted) -> list[str]:
    """Publish an extract below `prefix`, the manifest last, as the file is not complete without it. Returns the uris.

    Raises:
        LakeError: the lake failed; at most the files landed, which then wait for a manifest.
    """
    described = extracted.paths[0].with_name("manifest.json")
    described.write_bytes(write_manifest(extracted.manifest))
    day = f"{prefix}{datetime.fromisoformat(extracted.manifest.until.snapshot_at):%Y%m%d}/"
    names = [*(file.name for file in extracted.manifest.files), extracted.manifest_name]
    paths = zip((*extracted.paths, described), names, strict=True)
    return [lake.publish(path, bucket, day + name) for path, name in paths]


def ordered_columns(table: ListedTable, columns: Sequence[MappedColumn]) -> Ordered:
    """The columns of cursor and key; no cursor if the table is always extracted whole.

    Raises:
        ConfigurationError: a listed column is not there or has no order, or one has the name of the platform's.
    """
    by_name = {column.name: column for column in columns}
    if table.marks_deleted and (taken := [name for name in by_name if name.strip().upper() == DELETED]):
        raise ConfigurationError(
            f"The table {table.name} has a column {taken[0]}, in which deletes: soft marks deleted rows.",
            remedy="Rename it in a view of the source and list the view, or leave deletes out of the list of tables.",
        )
    for what, names in (("key", table.key), ("cursor", table.cursor), ("personal", table.personal)):
        for name in names:
            if name not in by_name:
                similar = resembling(name, by_name)
                there = f"did you mean {similar}?" if similar else f"it has {', '.join(by_name)}."
                raise ConfigurationError(
                    f"The table {table.name} has no column {name}, which is listed as {what}; {there}",
                    remedy="Correct the list of tables (PIPELINE_REVIEWS_TABLES).",
                )
            kind = by_name[name].kind
            if what != "personal" and (kind == "opaque" or (kind == "label" and what == "cursor")):
                raise ConfigurationError(
                    f"The column {name} of the table {table.name} cannot be a {what}: "
                    f"values of the type {by_name[name].column.source_type} have no usable order.",
                    remedy="Name a column with numbers, times or short texts, or no cursor.",
                )
    cursor = () if table.strategy == "full_refresh" else table.cursor
    names = (*cursor, *(name for name in table.key if name not in cursor)) if cursor else ()
    return Ordered(tuple(by_name[name] for name in names), len(cursor))


def _source_time(ordered: Ordered, times: Times) -> str:
    """The time of the source as the first cursor's type writes it: TIMESTAMP in UTC, others in either zone."""
    if not ordered.cursors or ordered.columns[0].kind not in _TIMES:
        return ""
    is_utc = ordered.columns[0].column.source_type.startswith("timestamp")
    return (times.utc if is_utc else times.earliest).isoformat(sep=" ", timespec="microseconds")


def _from(ordered: Ordered, since: Watermark, lag_seconds: float) -> str | None:
    """The time from which rows are extracted again, as a literal's text; None if the cursor is no time."""
    kind = ordered.columns[0].kind
    if kind not in _TIMES or not since.source_time:
        return None
    start = datetime.fromisoformat(since.source_time) - timedelta(seconds=lag_seconds)
    return f"{start:%Y-%m-%d}" if kind == "date" else start.isoformat(sep=" ", timespec="microseconds")
