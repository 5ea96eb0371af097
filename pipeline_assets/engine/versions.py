"""Which of several versions of a record is the newest, and which of several complete deliveries of a dataset.

The same for all engines: they order rows by the same columns, and a delivery is chosen here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pipeline_assets.contracts import Contract
from pipeline_assets.errors import ContractError


def newest_first(contract: Contract, version: str) -> str:
    """How rows of one key are ordered, in SQL; the place of a row in its file comes behind that.

    Raises:
        ContractError: the contract has no column `version`.
    """
    if version and version not in contract.column_names:
        raise ContractError(
            f"{contract.name}: versions are ordered by {version}, which is no column of it.",
            remedy=f"Known: {', '.join(contract.column_names)}.",
        )
    declared = f"{version} DESC NULLS LAST, " if version else ""
    # Of one object processed twice the fresh rows win, so that reprocessing replaces what it reads.
    return declared + "_SOURCE_MODIFIED_AT DESC NULLS LAST, _SOURCE_URI DESC NULLS LAST, _IS_NEW DESC"


def every_version_of(name: str) -> str:
    """The relation with all versions of an input's records."""
    return f"{name}__every_version"


@dataclass(frozen=True)
class Delivery:
    """An accepted file; `modified` is in UTC and has no zone, `turn` its place among the files that were given."""

    modified: datetime
    uri: str
    etag: str
    file_set: str
    waiting: bool
    turn: int

    def is_one_with(self, other: Delivery) -> bool:
        """Whether both are files of one delivery: the same object, or the same file_set."""
        if self.file_set or other.file_set:
            return self.file_set == other.file_set
        return (self.modified, self.uri, self.etag) == (other.modified, other.uri, other.etag)


@dataclass(frozen=True)
class Newest:
    """The files of the newest delivery, none if a published one is newer; whether `published` rows stay."""

    files: frozenset[int]
    published: bool


def newest_delivery(accepted: Mapping[int, Delivery], published: tuple[datetime, str] | None) -> Newest:
    """Choose among files by number; `published` is time and uri of the newest object of the published rows."""
    if not accepted:
        return Newest(frozenset(), published=True)
    newest = max(accepted.values(), key=lambda found: (found.modified, found.uri, not found.waiting, found.turn))
    version = (newest.modified, newest.uri)
    if published is not None and published > version:
        return Newest(frozenset(), published=True)
    files = frozenset(file for file, found in accepted.items() if found.is_one_with(newest))
    # Records that waited are a part of what is published already; without it they would be all that is left.
    return Newest(files, published=published == version and newest.waiting)
