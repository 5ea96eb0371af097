"""What every engine promises.

A session is a short plan over named inputs: `read` landed files, add rows that are `known` already, `settle`
versions and references, then `write` the results of SELECTs. Each step is data (paths, a contract, one Snowflake
statement), so an engine may run it in process, or collect the steps and hand them to a Spark or Glue job.

Inside a SELECT an input shows its contract's columns and four of ours: `_SOURCE_URI`, `_SOURCE_MODIFIED_AT`,
`_RESCUED` (JSON text of columns the contract does not know, or NULL) and `_IS_NEW` (false for known rows).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pipeline_assets.contracts import Contract
from pipeline_assets.lake import LandedObject

INPUT_COLUMNS = ("_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_RESCUED", "_IS_NEW")


@dataclass(frozen=True)
class RejectPolicy:
    """A file with at least `minimum_rows` rows of which more than `share` are bad is rejected whole."""

    share: float = 0.5
    minimum_rows: int = 20

    def rejects(self, rows: int, bad: int) -> bool:
        return rows >= self.minimum_rows and bad > self.share * rows


@dataclass(frozen=True)
class SourceFile:
    """A landed object as a local file.

    `waiting` is set when the file holds records released from quarantine: the id and original line number of
    each record, in order. Such a file is never rejected and its bad records stay where they are.
    """

    path: Path
    landed: LandedObject
    waiting: tuple[tuple[str, int | None], ...] = ()


@dataclass(frozen=True)
class BadRecord:
    """A record that breaks its contract.

    `line` counts physical lines from 1 (the header is one) and is None for a whole object. `raw` is the record
    as it stood, without its line end; `columns` the header it stood under.
    """

    landed: LandedObject
    line: int | None
    code: str
    reason: str
    raw: str | None = None
    columns: tuple[str, ...] = ()
    quarantine_id: str | None = None


@dataclass
class FileOutcome:
    """What became of one file's records; `read == loaded + superseded + quarantined` always.

    `rejection` is set when the whole file was refused; its rows then count as quarantined, with the file.
    `released` holds the quarantine ids of waiting records that passed this time.
    """

    landed: LandedObject
    read: int = 0
    loaded: int = 0
    superseded: int = 0
    quarantined: int = 0
    rejection: BadRecord | None = None
    unknown_columns: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()
    waiting: bool = False
    released: tuple[str, ...] = ()


class Session(Protocol):
    """One plan; temporary data lives as long as the session."""

    def read(self, name: str, contract: Contract, files: Sequence[SourceFile]) -> None:
        """Type and validate the records of landed files; a file that breaks the contract whole is rejected."""

    def known(self, name: str, path: Path) -> None:
        """Add rows that are published already (Parquet: contract columns, `_SOURCE_*`, `_RESCUED`) to an input."""

    def table(self, name: str, path: Path) -> None:
        """Offer a Parquet file to SELECTs as it is."""

    def view(self, name: str, select: str) -> None:
        """Name the result of a Snowflake SELECT for those that follow."""

    def settle(self, name: str) -> None:
        """Set rows with an unknown reference aside; of several versions of a key keep the newest.

        Inputs that others refer to are settled first.
        """

    def write(self, select: str, path: Path, form: Literal["csv", "parquet"]) -> int:
        """Write the rows of a Snowflake SELECT over the inputs to one file; returns their number."""

    def count(self, select: str) -> int:
        """How many rows a Snowflake SELECT over the inputs has."""

    def outcomes(self, name: str) -> list[FileOutcome]:
        """What became of each file of an input; after `settle`."""

    def bad_records(self, name: str) -> Iterator[BadRecord]:
        """Every bad record of the accepted files of an input; after `settle`."""


class Engine(Protocol):
    """Opens sessions. `scratch` is a folder on the local disk that the caller removes."""

    name: str

    def session(self, scratch: Path, policy: RejectPolicy) -> AbstractContextManager[Session]: ...
