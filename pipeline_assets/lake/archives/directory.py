"""What an archive states about itself: its end record, zip64 included, and the entries of its directory.

No value is trusted: each must agree with every other place that states it, and is checked against the bytes of the file
before it is used as a position.
"""

from __future__ import annotations

import re
import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from pipeline_assets.lake.archives.layout import (
    CENTRAL,
    CENTRAL_SIGNATURE,
    END,
    END_SIGNATURE,
    LIMIT_16,
    LIMIT_32,
    LOCAL_SIGNATURE,
    UNICODE_PATH_EXTRA,
    UTF8,
    ZIP64_END,
    ZIP64_END_REST,
    ZIP64_END_SIGNATURE,
    ZIP64_EXTRA,
    ZIP64_LOCATOR,
    ZIP64_LOCATOR_SIGNATURE,
)
from pipeline_assets.lake.archives.names import decoded
from pipeline_assets.lake.archives.refused import RefusedArchiveError, shown

_UNIX_SYSTEMS = (3, 19)  # "made by" Unix, macOS


@dataclass(slots=True)
class Entry:
    """An entry of the directory. Sizes in bytes; `data` is where its packed bytes start, 0 until that is examined."""

    name: str
    raw_name: bytes = field(repr=False)
    unix: bool
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mode: int
    data: int = 0

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")

    def __str__(self) -> str:
        return f"the entry {shown(self.name)}"


class Archive:
    """An open archive of `size` bytes."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self.size = file.seek(0, 2)
        self._file = file

    def seek(self, position: int) -> None:
        self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes.

        Raises:
            RefusedArchiveError: the file ends before.
        """
        content = self._file.read(count)
        if len(content) < count:
            raise self.refused("archive_truncated", "it ends in the middle of a record")
        return content

    def refused(self, code: str, problem: str) -> RefusedArchiveError:
        return RefusedArchiveError(self.name, code, problem)


@dataclass(frozen=True)
class Directory:
    """Where the directory is, and how many entries the end record states."""

    offset: int
    end: int
    count: int


def find_directory(archive: Archive) -> Directory:
    """Read the end record, and the zip64 end record if there is one.

    Raises:
        RefusedArchiveError: there is none, there are several, or they contradict each other or the file's size.
    """
    position = _end_record(archive)
    archive.seek(position)
    _, disk, directory_disk, here, count, size, offset, _ = END.unpack(archive.read(END.size))
    stated = (disk, directory_disk, here, count, size, offset)
    if position >= ZIP64_LOCATOR.size:
        archive.seek(position - ZIP64_LOCATOR.size)
        locator = archive.read(ZIP64_LOCATOR.size)
        if locator.startswith(ZIP64_LOCATOR_SIGNATURE):
            position -= ZIP64_LOCATOR.size + ZIP64_END.size
            disk, directory_disk, here, count, size, offset = _zip64_end_record(archive, locator, position, stated)
    if disk or directory_disk or here != count:
        raise archive.refused("archive_multi_disk", "it is one part of an archive in several files")
    if offset + size > position:
        raise archive.refused("archive_truncated", "bytes before its directory are missing")
    if offset + size < position:
        raise archive.refused("archive_stray_bytes", "bytes before or after its directory belong to no entry")
    return Directory(offset, position, count)


def _end_record(archive: Archive) -> int:
    """The position of the one record whose comment ends with the file."""
    start = max(0, archive.size - END.size - LIMIT_16)
    archive.seek(start)
    tail = archive.read(archive.size - start)
    positions = [found.start() for found in re.finditer(re.escape(END_SIGNATURE), tail)]
    ends = {at: at + END.size + END.unpack_from(tail, at)[-1] for at in positions if at + END.size <= len(tail)}
    if found := [at for at, end in ends.items() if end == len(tail)]:
        if found[0] != positions[-1]:
            raise archive.refused("archive_ambiguous_end", "more than one record could be its end")
        return start + found[0]
    if ends and max(ends.values()) < len(tail):
        raise archive.refused("archive_stray_bytes", "bytes follow its end")
    archive.seek(0)
    if ends or archive.read(min(4, archive.size)) in (LOCAL_SIGNATURE, END_SIGNATURE):
        raise archive.refused("archive_truncated", "its end is missing")
    raise archive.refused("archive_not_zip", "it is not a zip archive")


def _zip64_end_record(archive: Archive, locator: bytes, position: int, stated: Sequence[int]) -> tuple[int, ...]:
    """The values of the zip64 end record, which must agree with those that the end record has itself."""
    _, disk, offset, disks = ZIP64_LOCATOR.unpack(locator)
    if disk or disks > 1:
        raise archive.refused("archive_multi_disk", "it is one part of an archive in several files")
    if offset != position:
        raise archive.refused("archive_zip64_mismatch", "its zip64 end record is not where its locator says")
    archive.seek(position)
    signature, rest, _, _, *values = ZIP64_END.unpack(archive.read(ZIP64_END.size))
    if signature != ZIP64_END_SIGNATURE or rest != ZIP64_END_REST:
        raise archive.refused("archive_zip64_mismatch", "its zip64 end record is damaged")
    limits = (LIMIT_16, LIMIT_16, LIMIT_16, LIMIT_16, LIMIT_32, LIMIT_32)
    if any(short not in (limit, value) for short, limit, value in zip(stated, limits, values, strict=True)):
        raise archive.refused("archive_zip64_mismatch", "its two end records disagree")
    return tuple(values)


def read_entries(archive: Archive, directory: Directory) -> Iterator[Entry]:
    """The entries of the directory, in its order; names are decoded and not checked.

    They are read one by one, so that a caller can stop at the first that it refuses.

    Raises:
        RefusedArchiveError: the directory is damaged, or has more or fewer entries than the end record says.
    """
    archive.seek(directory.offset)
    for _ in range(directory.count):
        if archive.tell() + CENTRAL.size > directory.end:
            raise archive.refused("archive_damaged", "its directory has fewer entries than its end says")
        yield _read_entry(archive)
    if archive.tell() != directory.end:
        raise archive.refused("archive_damaged", "its directory has another length than its end says")


def _read_entry(archive: Archive) -> Entry:
    signature, made_by, _, flags, method, _, _, crc, packed, size, *lengths, disk, _, attributes, offset = (
        CENTRAL.unpack(archive.read(CENTRAL.size))
    )
    if signature != CENTRAL_SIGNATURE:
        raise archive.refused("archive_damaged", "its directory has a record that is not an entry")
    name_length, extra_length, comment_length = lengths
    raw_name, extra = archive.read(name_length), archive.read(extra_length)
    archive.read(comment_length)
    unix = made_by >> 8 in _UNIX_SYSTEMS
    name = read_name(archive, raw_name, flags, extra, unix=unix)
    packed_fields = ((size, LIMIT_32), (packed, LIMIT_32), (offset, LIMIT_32), (disk, LIMIT_16))
    size, packed, offset, disk = read_zip64(archive, name, extra, packed_fields)
    if disk:
        raise archive.refused("archive_multi_disk", f"the entry {shown(name)} is in another file")
    return Entry(name, raw_name, unix, flags, method, crc, packed, size, offset, stat.S_IFMT(attributes >> 16))


def read_name(archive: Archive, raw: bytes, flags: int, extra: bytes, *, unix: bool) -> str:
    """The name of an entry, or the one in its Unicode path field.

    Raises:
        RefusedArchiveError: it cannot be decoded, or its Unicode path belongs to another name.
    """
    try:
        name = decoded(raw, utf8=bool(flags & UTF8), unix=unix)
        path = _extra_field(archive, name, extra, UNICODE_PATH_EXTRA)
        if path is None:
            return name
        if int.from_bytes(path[1:5], "little") != zlib.crc32(raw):
            raise archive.refused("archive_header_mismatch", f"the entry {shown(name)} has two names")
        return decoded(path[5:], utf8=True, unix=unix)
    except UnicodeDecodeError:
        raise archive.refused("archive_unusable_name", "an entry has a name that is not UTF-8 as stated") from None


def read_zip64(archive: Archive, name: str, extra: bytes, fields: Sequence[tuple[int, int]]) -> list[int]:
    """The values of fields, given as (value, limit): those at their limit are in the zip64 field, in this order.

    Some programs write more values than are needed; these must repeat others.

    Raises:
        RefusedArchiveError: the zip64 field lacks a value, or contradicts the others.
    """
    content = _extra_field(archive, name, extra, ZIP64_EXTRA) or b""
    values = []
    for value, limit in fields:
        if value == limit:
            length = 4 if limit == LIMIT_16 else 8
            if len(content) < length:
                raise archive.refused("archive_zip64_mismatch", f"the entry {shown(name)} lacks a zip64 value")
            value, content = int.from_bytes(content[:length], "little"), content[length:]
        values.append(value)
    repeated = {value.to_bytes(8, "little") for value in values}
    if any(content[at : at + 8] not in repeated for at in range(0, len(content), 8)):
        raise archive.refused("archive_zip64_mismatch", f"the entry {shown(name)} has contradictory zip64 values")
    return values


def _extra_field(archive: Archive, name: str, extra: bytes, wanted: int) -> bytes | None:
    """The content of an extra field; fewer than four bytes at the end are padding."""
    found, at = None, 0
    while at + 4 <= len(extra):
        kind, length = int.from_bytes(extra[at : at + 2], "little"), int.from_bytes(extra[at + 2 : at + 4], "little")
        at += 4 + length
        if at > len(extra) or (kind == wanted and found is not None):
            raise archive.refused("archive_damaged", f"the entry {shown(name)} has damaged extra fields")
        if kind == wanted:
            found = extra[at - length : at]
    return found
