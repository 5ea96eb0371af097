"""The embedded engine: DuckDB in process, spilling to the session's scratch folder.

Regular files are read in parallel and in one pass into one table per group of files with the same header; the
table's row ids then count the records, so line numbers cost nothing until a record turns out to be bad. DuckDB is
shown regular files only, without the records that `survey` found malformed, and has to count as many records: of
others it loses or alters some without a word (an open quote at the end of one of many files, blanks around quotes).
The others go through `tolerant_records` first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.validation import rules
from pipeline_assets.engine.delimited import (
    Dialect,
    Survey,
    choose,
    leave_out,
    locate,
    parse_record,
    sniff,
    survey,
    tolerant_records,
    unpacked,
)
from pipeline_assets.engine.interface import BadRecord, FileOutcome, RejectPolicy, SourceFile
from pipeline_assets.engine.reading import Columns, explain, match_columns, validation_select
from pipeline_assets.errors import ConfigurationError, RejectedObjectError
from pipeline_assets.lake.objects import as_utc_naive
from pipeline_assets.sqlfiles import transpile

if TYPE_CHECKING:
    import duckdb
    import numpy as np

# A row is known by (group, row id) in one number; a group holds fewer rows than this.
_GROUP = 1 << 44
_KNOWN = 1 << 18  # group number of known rows
_SLICE = 50_000  # rows written at a time


class DuckDBEngine:
    """Opens DuckDB sessions. `threads` of 0 means every core."""

    name = "duckdb"

    def __init__(self, *, memory_limit: str = "4GB", threads: int = 0) -> None:
        self.memory_limit = memory_limit
        self.threads = threads

    @contextmanager
    def session(self, scratch: Path, policy: RejectPolicy) -> Iterator[DuckDBSession]:
        """Open a session; its temporary files are in `scratch`."""
        import duckdb

        scratch.mkdir(parents=True, exist_ok=True)
        config: dict = {"memory_limit": self.memory_limit, "temp_directory": str(scratch / "spill")}
        if self.threads:
            config["threads"] = self.threads
        connection = duckdb.connect(":memory:", config=config)
        try:
            yield DuckDBSession(connection, scratch, policy)
        finally:
            connection.close()


class _MiscountError(Exception):
    """DuckDB found other records in a file than lie in it."""


@dataclass(frozen=True)
class _Member:
    """A file that can be read: unpacked on the local disk, with its header and, when it is regular, its survey.

    `scanned` is what DuckDB is shown of it: the file, or a copy without its malformed records.
    """

    source: SourceFile
    path: Path
    scanned: Path
    dialect: Dialect
    survey: Survey | None

    @property
    def shape(self) -> tuple[tuple[str, ...], str | None, bool]:
        """Files of one shape are read together; the line end is None for those that DuckDB is not shown."""
        if self.survey is None:
            return self.dialect.header, None, False
        return self.dialect.header, self.dialect.newline, self.survey.tidy


@dataclass
class _Group:
    """Files with one header in one table."""

    number: int
    table: str
    columns: Columns
    regular: bool
    files: range
    has_faults: bool = False

    def identity(self, alias: str = "") -> str:
        return f"{self.number * _GROUP} + {alias}rowid"


@dataclass
class _Input:
    """One named input. Files, outcomes and members have the same index, the `_FILE` of a row."""

    name: str
    contract: Contract
    files: list[SourceFile] = field(default_factory=list)
    outcomes: list[FileOutcome] = field(default_factory=list)
    members: list[_Member | None] = field(default_factory=list)
    groups: list[_Group] = field(default_factory=list)
    first_row: dict[int, int] = field(default_factory=dict)  # row id of the first record of a file in a regular group
    malformed: dict[int, list[int]] = field(default_factory=dict)  # records that are in no table
    left_out: set[int] = field(default_factory=set)  # files of whose rows none is used
    has_known: bool = False
    has_aside: bool = False

    def enter(self, file: SourceFile, member: _Member | None = None, columns: Columns | None = None) -> FileOutcome:
        outcome = FileOutcome(file.landed, waiting=bool(file.waiting))
        if columns is not None:
            outcome.unknown_columns, outcome.missing_columns = columns.unknown, columns.missing
        self.files.append(file)
        self.outcomes.append(outcome)
        self.members.append(member)
        return outcome


class DuckDBSession:
    """See `pipeline_assets.engine.interface.Session`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path, policy: RejectPolicy) -> None:
        self._connection = connection
        self._scratch = scratch
        self._policy = policy
        self._inputs: dict[str, _Input] = {}

    # --- reading -------------------------------------------------------------------------------------------

    def read(self, name: str, contract: Contract, files: Sequence[SourceFile]) -> None:
        entry = self._inputs[name] = _Input(name, contract)
        by_shape: dict[tuple, list[_Member]] = defaultdict(list)
        for number, file in enumerate(files):
            try:
                member = _open(file, self._scratch / f"{name}-{number}.csv", contract)
                by_shape[member.shape].append(member)
            except RejectedObjectError as rejection:
                entry.enter(file).rejection = BadRecord(file.landed, None, rejection.code, str(rejection))
        for (header, newline, _), members in by_shape.items():
            if not header:
                for member in members:
                    entry.enter(member.source)
            elif newline is None:
                self._read_tolerantly(entry, members)
            else:
                self._read_regular(entry, members)
        self._reject(entry)
        self._set_lists(entry)
        self._show(entry)

    def _read_regular(self, entry: _Input, members: list[_Member]) -> None:
        """Read a group at once; when DuckDB refuses it, halve it until the files that it refuses stand alone."""
        import duckdb

        try:
            scan = _read_csv([member.scanned for member in members], members[0].dialect)
            self._add_group(
                entry, members, f"SELECT *, CAST(file_index + {len(entry.files)} AS INTEGER) AS _FILE FROM {scan}"
            )
        except (_MiscountError, duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException):
            if len(members) == 1:
                self._read_tolerantly(entry, members)
            else:
                half = len(members) // 2
                self._read_regular(entry, members[:half])
                self._read_regular(entry, members[half:])

    def _read_tolerantly(self, entry: _Input, members: list[_Member]) -> None:
        first = len(entry.files)
        path = self._scratch / f"{entry.name}-irregular-{first}.parquet"
        malformed = _write_fields(members, first, path)
        self._add_group(entry, members, f"SELECT * FROM read_parquet({_quoted(str(path))})", malformed)

    def _add_group(
        self, entry: _Input, members: Sequence[_Member], raw: str, malformed: dict[int, list[int]] | None = None
    ) -> None:
        """Validate the records of RAW into a table and count them."""
        columns = match_columns(entry.contract, members[0].dialect.header)
        regular = malformed is None
        files = range(len(entry.files), len(entry.files) + len(members))
        group = _Group(len(entry.groups), f"{entry.name}__{len(entry.groups)}", columns, regular, files)
        extra = ["_FILE"] + ["_RESCUED"] * bool(columns.unknown) + ["_RECORD"] * (not regular)
        tidy = members[0].survey is not None and members[0].survey.tidy
        select = transpile(validation_select(entry.contract, columns, extra, tidy=tidy), "duckdb")
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {group.table} AS "
            f"WITH RAW AS (SELECT *, {_rescued(columns)} AS _RESCUED FROM ({raw})) {select}"
        )
        counted = dict.fromkeys(files, (0, 0, 0))
        for file, *counts in self._connection.execute(
            f"SELECT _FILE, COUNT(*), COUNT(_FAULT), MIN(rowid) FROM {group.table} GROUP BY _FILE"
        ).fetchall():
            counted[file] = counts
        expected = [member.survey.records if member.survey else None for member in members]
        if regular and [counted[file][0] for file in files] != expected:
            raise _MiscountError
        entry.groups.append(group)
        if regular:
            malformed = {f: list(m.survey.malformed) for f, m in zip(files, members, strict=True) if m.survey}
        entry.malformed |= malformed or {}
        for member, (file, (rows, bad, first_row)) in zip(members, counted.items(), strict=True):
            outcome = entry.enter(member.source, member, columns)
            broken = len(entry.malformed.get(file, ()))
            outcome.read, outcome.quarantined = rows + broken, bad + broken
            entry.first_row[file] = first_row
            group.has_faults = group.has_faults or bad > 0

    def _reject(self, entry: _Input) -> None:
        """Leave the rows of files out that are bad as a whole."""
        rejected = []
        for index, (file, outcome) in enumerate(zip(entry.files, entry.outcomes, strict=True)):
            if file.waiting and outcome.read != len(file.waiting):
                # One record swallowed others, so ids and records do not belong together: all of them keep waiting.
                outcome.read = outcome.quarantined = len(file.waiting)
                entry.left_out.add(index)
            elif not file.waiting and self._policy.rejects(outcome.read, outcome.quarantined):
                rejected.append(index)
        for index, broken in self._broken(entry, rejected):
            outcome = entry.outcomes[index]
            told = islice(self._broken_records(entry, index, broken), 3)
            outcome.rejection = BadRecord(
                outcome.landed,
                None,
                "too_many_bad_rows",
                f"{outcome.quarantined} of {outcome.read} rows are bad, more than {self._policy.share:.0%}. "
                + "".join(f"Line {bad.line}: {bad.code}: {bad.reason} " for bad in told)
                + "Deliver the file again, or change the contract and replay.",
            )
        for index in rejected:
            entry.outcomes[index].quarantined = entry.outcomes[index].read
            entry.left_out.add(index)

    def _set_lists(self, entry: _Input) -> None:
        self._connection.execute(
            f"SET VARIABLE {entry.name}__uris = ?::VARCHAR[]", [[file.landed.uri for file in entry.files]]
        )
        self._connection.execute(
            f"SET VARIABLE {entry.name}__modified = ?::TIMESTAMP[]",
            [[as_utc_naive(file.landed.modified) for file in entry.files]],
        )

    # --- known rows, versions, references -------------------------------------------------------------------

    def known(self, name: str, path: Path) -> None:
        entry = self._inputs[name]
        columns = ", ".join(entry.contract.column_names)
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name}__known AS "
            f"SELECT {columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT, _RESCUED FROM read_parquet({_quoted(str(path))})"
        )
        entry.has_known = bool(self._scalar(f"SELECT COUNT(*) FROM {name}__known"))
        self._show(entry)

    def table(self, name: str, path: Path) -> None:
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT * FROM read_parquet({_quoted(str(path))})"
        )

    def view(self, name: str, select: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {transpile(select, 'duckdb')}")

    def settle(self, name: str) -> None:
        entry = self._inputs[name]
        # _RULE is negative for an orphan, by the number of its reference, and NULL for a superseded row.
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name}__aside (_ID BIGINT, _FILE INTEGER, _RULE INTEGER)"
        )
        self._set_orphans_aside(entry)
        self._keep_newest(entry)
        for outcome in entry.outcomes:
            outcome.loaded = outcome.read - outcome.quarantined - outcome.superseded
        self._note_released(entry)

    def _set_orphans_aside(self, entry: _Input) -> None:
        referring = [column for column in entry.contract.columns if column.reference]
        for number, column in enumerate(referring, 1):
            assert column.reference is not None
            self._set_aside(
                entry,
                f"SELECT _ID, _FILE, -{number} FROM ({self._rows(entry)}) AS b "
                f"WHERE _IS_NEW AND b.{column.name} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "
                f"{column.reference.dataset} AS r WHERE r.{column.reference.column} = b.{column.name})",
            )
        for file, orphans in self._connection.execute(
            f"SELECT _FILE, COUNT(*) FROM {entry.name}__aside GROUP BY _FILE"
        ).fetchall():
            entry.outcomes[file].quarantined += orphans

    def _keep_newest(self, entry: _Input) -> None:
        """Of several versions of a key keep the newest; cheap when there are none, the common case."""
        key = ", ".join(entry.contract.key)
        if not key:
            return
        rows, keys = self._connection.execute(
            f"SELECT COUNT(*), COUNT(DISTINCT HASH({key})) FROM {entry.name}"
        ).fetchone()  # type: ignore[misc]
        if rows == keys:
            return
        self._set_aside(
            entry,
            f"SELECT _ID, _FILE, NULL FROM ({self._rows(entry)}) "
            f"SEMI JOIN (SELECT {key} FROM {entry.name} GROUP BY {key} HAVING COUNT(*) > 1) USING ({key}) "
            # Of one object processed twice the fresh rows win, so that reprocessing replaces what it reads.
            f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY _SOURCE_MODIFIED_AT DESC, _SOURCE_URI DESC, "
            f"_IS_NEW DESC, _ID DESC) > 1",
        )
        for file, losers in self._connection.execute(
            f"SELECT _FILE, COUNT(*) FROM {entry.name}__aside WHERE _RULE IS NULL AND _FILE IS NOT NULL GROUP BY _FILE"
        ).fetchall():
            entry.outcomes[file].superseded += losers

    def _set_aside(self, entry: _Input, select: str) -> None:
        """Take the rows of a SELECT (_ID, _FILE, _RULE) out of an input."""
        (rows,) = self._connection.execute(f"INSERT INTO {entry.name}__aside {select}").fetchone()  # type: ignore[misc]
        if rows:
            entry.has_aside = True
            self._show(entry)

    def _rows(self, entry: _Input) -> str:
        """The good rows of an input that are not set aside, with their identity, known ones included."""
        columns = ", ".join(entry.contract.column_names)
        parts = []
        for group in entry.groups:
            left_out = sorted(entry.left_out.intersection(group.files))
            conditions = ["_FAULT IS NULL"] * group.has_faults
            conditions += [f"_FILE NOT IN ({', '.join(map(str, left_out))})"] if left_out else []
            parts.append(
                f"SELECT {columns}, list_extract(getvariable('{entry.name}__uris'), _FILE + 1) AS _SOURCE_URI, "
                f"list_extract(getvariable('{entry.name}__modified'), _FILE + 1) AS _SOURCE_MODIFIED_AT, "
                f"{'_RESCUED' if group.columns.unknown else 'NULL::VARCHAR AS _RESCUED'}, "
                f"TRUE AS _IS_NEW, {group.identity()} AS _ID, _FILE FROM {group.table}"
                + (f" WHERE {' AND '.join(conditions)}" if conditions else "")
            )
        if entry.has_known:
            parts.append(
                f"SELECT {columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT, _RESCUED, FALSE AS _IS_NEW, "
                f"{_KNOWN * _GROUP} + rowid AS _ID, NULL::INTEGER AS _FILE FROM {entry.name}__known"
            )
        if not parts:
            empty = transpile(
                "SELECT " + ", ".join(f"CAST(NULL AS {c.physical_type}) AS {c.name}" for c in entry.contract.columns),
                "duckdb",
            )
            parts.append(
                f"{empty}, NULL::VARCHAR AS _SOURCE_URI, NULL::TIMESTAMP AS _SOURCE_MODIFIED_AT, NULL::VARCHAR "
                f"AS _RESCUED, NULL::BOOLEAN AS _IS_NEW, NULL::BIGINT AS _ID, NULL::INTEGER AS _FILE WHERE FALSE"
            )
        rows = " UNION ALL ".join(parts)
        return f"SELECT * FROM ({rows}) ANTI JOIN {entry.name}__aside USING (_ID)" if entry.has_aside else rows

    def _show(self, entry: _Input) -> None:
        """(Re)define the relation that SELECTs see."""
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {entry.name} AS SELECT * EXCLUDE (_ID, _FILE) FROM ({self._rows(entry)})"
        )

    def _note_released(self, entry: _Input) -> None:
        waiting = [index for index, file in enumerate(entry.files) if file.waiting and index not in entry.left_out]
        still = {index: set(broken["record"].tolist()) for index, broken in self._broken(entry, waiting)}
        for index in waiting:
            entry.outcomes[index].released = tuple(
                quarantine_id
                for record, (quarantine_id, _) in enumerate(entry.files[index].waiting)
                if record not in still.get(index, ())
            )

    # --- results -------------------------------------------------------------------------------------------

    def write(self, select: str, path: Path, form: Literal["csv", "parquet"]) -> int:
        options = "FORMAT csv, HEADER" if form == "csv" else "FORMAT parquet, COMPRESSION zstd"
        # Only reading counts on the order of rows; keeping it costs a third of the time here.
        self._connection.execute("SET preserve_insertion_order = false")
        try:
            return self._scalar(f"COPY ({transpile(select, 'duckdb')}) TO {_quoted(str(path))} ({options})")
        finally:
            self._connection.execute("SET preserve_insertion_order = true")

    def count(self, select: str) -> int:
        return self._scalar(f"SELECT COUNT(*) FROM ({transpile(select, 'duckdb')})")

    def outcomes(self, name: str) -> list[FileOutcome]:
        return self._inputs[name].outcomes

    def bad_records(self, name: str) -> Iterator[BadRecord]:
        entry = self._inputs[name]
        yield from (outcome.rejection for outcome in entry.outcomes if outcome.rejection is not None)
        told = [i for i, outcome in enumerate(entry.outcomes) if outcome.quarantined and i not in entry.left_out]
        for index, broken in self._broken(entry, told):
            yield from self._broken_records(entry, index, broken)

    def _broken(self, entry: _Input, indexes: Sequence[int]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """For each of some files its bad records, ascending, and their rules: 0 is malformed, negative an orphan's."""
        import numpy as np

        for group in entry.groups:
            files = sorted(set(indexes).intersection(group.files))
            if not files:
                continue
            record = "t.rowid" if group.regular else "t._RECORD"
            found = self._connection.execute(
                f"SELECT t._FILE, {record} AS record, rule FROM {group.table} AS t "
                f"JOIN (SELECT {group.identity()} AS _ID, _FAULT AS rule FROM {group.table} WHERE _FAULT IS NOT NULL"
                + (f" UNION ALL SELECT _ID, _RULE FROM {entry.name}__aside WHERE _RULE < 0" if entry.has_aside else "")
                + f") AS b ON b._ID = {group.identity('t.')} WHERE t._FILE IN ({', '.join(map(str, files))})"
            ).fetchnumpy()
            for file in files:
                mine = found["_FILE"] == file
                malformed = np.asarray(entry.malformed.get(file, ()), dtype=np.int64)
                records = found["record"][mine]
                if group.regular:
                    records = _numbers_in_file(records - entry.first_row[file], malformed)
                records = np.concatenate((records, malformed))
                rules_broken = np.concatenate((found["rule"][mine], np.zeros_like(malformed)))
                order = np.argsort(records)
                yield file, {"record": records[order], "rule": rules_broken[order]}

    def _broken_records(self, entry: _Input, index: int, broken: dict[str, np.ndarray]) -> Iterator[BadRecord]:
        member, file = entry.members[index], entry.files[index]
        assert member is not None
        columns = match_columns(entry.contract, member.dialect.header)
        regular = next(group.regular for group in entry.groups if index in group.files)
        records = broken["record"].tolist()
        texts = locate(member.path, records) if regular else choose(member.path, member.dialect, records)
        for number, rule, (line, raw, fault) in zip(records, broken["rule"].tolist(), texts, strict=True):
            code, reason = _why(entry.contract, columns, rule, raw, fault)
            waiting_id, waiting_line = file.waiting[number] if file.waiting else (None, line)
            yield BadRecord(file.landed, waiting_line, code, reason, raw, member.dialect.header, waiting_id)

    def _scalar(self, sql: str) -> int:
        row = self._connection.execute(sql).fetchone()
        return row[0] if row else 0


def _open(file: SourceFile, target: Path, contract: Contract) -> _Member:
    """Unpack, sniff and survey one file.

    Raises:
        RejectedObjectError: it cannot be read, or a required column is missing.
    """
    path = unpacked(file.path, target)
    dialect = sniff(path)
    if dialect.header:
        match_columns(contract, dialect.header)
    surveyed = survey(path, dialect) if dialect.newline else None
    scanned = path
    if surveyed and surveyed.malformed:
        scanned = leave_out(path, surveyed.malformed, target.with_suffix(".kept.csv"))
    return _Member(file, path, scanned, dialect, surveyed)


def _numbers_in_file(kept: np.ndarray, malformed: np.ndarray) -> np.ndarray:
    """The record numbers in the file of rows that were counted without its malformed records."""
    import numpy as np

    return kept + np.searchsorted(malformed - np.arange(len(malformed)), kept, side="right")


def _read_csv(paths: Sequence[Path], dialect: Dialect) -> str:
    """A scan of regular files: every option is said, nothing is guessed from the data.

    Except the line end: DuckDB 2.0.0 returns no row and no error when `new_line` is given and differs, and also
    when it is given as a carriage return and line feed. Left to itself it refuses files that mix them.

    No text stands for NULL: a surplus field that is NULL would be dropped without a word, and with it a comma
    that shifted the fields before. A line end outside quotes cannot be a value.
    """
    names = ", ".join(f"'C{index}': 'VARCHAR'" for index in range(len(dialect.header)))
    listed = ", ".join(_quoted(_unglobbed(path)) for path in paths)
    return (
        f"read_csv([{listed}], auto_detect=false, header=true, delim=',', quote='\"', escape='\"', "
        f"strict_mode=true, ignore_errors=false, nullstr=E'\\n', allow_quoted_nulls=false, columns={{{names}}}, "
        "compression='none')"
    )


def _rescued(columns: Columns) -> str:
    """Columns that the contract does not know, as a JSON object without its nulls, or NULL."""
    pairs = ", ".join(
        f"{_quoted(name)}, NULLIF(C{index}, '')"
        for name, index in zip(columns.unknown, columns.unknown_positions, strict=True)
    )
    if not pairs:
        return "NULL::VARCHAR"
    return f"NULLIF(json_merge_patch('{{}}', json_object({pairs}))::VARCHAR, '{{}}')"


def _write_fields(members: Sequence[_Member], first: int, target: Path) -> dict[int, list[int]]:
    """Write the well-formed records of files as Parquet (C0, C1, …, _FILE from `first`, _RECORD).

    Returns the numbers of the malformed records by file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"C{index}" for index in range(len(members[0].dialect.header))]
    schema = pa.schema([(name, pa.string()) for name in names] + [("_FILE", pa.int32()), ("_RECORD", pa.int64())])
    malformed: dict[int, list[int]] = {}

    def rows() -> Iterator[tuple]:
        for file, member in enumerate(members, first):
            broken = malformed[file] = []
            for record in tolerant_records(member.path, member.dialect):
                if record.fields is None:
                    broken.append(record.number)
                else:
                    yield (*record.fields, file, record.number)

    with pq.ParquetWriter(target, schema) as writer:
        for slice_ in _slices(rows()):
            columns = zip(*slice_, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return malformed


def _slices(rows: Iterable[tuple]) -> Iterator[list[tuple]]:
    rows = iter(rows)
    while slice_ := list(islice(rows, _SLICE)):
        yield slice_


def _why(contract: Contract, columns: Columns, rule: int, raw: str, fault: str) -> tuple[str, str]:
    if rule == 0:
        width = len(columns.positions) + len(columns.unknown)
        fault = fault or f"{width} fields were expected, {len(parse_record(raw))} found"
        return "malformed_record", f"{fault}."
    if rule < 0:
        column = [column for column in contract.columns if column.reference][-1 - rule]
        assert column.reference is not None
        found = parse_record(raw)[columns.positions[column.name]].strip()
        return (
            column.reference.reason_code,
            f'{column.name}: no {column.reference.dataset} row has "{found}" yet.',
        )
    broken = rules(contract)[rule - 1]
    position = columns.positions.get(broken.column)
    return broken.code, explain(broken, contract, parse_record(raw)[position] if position is not None else None)


def _quoted(text: str) -> str:
    if "\0" in text:
        raise ConfigurationError("A name contains a NUL character.")
    return "'" + text.replace("'", "''") + "'"


def _unglobbed(path: Path) -> str:
    """DuckDB takes every name for a pattern; a bracket stands for itself only in brackets."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in str(path))
