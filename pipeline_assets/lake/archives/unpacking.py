"""Unpack an archive into an empty folder: all of its files, or none."""

from __future__ import annotations

import hashlib
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from pipeline_assets.lake.archives.directory import Archive, Entry
from pipeline_assets.lake.archives.guard import examine
from pipeline_assets.lake.archives.layout import STORED
from pipeline_assets.lake.archives.limits import ArchiveLimits
from pipeline_assets.progress import Progress, progress

_PACKED_BLOCK = 128 * 1024
_BLOCK = 256 * 1024  # fits into the processor's cache, from which the other thread reads it
_WAITING = 16  # blocks that may wait to be written, so that memory is bounded


@dataclass(frozen=True)
class Member:
    """A file of an archive: its name there, where it is now, its size, and the SHA-256 of its bytes in hexadecimal."""

    name: str
    path: Path
    bytes: int
    sha256: str


def unpack(archive: Path, folder: Path, limits: ArchiveLimits) -> list[Member]:
    """Write the files of an archive below `folder`, which is created or empty, and return them in the archive's order.

    Entries for folders are skipped. If anything fails, `folder` is empty again.

    Raises:
        RefusedArchiveError: the archive is refused; `code` is the reason.
        FileExistsError: the folder is not empty.
        OSError: the archive cannot be read, or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty.")
    try:
        with open(archive, "rb") as file, ThreadPoolExecutor(1) as writing:
            opened = Archive(file, archive.name)
            files = [entry for entry in examine(opened, limits) if not entry.is_folder]
            size = sum(entry.size for entry in files)
            with progress(f"Unpacking {archive.name}", "bytes", size) as step:
                return [_write(opened, e, folder.joinpath(*e.name.split("/")), writing, step) for e in files]
    except BaseException:
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        raise


def _write(archive: Archive, entry: Entry, path: Path, writing: ThreadPoolExecutor, step: Progress) -> Member:
    """Write one file and check its size and checksum; a second thread writes and hashes while this one inflates."""
    from isal import isal_zlib

    digest, checksum, size = hashlib.sha256(), 0, 0
    waiting: deque[Future[None]] = deque()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb") as file:

        def write(block: bytes) -> None:
            file.write(block)
            digest.update(block)

        try:
            for block in _inflated(archive, entry):
                size += len(block)
                if size > entry.size:
                    break
                if len(waiting) == _WAITING:
                    waiting.popleft().result()
                waiting.append(writing.submit(write, block))
                checksum = isal_zlib.crc32(block, checksum)
                step.advance(len(block))
        finally:
            wait(waiting)  # the file must not be closed before
        for future in waiting:
            future.result()
    if size != entry.size:
        raise archive.refused("archive_size_mismatch", f"{entry} does not have the {entry.size:,} bytes that it states")
    if checksum != entry.crc:
        raise archive.refused("archive_checksum_mismatch", f"the checksum of {entry} is wrong")
    return Member(entry.name, path, size, digest.hexdigest())


def _inflated(archive: Archive, entry: Entry) -> Iterator[bytes]:
    """The bytes of a file, in blocks."""
    from isal import isal_zlib

    archive.seek(entry.data)
    left = entry.packed
    if entry.method == STORED:
        while left:
            left -= len(block := archive.read(min(left, _BLOCK)))
            yield block
        return
    inflate = isal_zlib.decompressobj(wbits=-isal_zlib.MAX_WBITS)
    while left and not inflate.eof:
        packed = archive.read(min(left, _PACKED_BLOCK))
        left -= len(packed)
        block = b""
        while not inflate.eof and (packed or len(block) == _BLOCK):  # a full block may have more behind it
            try:
                block = inflate.decompress(packed, _BLOCK)
            except isal_zlib.IsalError:  # type: ignore[misc]  # a class, whatever its stub says
                raise archive.refused("archive_corrupt_data", f"the data of {entry} is damaged") from None
            packed = inflate.unconsumed_tail
            yield block
    if not inflate.eof:
        raise archive.refused("archive_corrupt_data", f"the data of {entry} ends too early")
    if left or inflate.unused_data:
        raise archive.refused("archive_stray_bytes", f"bytes after the data of {entry} belong to no entry")
