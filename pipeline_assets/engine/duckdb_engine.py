"""The embedded engine: DuckDB in process, spilling to the session's scratch folder.

Regular files are read in parallel and in one pass into one table per group of files with the same header; the
table's row ids then count the records, so line numbers cost nothing until a record turns out to be bad. Files
that are not regular go through `tolerant_records` first. DuckDB's own leniency (`ignore_errors`,
`strict_mode=false`) is never used: it drops surplus fields without a word.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.validation import rules
from pipeline_assets.engine.delimited import (
    Dialect,
    choose,
    locate,
    parse_record,
    sniff,
    tolerant_records,
)
from pipeline_assets.engine.interface import BadRecord, FileOutcome, RejectPolicy, SourceFile
from pipeline_assets.engine.reading import Columns, explain, match_columns, validation_select
from pipeline_assets.errors import ConfigurationError, RejectedObjectError
from pipeline_assets.lake.objects import as_utc_naive
from pipeline_assets.sqlfiles import transpile

if TYPE_CHECKING:
    import duckdb

# A row is known by (group, row id) in one number; a group holds fewer rows than this.
_GROUP = 1 << 44
_KNOWN = 1 << 18  # group number of known rows


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


class _SilentReadError(Exception):
    """The fast reader returned nothing for a file that has records."""


@dataclass
class _Group:
    """Files with one header in one table. `record` is the expression that numbers the records of a file."""

    number: int
    table: str
    dialects: list[Dialect]
    columns: Columns
    regular: bool

    def identity(self) -> str:
        return f"({self.number * _GROUP} + rowid)"


@dataclass
class _Input:
    name: str
    contract: Contract
    files: list[SourceFile] = field(default_factory=list)
    outcomes: list[FileOutcome] = field(default_factory=list)
    groups: list[_Group] = field(default_factory=list)
    group_of: list[_Group | None] = field(default_factory=list)
    bases: dict[int, int] = field(default_factory=dict)
    malformed: list[tuple[int, int]] = field(default_factory=list)  # (file, record)
    has_known: bool = False
    has_orphans: bool = False
    settled: bool = False


class DuckDBSession:
    """See `pipeline_assets.engine.interface.Session`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path, policy: RejectPolicy) -> None:
        self._connection = connection
        self._scratch = scratch
        self._policy = policy
        self._inputs: dict[str, _Input] = {}
        self._irregular = 0

    # --- reading -------------------------------------------------------------------------------------------

    def read(self, name: str, contract: Contract, files: Sequence[SourceFile]) -> None:
        entry = self._inputs[name] = _Input(name, contract)
        by_shape: dict[tuple, list[tuple[SourceFile, Dialect]]] = defaultdict(list)
        for file in files:
            try:
                dialect = sniff(file.path)
                if dialect.header:
                    match_columns(contract, dialect.header)
                by_shape[(dialect.header, dialect.compressed, dialect.newline)].append((file, dialect))
            except RejectedObjectError as rejection:
                _refuse(entry, file, rejection)
        for (header, _, newline), members in by_shape.items():
            if not header:
                for file, _ in members:
                    _enter(entry, file, None)
            elif newline is None:
                self._read_tolerantly(entry, members)
            else:
                self._read_regular(entry, members)
        self._count(entry)
        self._reject(entry)
        self._set_lists(entry)
        self._show(entry)

    def _read_regular(self, entry: _Input, members: list[tuple[SourceFile, Dialect]]) -> None:
        """Read a group at once; when DuckDB refuses it, halve it until the irregular files stand alone."""
        import duckdb

        dialect = members[0][1]
        columns = match_columns(entry.contract, dialect.header)
        group = _Group(len(entry.groups), f"{entry.name}__{len(entry.groups)}", [], columns, regular=True)
        source = _read_csv([file.path for file, _ in members], dialect)
        raw = f"SELECT *, CAST(file_index + {len(entry.files)} AS BIGINT) AS _FILE, {_rescued(columns)} AS _RESCUED FROM {source}"
        try:
            self._create(entry, group, raw)
            self._refuse_silence(group, members)
        except (
            _SilentReadError,
            duckdb.InvalidInputException,
            duckdb.ConversionException,
            duckdb.IOException,
        ):
            self._connection.execute(f"DROP TABLE IF EXISTS {group.table}")
            if len(members) == 1:
                self._read_tolerantly(entry, members)
            else:
                half = len(members) // 2
                self._read_regular(entry, members[:half])
                self._read_regular(entry, members[half:])
            return
        entry.groups.append(group)
        for file, member in members:
            _enter(entry, file, group)
            group.dialects.append(member)

    def _refuse_silence(self, group: _Group, members: list[tuple[SourceFile, Dialect]]) -> None:
        """A file with records of which none was read was not understood, whatever the reader says."""
        read = {file for (file,) in self._connection.execute(f"SELECT DISTINCT _FILE FROM {group.table}").fetchall()}
        if len(read) != sum(dialect.has_records for _, dialect in members):
            raise _SilentReadError

    def _read_tolerantly(self, entry: _Input, members: list[tuple[SourceFile, Dialect]]) -> None:
        for file, dialect in members:
            self._irregular += 1
            path = self._scratch / f"irregular-{self._irregular}.parquet"
            try:
                malformed = _write_fields(file.path, dialect, path)
            except RejectedObjectError as rejection:
                _refuse(entry, file, rejection)
                continue
            columns = match_columns(entry.contract, dialect.header)
            group = _Group(len(entry.groups), f"{entry.name}__{len(entry.groups)}", [dialect], columns, regular=False)
            raw = (
                f"SELECT *, CAST({len(entry.files)} AS BIGINT) AS _FILE, {_rescued(columns)} AS _RESCUED "
                f"FROM read_parquet({_quoted(str(path))})"
            )
            self._create(entry, group, raw)
            entry.groups.append(group)
            entry.malformed.extend((len(entry.files), record) for record in malformed)
            _enter(entry, file, group)

    def _create(self, entry: _Input, group: _Group, raw: str) -> None:
        extra = ["_FILE", "_RESCUED"] if group.regular else ["_FILE", "_RESCUED", "_RECORD"]
        select = transpile(validation_select(entry.contract, group.columns, extra), "duckdb")
        self._connection.execute(f"CREATE TEMP TABLE {group.table} AS WITH RAW AS ({raw}) {select}")

    def _count(self, entry: _Input) -> None:
        for group in entry.groups:
            for file, rows, bad, first in self._connection.execute(
                f"SELECT _FILE, COUNT(*), COUNT(_FAULT), MIN(rowid) FROM {group.table} GROUP BY _FILE"
            ).fetchall():
                outcome = entry.outcomes[file]
                outcome.read, outcome.quarantined = rows, bad
                entry.bases[file] = first
        for file, _ in entry.malformed:
            entry.outcomes[file].read += 1
            entry.outcomes[file].quarantined += 1

    def _reject(self, entry: _Input) -> None:
        for index, outcome in enumerate(entry.outcomes):
            group = entry.group_of[index]
            if group is None or outcome.waiting or not self._policy.rejects(outcome.read, outcome.quarantined):
                continue
            examples = [bad for _, bad in zip(range(3), self._broken_records(entry, index), strict=False)]
            told = " ".join(f"Line {bad.line}: {bad.code}: {bad.reason}" for bad in examples)
            outcome.rejection = BadRecord(
                outcome.landed,
                None,
                "too_many_bad_rows",
                f"{outcome.quarantined} of {outcome.read} rows are bad, more than {self._policy.share:.0%}. {told} "
                "Deliver the file again, or change the contract and replay.",
            )
            outcome.quarantined = outcome.read
            self._connection.execute(f"DELETE FROM {group.table} WHERE _FILE = {index}")
            entry.malformed = [(file, record) for file, record in entry.malformed if file != index]

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
            f"CREATE OR REPLACE TEMP TABLE {name}__known AS SELECT {columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT "
            f"FROM read_parquet({_quoted(str(path))})"
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
        self._set_orphans_aside(entry)
        self._keep_newest(entry)
        entry.settled = True
        for outcome in entry.outcomes:
            outcome.loaded = outcome.read - outcome.quarantined - outcome.superseded
        self._note_released(entry)

    def _set_orphans_aside(self, entry: _Input) -> None:
        referring = [column for column in entry.contract.columns if column.reference]
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {entry.name}__orphans (_ID BIGINT, _FILE BIGINT, _RULE INTEGER)"
        )
        for number, column in enumerate(referring):
            assert column.reference is not None
            self._connection.execute(
                f"INSERT INTO {entry.name}__orphans SELECT _ID, _FILE, {number} FROM ({self._rows(entry)}) AS b "
                f"WHERE _IS_NEW AND b.{column.name} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "
                f"{column.reference.dataset} AS r WHERE r.{column.reference.column} = b.{column.name}) "
                f"AND _ID NOT IN (SELECT _ID FROM {entry.name}__orphans)"
            )
        counts = self._connection.execute(
            f"SELECT _FILE, COUNT(*) FROM {entry.name}__orphans GROUP BY _FILE"
        ).fetchall()
        for file, orphans in counts:
            entry.outcomes[file].quarantined += orphans
        entry.has_orphans = bool(counts)
        if counts:
            self._show(entry, f"{entry.name}__orphans")

    def _keep_newest(self, entry: _Input) -> None:
        """Of several versions of a key keep the newest; cheap when there are none, the common case."""
        key = entry.contract.key
        rows, keys = self._connection.execute(
            f"SELECT COUNT(*), COUNT(DISTINCT HASH({', '.join(key)})) FROM {entry.name}"
        ).fetchone()  # type: ignore[misc]
        if rows == keys:
            return
        several = f"SELECT {', '.join(key)} FROM {entry.name} GROUP BY {', '.join(key)} HAVING COUNT(*) > 1"
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {entry.name}__losers AS SELECT _ID, _FILE FROM ("
            f"SELECT _ID, _FILE, ROW_NUMBER() OVER (PARTITION BY {', '.join(key)} ORDER BY _SOURCE_MODIFIED_AT DESC, "
            # Of one object processed twice the fresh rows win, so that reprocessing replaces what it reads.
            f"_SOURCE_URI DESC, _IS_NEW DESC, _ID DESC) AS _RANK "
            f"FROM ({self._rows(entry)}) SEMI JOIN ({several}) USING ({', '.join(key)})"
            + (f" ANTI JOIN {entry.name}__orphans USING (_ID)" if entry.has_orphans else "")
            + ") WHERE _RANK > 1"
        )
        for file, losers in self._connection.execute(
            f"SELECT _FILE, COUNT(*) FROM {entry.name}__losers WHERE _FILE IS NOT NULL GROUP BY _FILE"
        ).fetchall():
            entry.outcomes[file].superseded += losers
        aside = [f"{entry.name}__losers"] + ([f"{entry.name}__orphans"] if entry.has_orphans else [])
        self._show(entry, *aside)

    def _rows(self, entry: _Input) -> str:
        """All good rows of an input with their identity, known ones included."""
        columns = ", ".join(entry.contract.column_names)
        parts = [
            f"SELECT {columns}, list_extract(getvariable('{entry.name}__uris'), _FILE + 1) AS _SOURCE_URI, "
            f"list_extract(getvariable('{entry.name}__modified'), _FILE + 1) AS _SOURCE_MODIFIED_AT, _RESCUED, "
            f"TRUE AS _IS_NEW, {group.identity()} AS _ID, _FILE FROM {group.table} WHERE _FAULT IS NULL"
            for group in entry.groups
        ]
        if entry.has_known:
            parts.append(
                f"SELECT {columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT, NULL::VARCHAR AS _RESCUED, FALSE AS _IS_NEW, "
                f"{_KNOWN * _GROUP} + rowid AS _ID, NULL::BIGINT AS _FILE FROM {entry.name}__known"
            )
        if not parts:
            empty = transpile(
                "SELECT " + ", ".join(f"CAST(NULL AS {c.physical_type}) AS {c.name}" for c in entry.contract.columns),
                "duckdb",
            )
            parts.append(
                f"{empty}, NULL::VARCHAR AS _SOURCE_URI, NULL::TIMESTAMP AS _SOURCE_MODIFIED_AT, NULL::VARCHAR "
                f"AS _RESCUED, NULL::BOOLEAN AS _IS_NEW, NULL::BIGINT AS _ID, NULL::BIGINT AS _FILE WHERE FALSE"
            )
        return " UNION ALL ".join(parts)

    def _show(self, entry: _Input, *aside: str) -> None:
        """(Re)define the relation that SELECTs see, less the rows set aside."""
        without = "".join(f" ANTI JOIN {table} USING (_ID)" for table in aside)
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {entry.name} AS SELECT * EXCLUDE (_ID, _FILE) "
            f"FROM ({self._rows(entry)}){without}"
        )

    def _note_released(self, entry: _Input) -> None:
        for index, file in enumerate(entry.files):
            if not file.waiting:
                continue
            still = {record for record, _ in self._broken(entry, index)}
            entry.outcomes[index].released = tuple(
                quarantine_id for record, (quarantine_id, _) in enumerate(file.waiting) if record not in still
            )

    # --- results -------------------------------------------------------------------------------------------

    def write(self, select: str, path: Path, form: Literal["csv", "parquet"]) -> int:
        return self._copy(transpile(select, "duckdb"), path, form)

    def count(self, select: str) -> int:
        return self._scalar(f"SELECT COUNT(*) FROM ({transpile(select, 'duckdb')})")

    def outcomes(self, name: str) -> list[FileOutcome]:
        return self._inputs[name].outcomes

    def bad_records(self, name: str) -> Iterator[BadRecord]:
        entry = self._inputs[name]
        for index, outcome in enumerate(entry.outcomes):
            if outcome.rejection is not None:
                yield outcome.rejection
            elif outcome.quarantined and entry.group_of[index]:
                yield from self._broken_records(entry, index)

    def _broken(self, entry: _Input, index: int) -> list[tuple[int, int]]:
        """(record, rule) of one file's bad records, ascending; rule 0 is malformed, negative an orphan's."""
        group = entry.group_of[index]
        if group is None:
            return []
        record = f"t.rowid - {entry.bases.get(index, 0)}" if group.regular else "t._RECORD"
        found = self._connection.execute(
            f"SELECT {record}, _FAULT FROM {group.table} AS t WHERE _FILE = {index} AND _FAULT IS NOT NULL"
        ).fetchall()
        if entry.has_orphans:
            found += self._connection.execute(
                f"SELECT {record}, -1 - o._RULE FROM {group.table} AS t JOIN {entry.name}__orphans AS o "
                f"ON o._ID = {group.number * _GROUP} + t.rowid WHERE t._FILE = {index}"
            ).fetchall()
        found += [(number, 0) for file, number in entry.malformed if file == index]
        return sorted(found)

    def _broken_records(self, entry: _Input, index: int) -> Iterator[BadRecord]:
        group, file = entry.group_of[index], entry.files[index]
        assert group is not None
        dialect = sniff(file.path)
        broken = self._broken(entry, index)
        if group.regular:
            texts = locate(file.path, dialect, [number for number, _ in broken], entry.outcomes[index].read)
        else:
            texts = choose(file.path, dialect, [number for number, _ in broken])
        for (number, rule), (line, raw, fault) in zip(broken, texts, strict=True):
            code, reason = _why(entry.contract, group.columns, rule, raw, fault)
            waiting_id, waiting_line = file.waiting[number] if file.waiting else (None, None)
            yield BadRecord(
                file.landed,
                waiting_line if waiting_id else line,
                code,
                reason,
                raw,
                dialect.header,
                waiting_id,
            )

    def _copy(self, select: str, path: Path, form: str) -> int:
        options = "FORMAT csv, HEADER" if form == "csv" else "FORMAT parquet, COMPRESSION zstd"
        rows = self._connection.execute(f"COPY ({select}) TO {_quoted(str(path))} ({options})").fetchone()
        return rows[0] if rows else 0

    def _scalar(self, sql: str) -> int:
        row = self._connection.execute(sql).fetchone()
        return row[0] if row else 0


def _enter(entry: _Input, file: SourceFile, group: _Group | None) -> FileOutcome:
    outcome = FileOutcome(file.landed, waiting=bool(file.waiting))
    if group is not None:
        outcome.unknown_columns, outcome.missing_columns = group.columns.unknown, group.columns.missing
    entry.files.append(file)
    entry.outcomes.append(outcome)
    entry.group_of.append(group)
    return outcome


def _refuse(entry: _Input, file: SourceFile, rejection: RejectedObjectError) -> None:
    outcome = _enter(entry, file, None)
    outcome.rejection = BadRecord(file.landed, None, rejection.code, str(rejection))


def _read_csv(paths: Sequence[Path], dialect: Dialect) -> str:
    """A scan of regular files: every option is said, nothing is guessed from the data.

    Except the line end: DuckDB 2.0.0 returns no row and no error when `new_line` is given and differs, and also
    when it is given as a carriage return and line feed. Left to itself it refuses files that mix them.
    """
    names = ", ".join(f"'C{index}': 'VARCHAR'" for index in range(len(dialect.header)))
    listed = ", ".join(_quoted(_unglobbed(path)) for path in paths)
    return (
        f"read_csv([{listed}], auto_detect=false, header=true, delim=',', quote='\"', escape='\"', "
        f"strict_mode=true, ignore_errors=false, columns={{{names}}}, "
        f"compression='{'gzip' if dialect.compressed else 'none'}')"
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


def _write_fields(source: Path, dialect: Dialect, target: Path) -> list[int]:
    """Write the well-formed records as Parquet (C0, C1, …, _RECORD); returns the numbers of the others."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"C{index}" for index in range(len(dialect.header))]
    schema = pa.schema([(name, pa.string()) for name in names] + [("_RECORD", pa.int64())])
    malformed: list[int] = []
    rows: list[tuple] = []
    with pq.ParquetWriter(target, schema) as writer:

        def flush() -> None:
            columns = list(zip(*rows, strict=True)) if rows else [[] for _ in schema]
            writer.write_table(pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema))
            rows.clear()

        for record in tolerant_records(source, dialect):
            if record.fields is None:
                malformed.append(record.number)
                continue
            rows.append((*record.fields, record.number))
            if len(rows) >= 50_000:
                flush()
        flush()
    return malformed


def _why(contract: Contract, columns: Columns, rule: int, raw: str, fault: str) -> tuple[str, str]:
    if rule == 0:
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
