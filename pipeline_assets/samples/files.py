"""Write a sample file atomically, and describe it.

This module handles files as bytes; other modules define the records. A file whose bytes are already there is not
replaced: a new mtime would make the landing zone report a new object. A replaced file gets the fixed mtime of its name,
so two versions of one key can have the same mtime, and only their bytes differ. A file that a producer tails keeps its
inode while it grows.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, cast


@dataclass(frozen=True)
class SampleFile:
    """One sample file as it is on disk.

    `path` is absolute; `key` is relative to the bucket folder, with '/'; `rows` counts records without the
    header; `kind` is the dataset ("customers", "bookings", "orders"); `dirt` maps every kind of dirt that the
    file's records can have to the number of records of that kind in it (0 when there are none).
    """

    path: Path
    key: str
    rows: int
    kind: str
    dirt: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """A stretch of a file: its text, the records in it, and how many of them have which kind of dirt."""

    text: str
    rows: int = 0
    dirt: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TableChunk:
    """Some rows of a table with these columns, and how many of them have which kind of dirt.

    A column is its name, of the type TEXT, or its name and its declaration; values are texts.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | None]]
    dirt: Mapping[str, int] = field(default_factory=dict)


class Publisher:
    """Writes files into one bucket folder; made by `publisher`."""

    def __init__(self, directory: Path, staging: Path) -> None:
        self._directory = directory
        self._staging = staging

    def publish(
        self,
        key: str,
        kind: str,
        chunks: Iterable[Chunk],
        *,
        modified: datetime,
        halved: bool = False,
        tailed: bool = False,
    ) -> SampleFile:
        """Write `chunks` as UTF-8 (gzip when `key` ends in .gz), then move the file into place atomically.

        `modified` becomes the file's mtime, unless the same bytes are already there. A `halved` file lacks the
        second half of its bytes, as after an interrupted upload. A `tailed` file is only replaced if it has other
        records: what it lacks is appended, what follows the sample's records stays. Raises OSError when the folder
        cannot be written.
        """
        staged = self._staging / "file"
        rows, dirt = _write(staged, chunks, compress=key.endswith(".gz"))
        if halved:
            os.truncate(staged, staged.stat().st_size // 2)
        path = self._directory / key
        if not (_starts_with(path, staged) if tailed else _same_bytes(staged, path)):
            if tailed and path.is_file() and _starts_with(staged, path):
                _append(path, staged)
            else:
                _replace(path, staged, modified)
        return SampleFile(path=path, key=key, rows=rows, kind=kind, dirt=dirt)

    def publish_database(self, key: str, kind: str, chunks: Iterable[TableChunk], *, modified: datetime) -> SampleFile:
        """Publish rows as the table `kind` of a SQLite file; equal chunks give equal bytes. See `publish`."""
        return self.publish_tables(key, {kind: chunks}, modified=modified)[0]

    def publish_tables(
        self, key: str, tables: Mapping[str, Iterable[TableChunk]], *, modified: datetime, indexed: str = ""
    ) -> list[SampleFile]:
        """Publish tables, by name, as one SQLite file. See `publish`. Each table is described by itself.

        An index of each table is over the columns `indexed`, if there are any.
        """
        staged = self._staging / "database"
        staged.unlink(missing_ok=True)
        written = {table: _write_table(staged, table, chunks) for table, chunks in tables.items()}
        with closing(sqlite3.connect(staged)) as connection, connection:
            for table in tables if indexed else ():
                connection.execute(f"CREATE INDEX {table}_index ON {table} ({indexed})")
        path = self._directory / key
        if not _same_bytes(staged, path):
            _replace(path, staged, modified)
        return [SampleFile(path, key, rows, table, dirt) for table, (rows, dirt) in written.items()]


@contextmanager
def publisher(directory: Path) -> Iterator[Publisher]:
    """Publish into `directory`, which is created when missing.

    Unfinished files are written beside it: on the same filesystem, so that the move is atomic, but outside the
    bucket, so that no listing of the bucket has them.
    """
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".samples-", dir=directory.parent))
    try:
        yield Publisher(directory, staging)
    finally:
        shutil.rmtree(staging)


def _write(path: Path, chunks: Iterable[Chunk], *, compress: bool) -> tuple[int, dict[str, int]]:
    rows, dirt = 0, Counter[str]()
    with _opened(path, compress=compress) as stream:
        for chunk in chunks:
            stream.write(chunk.text.encode("utf-8"))
            rows += chunk.rows
            dirt.update(chunk.dirt)
    return rows, dict(dirt)


def _write_table(path: Path, table: str, chunks: Iterable[TableChunk]) -> tuple[int, dict[str, int]]:
    rows, dirt = 0, Counter[str]()
    with closing(sqlite3.connect(path)) as connection, connection:
        for chunk in chunks:
            columns = ", ".join(name if " " in name else f"{name} TEXT" for name in chunk.columns)
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(chunk.columns))})", chunk.rows)
            rows += len(chunk.rows)
            dirt.update(chunk.dirt)
    return rows, dict(dirt)


def _replace(path: Path, staged: Path, modified: datetime) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.utime(staged, (modified.timestamp(), modified.timestamp()))
    os.replace(staged, path)


@contextmanager
def _opened(path: Path, *, compress: bool) -> Iterator[IO[bytes]]:
    with path.open("wb") as raw:
        if not compress:
            yield raw
            return
        # No name and no time in the gzip header: either would make equal content differ in its bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as stream:
            yield cast("IO[bytes]", stream)


def _append(path: Path, longer: Path) -> None:
    """Append what `path` lacks of a file that starts with its bytes."""
    with longer.open("rb") as source, path.open("ab") as target:
        source.seek(target.tell())
        shutil.copyfileobj(source, target)


def _same_bytes(left: Path, right: Path) -> bool:
    return right.is_file() and left.stat().st_size == right.stat().st_size and _starts_with(left, right)


def _starts_with(path: Path, start: Path) -> bool:
    size = start.stat().st_size
    return path.is_file() and path.stat().st_size >= size and _digest(path, size) == _digest(start, size)


def _digest(path: Path, size: int) -> bytes:
    """The digest of the first `size` bytes."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(min(size, 1 << 20)):
            found.update(block)
            size -= len(block)
    return found.digest()
