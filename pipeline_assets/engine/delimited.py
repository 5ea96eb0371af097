"""Delimited files as they really arrive: byte order marks, any line end, gzip, quotes, broken records.

A fast engine reads regular files, those that keep RFC 4180 to the letter. This module does what such an engine
cannot: `opened` makes of any dialect a file in UTF-8 with a header, `survey` says whether a file is regular,
`tolerant_records` reads any file record by record and isolates the broken ones (see `delimited_records`), and `locate`
finds the line number and the raw text of chosen records.
"""

from __future__ import annotations

import gzip
import io
import re
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.contracts.model import Dialect
from pipeline_assets.engine.delimited_records import RECORD_CHARACTERS, PushBack, is_utf8, parser, shown
from pipeline_assets.errors import RejectedObjectError

if TYPE_CHECKING:
    import numpy as np

_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_HEADER_BYTES = 1 << 20
_CHUNK = 1 << 20
USUAL = Dialect()
_LINE_FEED, _RETURN, _QUOTE, _BLANK = b'\n\r" '
# Two bytes of another encoding that are none there, but would be a character of UTF-8.
_MISTAKABLE = re.compile("([\udcc2-\udcf4])(?=[\udc80-\udcbf])")


@dataclass(frozen=True)
class FileDialect:
    """How one file is written. `header` holds normalized names; empty means an empty file.

    `newline` is the line end of the header, or None where a fast engine is not trusted with the file: there is none
    or only a carriage return, blank lines stand before the header, or a name holds a line end. `added` is 1 where the
    header is none of the file's lines; `header_skipped` says that a file without header has one all the same.
    """

    header: tuple[str, ...]
    newline: str | None
    declared: Dialect = USUAL
    added: int = 0
    header_skipped: bool = False

    @property
    def delimiter(self) -> str:
        return self.declared.delimiter or ","


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


def opened(path: Path, declared: Dialect, names: Sequence[str], target: Path) -> tuple[Path, FileDialect]:
    """A file as UTF-8 text with a header: as it is, or a copy near `target`; `names` are the contract's columns.

    Raises:
        RejectedObjectError: it is no readable text of the declared encoding, or its header names a column twice.
    """
    plain = unpacked(path, target)
    if not is_utf8(declared.encoding):
        plain, declared = _decoded(plain, declared, target.with_suffix(".utf8.csv"))
    if declared.header:
        return plain, sniff(plain, declared)
    return _headed(plain, declared, tuple(names), target.with_suffix(".headed.csv"))


def _decoded(path: Path, declared: Dialect, target: Path) -> tuple[Path, Dialect]:
    """A copy in UTF-8; bytes that are not of the declared encoding stay bytes that are not UTF-8 either.

    A byte order mark says more than a declaration: such a file is UTF-8.
    """
    with open(path, "rb") as file:
        if file.read(len(_BOM)) == _BOM:
            return path, replace(declared, encoding="utf-8")
    try:
        with (
            open(path, encoding=declared.encoding, errors="surrogateescape", newline="") as source,
            open(target, "wb") as file,
        ):
            kept = ""  # a last byte that may have to be told apart from the next one
            while text := source.read(_CHUNK):
                text = _MISTAKABLE.sub("\\1\udcff", kept + text)
                kept = text[-1] if "\udc80" <= text[-1] <= "\udcff" else ""
                file.write(text[: len(text) - len(kept)].encode("utf-8", "surrogateescape"))
            file.write(kept.encode("utf-8", "surrogateescape"))
    except UnicodeError as error:  # also that there is no byte order mark where UTF-16 needs one
        raise RejectedObjectError(
            f"The file is no {shown(declared.encoding)} text ({getattr(error, 'reason', error)}).",
            code="unreadable_object",
            remedy=f"Deliver the file as {shown(declared.encoding)} CSV, plain or gzip.",
        ) from None
    return target, declared


def _headed(path: Path, declared: Dialect, names: tuple[str, ...], target: Path) -> tuple[Path, FileDialect]:
    """A copy with the contract's columns as its header; the file itself when somebody put them there by hand."""
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
    body = head.removeprefix(_BOM).decode("utf-8", "surrogateescape").lstrip("\r\n")
    if not body.strip("\r\n \t".replace(declared.delimiter or ",", "")) and len(head) < _HEADER_BYTES:
        return path, FileDialect((), None, declared)
    lines = PushBack(io.StringIO(body, newline=""))
    raw, first, _ = parser(declared).one_record(lines.take() or "", lines)
    if "\0" in raw:
        raise _no_text(declared, "The file", "")
    if first is not None and tuple(_normalized(index, name) for index, name in enumerate(first)) == names:
        return path, replace(sniff(path, declared), header_skipped=True)
    end = re.search(r"\r?\n", body)
    newline = end[0] if end else "\n"
    with open(path, "rb") as file, open(target, "wb") as copy:
        file.seek(len(head) - len(head.removeprefix(_BOM)))
        copy.write(header_line(names, declared, newline).encode())
        shutil.copyfileobj(file, copy, _CHUNK)
    return target, FileDialect(names, _trusted(newline, declared), declared, added=1)


def header_line(names: Sequence[str], declared: Dialect, newline: str) -> str:
    """Columns of a contract as a header; such names hold nothing that needs quotes."""
    return (declared.delimiter or ",").join(names) + newline


def _trusted(newline: str | None, declared: Dialect) -> str | None:
    """The line end, or None where the delimiter is more than one byte."""
    return newline if (declared.delimiter or ",").isascii() else None


def sniff(path: Path, declared: Dialect = USUAL) -> FileDialect:
    """Read the header of a file in UTF-8.

    Raises:
        RejectedObjectError: the file is no readable text, or its header names a column twice.
    """
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES).removeprefix(_BOM)
    if not head.strip(b"\r\n \t"):
        return FileDialect((), None, declared)
    text = head.decode("utf-8", "surrogateescape")
    body = text.lstrip("\r\n")
    lines = PushBack(io.StringIO(body, newline=""))
    raw, first, fault = parser(declared).one_record(lines.take() or "", lines)
    if first is None or "\0" in raw:
        raise _no_text(declared, "The header", fault)
    header = tuple(_normalized(index, name) for index, name in enumerate(first))
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise RejectedObjectError(
            f"The header names {', '.join(twice)} more than once.",
            code="malformed_header",
            remedy="Deliver the file again with distinct column names.",
        )
    end = re.match(r"\r?\n", body[len(raw) :])
    regular = end and body == text and not re.search(r"[\r\n]", raw)
    return FileDialect(header, _trusted(end[0], declared) if end and regular else None, declared)


def _no_text(declared: Dialect, what: str, fault: str) -> RejectedObjectError:
    encoding, delimiter = shown(declared.encoding), declared.delimiter or ","
    fields = "commas" if delimiter == "," else f"{delimiter!r} between its fields"
    return RejectedObjectError(
        f"{what} is no {encoding} text with {fields}{f' ({fault})' if fault else ''}.",
        code="unreadable_object",
        remedy=f"Deliver the file as {encoding} CSV, plain or gzip.",
    )


def _normalized(index: int, name: str) -> str:
    return name.strip().upper() or f"COLUMN_{index + 1}"


def survey(path: Path, dialect: FileDialect) -> Survey | None:
    """Look at every byte of a file, gigabytes a second; None when the file is not regular.

    Regular means: quotes stand around whole fields only, a carriage return only before a line feed, and a record
    that has not the fields of the header keeps to its line. What engines make of other files differs (`5" disk`,
    `"a" ,`, a lone carriage return), or they refuse the file for one record. Where a backslash escapes, a regular file
    has none.
    """
    width, doubled = len(dialect.header), dialect.declared.escape == '"'
    records, tidy, even = -1, True, True
    for data in _whole_records(path):
        chunk = _Chunk(data, dialect.delimiter)
        if (not doubled and b"\\" in data) or not chunk.is_regular(doubled):
            return None
        even = even and len(chunk.starts) * (width - 1) == chunk.count_delimiters()
        records += len(chunk.starts)
        tidy = tidy and chunk.is_tidy()
    malformed = () if even else _malformed(path, dialect)
    return None if malformed is None else Survey(records - len(malformed), tidy, malformed)


def _malformed(path: Path, dialect: FileDialect) -> tuple[int, ...] | None:
    """The numbers of records with other fields than the header; None when one of them spans lines."""
    found: list[int] = []
    first = -1  # the header
    for data in _whole_records(path):
        chunk = _Chunk(data, dialect.delimiter)
        misfits = chunk.misfits(len(dialect.header))
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


def locate(path: Path, numbers: Sequence[int], dialect: FileDialect) -> Iterator[tuple[int, str, str]]:
    """(line, raw, fault) of chosen records of a regular file, in order; `numbers` ascend."""
    import numpy as np

    wanted = np.asarray(numbers, dtype=np.int64)
    first, lines = -1, 1 - dialect.added  # the header is record -1
    for data in _whole_records(path):
        chunk = _Chunk(data)
        low, high = np.searchsorted(wanted, (first, first + len(chunk.starts)))
        for index in wanted[low:high] - first:
            start, end = int(chunk.starts[index]), int(chunk.ends[index])
            raw, fault = parser(dialect.declared).decoded(data[start:end].removesuffix(b"\r"))
            yield lines + int(np.searchsorted(chunk.line_ends, start)), raw, fault
        first += len(chunk.starts)
        lines += len(chunk.line_ends)


def choose(path: Path, dialect: FileDialect, numbers: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """The same for any file."""
    wanted = set(numbers)
    for record in tolerant_records(path, dialect):
        if record.number in wanted:
            yield record.line, record.raw, record.fault


def tolerant_records(path: Path, dialect: FileDialect) -> Iterator[Record]:
    """Every record of a file, broken ones included; about a million records per second and constant memory."""
    one_record, width = parser(dialect.declared).one_record, len(dialect.header)
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        lines = PushBack(text)
        number = -1
        while (line := lines.take()) is not None:
            start = lines.number
            if not line.strip("\r\n"):
                continue
            raw, fields, fault = one_record(line, lines, width)
            if number >= 0:
                yield Record(number, start - dialect.added, raw, fields, fault)
            number += 1


# --- bytes -------------------------------------------------------------------------------------------------


def _whole_records(path: Path) -> Iterator[bytes]:
    """The bytes of a regular file in pieces that end where a record ends, each with its last line end."""
    with open(path, "rb") as plain:
        rest = plain.read(len(_BOM)).removeprefix(_BOM)
        while chunk := plain.read(_CHUNK):
            data = rest + chunk
            # An open quote that does not close would make the rest grow with the file; such a file is not regular.
            end = _last_record_end(data) or (len(data) if len(data) > RECORD_CHARACTERS else 0)
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

    def __init__(self, data: bytes, delimiter: str = ",") -> None:
        import numpy as np

        self.delimiter = ord(delimiter)
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

    def is_regular(self, doubled: bool) -> bool:
        if len(self.quotes) % 2:
            return False
        opening, closing = self.quotes[::2], self.quotes[1::2]
        # A doubled quote closes a field and opens it again, unless the field is empty.
        again = (_QUOTE,) if doubled else ()
        return bool(
            self._beside(opening, -1, self.delimiter, _LINE_FEED, *again).all()
            and self._beside(closing, 1, self.delimiter, _LINE_FEED, _RETURN, *again).all()
            and self._beside(self.returns, 1, _LINE_FEED).all()
        )

    def count_delimiters(self) -> int:
        """Those that separate fields."""
        import numpy as np

        found = self.octets == self.delimiter
        return len(self._outside(np.flatnonzero(found))) if len(self.quotes) else int(np.count_nonzero(found))

    def misfits(self, width: int) -> np.ndarray:
        """The indexes of records that have not `width` fields."""
        import numpy as np

        found = self._outside(np.flatnonzero(self.octets == self.delimiter))
        fields = np.searchsorted(found, self.ends) - np.searchsorted(found, self.starts) + 1
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
            for edges in ((_QUOTE,), (self.delimiter, _LINE_FEED, _RETURN))
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
