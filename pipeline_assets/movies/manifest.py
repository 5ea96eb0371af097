"""The manifest of an archive of movies: written, read in its new and its old form, and compared with the members.

The old form has no files and no hashes; its columns are the text of a Python list. Both come from outside, so
everything wrong in one rejects the archive with a reason, and nothing else is raised.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline_assets.errors import RejectedObjectError, one_line

if TYPE_CHECKING:
    from pipeline_assets.lake.archives import Member

CODE = "manifest_mismatch"
FORMATS = ("csv", "parquet")
SHOWN = 10  # differences in one message
_LONGEST_TEXT = 10_000  # characters of a source or a list of columns
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ManifestFile:
    """A file of an archive. `name` is relative to the manifest's folder; `rows` are without a header."""

    name: str
    format: str
    bytes: int
    sha256: str
    rows: int


@dataclass(frozen=True)
class Manifest:
    """What an archive states about itself.

    `created_at` is the UTC time of the snapshot, None in the old form, which has no `files` either.
    """

    source: str
    created_at: datetime | None
    primary_key: str
    columns: tuple[str, ...]
    total_movies: int
    files: tuple[ManifestFile, ...] = ()


def write_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON in UTF-8; times are ISO 8601 with a Z, to the microsecond."""
    document = asdict(manifest)
    if manifest.created_at:
        document["created_at"] = f"{manifest.created_at.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"


def read_manifest(data: bytes) -> Manifest:
    """A manifest in its new form, which lists `files`, or in its old one.

    Raises:
        RejectedObjectError: `manifest_mismatch`, with what is wrong.
    """
    document = _parsed(data)
    created_at = document.get("created_at")
    is_new = "files" in document
    manifest = Manifest(
        source=_text(document, "source"),
        created_at=None if created_at is None and not is_new else _moment(created_at),
        primary_key=_text(document, "primary_key"),
        columns=_columns(document.get("columns")),
        total_movies=_count(document, "total_movies"),
        files=_files(document["files"]) if is_new else (),
    )
    if manifest.primary_key not in manifest.columns:
        _reject("its primary_key is not one of its columns")
    return manifest


def verify(manifest: Manifest, members: Sequence[Member], rows: Callable[[str], int], *, folder: str = "") -> None:
    """Compare the members of an archive, without the manifest itself, with the manifest.

    `rows` counts the rows of a member by its name; it is called for members whose bytes are right only. `folder` is
    the manifest's own in the archive, with a slash at the end, or empty.

    Raises:
        RejectedObjectError: `manifest_mismatch`, with every difference: missing and extra members, wrong bytes, hashes
            and counts.
    """
    if wrong := _differences(manifest, members, rows, folder):
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise RejectedObjectError(
            f"The archive differs from its manifest: {'; '.join(wrong[:SHOWN])}{more}.",
            code=CODE,
            remedy="Ask its sender for a whole archive; nothing of this one was loaded.",
        )


def _differences(manifest: Manifest, members: Sequence[Member], rows: Callable[[str], int], folder: str) -> list[str]:
    found = {member.name: member for member in members}
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    if not manifest.files:
        for name in sorted(found):
            counts[PurePosixPath(name).suffix.lower()[1:]] += rows(name)
        if not found:
            wrong.append("there is no file beside the manifest")
    for file in manifest.files:
        name = file.name if file.name in found else folder + file.name
        member = found.pop(name, None)
        if member is None:
            wrong.append(f"{_shown(file.name)} is missing")
        elif member.bytes != file.bytes:
            wrong.append(f"{_shown(name)} has {member.bytes:,} bytes, the manifest states {file.bytes:,}")
        elif member.sha256 != file.sha256:
            wrong.append(f"{_shown(name)} has another SHA-256 than the manifest states")
        elif (counted := rows(name)) != file.rows:
            wrong.append(f"{_shown(name)} has {counted:,} rows, the manifest states {file.rows:,}")
        counts[file.format] += file.rows
    if manifest.files:
        wrong += [f"{_shown(name)} is not in the manifest" for name in sorted(found)]
    for kind, counted in sorted(counts.items()):
        if counted != manifest.total_movies:
            wrong.append(f"total_movies is {manifest.total_movies:,}, the {_shown(kind)} files have {counted:,} rows")
    return wrong


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_without_duplicates, parse_constant=_constant)
    except RejectedObjectError:
        raise
    except UnicodeDecodeError:
        _reject("it is not UTF-8")
    except (ValueError, RecursionError):
        _reject("it is not JSON")
    if not isinstance(document, dict):
        _reject("it is not a JSON object")
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        _reject("a key is in it twice")
    return document


def _constant(name: str) -> NoReturn:
    _reject(f"{name} is not a number")


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_TEXT:
        _reject(f"its {key} is missing or not a text")
    return value


def _count(document: Mapping[str, Any], key: str) -> int:
    value = document.get(key)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):  # the old form writes numbers as text, too
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        _reject(f"its {key} is missing or not a count")
    return value


def _moment(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment and moment.tzinfo:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    _reject("its created_at is not an ISO 8601 time with a time zone")


def _columns(value: object) -> tuple[str, ...]:
    """A list of names, or the text of a Python list or of a pandas Index."""
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _LONGEST_TEXT:
            _reject("its columns are too long")
        if index := re.fullmatch(r"Index\((\[.*\]),\s*dtype=.*\)", text, re.DOTALL):
            text = index[1]
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            _reject("its columns are not the text of a list")
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) and name for name in value):
        _reject("its columns are missing or not a list of names")
    if len(set(value)) != len(value):
        _reject("a column is in it twice")
    return tuple(value)


def _files(value: object) -> tuple[ManifestFile, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
        _reject("its files are not a list of objects")
    files = tuple(_file(entry) for entry in value)
    if len({file.name for file in files}) != len(files):
        _reject("a file is in it twice")
    return files


def _file(entry: Mapping[str, Any]) -> ManifestFile:
    name, kind = _text(entry, "name"), _text(entry, "format").lower()
    if kind not in FORMATS:
        _reject(f"the format of {_shown(name)} is not one of {', '.join(FORMATS)}")
    sha256 = _text(entry, "sha256").lower()
    if not _SHA256.fullmatch(sha256):
        _reject(f"the sha256 of {_shown(name)} is not 64 hexadecimal digits")
    return ManifestFile(name, kind, _count(entry, "bytes"), sha256, _count(entry, "rows"))


def _shown(name: str) -> str:
    """A name from outside as it may stand in a message: printable, on one line, at most 80 characters."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in one_line(name))
    return printable if len(printable) <= 80 else f"{printable[:77]}..."


def _reject(problem: str) -> NoReturn:
    raise RejectedObjectError(
        f"The manifest cannot be used: {problem}.", code=CODE, remedy="Ask the sender of the archive for a new one."
    ) from None
