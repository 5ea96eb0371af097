"""Detect how one CSV file is written: gzip, byte order mark, encoding, header, line end.

`open_as_utf8` turns a file of any dialect into UTF-8 text with a header, so that later steps need not handle dialects.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline_assets.contracts.model import Dialect
from pipeline_assets.engine.formats.csv.record_parser import PushBack, encoding_name, is_utf8, parser
from pipeline_assets.errors import RejectedObjectError

_GZIP_MAGIC = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
_HEADER_BYTES = 1 << 20
_CHUNK = 1 << 20
USUAL = Dialect()
# Two bytes that the declared encoding does not have, but that together would be a character of UTF-8.
_FEWEST_WRONG = 2
_LINES_PER_WRONG = 1000
_NOT_WINDOWS = re.compile(rb"[\x00\x81\x8d\x8f\x90\x9d]")
_MISTAKABLE = re.compile("([\udcc2-\udcf4])(?=[\udc80-\udcbf])")


@dataclass(frozen=True)
class FileDialect:
    """How one file is written. `header` holds normalized names; empty means an empty file.

    `newline` is the line end of the header, or None if a fast engine must not read the file: the line end is missing or
    only a carriage return, blank lines are before the header, or a name contains a line end. `added` is 1 if the header
    is not a line of the file; `header_skipped` means that the file has a header although its dialect declares none.
    """

    header: tuple[str, ...]
    newline: str | None
    declared: Dialect = USUAL
    added: int = 0
    header_skipped: bool = False

    @property
    def delimiter(self) -> str:
        return self.declared.delimiter or ","


def decompressed(path: Path, target: Path) -> Path:
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


def open_as_utf8(path: Path, declared: Dialect, names: Sequence[str], target: Path) -> tuple[Path, FileDialect]:
    """A file as UTF-8 text with a header: unchanged, or a copy near `target`; `names` are the contract's columns.

    Raises:
        RejectedObjectError: it is not text of the declared encoding, or its header names a column twice.
    """
    plain = decompressed(path, target)
    if not is_utf8(declared.encoding):
        plain, declared = _as_utf8(plain, declared, target.with_suffix(".utf8.csv"))
    if declared.header:
        _refuse_other_encoding(plain, declared)
        return plain, detect_dialect(plain, declared, names)
    _refuse_other_encoding(plain, declared)
    return _with_header(plain, declared, tuple(names), target.with_suffix(".headed.csv"))


def _as_utf8(path: Path, declared: Dialect, target: Path) -> tuple[Path, Dialect]:
    """A copy in UTF-8; bytes that are invalid in the declared encoding stay invalid in UTF-8.

    A byte order mark overrides the declaration: such a file is UTF-8.
    """
    with open(path, "rb") as file:
        if file.read(len(BOM)) == BOM:
            return path, replace(declared, encoding="utf-8")
    try:
        with (
            open(path, encoding=declared.encoding, errors="surrogateescape", newline="") as source,
            open(target, "wb") as file,
        ):
            kept = ""  # an invalid last byte, which must not form a character with the next one
            while text := source.read(_CHUNK):
                text = _MISTAKABLE.sub("\\1\udcff", kept + text)
                kept = text[-1] if "\udc80" <= text[-1] <= "\udcff" else ""
                file.write(text[: len(text) - len(kept)].encode("utf-8", "surrogateescape"))
            file.write(kept.encode("utf-8", "surrogateescape"))
    except UnicodeError as error:  # also a missing byte order mark that UTF-16 needs
        raise RejectedObjectError(
            f"The file is no {encoding_name(declared.encoding)} text ({getattr(error, 'reason', error)}).",
            code="unreadable_object",
            remedy=f"Deliver the file as {encoding_name(declared.encoding)} CSV, plain or gzip.",
        ) from None
    return target, declared


def _with_header(path: Path, declared: Dialect, names: tuple[str, ...], target: Path) -> tuple[Path, FileDialect]:
    """A copy with the contract's columns as its header; the file itself if its first record names them all already.

    Such a header is read by name: its columns may be in another order, as in an export that somebody uploads.
    """
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
    body = head.removeprefix(BOM).decode("utf-8", "surrogateescape").lstrip("\r\n")
    if not body.strip("\r\n \t".replace(declared.delimiter or ",", "")) and len(head) < _HEADER_BYTES:
        return path, FileDialect((), None, declared)
    lines = PushBack(io.StringIO(body, newline=""))
    raw, first, _ = parser(declared).one_record(lines.take() or "", lines)
    if "\0" in raw and _is_binary(body):
        raise _not_text(declared, "The file", "")
    if first is not None and {name.strip().upper() for name in first} >= set(names):
        return path, replace(detect_dialect(path, declared, names), header_skipped=True)
    end = re.search(r"\r?\n", body)
    newline = end[0] if end else "\n"
    with open(path, "rb") as file, open(target, "wb") as copy:
        file.seek(len(head) - len(head.removeprefix(BOM)))
        copy.write(header_line(names, declared, newline).encode())
        shutil.copyfileobj(file, copy, _CHUNK)
    return target, FileDialect(names, _newline_if_fast(newline, declared), declared, added=1)


def _is_binary(text: str) -> bool:
    """Whether at least half of the lines contain a NUL; in a few it is a damaged value, and the other records load."""
    lines = text.split("\n")
    return sum("\0" in line for line in lines) * 2 >= len(lines)


def header_line(names: Sequence[str], declared: Dialect, newline: str) -> str:
    """Columns of a contract as a header; such names never need quotes."""
    return (declared.delimiter or ",").join(names) + newline


def _newline_if_fast(newline: str | None, declared: Dialect) -> str | None:
    """The line end, or None if the delimiter is longer than one byte, which a fast engine cannot read."""
    return newline if (declared.delimiter or ",").isascii() else None


def _refuse_other_encoding(path: Path, declared: Dialect) -> None:
    """Refuse a file that is text of another encoding as a whole; a few damaged lines are quarantined instead.

    Raises:
        RejectedObjectError: of its lines that are not ASCII, most are not UTF-8 and may be windows-1252: at least two,
            and one in a thousand of all.
    """
    if not is_utf8(declared.encoding) or _is_text_of_utf8(path):
        return
    lines = foreign = wrong = 0
    windows = True
    with open(path, "rb") as file:
        for line in file:
            lines += 1
            if line.isascii():
                continue
            foreign += 1
            try:
                line.decode()
            except UnicodeDecodeError:
                wrong += 1
                windows = windows and not _NOT_WINDOWS.search(line)
    if not windows or wrong < _FEWEST_WRONG or wrong * 2 <= foreign or wrong * _LINES_PER_WRONG < lines:
        return
    raise RejectedObjectError(
        f"The file is no UTF-8 text: {wrong} of {lines} lines are not; it may be windows-1252.",
        code="unreadable_object",
        remedy="Declare `encoding: windows-1252` in the dialect of the contract, or deliver the file as UTF-8.",
    )


def _is_text_of_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open(path, "rb") as file:
            while data := file.read(_CHUNK):
                if not data.isascii() or decoder.getstate()[0]:
                    decoder.decode(data)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def detect_dialect(path: Path, declared: Dialect = USUAL, names: Sequence[str] = ()) -> FileDialect:
    """Read the header of a file in UTF-8; `names` may be repeated in messages, others may be values.

    Raises:
        RejectedObjectError: the file is not readable text, or its header names a column twice.
    """
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES).removeprefix(BOM)
    if not head.strip(b"\r\n \t"):
        return FileDialect((), None, declared)
    text = head.decode("utf-8", "surrogateescape")
    body = text.lstrip("\r\n")
    lines = PushBack(io.StringIO(body, newline=""))
    raw, first, fault = parser(declared).one_record(lines.take() or "", lines)
    if first is None or "\0" in raw:
        raise _not_text(declared, "The header", fault.partition(":")[0])
    header = normalized_header(first, names)
    end = re.match(r"\r?\n", body[len(raw) :])
    regular = end and body == text and not re.search(r"[\r\n]", raw)
    return FileDialect(header, _newline_if_fast(end[0], declared) if end and regular else None, declared)


def _not_text(declared: Dialect, what: str, fault: str) -> RejectedObjectError:
    encoding, delimiter = encoding_name(declared.encoding), declared.delimiter or ","
    fields = "commas" if delimiter == "," else f"{delimiter!r} between its fields"
    return RejectedObjectError(
        f"{what} is no {encoding} text with {fields}{f' ({fault})' if fault else ''}.",
        code="unreadable_object",
        remedy=f"Deliver the file as {encoding} CSV, plain or gzip.",
    )


def normalized_header(written: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Column names of a file in upper case; `names` may be repeated in messages, others may be values.

    Raises:
        RejectedObjectError: the header names a column twice.
    """
    header = tuple(name.strip().upper() or f"COLUMN_{number}" for number, name in enumerate(written, 1))
    if duplicates := sorted({name for name in header if header.count(name) > 1}):
        shown = [name for name in duplicates if name in names]
        raise RejectedObjectError(
            f"The header names {', '.join(shown) if shown else 'a column'} more than once.",
            code="malformed_header",
            remedy="Deliver the file again with distinct column names.",
        )
    return header
