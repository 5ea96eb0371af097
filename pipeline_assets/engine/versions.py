"""Choose the newest of several versions of a record, and the newest of several complete deliveries of a dataset.

All engines order rows by the same columns, and choose deliveries with the function here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.names import sql_name
from pipeline_assets.errors import ContractError


def newest_first(contract: Contract, version: str, quote: Callable[[str], str] = sql_name) -> str:
    """The SQL that orders the rows of one key, newest first; callers append the position of a row in its file.

    `quote` writes a name in the SQL of the engine.

    Raises:
        ContractError: the contract has no column `version`.
    """
    if version and version not in contract.column_names:
        raise ContractError(
            f"{contract.name}: versions are ordered by {version}, which is not one of its columns.",
            remedy=f"Known: {', '.join(contract.column_names)}.",
        )
    declared = f"{quote(version)} DESC NULLS LAST, " if version else ""
    # If one object is processed again, its new rows win, so that they replace the published ones.
    return declared + "_SOURCE_MODIFIED_AT DESC NULLS LAST, _SOURCE_URI DESC NULLS LAST, _IS_NEW DESC"


def every_version_of(name: str, last_of_object: bool) -> str:
    """The name of the relation with all versions of an input's records, or the last of each key and object."""
    return f"{name}__{'last_of_object' if last_of_object else 'every_version'}"


def last_of_object_condition(contract: Contract, newest_first: str, quote: Callable[[str], str] = sql_name) -> str:
    """The condition that a row is the last of its key and object; `newest_first` orders rows by version and place."""
    group = ", ".join((*map(quote, contract.key), "_SOURCE_URI", "_SOURCE_ETAG"))
    return f"ROW_NUMBER() OVER (PARTITION BY {group} ORDER BY {newest_first}) = 1"


@dataclass(frozen=True)
class Delivery:
    """An accepted file; `modified` is in UTC, without a zone, `position` is its place in the list of files."""

    modified: datetime
    uri: str
    etag: str
    file_set: str
    waiting: bool
    position: int

    def is_one_with(self, other: Delivery) -> bool:
        """Whether both are files of one delivery: the same object, or the same file_set."""
        if self.file_set or other.file_set:
            return self.file_set == other.file_set
        return (self.modified, self.uri, self.etag) == (other.modified, other.uri, other.etag)


@dataclass(frozen=True)
class Newest:
    """The files of the newest delivery (none if the published one is newer), and whether `published` rows stay."""

    files: frozenset[int]
    published: bool


def newest_delivery(accepted: Mapping[int, Delivery], published: tuple[datetime, str] | None) -> Newest:
    """Choose among files by number; `published` is the time and uri of the newest object of the published rows."""
    if not accepted:
        return Newest(frozenset(), published=True)
    newest = max(
        accepted.values(),
        key=lambda delivery: (delivery.modified, delivery.uri, not delivery.waiting, delivery.position),
    )
    version = (newest.modified, newest.uri)
    if published is not None and published > version:
        return Newest(frozenset(), published=True)
    files = frozenset(file for file, delivery in accepted.items() if delivery.is_one_with(newest))
    # Replayed records are only a part of the published delivery: its published rows stay.
    return Newest(files, published=published == version and newest.waiting)
