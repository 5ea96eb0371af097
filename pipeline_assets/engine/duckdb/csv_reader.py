"""Read delimited files into groups of the embedded engine.

Regular files are read in parallel and in one pass into one table per group of files with the same header; the
table's row ids then count the records, so line numbers cost nothing until a record turns out to be bad. DuckDB is
shown regular files only, without the records that `scan_bytes` found malformed, and has to count as many records: of
others it loses or alters some without a word (an open quote at the end of one of many files, blanks around quotes).
The others go through `read_leniently` first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.validation import rules
from pipeline_assets.engine.duckdb.inputs import Group, Input, path_list, quoted
from pipeline_assets.engine.formats.csv.byte_scan import ByteScan, copy_without_records, find_records, scan_bytes
from pipeline_assets.engine.formats.csv.dialect import FileDialect, opened
from pipeline_assets.engine.formats.csv.lenient_reader import find_records_leniently, read_leniently
from pipeline_assets.engine.formats.csv.record_parser import parse_record
from pipeline_assets.engine.formats.csv.replay_file import waiting_dialect
from pipeline_assets.engine.interface import BadRecord, SourceFile
from pipeline_assets.engine.validation_query import (
    Columns,
    explain,
    explain_orphan,
    match_columns,
    referring,
    validation_select,
)
from pipeline_assets.errors import RejectedObjectError
from pipeline_assets.sqlfiles import transpile

if TYPE_CHECKING:
    import duckdb
    import numpy as np

_SLICE = 50_000  # rows written at a time


class _MiscountError(Exception):
    """DuckDB found other records in a file than lie in it."""


@dataclass(frozen=True)
class _Member:
    """A file that can be read: decompressed on the local disk, with its header and, when it is regular, its scan.

    `scanned` is what DuckDB is shown of it: the file, or a copy without its malformed records.
    """

    source: SourceFile
    path: Path
    scanned: Path
    dialect: FileDialect
    scan: ByteScan | None

    @property
    def shape(self) -> tuple[tuple[str, ...], str | None, bool]:
        """Files of one shape are read together; the line end is None for those that DuckDB is not shown."""
        if self.scan is None:
            return self.dialect.header, None, False
        return self.dialect.header, self.dialect.newline, self.scan.tidy


class DelimitedReader:
    """See `pipeline_assets.engine.duckdb.inputs.Reader`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._connection = connection
        self._scratch = scratch
        self._members: dict[int, _Member] = {}

    def read(self, entry: Input, files: list[SourceFile]) -> None:
        by_shape: dict[tuple, list[_Member]] = defaultdict(list)
        for number, file in enumerate(files):
            try:
                member = _open(file, self._scratch / f"{entry.name}-{number}.csv", entry.contract)
                by_shape[member.shape].append(member)
            except RejectedObjectError as rejection:
                outcome = entry.enter(file)
                if not file.waiting:  # records that waited go on waiting
                    outcome.rejection = BadRecord(file.landed, None, rejection.code, str(rejection))
        for (header, newline, _), members in by_shape.items():
            if not header:
                for member in members:
                    entry.enter(member.source)
            elif newline is None:
                self._read_tolerantly(entry, members)
            else:
                self._read_regular(entry, members)

    def bad_records(self, entry: Input, index: int, broken: dict[str, np.ndarray]) -> Iterator[BadRecord]:
        member, file = self._members[index], entry.files[index]
        columns = match_columns(entry.contract, member.dialect.header)
        records = broken["record"].tolist()
        if entry.group_of(index).numbered:
            texts = find_records(member.path, records, member.dialect)
        else:
            texts = find_records_leniently(member.path, member.dialect, records)
        for number, rule, (line, raw, fault) in zip(records, broken["rule"].tolist(), texts, strict=True):
            code, reason = why(entry.contract, columns, rule, raw, fault)
            waiting_id, waiting_line = file.waiting[number] if file.waiting else (None, line)
            yield BadRecord(file.landed, waiting_line, code, reason, raw, member.dialect.header, waiting_id)

    def other_shape(self, entry: Input, index: int) -> str | None:
        return None  # a header that misses a required column has been refused already

    def _read_regular(self, entry: Input, members: list[_Member]) -> None:
        """Read a group at once; when DuckDB refuses it, halve it until the files that it refuses stand alone."""
        import duckdb

        try:
            scan = scan_regular([member.scanned for member in members], members[0].dialect)
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

    def _read_tolerantly(self, entry: Input, members: list[_Member]) -> None:
        first = len(entry.files)
        path = self._scratch / f"{entry.name}-irregular-{first}.parquet"
        malformed = _write_fields(members, first, path)
        self._add_group(entry, members, f"SELECT * FROM read_parquet({quoted(str(path))})", malformed)

    def _add_group(
        self, entry: Input, members: Sequence[_Member], raw: str, malformed: dict[int, list[int]] | None = None
    ) -> None:
        """Validate the records of RAW into a table and count them."""
        columns = match_columns(entry.contract, members[0].dialect.header)
        regular = malformed is None
        files = range(len(entry.files), len(entry.files) + len(members))
        group = Group(len(entry.groups), f"{entry.name}__{len(entry.groups)}", files, regular, bool(columns.unknown))
        extra = ["_FILE"] + ["_RESCUED"] * bool(columns.unknown) + ["_RECORD"] * (not regular)
        tidy = members[0].scan is not None and members[0].scan.tidy
        select = transpile(validation_select(entry.contract, columns, extra, tidy=tidy), "duckdb")
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {group.table} AS "
            f"WITH RAW AS (SELECT *, {rescued_json(columns, entry.contract)} AS _RESCUED FROM ({raw})) {select}"
        )
        counted = dict.fromkeys(files, (0, 0, 0))
        for file, *counts in self._connection.execute(
            f"SELECT _FILE, COUNT(*), COUNT(_FAULT), MIN(rowid) FROM {group.table} GROUP BY _FILE"
        ).fetchall():
            counted[file] = counts
        expected = [member.scan.records if member.scan else None for member in members]
        if regular and [counted[file][0] for file in files] != expected:
            raise _MiscountError
        entry.groups.append(group)
        if regular:
            malformed = {f: list(m.scan.malformed) for f, m in zip(files, members, strict=True) if m.scan}
        entry.malformed |= malformed or {}
        for member, (file, (rows, bad, first_row)) in zip(members, counted.items(), strict=True):
            outcome = entry.enter(member.source, unknown=columns.unknown, missing=columns.missing)
            outcome.header_skipped = member.dialect.header_skipped
            self._members[file] = member
            broken = len(entry.malformed.get(file, ()))
            outcome.read, outcome.quarantined = rows + broken, bad + broken
            entry.first_row[file] = first_row
            group.has_faults = group.has_faults or bad > 0


def _open(file: SourceFile, target: Path, contract: Contract) -> _Member:
    """Open and scan one file.

    Raises:
        RejectedObjectError: it cannot be read, or a required column is missing.
    """
    assert file.path is not None  # the embedded engine fetches
    declared = waiting_dialect(contract.dialect) if file.waiting else contract.dialect
    path, dialect = opened(file.path, declared, contract.column_names, target)
    if dialect.header:
        match_columns(contract, dialect.header)
    scan = scan_bytes(path, dialect) if dialect.newline else None
    scanned = path
    if scan and scan.malformed:
        scanned = copy_without_records(path, scan.malformed, target.with_suffix(".kept.csv"))
    return _Member(file, path, scanned, dialect, scan)


def scan_regular(paths: list[Path], dialect: FileDialect) -> str:
    """A scan of regular files: every option is said, nothing is guessed from the data.

    Except the line end: DuckDB 2.0.0 returns no row and no error when `new_line` is given and differs, and also
    when it is given as a carriage return and line feed. Left to itself it refuses files that mix them.

    No text stands for NULL: a surplus field that is NULL would be dropped without a word, and with it a comma
    that shifted the fields before. A line end outside quotes cannot be a value.

    A backslash is no escape here: regular files have none where it would be one.
    """
    names = ", ".join(f"'C{index}': 'VARCHAR'" for index in range(len(dialect.header)))
    return (
        f"read_csv({path_list(paths)}, auto_detect=false, header=true, delim={quoted(dialect.delimiter)}, "
        "quote='\"', escape='\"', "
        f"strict_mode=true, ignore_errors=false, nullstr=E'\\n', allow_quoted_nulls=false, columns={{{names}}}, "
        "compression='none')"
    )


def rescued_json(columns: Columns, contract: Contract) -> str:
    """Columns that the contract does not know, as a JSON object without its nulls, or NULL."""
    null_text = contract.dialect.null_text
    pairs = ", ".join(
        f"{quoted(name)}, NULLIF(C{index}, '')"
        if null_text is None
        else f"{quoted(name)}, NULLIF(NULLIF(C{index}, ''), {quoted(null_text)})"
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
            for record in read_leniently(member.path, member.dialect):
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


def why(contract: Contract, columns: Columns, rule: int, raw: str, fault: str) -> tuple[str, str]:
    if rule == 0:
        width = len(columns.positions) + len(columns.unknown)
        fault = fault or f"{width} fields were expected, {len(parse_record(raw, contract.dialect))} found"
        return "malformed_record", f"{fault}."
    if rule < 0:
        column = referring(contract)[-1 - rule]
        found = parse_record(raw, contract.dialect)[columns.positions[column.name]].strip()
        return explain_orphan(column, found)
    broken = rules(contract)[rule - 1]
    position = columns.positions.get(broken.column)
    found = parse_record(raw, contract.dialect)[position] if position is not None else None
    return broken.code, explain(broken, contract, found)
