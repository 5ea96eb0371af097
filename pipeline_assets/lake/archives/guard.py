"""Examine an archive before anything of it is written: docs/archives.md says what is refused, and why.

Every byte of the file must belong to exactly one record, and the two places that describe a file must agree. Sizes in
headers are promises: the caps are applied to them here, and `unpack` keeps each file to its promise.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from itertools import product
from struct import Struct

from pipeline_assets.lake.archives.directory import (
    Archive,
    Directory,
    Entry,
    find_directory,
    read_entries,
    read_name,
    read_zip64,
)
from pipeline_assets.lake.archives.layout import (
    AES,
    DEFLATED,
    DESCRIPTOR,
    DESCRIPTOR_SIGNATURE,
    ENCRYPTED,
    LIMIT_32,
    LOCAL,
    LOCAL_SIGNATURE,
    MASKED,
    PATCHED,
    STORED,
    STRONG,
    UTF8,
)
from pipeline_assets.lake.archives.limits import ArchiveLimits
from pipeline_assets.lake.archives.names import collision, name_problem

_EMPTY_DEFLATED = 2  # bytes of deflated nothing, which Java writes for a folder
_SHORT_DESCRIPTOR = 12  # bytes of a descriptor without signature whose sizes have 32 bits
_COMPARED_FLAGS = ENCRYPTED | DESCRIPTOR | PATCHED | STRONG | UTF8 | MASKED
_DESCRIPTORS = [
    (signature, Struct(sizes)) for signature, sizes in product((DESCRIPTOR_SIGNATURE, b""), ("<L2L", "<L2Q"))
]


def examine(archive: Archive, limits: ArchiveLimits) -> list[Entry]:
    """The entries of an archive in the order of its directory, folders included, with the positions of their data.

    Raises:
        RefusedArchiveError: it is not a plain and complete archive, or exceeds the limits.
    """
    directory = find_directory(archive)
    if directory.count > limits.entries:
        raise archive.refused(
            "archive_too_many_entries", f"it has {directory.count:,} entries, more than {limits.entries:,}"
        )
    entries = []
    for entry in read_entries(archive, directory):
        if problem := name_problem(entry.name):
            raise archive.refused(*problem)
        _check_kind(archive, entry)
        entries.append(entry)
    if problem := collision(entry.name for entry in entries):
        raise archive.refused(*problem)
    _check_layout(archive, entries, directory)
    _check_limits(archive, entries, limits)
    return entries


def _check_kind(archive: Archive, entry: Entry) -> None:
    if entry.flags & (ENCRYPTED | STRONG | MASKED) or entry.method == AES:
        raise archive.refused("archive_encrypted", f"{entry} is encrypted")
    if entry.method not in (STORED, DEFLATED) or entry.flags & PATCHED:
        raise archive.refused("archive_unsupported_method", f"{entry} is packed with the method {entry.method}")
    if entry.mode not in (0, stat.S_IFDIR if entry.is_folder else stat.S_IFREG):
        raise archive.refused("archive_special_file", f"{entry} is a link, a device or another special file")
    if entry.is_folder and (entry.size or entry.packed > _EMPTY_DEFLATED):
        raise archive.refused("archive_stray_bytes", f"{entry} is a folder, but has content")


def _check_layout(archive: Archive, entries: Sequence[Entry], directory: Directory) -> None:
    """Check that local headers, data and descriptors fill the file from its start to the directory, each byte once."""
    ordered = sorted(entries, key=lambda entry: entry.offset)
    starts = [*(entry.offset for entry in ordered), directory.offset]
    if max(starts) > directory.offset:
        raise archive.refused("archive_overlap", f"{ordered[-1]} is not before the directory")
    if starts[0] > 0:
        raise archive.refused("archive_stray_bytes", "bytes before its first entry belong to no entry")
    for entry, end in zip(ordered, starts[1:], strict=True):
        archive.seek(entry.offset)
        _check_local_header(archive, entry)
        entry.data = archive.tell()
        after = end - entry.data - entry.packed
        if after < 0:
            raise archive.refused("archive_overlap", f"{entry} overlaps with what follows it")
        descriptors = set(_descriptors(entry)) if entry.flags & DESCRIPTOR else {b""}
        if after not in map(len, descriptors):
            raise archive.refused("archive_stray_bytes", f"bytes after {entry} belong to no entry")
        archive.seek(end - after)
        if archive.read(after) not in descriptors:
            raise archive.refused("archive_header_mismatch", f"{entry} is described differently behind its data")


def _check_local_header(archive: Archive, entry: Entry) -> None:
    """Compare the header before the data with the directory; it may state 0 for what the descriptor repeats."""
    signature, _, flags, method, _, _, crc, packed, size, name_length, extra_length = LOCAL.unpack(
        archive.read(LOCAL.size)
    )
    if signature != LOCAL_SIGNATURE:
        raise archive.refused("archive_header_mismatch", f"{entry} is not where the directory says")
    raw_name, extra = archive.read(name_length), archive.read(extra_length)
    name = read_name(archive, raw_name, flags, extra, unix=entry.unix)
    size, packed = read_zip64(archive, name, extra, ((size, LIMIT_32), (packed, LIMIT_32)))
    described = {0} if entry.flags & DESCRIPTOR else set()
    if (
        (raw_name, name, method) != (entry.raw_name, entry.name, entry.method)
        or (flags ^ entry.flags) & _COMPARED_FLAGS
        or crc not in described | {entry.crc}
        or packed not in described | {entry.packed}
        or size not in described | {entry.size}
    ):
        raise archive.refused("archive_header_mismatch", f"{entry} is described differently before its data")


def _descriptors(entry: Entry) -> Iterator[bytes]:
    """All forms of the descriptor behind an entry's data: with and without signature, short and zip64."""
    for signature, sizes in _DESCRIPTORS:
        if sizes.size > _SHORT_DESCRIPTOR or max(entry.packed, entry.size) <= LIMIT_32:
            yield signature + sizes.pack(entry.crc, entry.packed, entry.size)


def _check_limits(archive: Archive, entries: Sequence[Entry], limits: ArchiveLimits) -> None:
    size, packed = sum(entry.size for entry in entries), sum(entry.packed for entry in entries)
    if size > limits.bytes:
        raise archive.refused("archive_too_many_bytes", f"it expands to {size:,} bytes, more than {limits.bytes:,}")
    for what, inflated, deflated in [*((str(each), each.size, each.packed) for each in entries), ("it", size, packed)]:
        if inflated > limits.ratio_from and inflated > limits.ratio * deflated:
            raise archive.refused(
                "archive_extreme_ratio", f"{what} expands to {inflated:,} bytes, {inflated // max(1, deflated)} to 1"
            )
