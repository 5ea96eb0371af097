"""Pack files into a zip archive: whole or absent, and the same bytes for the same files."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from pipeline_assets.errors import ObjectChangedError
from pipeline_assets.lake.archives.layout import (
    CENTRAL,
    CENTRAL_SIGNATURE,
    DEFLATED,
    END,
    END_SIGNATURE,
    LIMIT_16,
    LIMIT_32,
    LOCAL,
    LOCAL_SIGNATURE,
    UTF8,
    ZIP64_END,
    ZIP64_END_REST,
    ZIP64_END_SIGNATURE,
    ZIP64_EXTRA,
    ZIP64_LOCATOR,
    ZIP64_LOCATOR_SIGNATURE,
)
from pipeline_assets.lake.archives.names import Problem, collision, name_problem
from pipeline_assets.lake.archives.refused import RefusedArchiveError, shown
from pipeline_assets.progress import Progress, progress

_BLOCK = 256 * 1024
_VERSION, _ZIP64_VERSION = 20, 45
_MADE_BY_UNIX = 3 << 8 | _ZIP64_VERSION
_MODE = 0o100644 << 16
_TIME, _DATE = 0, 0x21  # 1980-01-01, the first that the format can express
# Bytes from which on a file has zip64 values: a little below 4 GiB, as its packed form may be larger than itself.
ZIP64_FROM = 0xFFF0_0000


def pack(files: Sequence[tuple[str, Path]], target: Path) -> None:
    """Write an archive of files, given as (name, path), to `target` in their order; an existing one is replaced.

    Raises:
        RefusedArchiveError: `unpack` would refuse a name.
        ObjectChangedError: a file changed its size meanwhile.
        OSError: a file cannot be read, or the archive cannot be written.
    """
    names = [name for name, _ in files]
    problems = filter(None, map(_name_problem, names))
    if problem := next(problems, None) or collision(names):
        raise RefusedArchiveError(target.name, *problem)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        size = sum(path.stat().st_size for _, path in files)
        with open(temporary, "wb") as archive, progress(f"Packing {target.name}", "bytes", size) as step:
            entries = [_write_file(archive, name, path, step) for name, path in files]
            _write_directory(archive, entries)
            archive.flush()
            os.fsync(archive.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _name_problem(name: str) -> Problem | None:
    if name.endswith("/"):
        return "archive_unusable_name", f"{shown(name)} is the name of a folder"
    return name_problem(name)


def _write_file(archive: BinaryIO, name: str, path: Path, step: Progress) -> bytes:
    """Write a file with its local header; returns its entry in the directory."""
    from isal import isal_zlib

    raw_name, offset, crc, size = name.encode(), archive.tell(), 0, 0
    deflate = isal_zlib.compressobj(wbits=-isal_zlib.MAX_WBITS)
    with open(path, "rb") as file:
        expected = os.fstat(file.fileno()).st_size
        zip64 = expected >= ZIP64_FROM
        archive.seek(offset + LOCAL.size + len(raw_name) + len(_zip64_extra(0, 0) if zip64 else b""))
        start = archive.tell()
        while block := file.read(_BLOCK):
            size += len(block)
            crc = isal_zlib.crc32(block, crc)
            archive.write(deflate.compress(block))
            step.advance(len(block))
        archive.write(deflate.flush())
    if size != expected:
        raise ObjectChangedError(path.name)
    end = archive.tell()
    packed = end - start
    archive.seek(offset)
    common = (0 if name.isascii() else UTF8, DEFLATED, _TIME, _DATE, crc)
    sizes, extra = ((LIMIT_32, LIMIT_32), _zip64_extra(size, packed)) if zip64 else ((packed, size), b"")
    version = _ZIP64_VERSION if zip64 else _VERSION
    archive.write(LOCAL.pack(LOCAL_SIGNATURE, version, *common, *sizes, len(raw_name), len(extra)) + raw_name + extra)
    archive.seek(end)

    long = [value for value in (size, packed, offset) if value >= ZIP64_FROM]
    extra = _zip64_extra(*long) if long else b""
    version = _ZIP64_VERSION if long else _VERSION
    values = (_MADE_BY_UNIX, version, *common, _short(packed), _short(size), len(raw_name), len(extra))
    return CENTRAL.pack(CENTRAL_SIGNATURE, *values, 0, 0, 0, _MODE, _short(offset)) + raw_name + extra


def _write_directory(archive: BinaryIO, entries: Sequence[bytes]) -> None:
    offset, count = archive.tell(), len(entries)
    archive.writelines(entries)
    end = archive.tell()
    size = end - offset
    if count >= LIMIT_16 or end >= ZIP64_FROM:
        versions = (_ZIP64_VERSION, _ZIP64_VERSION, 0, 0)
        archive.write(ZIP64_END.pack(ZIP64_END_SIGNATURE, ZIP64_END_REST, *versions, count, count, size, offset))
        archive.write(ZIP64_LOCATOR.pack(ZIP64_LOCATOR_SIGNATURE, 0, end, 1))
    short = min(count, LIMIT_16)
    archive.write(END.pack(END_SIGNATURE, 0, 0, short, short, _short(size), _short(offset), 0))


def _zip64_extra(*values: int) -> bytes:
    return struct.pack(f"<2H{len(values)}Q", ZIP64_EXTRA, 8 * len(values), *values)


def _short(value: int) -> int:
    """The value, or the mark that it is in the zip64 record."""
    return LIMIT_32 if value >= ZIP64_FROM else value
