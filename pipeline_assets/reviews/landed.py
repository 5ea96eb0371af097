"""What lies in the folder of a table: files of our extracts, each with its manifest, and files that others land.

Files named like those of an extract wait until its manifest is there. The columns of an extract are in its manifest,
those of other files in their footer or header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.contracts.model import Dialect
from pipeline_assets.engine.formats.csv.dialect import decompressed, open_as_utf8
from pipeline_assets.errors import RejectedObjectError
from pipeline_assets.lake import Lake, LandedObject
from pipeline_assets.reviews.columns import SourceColumn
from pipeline_assets.reviews.manifest import Manifest, read_manifest
from pipeline_assets.reviews.metadata import ListedTable
from pipeline_assets.reviews.schema import UNKNOWN_TYPE, ObjectColumns

if TYPE_CHECKING:
    import pyarrow as pa

BUCKET = "lz-snowflake"
_LARGEST_DECIMAL = 38  # digits


@dataclass(frozen=True)
class ExaminedObject:
    """A new object of a table: `landed` has the time that orders versions. `error` is why it is rejected."""

    landed: LandedObject
    columns: ObjectColumns
    manifest: Manifest | None = None
    error: RejectedObjectError | None = None


def prefix_of(source: str, table: ListedTable) -> str:
    """The folder of a table in `BUCKET`."""
    return f"Snowflake/{source}/{table.folder}/"


def examine_objects(
    lake: Lake, source: str, table: ListedTable, objects: Iterable[LandedObject], folder: Path, dialect: Dialect
) -> list[ExaminedObject]:
    """The objects of a table that can be decided about, oldest first; those of unfinished extracts are left out.

    `folder` is for local copies; `dialect` is that of CSV files.

    Raises:
        LakeError, ObjectChangedError: an object cannot be read now.
    """
    by_manifest: dict[str, list[LandedObject]] = {}
    examined: list[ExaminedObject] = []
    for landed in objects:
        if manifest := _manifest_uri(table, landed.uri):
            by_manifest.setdefault(manifest, []).append(landed)
        else:
            examined.append(_examine_other(lake, landed, folder, dialect))
    for uri, files in by_manifest.items():
        examined += _examine_extract(lake, source, table, uri, files, folder)
    return sorted(examined, key=lambda each: each.landed.version)


def unfinished_extracts(lake: Lake, source: str, table: ListedTable) -> list[str]:
    """The uris of files whose extract ended before its manifest landed."""
    landed = {each.uri for each in lake.list_objects(BUCKET, prefix_of(source, table))}
    return [uri for uri in sorted(landed) if (manifest := _manifest_uri(table, uri)) and manifest not in landed]


def _manifest_uri(table: ListedTable, uri: str) -> str | None:
    """The uri of the manifest of an object that is named like a file of our extracts."""
    name = re.escape(table.folder.replace("_", "-"))
    match = re.fullmatch(rf"(.*/[0-9]{{8}}-{name}-[0-9a-f]{{12}})-[0-9]+[.](?:parquet|csv)(?:[.]gz)?", uri)
    return f"{match[1]}.json" if match else None


def _examine_extract(
    lake: Lake, source: str, table: ListedTable, uri: str, files: Sequence[LandedObject], folder: Path
) -> list[ExaminedObject]:
    described = lake.head(uri)
    if described is None:
        return []
    try:
        manifest = read_manifest(lake.fetch(described, folder).read_bytes(), uri)
        _require_same_files(lake, source, table, uri, manifest, files)
        if manifest.deleted and not table.marks_deleted:
            raise RejectedObjectError(
                f"The extract has {manifest.deleted} deleted rows, but {table.name} does not mark such rows.",
                code="schema_drift",
                remedy="Write `deletes: soft` in the list of tables.",
            )
    except RejectedObjectError as error:
        return [ExaminedObject(landed, _no_columns(landed), error=error) for landed in files]
    taken = datetime.fromisoformat(manifest.until.snapshot_at)
    taken = taken if taken.tzinfo else taken.replace(tzinfo=UTC)
    at_snapshot = [replace(landed, modified=taken) for landed in files]
    return [
        ExaminedObject(landed, ObjectColumns(manifest.columns, "types", version_of(landed)), manifest)
        for landed in at_snapshot
    ]


def _require_same_files(
    lake: Lake, source: str, table: ListedTable, uri: str, manifest: Manifest, files: Sequence[LandedObject]
) -> None:
    """Refuse an extract of another table, and one of which a file is missing or has other bytes."""
    wrong: list[str] = []
    if (manifest.source, manifest.table) != (source, table.name):
        wrong.append(f"it is of {manifest.source}.{manifest.table}")
    sizes = {landed.uri.rpartition("/")[2]: landed.size for landed in files}
    for file in manifest.files:
        place = f"{uri.rpartition('/')[0]}/{file.name}"
        size = sizes[file.name] if file.name in sizes else getattr(lake.head(place), "size", None)
        if size != file.bytes:
            wrong.append(f"{file.name} {'is missing' if size is None else f'has {size} bytes, not {file.bytes}'}")
    wrong += [f"it does not list {name}" for name in sorted(sizes.keys() - {file.name for file in manifest.files})]
    if wrong:
        raise RejectedObjectError(
            f"The extract is not what {uri} states: {'; '.join(wrong)}.",
            code="manifest_mismatch",
            remedy="Delete its files, and extract again.",
        )


def _examine_other(lake: Lake, landed: LandedObject, folder: Path, dialect: Dialect) -> ExaminedObject:
    try:
        return ExaminedObject(landed, _columns_of(lake, landed, folder, dialect))
    except RejectedObjectError as error:
        return ExaminedObject(landed, _no_columns(landed), error=error)


def _columns_of(lake: Lake, landed: LandedObject, folder: Path, dialect: Dialect) -> ObjectColumns:
    """The columns of a file without manifest; none if it is empty.

    Raises:
        RejectedObjectError: it has no readable footer or header.
    """
    path = lake.fetch(landed, folder)
    copy = folder / "unpacked"
    if re.search("[.]parquet([.]gz)?$", landed.uri, re.IGNORECASE):
        columns = _parquet_columns(decompressed(path, copy))
        return ObjectColumns(columns, "kinds", version_of(landed))
    _, written = open_as_utf8(path, dialect, (), copy)
    named = tuple(SourceColumn(name, "csv", "VARCHAR", is_sized=False) for name in written.header)
    return ObjectColumns(named, "names", version_of(landed))


def _parquet_columns(path: Path) -> tuple[SourceColumn, ...]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        raise RejectedObjectError(
            "The Parquet file is damaged, encrypted, or is of a kind that cannot be read.",
            code="unreadable_object",
            remedy="Deliver the file again.",
        ) from None
    return tuple(
        SourceColumn(field.name, str(field.type), _physical_type(field.type), is_sized=False) for field in schema
    )


def _physical_type(kind: pa.DataType) -> str:
    """Snowflake's type for one of Arrow, as wide as it can be: a later file may have longer values."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _physical_type(kind.value_type)
    if pa.types.is_null(kind):
        return UNKNOWN_TYPE
    if pa.types.is_decimal(kind):
        return f"NUMBER(38,{kind.scale})" if 0 <= kind.scale <= kind.precision <= _LARGEST_DECIMAL else "VARCHAR"
    kinds = (
        (pa.types.is_integer, "NUMBER(38,0)"),
        (pa.types.is_floating, "FLOAT"),
        (pa.types.is_boolean, "BOOLEAN"),
        (pa.types.is_date, "DATE"),
        (pa.types.is_timestamp, "TIMESTAMP_NTZ(6)"),
    )
    return next((physical for is_kind, physical in kinds if is_kind(kind)), "VARCHAR")


def _no_columns(landed: LandedObject) -> ObjectColumns:
    return ObjectColumns((), "names", version_of(landed))


def version_of(landed: LandedObject) -> str:
    """The time that orders the versions of an object, UTC, as text that orders them, too."""
    return landed.modified.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
