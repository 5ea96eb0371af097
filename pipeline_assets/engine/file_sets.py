"""Files that are accepted together: when one of a file_set is rejected, all of it are."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

from pipeline_assets.engine.interface import BadRecord
from pipeline_assets.lake import LandedObject

CODE = "rejected_with_its_set"
_File = TypeVar("_File", bound=Hashable)


def rejected_with_set(files: Iterable[tuple[_File, str, bool]]) -> dict[_File, _File]:
    """For each file of a file_set of which another was rejected, that one; the first, where there are several.

    `files` are files with their file_set, if any, and whether the file is rejected for what is in it.
    """
    known = list(files)
    causes: dict[str, _File] = {}
    for file, file_set, rejected in known:
        if file_set and rejected:
            causes.setdefault(file_set, file)
    return {file: causes[file_set] for file, file_set, rejected in known if file_set in causes and not rejected}


def rejection_with(landed: LandedObject, cause: BadRecord) -> BadRecord:
    """What is reported of a file that has nothing wrong with it but its file_set."""
    return BadRecord(
        landed,
        None,
        CODE,
        f"It was delivered together with {cause.landed.uri}, which is rejected as {cause.code}: {cause.reason}",
    )
