"""Look at every byte of a CSV file, gigabytes a second: is it regular, where are its records?

A fast engine reads regular files, those that keep RFC 4180 to the letter; `lenient_reader` reads all others.
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
    """What a pass over the bytes of a regular file tells.

    `records` counts those behind the header that have its fields, `malformed` holds the numbers of the others. A
    file is tidy when no value starts or ends with a blank (rather false than wrong).
    """

    records: int
    tidy: bool
    malformed: tuple[int, ...] = ()


def scan_bytes(path: Path, dialect: FileDialect) -> ByteScan | None:
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
    return None if malformed is None else ByteScan(records - len(malformed), tidy, malformed)


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


def copy_without_records(path: Path, numbers: Sequence[int], target: Path) -> Path:
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


def find_records(path: Path, numbers: Sequence[int], dialect: FileDialect) -> Iterator[tuple[int, str, str]]:
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


def _whole_records(path: Path) -> Iterator[bytes]:
    """The bytes of a regular file in splits that end where a record ends, each with its last line end."""
    with open(path, "rb") as plain:
        rest = plain.read(len(BOM)).removeprefix(BOM)
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
