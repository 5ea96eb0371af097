"""Scan every byte of a CSV file, gigabytes per second: is it regular, and where are its records?

A fast engine reads regular files, those that follow RFC 4180 exactly; `lenient_reader` reads all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.engine.formats.csv.dialect import BOM, FileDialect
from pipeline_assets.engine.formats.csv.record_parser import RECORD_CHARACTERS, parser

if TYPE_CHECKING:
    import numpy as np

_CHUNK = 1 << 20
_LINE_FEED, _RETURN, _QUOTE, _BLANK = b'\n\r" '


@dataclass(frozen=True)
class ByteScan:
    """The result of a pass over the bytes of a regular file.

    `records` counts the records after the header that have as many fields, `malformed` holds the numbers of the others.
    A file is `trimmed` when no value starts or ends with a blank; in doubt it is False.
    """

    records: int
    trimmed: bool
    malformed: tuple[int, ...] = ()


def scan_bytes(path: Path, dialect: FileDialect) -> ByteScan | None:
    """Scan every byte of a file, gigabytes per second; None when the file is not regular.

    Regular means: quotes are around whole fields only, a carriage return is followed by a line feed, and a record
    with a wrong number of fields is on one line. Engines read other files differently (`5" disk`, `"a" ,`, a lone
    carriage return), or refuse the file because of one record. If a backslash escapes, a regular file has none.
    """
    width, doubled = len(dialect.header), dialect.declared.escape == '"'
    records, trimmed, even = -1, True, True
    for data in _whole_records(path):
        chunk = _Chunk(data, dialect.delimiter)
        if (not doubled and b"\\" in data) or not chunk.is_regular(doubled):
            return None
        even = even and len(chunk.starts) * (width - 1) == chunk.count_delimiters()
        records += len(chunk.starts)
        trimmed = trimmed and chunk.is_trimmed()
    malformed = () if even else _malformed(path, dialect)
    return None if malformed is None else ByteScan(records - len(malformed), trimmed, malformed)


def _malformed(path: Path, dialect: FileDialect) -> tuple[int, ...] | None:
    """The numbers of the records with a wrong number of fields; None when one of them spans lines."""
    numbers: list[int] = []
    first = -1  # the header
    for data in _whole_records(path):
        chunk = _Chunk(data, dialect.delimiter)
        wrong_widths = chunk.wrong_widths(len(dialect.header))
        if chunk.spans_lines(wrong_widths):
            return None
        numbers.extend((wrong_widths + first).tolist())
        first += len(chunk.starts)
    return tuple(numbers)


def copy_without_records(path: Path, numbers: Sequence[int], target: Path) -> Path:
    """Copy a regular file to `target` without the records `numbers`, which ascend."""
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


def find_records(path: Path, numbers: Sequence[int], dialect: FileDialect) -> Iterator[tuple[int, str, str]]:
    """(line, raw, fault) of the records `numbers` of a regular file, in order; `numbers` ascend."""
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


def _whole_records(path: Path) -> Iterator[bytes]:
    """The bytes of a regular file in chunks that end where a record ends, each with its last line end."""
    with open(path, "rb") as plain:
        rest = plain.read(len(BOM)).removeprefix(BOM)
        while chunk := plain.read(_CHUNK):
            data = rest + chunk
            # With a quote that never closes the rest would grow to the size of the file; such a file is not regular.
            end = _last_record_end(data) or (len(data) if len(data) > RECORD_CHARACTERS else 0)
            if end:
                yield data[:end]
            rest = data[end:]
        if rest:
            yield rest + b"\n"


def _last_record_end(data: bytes) -> int:
    """The position after the last line end that has an even number of quotes before it; 0 when there is none."""
    end = data.rfind(b"\n") + 1
    odd = b'"' in data and data.count(b'"', 0, end) % 2
    while end and odd:
        before = data.rfind(b"\n", 0, end - 1) + 1
        odd ^= data.count(b'"', before, end) % 2
        end = before
    return end


class _Chunk:
    """Whole records as arrays: the end of each line, and the start and end of each record that is not blank."""

    def __init__(self, data: bytes, delimiter: str = ",") -> None:
        import numpy as np

        self.data = data
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
        """The number of delimiters that separate fields."""
        import numpy as np

        delimiters = self.octets == self.delimiter
        return len(self._outside(np.flatnonzero(delimiters))) if len(self.quotes) else int(np.count_nonzero(delimiters))

    def wrong_widths(self, width: int) -> np.ndarray:
        """The indexes of the records that do not have `width` fields."""
        import numpy as np

        separators = self._outside(np.flatnonzero(self.octets == self.delimiter))
        fields = np.searchsorted(separators, self.ends) - np.searchsorted(separators, self.starts) + 1
        return np.flatnonzero(fields != width)

    def spans_lines(self, records: np.ndarray) -> bool:
        """Whether one of the records has a line end inside."""
        import numpy as np

        ends = np.searchsorted(self.line_ends, self.ends[records])
        return bool((np.searchsorted(self.line_ends, self.starts[records]) != ends).any())

    def is_trimmed(self) -> bool:
        import numpy as np

        if any(blank in self.data for blank in (b"\t", b"\xc2\xa0") if blank != bytes([self.delimiter])):
            return False  # in doubt
        blanks = np.flatnonzero(self.octets == _BLANK)
        at_quote, at_edge = (
            self._beside(blanks, -1, *edges) | self._beside(blanks, 1, *edges)
            for edges in ((_QUOTE,), (self.delimiter, _LINE_FEED, _RETURN))
        )
        return not at_quote.any() and not len(self._outside(blanks[at_edge]))

    def _outside(self, positions: np.ndarray) -> np.ndarray:
        """The positions that are outside quotes."""
        import numpy as np

        return positions[np.searchsorted(self.quotes, positions) % 2 == 0] if len(self.quotes) else positions

    def _beside(self, positions: np.ndarray, step: int, *allowed: int) -> np.ndarray:
        """Whether the byte beside each position is one of `allowed`; the first byte counts as after a line end."""
        import numpy as np

        neighbours = self.octets[np.maximum(positions + step, 0)]
        neighbours[positions + step < 0] = _LINE_FEED
        return np.isin(neighbours, allowed)
