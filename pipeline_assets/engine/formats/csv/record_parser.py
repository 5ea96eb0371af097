"""Split the text of delimited files into records and their fields, in the dialect that a contract declares.

In most readers a stray quote swallows the rest of a file; here it costs only its own line: if a record spans lines and
has a wrong number of fields, its further lines are given back and only its first line is malformed. If a backslash
escapes, it does so inside quotes only, and only a quote or a backslash: `\\N` and `C:\\new` are plain text.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Sequence
from functools import cache

from pipeline_assets.contracts.model import Dialect

# The quote of a longer quoted field is treated as a stray one.
RECORD_CHARACTERS = 4 << 20
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of bytes that are not UTF-8
_INSIDE_QUOTES = {'"': r'[^"]*+(?:""[^"]*+)*+', "\\": r'[^"\\]*+(?:\\.[^"\\]*+)*+'}
_ESCAPED = re.compile(r'\\(["\\])')


def is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def encoding_name(encoding: str) -> str:
    """The name of an encoding in messages."""
    return "UTF-8" if is_utf8(encoding) else encoding


class RecordParser:
    """Reads records of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._delimiter = dialect.delimiter or ","
        self._doubled = dialect.escape == '"'
        self._encoding = encoding_name(dialect.encoding)
        inside = _INSIDE_QUOTES[dialect.escape]
        self._rest_of_quoted = re.compile(f'{inside}"', re.DOTALL)
        self._quoted = re.compile(f'"({inside})"', re.DOTALL)

    def one_record(
        self, first: str, lines: PushBack, width: int | None = None
    ) -> tuple[str, tuple[str, ...] | None, str]:
        """(raw, fields, fault) of the record that starts with line `first`; takes its further lines from `lines`."""
        more: list[str] = []
        fields, fault, complete = self.parse(first)
        if not complete:
            more = self._rest_of_record(lines)
            fields, fault, complete = self.parse("".join((first, *more)))
            fault = fault if complete else "a quoted field is never closed"
        if fields is not None and width is not None and len(fields) != width:
            fault = f"{width} fields were expected, {len(fields)} found"
            fields = None
        if fields is None:
            lines.give_back(more)
            more = []
        raw = "".join((first, *more)).rstrip("\r\n")
        if _NOT_UTF8.search(raw):
            fields = None
            raw, fault = self.decoded(raw.encode("utf-8", "surrogateescape"))
        return raw, fields, fault

    def decoded(self, raw: bytes) -> tuple[str, str]:
        """(text, fault) of a record; bytes that are not UTF-8 are escaped."""
        try:
            return raw.decode(), ""
        except UnicodeDecodeError:
            fault = f"the record is not {self._encoding}: deliver the file in it, or declare its own in the contract"
            return raw.decode("utf-8", "backslashreplace"), fault

    def parse(self, text: str) -> tuple[tuple[str, ...] | None, str, bool]:
        """(fields, fault, complete) of a text that should be one record."""
        if '"' not in text:
            return tuple(text.rstrip("\r\n").split(self._delimiter)), "", True
        if not self._doubled:
            return self._parse_escaped(text.rstrip("\r\n"))
        csv.field_size_limit(2 * RECORD_CHARACTERS)  # the default is 128 KiB; the limit holds for the whole process
        try:
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True)
            return tuple(next(lines)), "", True
        except csv.Error as error:
            unfinished = "unexpected end of data" in str(error)
            return None, f"the quotes are wrong ({error})", not unfinished

    def _parse_escaped(self, text: str) -> tuple[tuple[str, ...] | None, str, bool]:
        """`parse` for escaping backslashes; the csv module would treat them as escapes outside quotes as well."""
        fields: list[str] = []
        position = 0
        while True:
            if text.startswith('"', position):
                match = self._quoted.match(text, position)
                if match is None:
                    return None, "the quotes are wrong (unexpected end of data)", False
                fields.append(_ESCAPED.sub(r"\1", match[1]))
                position = match.end()
                if not text.startswith(self._delimiter, position) and position < len(text):
                    return None, f"the quotes are wrong ('{self._delimiter}' expected after '\"')", True
            else:
                end = text.find(self._delimiter, position)
                end = len(text) if end < 0 else end
                fields.append(text[position:end])
                position = end
            if position == len(text):
                return tuple(fields), "", True
            position += 1

    def _rest_of_record(self, lines: PushBack) -> list[str]:
        """The lines up to the end of the open quoted field; each line is scanned once."""
        taken: list[str] = []
        size = 0
        while size < RECORD_CHARACTERS and (line := lines.take()) is not None:
            taken.append(line)
            size += len(line)
            if not self._still_quoted(line):
                break
        return taken

    def _still_quoted(self, line: str) -> bool:
        """Whether a line that starts inside a quoted field also ends inside one."""
        position, inside = 0, True
        while True:
            if inside:
                closed = self._rest_of_quoted.match(line, position)
                if closed is None:
                    return True
                position = closed.end()
                if line[position : position + 1] not in (self._delimiter, "\r", "\n", ""):
                    return False  # the quotes are wrong; more lines do not help
            end = line.find(self._delimiter, position)
            if end < 0:
                return False
            inside = line.startswith('"', end + 1)
            position = end + 1 + inside


class PushBack:
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


@cache
def parser(dialect: Dialect) -> RecordParser:
    return RecordParser(dialect)


def parse_record(raw: str, dialect: Dialect) -> tuple[str, ...]:
    """The fields of one well-formed record."""
    return parser(dialect).parse(raw)[0] or ()


def written_record(fields: Sequence[str], dialect: Dialect) -> str:
    """Column names as one record; reading it gives the same names."""
    text = io.StringIO()
    is_escaped = dialect.escape == "\\"
    csv.writer(
        text,
        delimiter=dialect.delimiter or ",",
        lineterminator="\n",
        doublequote=not is_escaped,
        escapechar="\\" if is_escaped else None,
        quoting=csv.QUOTE_ALL if is_escaped else csv.QUOTE_MINIMAL,
    ).writerow(fields)
    return text.getvalue()
