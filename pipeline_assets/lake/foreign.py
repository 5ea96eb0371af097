"""Foreign objects: objects in a zone that cannot be read, however often a run tries.

The listing gives a foreign object an etag that names the reason, so it has a stable identity without being read: it is
rejected once, and becomes a new version when somebody corrects it. Its size counts as 0, as it may grow meanwhile. Its
uri has escapes for bytes that are not printable text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

from pipeline_assets.errors import RejectedObjectError
from pipeline_assets.lake.objects import LandedObject

if TYPE_CHECKING:
    import pyarrow as pa

Fault = Literal["name", "permission", "link", "special", "length", "folder-permission", "folder-loop"]

_MARK = "foreign:"  # an etag of a store has no colon
_FOLDER = f"{_MARK}folder-"
_NAME = "a part of its name is empty, `.` or `..`, has a control character or is not UTF-8"
_EXPLANATIONS: dict[str, tuple[str, str]] = {
    "name": (_NAME, "Rename it."),
    "permission": ("this user may not read it", "Give the user of the pipelines the right to read it."),
    "link": ("it is a link to a file that does not exist, or to itself", "Correct or delete the link."),
    "special": ("it is a pipe, a socket or a device", "Deliver a plain file, and delete this."),
    "length": ("its path is too long", "Shorten its name or those of its folders."),
    "folder-permission": (
        "this user may not list the folder, so no file in it is loaded",
        "Give the user of the pipelines the right to list it.",
    ),
    "folder-loop": ("it is a link to a folder that contains it", "Delete the link."),
}
_NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # surrogates are bytes that are not UTF-8


def foreign_etag(fault: Fault, version: str) -> str:
    """The etag of a foreign object; `version` identifies it as long as it is not replaced, and has no blank."""
    return f"{_MARK}{fault}:{version}"


def has_foreign_name(key: str) -> bool:
    """Whether a key cannot be written in a request or on one line of text."""
    return _NOT_IN_NAMES.search(key) is not None or bool({"", ".", ".."} & set(key.split("/")))


def escaped(key: str) -> str:
    """The key as text on one line, with `\\xNN` for each control character and each byte that is not UTF-8."""
    return _NOT_IN_NAMES.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", key)


def is_foreign(etag: str) -> bool:
    """Whether an etag is of a foreign object."""
    return etag.startswith(_MARK)


def rejection(landed: LandedObject) -> RejectedObjectError | None:
    """Why a listed object cannot be read; None for every other object."""
    if not is_foreign(landed.etag):
        return None
    reason, remedy = _EXPLANATIONS[landed.etag.split(":")[1]]
    return RejectedObjectError(
        f"{landed.uri} cannot be read: {reason}.", code="unreadable_object", remedy=f"{remedy} Then it is loaded."
    )


def foreign_objects(etags: pa.Array) -> pa.BooleanArray:
    """For each etag of a listing, whether it is of a foreign object."""
    import pyarrow.compute as pc

    return pc.starts_with(etags, _MARK)


def gone(rejected: Collection[tuple[str, str]], listed: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of rejected objects, as (uri, etag), that are foreign and not listed any more.

    What is below a folder that cannot be listed may still be there.
    """
    hidden = tuple(f"{uri}/" for uri, etag in listed if etag.startswith(_FOLDER))
    candidates = {(uri, etag) for uri, etag in rejected if is_foreign(etag) and not uri.startswith(hidden)}
    return candidates.difference(listed)


def foreign_folders(etags: pa.Array) -> pa.BooleanArray:
    """For each etag of a listing, whether it belongs to a folder that cannot be listed."""
    import pyarrow.compute as pc

    return pc.starts_with(etags, _FOLDER)
