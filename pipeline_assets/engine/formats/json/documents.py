"""Detect the layout of a JSON file, and find the raw text of its records.

A layout is one of DuckDB's: `array`, `newline_delimited` or `unstructured` (objects one after another, a single one
included). DuckDB's parser is strict, so this module only checks what it accepts without an error: an array that ends
behind a comma, and a cut last line, which means a truncated file rather than a bad record.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pipeline_assets.errors import RejectedObjectError

Layout = Literal["array", "newline_delimited", "unstructured"]
# Reading takes two buffers of this size per thread; larger records are refused.
LARGEST_RECORD = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n\v\f"  # same as in DuckDB, or the numbers of later records shift
_TAIL = 1 << 16
_COPY = 8 * 1024 * 1024


def without_bom(path: Path, target: Path) -> Path:
    """The file itself or, when it starts with a byte order mark, a copy without it."""
    with open(path, "rb") as file:
        if file.read(len(_BOM)) != _BOM:
            return path
        with open(target, "wb") as copy:
            shutil.copyfileobj(file, copy, _COPY)
    return target


def detect_layout(path: Path) -> Layout | None:
    """The layout of a file; None for a file without records.

    Raises:
        RejectedObjectError: the file is not JSON, or was cut off.
    """
    with open(path, "rb") as file:
        lines = _first_lines(file)
    if not lines:
        return None
    if lines[0].startswith(b"["):
        if _last_byte(path) != b"]":
            raise _cut_off("the list is not closed")
        return "array"
    if lines[0].startswith(b"{") and len(lines) > 1 and not _is_json(lines[0]) and not lines[1].startswith(b"{"):
        return "unstructured"
    if lines[0].startswith(b"{") and len(lines) == 1 and not _is_json(lines[0]):
        return "unstructured"  # several objects in one line, or a broken one: left to the parser
    if not any(line.startswith(b"{") for line in lines):
        raise RejectedObjectError(
            "The file is no JSON: it starts with neither a list nor an object.",
            code="unreadable_object",
            remedy="Deliver it as a JSON array, a single object or one object a line, as UTF-8, plain or gzip.",
        )
    refuse_cut_off(path)
    return "newline_delimited"


def refuse_cut_off(path: Path) -> None:
    """Raise when the last line of a newline-delimited file is not complete.

    Raises:
        RejectedObjectError: the file was cut off.
    """
    last = _last_line(path)
    if last and not _is_json(last):
        raise _cut_off("the last line is not complete")


def lines_at(path: Path, numbers: Sequence[int]) -> Iterator[tuple[int, str]]:
    """(line number from 1, text) of chosen records of a newline-delimited file; `numbers` ascend from 0."""
    wanted = iter(numbers)
    next_wanted = next(wanted, None)
    record = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if next_wanted is None:
                return
            if not line.strip(_BLANKS):
                continue
            if record == next_wanted:
                yield number, line.strip(_BLANKS).decode("utf-8", "backslashreplace")
                next_wanted = next(wanted, None)
            record += 1


def value_at(raw: str, path: Sequence[str | int]) -> tuple[str | None, str | None]:
    """(text, kind) of a value in a record: its original text, or a description of a value of another type.

    A key that is not there is looked for in another case, as records are read.
    """
    try:
        value: Any = json.loads(raw, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
    except (ValueError, RecursionError):  # DuckDB accepts `inf`, a trailing comma and any depth
        return None, "what only a lenient parser reads"
    for step in path:
        if isinstance(value, list) and isinstance(step, int):
            value = value[step] if step < len(value) else None
        elif isinstance(value, dict):
            others = [key for key in value if key.lower() == str(step).lower()]
            value = value[step] if step in value else value[others[0]] if others else None
        elif value is None:
            return None, None
        else:
            return None, f"{_kind(value)} where its object belongs"
    return (None, _kind(value)) if isinstance(value, dict | list | bool) else (value, None)


class _Number(str):
    """A number with its original digits."""


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return (
        "an object"
        if isinstance(value, dict)
        else "a list"
        if isinstance(value, list)
        else "a number"
        if isinstance(value, _Number)
        else "a text"
    )


def malformed_reason(raw: str, known: Collection[str]) -> str:
    """Why a record cannot be read: its syntax, what it is instead of an object, or a key that it names twice.

    A key is repeated in the sentence if it is one of `known`; others may be personal data.
    """
    spelled = {key.lower(): key for key in known}
    twice: list[str] = []

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        exact, any_case = Counter(key for key, _ in pairs), Counter(key.lower() for key, _ in pairs)
        for key, count in exact.items():
            shown = spelled.get(key.lower(), "a key")
            if count > 1:
                twice.append(f"{shown} twice")
            elif any_case[key.lower()] > 1 and key.lower() in spelled and shown not in exact:
                twice.append(f"{shown} twice, in different cases")
        return dict(pairs)

    try:
        value = json.loads(raw, object_pairs_hook=as_object, parse_int=_Number, parse_float=_Number)
    except ValueError as error:
        if not isinstance(error, json.JSONDecodeError):
            return "The record is not JSON."
        place = f"at character {error.pos + 1}"
        if raw.startswith("\\x", error.pos):  # how `lines_at` transcribes a byte
            return f"The record has a byte that is not UTF-8, or \\x, {place}. Deliver the file as UTF-8."
        return f"The record is not JSON: {error.msg} {place}."
    except RecursionError:
        return "The record is not JSON: it is nested too deep."
    if not isinstance(value, dict):
        return f"The record is {'null' if value is None else _kind(value)} and not an object."
    return f"The record names {twice[0]}." if twice else "The record is not JSON by its standard."


def parser_message(error: Exception) -> str:
    """Why DuckDB refused a file: its message without the path and the advice."""
    if "maximum_object_size" in str(error):
        return f"a record is larger than {LARGEST_RECORD >> 20} MB"
    match = re.search(r"(?:record/value|line) \d+: ([^.]*)", str(error))
    return match[1].strip() if match else "no JSON"


def _first_lines(file) -> list[bytes]:
    """Up to two lines that are not blank."""
    lines: list[bytes] = []
    while len(lines) < 2 and (line := file.readline(LARGEST_RECORD)):
        if line.strip(_BLANKS):
            lines.append(line.strip(_BLANKS))
            if line.strip(_BLANKS).startswith(b"["):
                break
    return lines


def _last_byte(path: Path) -> bytes:
    size = path.stat().st_size
    with open(path, "rb") as file:
        while size > 0:
            start = max(0, size - _TAIL)
            file.seek(start)
            if kept := file.read(size - start).rstrip(_BLANKS):
                return kept[-1:]
            size = start
    return b""


def _last_line(path: Path) -> bytes:
    """The text after the last line end, at most as long as the largest record."""
    size = path.stat().st_size
    tail = b""
    with open(path, "rb") as file:
        while size > 0 and len(tail) < LARGEST_RECORD:
            start = max(0, size - _TAIL)
            file.seek(start)
            tail = file.read(size - start) + tail
            if b"\n" in tail:
                return tail[tail.rindex(b"\n") + 1 :].strip(_BLANKS)
            size = start
    return tail.strip(_BLANKS)


def _is_json(line: bytes) -> bool:
    """Whether a line is complete; the parser refuses bytes that are not UTF-8 and values that are nested too deep."""
    try:
        json.loads(line.decode("utf-8", "replace"), parse_int=str)
    except ValueError:
        return False
    except RecursionError:
        return True
    return True


def _cut_off(reason: str) -> RejectedObjectError:
    return RejectedObjectError(
        f"The JSON was cut off: {reason}.", code="unreadable_object", remedy="Deliver the file again."
    )
