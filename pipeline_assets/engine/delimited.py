"""CSV as it really arrives: byte order marks, either line end, gzip, quotes, broken records.

A fast engine reads regular files, those that keep RFC 4180 to the letter. This module does what such an engine
cannot: `sniff` the header, `tolerant_records` reads any file record by record and isolates the broken ones, and
`locate` finds the line number and the raw text of chosen records. A stray quote swallows the rest of a file in
most readers; here it costs its own line, because a record that spans lines and has the wrong number of fields is
taken back and only its first line counts as broken.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline_assets.errors import RejectedObjectError

_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_HEADER_BYTES = 1 << 20
_CHUNK = 4 << 20
# A quoted field that runs over more than this is taken for a stray quote.
_RECORD_LINES = 1000
_RECORD_CHARACTERS = 4 << 20


@dataclass(frozen=True)
class Dialect:
    """How one file is written. `header` holds normalized names; empty means an empty file.

    `newline` is the line end of the header, or None where it has none (or only a carriage return, which the
    fast path does not take).
    """

    header: tuple[str, ...]
    compressed: bool
    newline: str | None
    has_records: bool = True


@dataclass(frozen=True)
class Record:
    """One record: `number` counts from 0 behind the header, `line` from 1 with the header.

    `fields` is None when the record is malformed; `fault` then says why.
    """

    number: int
    line: int
    raw: str
    fields: tuple[str, ...] | None
    fault: str = ""


def open_plain(path: Path, *, compressed: bool) -> BinaryIO:
    """The uncompressed bytes of a file."""
    return gzip.open(path, "rb") if compressed else open(path, "rb")  # type: ignore[return-value]


def sniff(path: Path) -> Dialect:
    """Read the header of a file.

    Raises:
        RejectedObjectError: the file is no readable text, or its header names a column twice.
    """
    with open(path, "rb") as file:
        compressed = file.read(2) == _GZIP_MAGIC
    with _unreadable(), open_plain(path, compressed=compressed) as plain:
        head = plain.read(_HEADER_BYTES).removeprefix(_BOM)
        if not head.strip():
            return Dialect((), compressed, None, has_records=False)
        text = head.decode("utf-8", "ignore" if len(head) == _HEADER_BYTES else "strict").lstrip("\r\n")
        body = io.StringIO(text, newline="")
        first = next(csv.reader(body))
    header = tuple(_normalized(index, name) for index, name in enumerate(first))
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise RejectedObjectError(
            f"The header names {', '.join(twice)} more than once.",
            code="malformed_header",
            remedy="Deliver the file again with distinct column names.",
        )
    ends = [(text.find(end), end) for end in ("\r\n", "\n", "\r") if end in text]
    newline = min(ends, key=lambda found: (found[0], -len(found[1])))[1] if ends else None
    return Dialect(header, compressed, newline if newline != "\r" else None, bool(body.read().strip("\r\n")))


def parse_record(raw: str) -> list[str]:
    """The fields of one well-formed record."""
    return next(csv.reader(io.StringIO(raw, newline="")), [])


def tolerant_records(path: Path, dialect: Dialect) -> Iterator[Record]:
    """Every record of a file, broken ones included; about a million records per second and constant memory.

    Raises:
        RejectedObjectError: the compressed stream is truncated or corrupt.
    """
    width = len(dialect.header)
    with _unreadable(), open_plain(path, compressed=dialect.compressed) as plain:
        text = io.TextIOWrapper(plain, encoding="utf-8-sig", errors="surrogateescape", newline="")
        lines = _PushBack(text)
        number = -1
        while (line := lines.take()) is not None:
            start = lines.number
            if not line.strip("\r\n"):
                continue
            raw, fields, fault = _one_record(line, lines, width)
            if number >= 0 or fields is None:
                yield Record(max(number, 0), start, raw, fields, fault)
            number += 1


def choose(path: Path, dialect: Dialect, numbers: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """(line, raw, fault) of chosen records of any file, in order; `numbers` ascend."""
    wanted = set(numbers)
    for record in tolerant_records(path, dialect):
        if record.number in wanted:
            yield record.line, record.raw, record.fault


def locate(path: Path, dialect: Dialect, numbers: Sequence[int], count: int) -> Iterable[tuple[int, str, str]]:
    """The same for a regular file, gigabytes in seconds.

    In a file that keeps RFC 4180 a line end closes a record exactly when an even number of quotes precedes it.
    A quote inside an unquoted field breaks that; then the records do not add up to `count`, and the slow way,
    which understands such quotes, is taken.
    """
    found: list[tuple[int, str, str]] = []
    if _scan(path, dialect, numbers, found) == count and len(found) == len(numbers):
        return found
    return choose(path, dialect, numbers)


def _scan(path: Path, dialect: Dialect, numbers: Sequence[int], found: list[tuple[int, str, str]]) -> int:
    """Collect the chosen records; returns how many records there are."""
    import numpy as np

    wanted = np.asarray(numbers, dtype=np.int64)
    with open_plain(path, compressed=dialect.compressed) as plain:
        rest, lines_before, number = b"", 0, -1  # the header is record -1
        while True:
            chunk = plain.read(_CHUNK)
            data = rest + chunk if chunk else rest + b"\n"
            octets = np.frombuffer(data, dtype=np.uint8)
            line_ends = np.flatnonzero(octets == 10)
            quotes = np.flatnonzero(octets == 34)
            ends = line_ends[np.searchsorted(quotes, line_ends) % 2 == 0]
            starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
            filled = (ends - starts > 1) | ((ends - starts == 1) & (octets[np.minimum(starts, len(octets) - 1)] != 13))
            starts, record_ends = starts[filled], ends[filled]
            low, high = np.searchsorted(wanted, (number, number + len(starts)))
            for index in wanted[low:high] - number:
                start, end = int(starts[index]), int(record_ends[index])
                line = lines_before + int(np.searchsorted(line_ends, start)) + 1
                found.append((line, _text(data[start:end]), ""))
            number += len(starts)
            if not chunk:
                return number
            consumed = int(ends[-1]) + 1 if len(ends) else 0
            lines_before += int(np.searchsorted(line_ends, consumed))
            rest = data[consumed:]


def _text(raw: bytes) -> str:
    return raw.removeprefix(_BOM).removesuffix(b"\r").decode("utf-8", "backslashreplace")


def _normalized(index: int, name: str) -> str:
    return name.strip().upper() or f"COLUMN_{index + 1}"


def _one_record(first: str, lines: _PushBack, width: int) -> tuple[str, tuple[str, ...] | None, str]:
    parts = [first]
    while True:
        joined = "".join(parts)
        raw = joined.rstrip("\r\n")
        fields, fault, complete = _parse(joined)
        if complete:
            break
        # Only an even number of quotes can close the field: skip the lines in between unparsed.
        more = lines.take()
        while more is not None and more.count('"') % 2 == 0 and len(parts) < _RECORD_LINES:
            parts.append(more)
            more = lines.take()
        if more is not None:
            parts.append(more)
        if more is None or len(parts) >= _RECORD_LINES or sum(map(len, parts)) > _RECORD_CHARACTERS:
            fields, fault = None, "a quoted field is never closed"
            break
    if fields is not None and len(fields) != width:
        fields, fault = None, f"{width} fields were expected, {len(fields)} found"
    if fields is None and len(parts) > 1:
        lines.give_back(parts[1:])
        raw = first.rstrip("\r\n")
    if not raw.isascii() and any("\udc80" <= character <= "\udcff" for character in raw):
        raw = raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        fields, fault = None, "the record is not UTF-8"
    return raw, fields, fault


def _parse(text: str) -> tuple[tuple[str, ...] | None, str, bool]:
    """(fields, fault, complete) of a text that should be one record."""
    if '"' not in text:
        return tuple(text.rstrip("\r\n").split(",")), "", True
    try:
        return tuple(next(csv.reader(io.StringIO(text, newline=""), strict=True))), "", True
    except csv.Error as error:
        unfinished = "unexpected end of data" in str(error)
        return None, f"the quotes are wrong ({error})", not unfinished


class _PushBack:
    """Lines that can be given back, with the number of the line taken last."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._back: deque[str] = deque()
        self.number = 0

    def take(self) -> str | None:
        line = self._back.popleft() if self._back else next(self._lines, None)
        self.number += line is not None
        return line

    def give_back(self, lines: Sequence[str]) -> None:
        self._back.extendleft(reversed(lines))
        self.number -= len(lines)


class _unreadable:
    """Turn what a broken stream raises into a rejection."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (EOFError, gzip.BadGzipFile, zlib.error)):
            raise RejectedObjectError(
                f"The compressed stream is truncated or corrupt: {error}.",
                code="unreadable_object",
                remedy="Deliver the file again.",
            ) from None
        if isinstance(error, (UnicodeDecodeError, csv.Error)):
            raise RejectedObjectError(
                "The header is no UTF-8 text with commas.",
                code="unreadable_object",
                remedy="Deliver the file as UTF-8 CSV, plain or gzip.",
            ) from None
