"""Read delimited files into groups of the embedded engine.

Regular files with the same header are read in parallel, in one pass, into one table; its row ids count the records, so
line numbers cost nothing until a record is bad. DuckDB reads only regular files, without the records that `scan_bytes`
found malformed, and must count the same number of records: it silently loses or alters some records of other files (an
open quote at the end of one of many files, blanks around quotes). `read_leniently` reads those.
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
from pipeline_assets.engine.duckdb.inputs import Group, InputTables, counts_by_file, path_list, quoted
from pipeline_assets.engine.formats.csv.byte_scan import ByteScan, copy_without_records, find_records, scan_bytes
from pipeline_assets.engine.formats.csv.dialect import FileDialect, open_as_utf8
from pipeline_assets.engine.formats.csv.lenient_reader import find_records_leniently, read_leniently
from pipeline_assets.engine.formats.csv.record_parser import parse_record
from pipeline_assets.engine.formats.csv.replay_file import replay_dialect
from pipeline_assets.engine.interface import BadRecord, SourceFile
from pipeline_assets.engine.validation_query import (
    Columns,
    explain,
    explain_misfit,
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
_FILES_AT_ONCE = 1000  # DuckDB keeps 75 KB for each file of a scan, outside its memory limit


class _MiscountError(Exception):
    """DuckDB counted other records in a file than the byte scan."""


@dataclass(frozen=True)
class _Member:
    """A readable file: decompressed on the local disk, with its header and, if it is regular, its scan.

    DuckDB reads `scanned`: the file, or a copy without its malformed records.
    """

    source: SourceFile
    path: Path
    scanned: Path
    dialect: FileDialect
    scan: ByteScan | None

    @property
    def shape(self) -> tuple[tuple[str, ...], str | None, bool]:
        """Files of one shape are read together; the line end is None for those that DuckDB does not read."""
        if self.scan is None:
            return self.dialect.header, None, False
        return self.dialect.header, self.dialect.newline, self.scan.trimmed


class DelimitedReader:
    """Reads the delimited files of a `TabularReader`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._connection = connection
        self._scratch = scratch
        self._members: dict[int, _Member] = {}

    def read(self, tables: InputTables, files: list[SourceFile]) -> None:
        by_shape: dict[tuple, list[_Member]] = defaultdict(list)
        for number, file in enumerate(files):
            try:
                member = _open(file, self._scratch / f"{tables.name}-{number}.csv", tables.contract)
                by_shape[member.shape].append(member)
            except RejectedObjectError as rejection:
                tables.reject(file, rejection)
        for (header, newline, _), members in by_shape.items():
            if not header:
                for member in members:
                    tables.enter(member.source)
            elif newline is None:
                self._read_leniently(tables, members)
            else:
                for start in range(0, len(members), _FILES_AT_ONCE):
                    self._read_regular(tables, members[start : start + _FILES_AT_ONCE])

    def bad_records(self, tables: InputTables, index: int, broken: dict[str, np.ndarray]) -> Iterator[BadRecord]:
        member, file = self._members[index], tables.files[index]
        columns = match_columns(tables.contract, member.dialect.header)
        records = broken["record"].tolist()
        if tables.group_of(index).numbered:
            texts = find_records(member.path, records, member.dialect)
        else:
            texts = find_records_leniently(member.path, member.dialect, records)
        for number, rule, (line, raw, fault) in zip(records, broken["rule"].tolist(), texts, strict=True):
            code, reason = explain_bad_record(tables.contract, columns, rule, raw, fault, tables.misfits)
            quarantine_id, original_line = file.waiting[number] if file.waiting else (None, line)
            yield BadRecord(file.landed, original_line, code, reason, raw, member.dialect.header, quarantine_id)

    def _read_regular(self, tables: InputTables, members: list[_Member]) -> None:
        """Read a group at once; if DuckDB refuses it, halve it until each refused file is alone."""
        import duckdb

        try:
            scan = scan_regular([member.scanned for member in members], members[0].dialect)
            self._add_group(
                tables, members, f"SELECT *, CAST(file_index + {len(tables.files)} AS INTEGER) AS _FILE FROM {scan}"
            )
        except (_MiscountError, duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException):
            if len(members) == 1:
                self._read_leniently(tables, members)
            else:
                half = len(members) // 2
                self._read_regular(tables, members[:half])
                self._read_regular(tables, members[half:])

    def _read_leniently(self, tables: InputTables, members: list[_Member]) -> None:
        first = len(tables.files)
        path = self._scratch / f"{tables.name}-irregular-{first}.parquet"
        malformed = _write_fields(members, first, path)
        self._add_group(tables, members, f"SELECT * FROM read_parquet({quoted(str(path))})", malformed)

    def _add_group(
        self, tables: InputTables, members: Sequence[_Member], raw: str, malformed: dict[int, list[int]] | None = None
    ) -> None:
        """Validate the records of RAW into a table and count them."""
        columns = match_columns(tables.contract, members[0].dialect.header)
        regular = malformed is None
        files = range(len(tables.files), len(tables.files) + len(members))
        group = Group(len(tables.groups), f"{tables.name}__{len(tables.groups)}", files, regular, bool(columns.unknown))
        extra = ["_FILE"] + ["_RESCUED"] * bool(columns.unknown) + ["_RECORD"] * (not regular)
        trimmed = members[0].scan is not None and members[0].scan.trimmed
        select = transpile(validation_select(tables.contract, columns, extra, trimmed=trimmed), "duckdb")
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {group.table} AS "
            f"WITH RAW AS (SELECT *, {rescued_json(columns, tables.contract)} AS _RESCUED FROM ({raw})) {select}"
        )
        counted = counts_by_file(self._connection, group, tables.contract)
        expected = [member.scan.records if member.scan else None for member in members]
        if regular and [counted[file][0] for file in files] != expected:
            raise _MiscountError
        tables.groups.append(group)
        if regular:
            malformed = {f: list(m.scan.malformed) for f, m in zip(files, members, strict=True) if m.scan}
        tables.malformed |= malformed or {}
        for member, (file, (rows, bad, first_row, floats)) in zip(members, counted.items(), strict=True):
            outcome = tables.enter(member.source, unknown=columns.unknown, missing=columns.missing)
            outcome.header_skipped = member.dialect.header_skipped
            self._members[file] = member
            broken = len(tables.malformed.get(file, ()))
            outcome.read, outcome.quarantined, outcome.floats = rows + broken, bad + broken, floats
            tables.first_row[file] = first_row
            group.has_faults = group.has_faults or bad > 0


def _open(file: SourceFile, target: Path, contract: Contract) -> _Member:
    """Open and scan one file.

    Raises:
        RejectedObjectError: the file cannot be read, or a required column is missing.
    """
    assert file.path is not None  # the embedded engine reads local copies
    declared = replay_dialect(contract.dialect) if file.waiting else contract.dialect
    path, dialect = open_as_utf8(file.path, declared, contract.column_names, target)
    if dialect.header:
        match_file(contract, path, dialect)
    scan = scan_bytes(path, dialect) if dialect.newline else None
    scanned = path
    if scan and scan.malformed:
        scanned = copy_without_records(path, scan.malformed, target.with_suffix(".kept.csv"))
    return _Member(file, path, scanned, dialect, scan)


def match_file(contract: Contract, path: Path, dialect: FileDialect) -> Columns:
    """`match_columns` for a file; the error counts its records."""
    try:
        return match_columns(contract, dialect.header)
    except RejectedObjectError as rejection:
        scan = scan_bytes(path, dialect) if dialect.newline else None
        rejection.rows = scan.records + len(scan.malformed) if scan else sum(1 for _ in read_leniently(path, dialect))
        raise


def scan_regular(paths: list[Path], dialect: FileDialect) -> str:
    """A scan of regular files: every option is set, nothing is guessed from the data.

    Except the line end: DuckDB 2.0.0 returns no row and no error when `new_line` is set and differs, and also when it
    is set to a carriage return and line feed. When it is not set, DuckDB refuses files that mix line ends.

    No text means NULL: DuckDB would silently drop a surplus field that is NULL, and with it the evidence of a comma
    that shifted the fields before. `nullstr` is a line end, which cannot be a value outside quotes.

    A backslash is not an escape here: if the dialect escapes with it, regular files have none.
    """
    names = ", ".join(f"'C{index}': 'VARCHAR'" for index in range(len(dialect.header)))
    return (
        f"read_csv({path_list(paths)}, auto_detect=false, header=true, delim={quoted(dialect.delimiter)}, "
        "quote='\"', escape='\"', "
        f"strict_mode=true, ignore_errors=false, nullstr=E'\\n', allow_quoted_nulls=false, columns={{{names}}}, "
        "compression='none')"
    )


def rescued_json(columns: Columns, contract: Contract) -> str:
    """Columns that are not in the contract, as a JSON object without nulls, or NULL."""
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


def explain_bad_record(
    contract: Contract, columns: Columns, rule: int, raw: str, fault: str, misfits: Sequence[str] = ()
) -> tuple[str, str]:
    """(code, reason) of one bad record; `rule` 0 is malformed, a negative one is an orphan's or one of `misfits`."""
    if rule == 0:
        width = len(columns.positions) + len(columns.unknown)
        fault = fault or f"{width} fields were expected, {len(parse_record(raw, contract.dialect))} found"
        return "malformed_record", f"{fault}."
    if misfit := explain_misfit(contract, rule, misfits):
        return misfit
    if rule < 0:
        column = referring(contract)[-1 - rule]
        return explain_orphan(column, parse_record(raw, contract.dialect)[columns.positions[column.name]].strip())
    broken = rules(contract)[rule - 1]
    position = columns.positions.get(broken.column)
    value = parse_record(raw, contract.dialect)[position] if position is not None else None
    return broken.code, explain(broken, contract, value)
