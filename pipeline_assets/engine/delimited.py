"""CSV as it really arrives: byte order marks, any line end, gzip, quotes, broken records.

A fast engine reads regular files, those that keep RFC 4180 to the letter. This module does what such an engine
cannot: `sniff` the header, `survey` whether a file is regular, `tolerant_records` reads any file record by record
and isolates the broken ones, and `locate` finds the line number and the raw text of chosen records. A stray quote
swallows the rest of a file in most readers; here it costs its own line, because a record that spans lines and has
the wrong number of fields is taken back and only its first line counts as broken.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import shutil
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.errors import RejectedObjectError

if TYPE_CHECKING:
    import numpy as np

_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_HEADER_BYTES = 1 << 20
_CHUNK = 1 << 20
# A quoted field that runs over more than this is taken for a stray quote.
_RECORD_CHARACTERS = 4 << 20
_COMMA, _LINE_FEED, _RETURN, _QUOTE, _BLANK = b',\n\r" '
_REST_OF_QUOTED = re.compile(r'[^"]*+(?:""[^"]*+)*+"')
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of bytes that are not UTF-8


@dataclass(frozen=True)
class Dialect:
    """How one file is written. `header` holds normalized names; empty means an empty file.

    `newline` is the line end of the header, or None where a fast engine is not trusted with the file: there is none
    or only a carriage return, blank lines stand before the header, or a name holds a line end.
    """

    header: tuple[str, ...]
    newline: str | None


@dataclass(frozen=True)
class Survey:
    """What a pass over the bytes of a regular file tells.

    `records` counts those behind the header that have its fields, `malformed` holds the numbers of the others. A
    file is tidy when no value starts or ends with a blank (rather false than wrong).
    """

    records: int
    tidy: bool
    malformed: tuple[int, ...] = ()


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


def unpacked(path: Path, target: Path) -> Path:
    """The file itself or, when it is gzip, its content in `target`.

    Raises:
        RejectedObjectError: the compressed stream is truncated or corrupt.
    """
    with open(path, "rb") as file:
        if file.read(2) != _GZIP_MAGIC:
            return path
    try:
        with gzip.open(path, "rb") as packed, open(target, "wb") as plain:
            shutil.copyfileobj(packed, plain, _CHUNK)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise RejectedObjectError(
            f"The compressed stream is truncated or corrupt: {error}.",
            code="unreadable_object",
            remedy="Deliver the file again.",
        ) from None
    return target


def sniff(path: Path) -> Dialect:
    """Read the header of a file.

    Raises:
        RejectedObjectError: the file is no readable text, or its header names a column twice.
    """
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES).removeprefix(_BOM)
    if not head.strip(b"\r\n \t"):
        return Dialect((), None)
    text = head.decode("utf-8", "surrogateescape")
    body = text.lstrip("\r\n")
    lines = _PushBack(io.StringIO(body, newline=""))
    raw, first, fault = _one_record(lines.take() or "", lines)
    if first is None or "\0" in raw:
        raise RejectedObjectError(
            f"The header is no UTF-8 text with commas{f' ({fault})' if fault else ''}.",
            code="unreadable_object",
            remedy="Deliver the file as UTF-8 CSV, plain or gzip.",
        )
    header = tuple(_normalized(index, name) for index, name in enumerate(first))
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise RejectedObjectError(
            f"The header names {', '.join(twice)} more than once.",
            code="malformed_header",
            remedy="Deliver the file again with distinct column names.",
        )
    end = re.match(r"\r?\n", body[len(raw) :])
    return Dialect(header, end[0] if end and body == text and not re.search(r"[\r\n]", raw) else None)


def survey(path: Path, dialect: Dialect) -> Survey | None:
    """Look at every byte of a file, gigabytes a second; None when the file is not regular.

    Regular means: quotes stand around whole fields only, a carriage return only before a line feed, and a record
    that has not the fields of the header keeps to its line. What engines make of other files differs (`5" disk`,
    `"a" ,`, a lone carriage return), or they refuse the file for one record.
    """
    width = len(dialect.header)
    records, tidy, even = -1, True, True
    for data in _whole_records(path):
        chunk = _Chunk(data)
        if not chunk.is_regular():
            return None
        even = even and len(chunk.starts) * (width - 1) == chunk.count_commas()
        records += len(chunk.starts)
        tidy = tidy and chunk.is_tidy()
    malformed = () if even else _malformed(path, width)
    return None if malformed is None else Survey(records - len(malformed), tidy, malformed)


def _malformed(path: Path, width: int) -> tuple[int, ...] | None:
    """The numbers of records with other fields than the header; None when one of them spans lines."""
    found: list[int] = []
    first = -1  # the header
    for data in _whole_records(path):
        chunk = _Chunk(data)
        misfits = chunk.misfits(width)
        if chunk.spans_lines(misfits):
            return None
        found.extend((misfits + first).tolist())
        first += len(chunk.starts)
    return tuple(found)


def leave_out(path: Path, numbers: Sequence[int], target: Path) -> Path:
    """Copy a regular file to `target` without some of its records; `numbers` ascend."""
    import numpy as np

    unwanted = np.asarray(numbers, dtype=np.int64)
    first = -1  # the header
    with open(target, "wb") as kept:
        for data in _whole_records(path):
            chunk = _Chunk(data)
            low, high = np.searchsorted(unwanted, (first, first + len(chunk.starts)))
            position = 0
            for index in (unwanted[low:high] - first).tolist():
                kept.write(data[position : int(chunk.starts[index])])
                position = int(chunk.ends[index]) + 1
            kept.write(data[position:])
            first += len(chunk.starts)
    return target


def locate(path: Path, numbers: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """(line, raw, fault) of chosen records of a regular file, in order; `numbers` ascend."""
    import numpy as np

    wanted = np.asarray(numbers, dtype=np.int64)
    first, lines = -1, 1  # the header is record -1
    for data in _whole_records(path):
        chunk = _Chunk(data)
        low, high = np.searchsorted(wanted, (first, first + len(chunk.starts)))
        for index in wanted[low:high] - first:
            start, end = int(chunk.starts[index]), int(chunk.ends[index])
            raw = data[start:end].removesuffix(b"\r").decode("utf-8", "backslashreplace")
            yield lines + int(np.searchsorted(chunk.line_ends, start)), raw, ""
        first += len(chunk.starts)
        lines += len(chunk.line_ends)


def choose(path: Path, dialect: Dialect, numbers: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """The same for any file."""
    wanted = set(numbers)
    for record in tolerant_records(path, dialect):
        if record.number in wanted:
            yield record.line, record.raw, record.fault


def parse_record(raw: str) -> tuple[str, ...]:
    """The fields of one well-formed record."""
    return _parse(raw)[0] or ()


def tolerant_records(path: Path, dialect: Dialect) -> Iterator[Record]:
    """Every record of a file, broken ones included; about a million records per second and constant memory."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        lines = _PushBack(text)
        number = -1
        while (line := lines.take()) is not None:
            start = lines.number
            if not line.strip("\r\n"):
                continue
            raw, fields, fault = _one_record(line, lines, len(dialect.header))
            if number >= 0:
                yield Record(number, start, raw, fields, fault)
            number += 1


# --- bytes -------------------------------------------------------------------------------------------------


def _whole_records(path: Path) -> Iterator[bytes]:
    """The bytes of a regular file in pieces that end where a record ends, each with its last line end."""
    with open(path, "rb") as plain:
        rest = plain.read(len(_BOM)).removeprefix(_BOM)
        while chunk := plain.read(_CHUNK):
            data = rest + chunk
            # An open quote that does not close would make the rest grow with the file; such a file is not regular.
            end = _last_record_end(data) or (len(data) if len(data) > _RECORD_CHARACTERS else 0)
            if end:
                yield data[:end]
            rest = data[end:]
        if rest:
            yield rest + b"\n"


def _last_record_end(data: bytes) -> int:
    """Behind the last line end with an even number of quotes before it; 0 when there is none."""
    end = data.rfind(b"\n") + 1
    odd = b'"' in data and data.count(b'"', 0, end) % 2
    while end and odd:
        before = data.rfind(b"\n", 0, end - 1) + 1
        odd ^= data.count(b'"', before, end) % 2
        end = before
    return end


class _Chunk:
    """Whole records as arrays: where each line ends, and where each record that is not blank starts and ends."""

    def __init__(self, data: bytes) -> None:
        import numpy as np

        none = np.empty(0, dtype=np.int64)
        self.octets = np.frombuffer(data, dtype=np.uint8)
        self.line_ends = np.flatnonzero(self.octets == _LINE_FEED)
        self.quotes = np.flatnonzero(self.octets == _QUOTE) if b'"' in data else none
        self.returns = np.flatnonzero(self.octets == _RETURN) if b"\r" in data else none
        ends = self._outside(self.line_ends)
        starts = np.concatenate((none, [0], ends[:-1] + 1)) if len(ends) else none
        filled = ends > starts
        if len(self.returns):
            filled &= (ends - starts > 1) | (self.octets[starts] != _RETURN)
        self.starts, self.ends = (starts, ends) if filled.all() else (starts[filled], ends[filled])

    def is_regular(self) -> bool:
        if len(self.quotes) % 2:
            return False
        opening, closing = self.quotes[::2], self.quotes[1::2]
        # A doubled quote closes a field and opens it again.
        return bool(
            self._beside(opening, -1, _COMMA, _LINE_FEED, _QUOTE).all()
            and self._beside(closing, 1, _COMMA, _LINE_FEED, _RETURN, _QUOTE).all()
            and self._beside(self.returns, 1, _LINE_FEED).all()
        )

    def count_commas(self) -> int:
        """Commas that separate fields."""
        import numpy as np

        commas = self.octets == _COMMA
        return len(self._outside(np.flatnonzero(commas))) if len(self.quotes) else int(np.count_nonzero(commas))

    def misfits(self, width: int) -> np.ndarray:
        """The indexes of records that have not `width` fields."""
        import numpy as np

        commas = self._outside(np.flatnonzero(self.octets == _COMMA))
        fields = np.searchsorted(commas, self.ends) - np.searchsorted(commas, self.starts) + 1
        return np.flatnonzero(fields != width)

    def spans_lines(self, records: np.ndarray) -> bool:
        """Whether one of some records has a line end in it."""
        import numpy as np

        ends = np.searchsorted(self.line_ends, self.ends[records])
        return bool((np.searchsorted(self.line_ends, self.starts[records]) != ends).any())

    def is_tidy(self) -> bool:
        import numpy as np

        blanks = np.flatnonzero(self.octets == _BLANK)
        at_quote, at_edge = (
            self._beside(blanks, -1, *edges) | self._beside(blanks, 1, *edges)
            for edges in ((_QUOTE,), (_COMMA, _LINE_FEED, _RETURN))
        )
        return not at_quote.any() and not len(self._outside(blanks[at_edge]))

    def _outside(self, positions: np.ndarray) -> np.ndarray:
        """Those positions that are outside quotes."""
        import numpy as np

        return positions[np.searchsorted(self.quotes, positions) % 2 == 0] if len(self.quotes) else positions

    def _beside(self, positions: np.ndarray, step: int, *allowed: int) -> np.ndarray:
        """Whether the byte before or behind each position is one of `allowed`; a line end stands before them all."""
        import numpy as np

        found = self.octets[np.maximum(positions + step, 0)]
        found[positions + step < 0] = _LINE_FEED
        return np.isin(found, allowed)


# --- text --------------------------------------------------------------------------------------------------


def _one_record(first: str, lines: _PushBack, width: int | None = None) -> tuple[str, tuple[str, ...] | None, str]:
    """(raw, fields, fault) of the record that starts with a line; takes the further lines that belong to it."""
    more: list[str] = []
    fields, fault, complete = _parse(first)
    if not complete:
        more = _rest_of_record(lines)
        fields, fault, complete = _parse("".join((first, *more)))
        fault = fault if complete else "a quoted field is never closed"
    if fields is not None and width is not None and len(fields) != width:
        fields, fault = None, f"{width} fields were expected, {len(fields)} found"
    if fields is None:
        lines.give_back(more)
        more = []
    raw = "".join((first, *more)).rstrip("\r\n")
    if _NOT_UTF8.search(raw):
        raw = raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        fields, fault = None, "the record is not UTF-8"
    return raw, fields, fault


def _rest_of_record(lines: _PushBack) -> list[str]:
    """The lines to where the quoted field that is open closes, each looked at once."""
    taken: list[str] = []
    size = 0
    while size < _RECORD_CHARACTERS and (line := lines.take()) is not None:
        taken.append(line)
        size += len(line)
        if not _still_quoted(line):
            break
    return taken


def _still_quoted(line: str) -> bool:
    """Whether a line that starts inside a quoted field also ends inside one."""
    position, inside = 0, True
    while True:
        if inside:
            closed = _REST_OF_QUOTED.match(line, position)
            if closed is None:
                return True
            position = closed.end()
            if line[position : position + 1] not in (",", "\r", "\n", ""):
                return False  # the quotes are wrong; more lines do not mend that
        comma = line.find(",", position)
        if comma < 0:
            return False
        inside = line.startswith('"', comma + 1)
        position = comma + 1 + inside


def _parse(text: str) -> tuple[tuple[str, ...] | None, str, bool]:
    """(fields, fault, complete) of a text that should be one record."""
    if '"' not in text:
        return tuple(text.rstrip("\r\n").split(",")), "", True
    csv.field_size_limit(2 * _RECORD_CHARACTERS)  # of 128 KiB otherwise, in the whole process
    try:
        return tuple(next(csv.reader(io.StringIO(text, newline=""), strict=True))), "", True
    except csv.Error as error:
        unfinished = "unexpected end of data" in str(error)
        return None, f"the quotes are wrong ({error})", not unfinished


def _normalized(index: int, name: str) -> str:
    return name.strip().upper() or f"COLUMN_{index + 1}"


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
