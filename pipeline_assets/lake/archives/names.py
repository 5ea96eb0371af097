"""Names in archives: how their bytes are decoded, and which are refused.

A name is accepted only if it means one and the same file below one folder on every system and in every store.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from pipeline_assets.lake.archives.refused import shown

Problem = tuple[str, str]  # reason code, and what is wrong

PART_BYTES = 255  # of a folder or file, on every common file system
NAME_BYTES = 1024  # S3's limit for a key
PARTS = 16  # 10,000 entries would else create millions of folders
# Control characters, line ends of Unicode, and those that turn the direction of the text that follows.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_DRIVE = re.compile("[A-Za-z]:")
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.DOTALL)


def decoded(raw: bytes, *, utf8: bool, unix: bool) -> str:
    """The text of a name: UTF-8 if the entry says so, else cp437.

    Info-ZIP's zip on Unix writes UTF-8 without saying so, hence `unix` names are UTF-8 if they can be.

    Raises:
        UnicodeDecodeError: it should be UTF-8 and is not.
    """
    try:
        return raw.decode("utf-8" if utf8 or unix else "cp437")
    except UnicodeDecodeError:
        if utf8:
            raise
        return raw.decode("cp437")


def name_problem(name: str) -> Problem | None:
    """Why a name is refused; None if it is accepted. A slash at the end marks a folder."""
    entry, parts = f"the entry {shown(name)}", name.removesuffix("/").split("/")
    if _CONTROL.search(name):
        return "archive_control_character", f"{entry} has a control character in its name"
    if "\\" in name:
        return "archive_backslash", f"{entry} has a backslash in its name"
    if name.startswith("/"):
        return "archive_absolute_name", f"{entry} has an absolute name"
    if any(_DRIVE.match(part) for part in parts):
        return "archive_drive_letter", f"{entry} has a drive letter in its name"
    if ".." in parts:
        return "archive_path_traversal", f"{entry} leads out of the folder"
    if {"", "."} & set(parts):
        return "archive_unusable_name", f"{entry} has a name with a part that is empty or a point"
    if len(parts) > PARTS or len(name.encode()) > NAME_BYTES or any(len(part.encode()) > PART_BYTES for part in parts):
        return "archive_unusable_name", f"the name of {entry} is too long or has too many folders"
    if any(_DEVICE.fullmatch(part) or part[-1] in ". " for part in parts):
        return "archive_unusable_name", f"{entry} has a name that is reserved, or ends with a point or a blank"
    return None


def collision(names: Iterable[str]) -> Problem | None:
    """Two names that are one file on some system: equal, but for case or normalization, or a file and its folder."""
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        canonical = _canonical(folder)
        if canonical:
            folders.setdefault(canonical, name)
        if not file:
            continue
        canonical = _canonical(name)
        if (other := files.get(canonical)) == name:
            return "archive_duplicate_name", f"two entries have the name {shown(name)}"
        if other:
            return (
                "archive_colliding_name",
                f"the entries {shown(other)} and {shown(name)} are one file on some systems",
            )
        files[canonical] = name
    for folder, name in folders.items():
        parts = folder.split("/")
        for count in range(1, len(parts) + 1):
            if other := files.get("/".join(parts[:count])):
                return "archive_file_as_folder", f"{shown(other)} is a file, and a folder of {shown(name)}"
    return None


def _canonical(name: str) -> str:
    """Equal for names that a file system may take for one (canonical caseless matching, Unicode 3.13, D145)."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
