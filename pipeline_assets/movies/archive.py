"""What is read of a movie archive: its data files, once its manifest agrees with them.

The archive's one JSON file is its manifest, wherever it is. Old archives have an old manifest, without hashes, and CSV
files that escape quotes with a backslash. If an extract is there as CSV and as Parquet, the CSV is read and the Parquet
must have as many rows.
"""

from __future__ import annotations

import csv
import errno
from collections.abc import Sequence
from pathlib import Path

from pipeline_assets.contracts.model import Dialect
from pipeline_assets.engine.formats.csv.dialect import open_as_utf8
from pipeline_assets.engine.formats.csv.lenient_reader import read_leniently
from pipeline_assets.errors import RejectedObjectError
from pipeline_assets.lake.archives import Member
from pipeline_assets.movies.manifest import read_manifest, verify
from pipeline_assets.pipeline import ArchiveContents

_BACKSLASH = Dialect(escape="\\")
_NOTHING = ("", "N/A")
_REMEDY = "Deliver one extract as CSV, Parquet or both, with its manifest.json."


def archive_contents(members: Sequence[Member]) -> ArchiveContents:
    """The data files of an archive, after its manifest was compared with them.

    Raises:
        RejectedObjectError: there is no manifest or no data, there are other files, or they differ from the manifest.
    """
    kinds = {kind: [m for m in members if m.name.lower().endswith(f".{kind}")] for kind in ("csv", "parquet", "json")}
    if other := [m.name for m in members if not any(m in found for found in kinds.values())]:
        raise _mismatch(f"The archive has files that are neither CSV, Parquet nor a manifest: {', '.join(other[:3])}.")
    if len(kinds["json"]) != 1:
        raise _mismatch(f"The archive has {len(kinds['json'])} manifests (files that end with .json).")
    (described,) = kinds["json"]
    manifest = read_manifest(described.path.read_bytes())
    data = [*kinds["csv"], *kinds["parquet"]]
    dialect = Dialect() if manifest.files else _BACKSLASH
    counts = {m.name: _row_count(m.path, dialect) for m in data}
    verify(manifest, data, counts.__getitem__, folder=described.name[: described.name.rfind("/") + 1])
    rows = {kind: sum(counts[m.name] for m in kinds[kind]) for kind in ("csv", "parquet")}
    if kinds["csv"] and kinds["parquet"] and rows["csv"] != rows["parquet"]:
        raise _mismatch(f"The CSV has {rows['csv']} rows and the Parquet {rows['parquet']}.")
    if not data and manifest.total_movies:
        raise _mismatch(f"The manifest states {manifest.total_movies} movies, and there is no CSV or Parquet.")
    if len(kinds["parquet"]) > 1 and not kinds["csv"]:
        raise _mismatch(f"The archive has {len(kinds['parquet'])} Parquet files.")
    files = [m.path for m in kinds["csv"] or kinds["parquet"]]
    if not kinds["csv"]:
        files = [_with_nulls(path) for path in files]
    elif not manifest.files:
        files = [_without_backslashes(path) for path in files]
    return ArchiveContents(files, manifest.created_at)


def _mismatch(message: str) -> RejectedObjectError:
    return RejectedObjectError(message, code="manifest_mismatch", remedy=_REMEDY)


def _row_count(path: Path, dialect: Dialect) -> int:
    if path.suffix.lower() == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_metadata(path).num_rows
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from None
    plain, found = open_as_utf8(path, dialect, (), path.with_name(f"{path.name}.utf8"))
    return sum(1 for _ in read_leniently(plain, found)) if found.header else 0


def _unreadable(path: Path, error: Exception) -> RejectedObjectError:
    return RejectedObjectError(
        f"{path.name} is not a readable Parquet file ({str(error).splitlines()[0][:100]}).",
        code="unreadable_object",
        remedy="Deliver the archive again.",
    )


def _with_nulls(path: Path) -> Path:
    """A Parquet file with NULL for `N/A` and blanks, as the source means by them; values of Parquet are not cleaned.

    Raises:
        RejectedObjectError: the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    def with_nulls(values: pa.Array) -> pa.Array:
        if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
            return values
        is_nothing = pc.is_in(pc.utf8_trim_whitespace(values), value_set=pa.array(_NOTHING, values.type))
        return pc.if_else(is_nothing, pa.scalar(None, values.type), values)

    target = path.with_name("with_nulls.parquet")
    target = target if target != path else path.with_name("with_nulls_too.parquet")  # it is the only Parquet file
    try:
        with pq.ParquetFile(path) as file, pq.ParquetWriter(target, file.schema_arrow) as writer:
            for batch in file.iter_batches():
                writer.write_batch(pa.record_batch(list(map(with_nulls, batch.columns)), schema=batch.schema))
    except pa.ArrowException as error:
        raise _unreadable(path, error) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise _unreadable(path, error) from None
    return target


def _without_backslashes(path: Path) -> Path:
    """A CSV as RFC 4180 writes it; the same file if it escapes nothing. A malformed record stays as it is."""
    plain, dialect = open_as_utf8(path, _BACKSLASH, (), path.with_name(f"{path.name}.utf8"))
    with open(plain, "rb") as file:
        if not any(b'\\"' in line or b"\\\\" in line for line in file):
            return path
    target = path.with_name(f"{path.name}.rfc4180")  # no member ends like this
    with open(target, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)  # its line end is \r\n; if it were \n, values with \r would not be quoted
        writer.writerow(dialect.header)
        for record in read_leniently(plain, dialect):
            if record.fields is None:
                file.write(record.raw + "\r\n")
            else:
                writer.writerow(record.fields)
    return target
