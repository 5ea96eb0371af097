"""The interface that every engine implements.

A session is a short plan over named inputs: `read` landed files, `add_published` rows, `deduplicate` versions and check
references, then `write` the results of SELECTs. Each step is data (paths, a contract, one Snowflake statement), so an
engine may run it in process, or collect the steps and send them to a Spark or Glue job. To a SELECT an input has the
columns of its contract and `INPUT_COLUMNS`. The list in JSON records is a separate relation, named by `Contract.items`:
one row per element with the columns of its record and `_POSITION`, its position in the list from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pipeline_assets.contracts import Contract
from pipeline_assets.lake import LandedObject

# `_RESCUED` is JSON text of the columns that are not in the contract, or NULL. `_IS_NEW` is false for published rows.
# Only list elements have `_POSITION`.
INPUT_COLUMNS = ("_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_RESCUED", "_IS_NEW", "_POSITION")


@dataclass(frozen=True)
class RejectPolicy:
    """Reject a whole file when it has at least `minimum_rows` rows and more than `share` of them are bad."""

    share: float = 0.5
    minimum_rows: int = 20

    def rejects(self, rows: int, bad: int) -> bool:
        # Divide, do not multiply: 0.29 * 100 is 28.999999999999996.
        return rows >= self.minimum_rows and bad > 0 and bad / rows > self.share

    def rejection(
        self, landed: LandedObject, rows: int, bad: int, difference: str | None, reported: Iterable[BadRecord]
    ) -> BadRecord:
        """The rejection of a file for its bad rows, of which `reported` are the first few.

        `difference` describes how the shape of the whole file differs from the contract's, if it does.
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

    `landed` is its identity: the ledger records it, and it orders versions. `place` is the object that stores the bytes
    if that is another one (a copy in another zone, a member of an archive); engines that read objects in place read
    that one. Files of one `file_set` are accepted together: when one is rejected, all are.

    `waiting` is set when the file holds quarantined records that are replayed: the id and original line number of
    each record, in order. Such a file is never rejected, has no file_set, and its bad records stay in quarantine.
    """

    path: Path | None
    landed: LandedObject
    waiting: tuple[tuple[str, int | None], ...] = ()
    place: LandedObject | None = None
    file_set: str = ""


@dataclass(frozen=True)
class BadRecord:
    """A record that breaks its contract.

    `line` counts physical lines from 1, the header included, or the records of a Parquet file; it is None for a whole
    object. `raw` is the original text of the record, without its line end, or JSON of a typed record; `columns` is the
    header of its file, with the kinds of its values if they are typed.
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
    """The counts of one file's records; `read == loaded + superseded + quarantined` always.

    `rejection` is set when the whole file is rejected; all its rows then count as quarantined. `released` holds the
    quarantine ids of replayed records that are valid now. `header_skipped` is true when a file began with a header
    although its dialect declares none; that line is not counted as a row. `floats` counts the values of good records
    that are binary floats and were read as the decimals that they stand for.
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
    floats: int = 0


@dataclass(frozen=True)
class LakeFile:
    """A file of a lake table: its key in the bucket, its partition, and a local copy."""

    key: str
    partition: str
    path: Path


@dataclass(frozen=True)
class WrittenLakeFile:
    """A file written for a lake table: it replaces the file at `key`, or is a new one when `key` is None."""

    key: str | None
    partition: str
    path: Path
    rows: int


@dataclass
class LakeTableChanges:
    """The changes of one batch to the files of a lake table, in the order in which readers may see them.

    `partitions` are all partitions that the batch concerns. `removed` files have no rows left, or none until `written`
    is published; `released` files are written without the rows that move to another partition; `written` files are
    final.
    """

    partitions: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    released: list[WrittenLakeFile] = field(default_factory=list)
    written: list[WrittenLakeFile] = field(default_factory=list)


@dataclass(frozen=True)
class ValueCheck:
    """A SELECT of the rows of an input with a computed value that does not fit its column: `_ROW`, `_MISFIT`.

    It reads `checked(relation)` for the input and its list: their columns with `_ROW`, which identifies the record.
    `_MISFIT` is the number, from 1, of the reason in `reasons`. With `every_version` it reads superseded records too.
    """

    select: str
    reasons: tuple[str, ...]
    every_version: bool = False


def checked(relation: str) -> str:
    """The name of an input, or of its list, in the SELECT of a `ValueCheck`."""
    return f"{relation}__CHECKED"


class Written(Protocol):
    """A file that a session writes. Reading `rows` makes sure that the file exists."""

    @property
    def path(self) -> Path: ...

    @property
    def rows(self) -> int: ...


class Session(Protocol):
    """One plan; temporary data lives as long as the session.

    An engine may defer all steps until a result is needed: the rows of a `Written`, outcomes, bad records, the changes
    to a lake table. So a job that takes a minute to start is started once or twice a batch.
    """

    def read(self, name: str, contract: Contract, files: Sequence[SourceFile]) -> None:
        """Type and validate the records of landed files; reject each file that breaks the contract as a whole.

        The other files of its file_set are rejected too, also those of other inputs. Read all inputs with files of one
        file_set before the first of them is deduplicated.
        """

    def add_published(self, name: str, select: str) -> None:
        """Add published rows (contract columns, `_SOURCE_*`, `_RESCUED`) to an input."""

    def table(self, name: str, path: Path) -> None:
        """Make the rows of a Parquet file available to SELECTs."""

    def view(self, name: str, select: str) -> None:
        """Give the result of a Snowflake SELECT a name for later SELECTs."""

    def deduplicate(
        self, name: str, *, version: str = "", snapshot: bool = False, check: ValueCheck | None = None
    ) -> None:
        """Quarantine rows whose reference is missing; of several versions of a key keep the newest.

        Newest by the column `version` if one is named (NULL is oldest), then by modification time, then uri; then new
        rows before published ones, and of new rows those of landed files before replayed ones, then by their position
        in the list of files and in the file. Rows without a key are all kept. Deduplicate inputs that others refer to
        first.

        With `snapshot` each accepted object (or file set) is a complete delivery: before versions are compared, the
        rows of all but the newest delivery are superseded, published rows too. Published rows represent the published
        delivery: only the newest `_SOURCE_MODIFIED_AT` and `_SOURCE_URI` of them count, other columns may be NULL. If
        it is newer than every new delivery, all new rows are superseded. If it is the same object, the new rows win
        when the object was read again; replayed records of it are added to the published rows.

        Rows that `check` finds are quarantined, and versions are compared again without them, until it finds none. A
        published row that it finds is left as it is published.

        Raises:
            ContractError: the contract has no column `version`.
        """

    def every_version(self, name: str, *, last_of_object: bool = False) -> str:
        """The name of a relation with every valid new record of an input; after `deduplicate`.

        With `last_of_object`, of several records of one key in one object only the newest: in the order of
        `deduplicate`, so without a column `version` the last in the file.

        It contains superseded records, but not bad ones, those without their reference, or published rows. Its columns
        are the contract's, `_SOURCE_URI`, `_SOURCE_MODIFIED_AT`, `_RESCUED` and `_SOURCE_ETAG`; for a replayed record
        these describe the object in which it arrived.
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
        """Write the relation LAKE_ROWS_<NAME> (the contract's columns) into files of a lake table, by partition.

        LAKE_REPLACED_<NAME> (the column that keeps rows together, the partition) names every key that this batch
        writes or removes, with each partition that has its rows before or after; `existing` returns the files of such
        partitions. Rows of a key that is in a file already go back to that file, others to a small file or a new one.
        """

    def outcomes(self, name: str) -> list[FileOutcome]:
        """The outcome of each file of an input; after `deduplicate`."""

    def bad_records(self, name: str) -> Iterator[BadRecord]:
        """Every bad record of the accepted files of an input; after `deduplicate`."""


class Engine(Protocol):
    """Opens sessions. `scratch` is a folder on the local disk that the caller removes.

    An engine with `fetches` False reads landed objects in place; its source files have no path.
    """

    name: str
    fetches: bool

    def session(self, scratch: Path, policy: RejectPolicy) -> AbstractContextManager[Session]: ...
