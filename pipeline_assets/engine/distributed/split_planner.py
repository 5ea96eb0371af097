"""Split one large landed file so that tasks can read its splits independently of each other.

A record may have line ends inside quotes, so a split can only be cut if it is known whether its first byte is inside
quotes. That takes one pass over all bytes (`count_quotes`), which is cheap and runs in parallel too. A split begins
after the first record end in its range and ends after the first one at or after its last byte, so every record is in
exactly one split. Reading the splits shows whether the file is regular; if it is not, it is read as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from pipeline_assets.contracts import Contract
from pipeline_assets.engine.distributed.object_io import blocks
from pipeline_assets.engine.distributed.split_reader import FileSplit
from pipeline_assets.engine.formats.csv.dialect import header_line, open_as_utf8
from pipeline_assets.engine.formats.csv.record_parser import is_utf8
from pipeline_assets.errors import RejectedObjectError

_HEAD = 1 << 20
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class QuoteCount:
    """The line ends and quotes in a range of bytes."""

    newlines: int
    quotes: int


def ranges(size: int, part: int) -> list[tuple[int, int]]:
    """The byte ranges of a file of `size` bytes in parts of about `part` bytes."""
    count = max(1, round(size / part))
    edges = [size * number // count for number in range(count + 1)]
    return list(pairwise(edges))


def as_splittable(contract: Contract, whole: FileSplit, scratch: Path) -> FileSplit | None:
    """The file, if it can be split, or None if it must be read as a whole.

    It must be plain text whose records end with lines, judging by its first megabyte. It cannot be split if a byte may
    be one half of a character, or if a backslash escapes quotes.
    """
    head = b"".join(blocks(whole.where, whole.etag, 0, min(_HEAD, whole.size)))
    if head.startswith(_GZIP):
        return None
    if contract.form == "json":
        lines = [line for line in head.removeprefix(_BOM).split(b"\n")[:-1] if line.strip()][:2]
        return whole if len(lines) == 2 and all(_is_object(line) for line in lines) else None
    declared = contract.dialect
    utf8 = is_utf8(declared.encoding)
    if declared.escape != '"' or not (utf8 or (_is_one_byte(declared.encoding) and not head.startswith(_BOM))):
        return None
    path = scratch / "head.csv"
    path.write_bytes(head)
    try:
        _, dialect = open_as_utf8(path, declared, contract.column_names, scratch / "opened.csv")
    except RejectedObjectError:
        return None
    if dialect.newline is None:
        return None
    header = header_line(contract.column_names, declared, dialect.newline) if dialect.added else ""
    return replace(whole, header=header)


def _is_one_byte(encoding: str) -> bool:
    """Whether every byte is one character, and bytes below 128 are ASCII."""
    every = bytes(range(256))
    try:
        characters = every.decode(encoding, "surrogateescape")
    except UnicodeDecodeError:
        return False
    return len(characters) == len(every) and characters[:128] == every[:128].decode("ascii")


def count_quotes(split: FileSplit) -> QuoteCount:
    """Count line ends and quotes in the bytes of a part."""
    newlines = quotes = 0
    for data in blocks(split.where, split.etag, split.start, split.end):
        newlines += data.count(b"\n")
        quotes += data.count(b'"')
    return QuoteCount(newlines, quotes)


def place_splits(parts: Sequence[FileSplit], quote_counts: Sequence[QuoteCount], form: str) -> list[FileSplit]:
    """The parts of a file with the lines before each, and whether it starts inside quotes."""
    before = quotes = 0
    placed = []
    for part, count in zip(parts, quote_counts, strict=True):
        placed.append(replace(part, before=before, quoted=form != "json" and quotes % 2 == 1))
        before += count.newlines
        quotes += count.quotes
    return placed


def write_split(split: FileSplit, form: str, target: Path) -> int:
    """Write the records of a part, with the file's header, to a local file; returns the offset of its line numbers."""
    header = b"" if form == "json" else split.header.encode() or _header(split)
    with open(target, "wb") as file:
        file.write(header)
        skipped = split.before
        position = split.start
        in_quotes = split.quoted
        started = split.start == 0
        if started and split.header:
            position = _bom_length(split)
        elif started and header:
            position = len(header) + _bom_length(split)
            skipped = header.count(b"\n")
            if position > split.end:
                return 0  # the first record is another part's
        for data in blocks(split.where, split.etag, position):
            if not started:
                end, in_quotes = _record_end(data, 0, in_quotes, form)
                if not end:
                    skipped += data.count(b"\n")
                    position += len(data)
                    continue
                started = True
                skipped += data[:end].count(b"\n")
                position, data = position + end, data[end:]
                if form == "json" and data.startswith(_BOM):
                    # In the whole file this mark makes the line bad; at the start of this one a reader would skip it.
                    file.write(b" ")
                if position > split.end:
                    break  # the record that begins before this part reaches beyond it
            if position + len(data) <= split.end:
                file.write(data)
                in_quotes ^= form != "json" and data.count(b'"') % 2 == 1
                position += len(data)
                continue
            inside = max(0, split.end - position)
            in_quotes ^= form != "json" and data.count(b'"', 0, inside) % 2 == 1
            end, in_quotes = _record_end(data, inside, in_quotes, form)
            if end:
                file.write(data[:end])
                break
            file.write(data)
            position += len(data)
    return skipped - header.count(b"\n")


def _record_end(data: bytes, start: int, in_quotes: bool, form: str) -> tuple[int, bool]:
    """The position after the first line end from `start` that ends a record, or 0; and whether quotes are open."""
    if form == "json":
        return data.find(b"\n", start) + 1, False
    while (end := data.find(b"\n", start)) >= 0:
        in_quotes ^= data.count(b'"', start, end) % 2 == 1
        start = end + 1
        if not in_quotes:
            return start, False
    return 0, in_quotes ^ (data.count(b'"', start) % 2 == 1)


def _header(split: FileSplit) -> bytes:
    """The header of a delimited file with its line end, without a byte order mark."""
    head = b"".join(blocks(split.where, split.etag, 0, min(_HEAD, split.size))).removeprefix(_BOM)
    end, _ = _record_end(head, 0, False, "csv")
    return head[:end]


def _bom_length(split: FileSplit) -> int:
    return len(_BOM) if b"".join(blocks(split.where, split.etag, 0, len(_BOM))) == _BOM else 0


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
