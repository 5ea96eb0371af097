"""What every engine promises.

A session is a short plan over named inputs: `read` landed files, add rows that are `known` already, `deduplicate`
versions and references, then `write` the results of SELECTs. Each step is data (paths, a contract, one Snowflake
statement), so an engine may run it in process, or collect the steps and hand them to a Spark or Glue job.

Inside a SELECT an input shows its contract's columns and four of ours: `_SOURCE_URI`, `_SOURCE_MODIFIED_AT`,
`_RESCUED` (JSON text of columns the contract does not know, or NULL) and `_IS_NEW` (false for known rows). The list in
JSON records is a relation of its own, named by `Contract.items`: one row per element with the columns of its record
and its place in the list, `_POSITION`, from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pipeline_assets.contracts import Contract
from pipeline_assets.lake import LandedObject

INPUT_COLUMNS = ("_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_RESCUED", "_IS_NEW", "_POSITION")


@dataclass(frozen=True)
class RejectPolicy:
    """A file with at least `minimum_rows` rows of which more than `share` are bad is rejected whole."""

    share: float = 0.5
    minimum_rows: int = 20

    def rejects(self, rows: int, bad: int) -> bool:
        # Divided, as 0.29 * 100 is 28.999999999999996.
        return rows >= self.minimum_rows and bad > 0 and bad / rows > self.share

    def rejection(
        self, landed: LandedObject, rows: int, bad: int, difference: str | None, reported: Iterable[BadRecord]
    ) -> BadRecord:
        """What is reported of a file that is rejected for its bad rows, of which `reported` are the first few.

        `difference` says how its shape differs from the contract's as a whole, if it does.
        """
        return BadRecord(
            landed,
            None,
            "missing_column" if difference else "too_many_bad_rows",
            f"{bad} of {rows} rows are bad, more than {self.share:.0%}. "
            + (f"{difference} " if difference else "")
            + "".join(f"Line {record.line}: {record.code}: {record.reason} " for record in reported)
            + "Deliver the file again, or change the contract and replay.",
        )


@dataclass(frozen=True)
class SourceFile:
    """A landed object as a local file.

    `landed` is its identity, what the ledger knows and what orders versions; `place` is where its bytes lie, if that is
    another object (a copy in another zone, a member of an archive): an engine that reads objects where they lie reads
    that one. Files of one `file_set` are accepted together: when one is rejected, all are.

    `waiting` is set when the file holds records released from quarantine: the id and original line number of
    each record, in order. Such a file is never rejected, has no file_set, and its bad records stay where they are.
    """

    path: Path | None
    landed: LandedObject
    waiting: tuple[tuple[str, int | None], ...] = ()
    place: LandedObject | None = None
    file_set: str = ""


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
    `released` holds the quarantine ids of waiting records that passed this time. `header_skipped` says that a file
    whose dialect has no header began with one all the same, which is no row.
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
    header_skipped: bool = False


@dataclass(frozen=True)
class LakeFile:
    """A file of a lake table as it lies there: its key in the bucket, its partition, and a local copy."""

    key: str
    partition: str
    path: Path


@dataclass(frozen=True)
class WrittenLakeFile:
    """A file written for a lake table: in place of the one at `key`, or a new one when that is None."""

    key: str | None
    partition: str
    path: Path
    rows: int


@dataclass
class LakeTableChanges:
    """What becomes of the files of a lake table in one batch, in the order in which readers may see it.

    `partitions` are all that the batch has to do with. `removed` have no rows left, or none for the moment; `released`
    have let go of what moves to another file; `written` are as they shall be.
    """

    partitions: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    released: list[WrittenLakeFile] = field(default_factory=list)
    written: list[WrittenLakeFile] = field(default_factory=list)


class Written(Protocol):
    """A file that a session writes. Asking for its rows makes sure that it is there."""

    path: Path

    @property
    def rows(self) -> int: ...


class Session(Protocol):
    """One plan; temporary data lives as long as the session.

    An engine may put everything off until a result is asked for: the rows of something `Written`, outcomes, bad
    records, a lake's layout. So a job that takes a minute to start is started once or twice a batch.
    """

    def read(self, name: str, contract: Contract, files: Sequence[SourceFile]) -> None:
        """Type and validate the records of landed files; a file that breaks the contract whole is rejected.

        So are the other files of its file_set, those of other inputs too; these are read before any of them is settled.
        """

    def add_published(self, name: str, select: str) -> None:
        """Add rows that are published already (contract columns, `_SOURCE_*`, `_RESCUED`) to an input."""

    def table(self, name: str, path: Path) -> None:
        """Offer a Parquet file to SELECTs as it is."""

    def view(self, name: str, select: str) -> None:
        """Name the result of a Snowflake SELECT for those that follow."""

    def deduplicate(self, name: str, *, version: str = "", snapshot: bool = False) -> None:
        """Set rows with an unknown reference aside; of several versions of a key keep the newest.

        Newest by the column `version` if one is named (NULL is oldest), then by modification time, then uri; then new
        rows before known ones, and of new rows those of fresh files before those that waited, then by their place in
        the list of files and in the file. Without a key every row stays. Inputs that others refer to are settled first.

        With `snapshot` each accepted object (or file set) is a complete delivery: before versions
        are compared, rows of all but the newest delivery are superseded, of known rows too. Known rows stand for the
        published delivery, of which the newest `_SOURCE_MODIFIED_AT` and `_SOURCE_URI` count; other columns may be
        NULL. If it is newer than every new delivery, all new rows are superseded. If it is the same object, the new
        rows win when the object was read again; records of it that waited are added to the known rows.

        Raises:
            ContractError: the contract has no column `version`.
        """

    def every_version(self, name: str) -> str:
        """The name of a relation with every new record of an input that could be loaded; after `deduplicate`.

        Superseded records are in it; bad ones, those without their reference and known rows are not. It has the
        contract's columns, `_SOURCE_URI`, `_SOURCE_MODIFIED_AT`, `_RESCUED` and `_SOURCE_ETAG`, of the object that
        the record came in, also where it waited since.
        """

    def new_rows(self, name: str) -> int:
        """How many new rows an input has; after `deduplicate`. Counts the rows themselves, not the outcomes."""

    def write(self, select: str, path: Path, form: Literal["csv", "parquet"]) -> Written:
        """Write the rows of a Snowflake SELECT over the inputs to one file."""

    def count(self, select: str) -> int:
        """How many rows a Snowflake SELECT over the inputs has."""

    def write_lake_table(
        self,
        contract: Contract,
        existing: Callable[[Sequence[str]], Sequence[LakeFile]],
        folder: Path,
        target_bytes: int,
    ) -> LakeTableChanges:
        """Write the relation LAKE_ROWS_<TABLE> (the contract's columns) into files of a lake table, by partition.

        LAKE_REPLACED_<TABLE> (the column that keeps rows together, the partition) names everything that this batch
        writes or takes away, with each partition where it lies or shall lie; `existing` gives the files of those.
        Rows of a known key go back to the file where it was, others to a small file or a new one.
        """

    def outcomes(self, name: str) -> list[FileOutcome]:
        """What became of each file of an input; after `deduplicate`."""

    def bad_records(self, name: str) -> Iterator[BadRecord]:
        """Every bad record of the accepted files of an input; after `deduplicate`."""


class Engine(Protocol):
    """Opens sessions. `scratch` is a folder on the local disk that the caller removes.

    An engine that does not fetch reads landed objects where they lie; its source files have no path.
    """

    name: str
    fetches: bool

    def session(self, scratch: Path, policy: RejectPolicy) -> AbstractContextManager[Session]: ...
