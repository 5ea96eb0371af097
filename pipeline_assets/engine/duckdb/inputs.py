"""The state of one named input in the embedded engine: its files, their groups and their outcomes.

A group is a set of files that were read together into one table; (group, row id) identifies a row. The readers
(`csv_reader`, `json_reader`) form the groups; the session handles the rows after that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.validation import FLOATS
from pipeline_assets.engine.interface import BadRecord, FileOutcome, SourceFile
from pipeline_assets.errors import ConfigurationError, RejectedObjectError

if TYPE_CHECKING:
    import duckdb
    import numpy as np

# (group, row id) in one number identifies a row; a group holds fewer rows than this.
GROUP = 1 << 44
PUBLISHED = 1 << 18  # group number of published rows


@dataclass
class Group:
    """Files in one table with the contract's columns, `_FILE`, `_FAULT` (0 is malformed) and others by flag.

    `numbered` tables have their rows in file order, so that row ids count records; others have `_RECORD`.
    """

    number: int
    table: str
    files: range
    numbered: bool = True
    has_rescued: bool = False
    has_faults: bool = False

    def identity(self, alias: str = "") -> str:
        return f"{self.number * GROUP} + {alias}rowid"


class Reader(Protocol):
    """Reads the files of an input into groups, and finds the text of bad records."""

    def read(self, tables: InputTables, files: list[SourceFile]) -> None:
        """Add every file to the input, and the rows of readable files to a group."""

    def bad_records(self, tables: InputTables, index: int, broken: dict[str, np.ndarray]) -> Iterator[BadRecord]:
        """The bad records of a file from their numbers and the numbers of their rules."""

    def other_shape(self, tables: InputTables, index: int) -> str | None:
        """How a file full of bad records differs from the contract as a whole, or None when it does not."""


@dataclass
class InputTables:
    """One named input. Files and outcomes have the same index, the `_FILE` of a row."""

    name: str
    contract: Contract
    reader: Reader
    files: list[SourceFile] = field(default_factory=list)
    outcomes: list[FileOutcome] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)  # of each file in the list of all files, replay files first
    groups: list[Group] = field(default_factory=list)
    first_row: dict[int, int] = field(default_factory=dict)  # row id of the first record of a file in a numbered group
    malformed: dict[int, list[int]] = field(default_factory=dict)  # records that are in no table
    left_out: set[int] = field(default_factory=set)  # files whose rows are not used
    has_published: bool = False
    has_left_out_rows: bool = False
    is_deduplicated: bool = False
    newest_first: str = ""  # the order of the versions of a key, once it is deduplicated
    misfits: tuple[str, ...] = ()  # the reasons of the value check

    def enter(self, file: SourceFile, *, unknown: tuple[str, ...] = (), missing: tuple[str, ...] = ()) -> FileOutcome:
        outcome = FileOutcome(file.landed, waiting=bool(file.waiting), unknown_columns=unknown, missing_columns=missing)
        self.files.append(file)
        self.outcomes.append(outcome)
        return outcome

    def reject(self, file: SourceFile, rejection: RejectedObjectError) -> None:
        """Enter a file that cannot be read; replayed records stay in quarantine."""
        outcome = self.enter(file)
        if not file.waiting:
            outcome.rejection = BadRecord(file.landed, None, rejection.code, str(rejection))
            outcome.read = outcome.quarantined = rejection.rows

    def group_of(self, index: int) -> Group:
        return next(group for group in self.groups if index in group.files)


def counts_by_file(
    connection: duckdb.DuckDBPyConnection, group: Group, contract: Contract
) -> dict[int, tuple[int, int, int, int]]:
    """By file: records, bad records, the row id of the first one, and floats in good records."""
    floats = f"COALESCE(SUM({FLOATS}) FILTER (_FAULT IS NULL), 0)" if contract.floats else "0"
    counted = dict.fromkeys(group.files, (0, 0, 0, 0))
    for file, records, bad, first, good_floats in connection.execute(
        f"SELECT _FILE, COUNT(*), COUNT(_FAULT), MIN(rowid), {floats} FROM {group.table} GROUP BY _FILE"
    ).fetchall():
        counted[file] = (records, bad, first, int(good_floats))
    return counted


def numbers_in_file(kept: np.ndarray, malformed: np.ndarray) -> np.ndarray:
    """The numbers of records in their file, from numbers that do not count the malformed records."""
    import numpy as np

    return kept + np.searchsorted(malformed - np.arange(len(malformed)), kept, side="right")


def quoted(text: str) -> str:
    """A text as a SQL literal of DuckDB."""
    if "\0" in text:
        raise ConfigurationError("A name contains a NUL character.")
    return "'" + text.replace("'", "''") + "'"


def path_list(paths: list) -> str:
    """Paths as a SQL list; DuckDB reads every name as a pattern, so special characters are put in brackets."""
    return "[" + ", ".join(quoted("".join(f"[{c}]" if c in "*?[" else c for c in str(path))) for path in paths) + "]"
