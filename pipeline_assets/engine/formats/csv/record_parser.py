"""Split the text of delimited files into records and their fields, in the dialect that a contract declares.

A stray quote swallows the rest of a file in most readers; here it costs its own line, because a record that spans lines
and has the wrong number of fields is taken back and only its first line counts as broken. Where a backslash escapes, it
does so inside quotes only, and only a quote or a backslash: `\\N` and `C:\\new` are what they look like.
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

# A quoted field that runs over more than this is taken for a stray quote.
RECORD_CHARACTERS = 4 << 20
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of bytes that are not UTF-8
_INSIDE_QUOTES = {'"': r'[^"]*+(?:""[^"]*+)*+', "\\": r'[^"\\]*+(?:\\.[^"\\]*+)*+'}
_ESCAPED = re.compile(r'\\(["\\])')


def is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def shown(encoding: str) -> str:
    """An encoding as messages name it."""
    return "UTF-8" if is_utf8(encoding) else encoding


class RecordParser:
    """Reads records of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._delimiter = dialect.delimiter or ","
        self._doubled = dialect.escape == '"'
        self._encoding = shown(dialect.encoding)
        inside = _INSIDE_QUOTES[dialect.escape]
        self._rest_of_quoted = re.compile(f'{inside}"', re.DOTALL)
        self._quoted = re.compile(f'"({inside})"', re.DOTALL)

    def one_record(
        self, first: str, lines: PushBack, width: int | None = None
    ) -> tuple[str, tuple[str, ...] | None, str]:
        """(raw, fields, fault) of the record that starts with a line; takes the further lines that belong to it."""
        more: list[str] = []
        fields, fault, complete = self.parse(first)
        if not complete:
            more = self._rest_of_record(lines)
            fields, fault, complete = self.parse("".join((first, *more)))
            fault = fault if complete else "a quoted field is never closed"
        if fields is not None and width is not None and len(fields) != width:
            fields, fault = None, f"{width} fields were expected, {len(fields)} found"
        if fields is None:
            lines.give_back(more)
            more = []
        raw = "".join((first, *more)).rstrip("\r\n")
        if _NOT_UTF8.search(raw):
            fields = None
            raw, fault = self.decoded(raw.encode("utf-8", "surrogateescape"))
        return raw, fields, fault

    def decoded(self, raw: bytes) -> tuple[str, str]:
        """(text, fault) of a record in UTF-8; bytes that are not are transcribed."""
        try:
            return raw.decode(), ""
        except UnicodeDecodeError:
            return raw.decode("utf-8", "backslashreplace"), f"the record is not {self._encoding}"

    def parse(self, text: str) -> tuple[tuple[str, ...] | None, str, bool]:
        """(fields, fault, complete) of a text that should be one record."""
        if '"' not in text:
            return tuple(text.rstrip("\r\n").split(self._delimiter)), "", True
        if not self._doubled:
            return self._parse_escaped(text.rstrip("\r\n"))
        csv.field_size_limit(2 * RECORD_CHARACTERS)  # of 128 KiB otherwise, in the whole process
        try:
            lines = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True)
            return tuple(next(lines)), "", True
        except csv.Error as error:
            unfinished = "unexpected end of data" in str(error)
            return None, f"the quotes are wrong ({error})", not unfinished

    def _parse_escaped(self, text: str) -> tuple[tuple[str, ...] | None, str, bool]:
        """The same where a backslash escapes; the csv module would take it for an escape outside quotes as well."""
        fields: list[str] = []
        position = 0
        while True:
            if text.startswith('"', position):
                found = self._quoted.match(text, position)
                if found is None:
                    return None, "the quotes are wrong (unexpected end of data)", False
                fields.append(_ESCAPED.sub(r"\1", found[1]))
                position = found.end()
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
        """The lines to where the quoted field that is open closes, each looked at once."""
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
                    return False  # the quotes are wrong; more lines do not mend that
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
    """Names of columns as one record that is read back as they are."""
    text = io.StringIO()
    options = {"doublequote": False, "escapechar": "\\", "quoting": csv.QUOTE_ALL} if dialect.escape == "\\" else {}
    csv.writer(text, delimiter=dialect.delimiter or ",", lineterminator="\n", **options).writerow(fields)
    return text.getvalue()
