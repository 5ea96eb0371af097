"""Files that are accepted together: when one file of a set is rejected, all of its files are."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

from pipeline_assets.engine.interface import BadRecord
from pipeline_assets.lake import LandedObject

CODE = "rejected_with_its_set"
_File = TypeVar("_File", bound=Hashable)


def rejected_with_set(files: Iterable[tuple[_File, str, bool]]) -> dict[_File, _File]:
    """The files that must be rejected with their file_set, each with the first rejected file of the set.

    `files` are (file, its file_set or "", whether the file is rejected for its own content).
    """
    listed = list(files)
    causes: dict[str, _File] = {}
    for file, file_set, rejected in listed:
        if file_set and rejected:
            causes.setdefault(file_set, file)
    return {file: causes[file_set] for file, file_set, rejected in listed if file_set in causes and not rejected}


def rejection_with(landed: LandedObject, cause: BadRecord) -> BadRecord:
    """The rejection of a valid file whose file_set has a rejected file."""
    return BadRecord(
        landed,
        None,
        CODE,
        f"It was delivered together with {cause.landed.uri}, which is rejected as {cause.code}: {cause.reason}",
    )
