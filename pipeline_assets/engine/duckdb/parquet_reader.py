"""Read Parquet files into groups of the embedded engine, and the replayed records of such files.

Files with the same columns are read in one pass into one table; its row ids count the records. Each value is read as
its exact text, which is not cleaned, and then typed by the rules for all formats.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.model import Dialect
from pipeline_assets.contracts.validation import rules
from pipeline_assets.engine.duckdb.inputs import Group, InputTables, counts_by_file
from pipeline_assets.engine.formats.parquet.record_sql import bad_select, records_of, typed_texts
from pipeline_assets.engine.formats.parquet.typed_file import TypedFile, TypedFileOpener
from pipeline_assets.engine.interface import BadRecord, SourceFile
from pipeline_assets.engine.validation_query import (
    explain,
    explain_misfit,
    explain_orphan,
    referring,
    validation_select,
)
from pipeline_assets.errors import RejectedObjectError
from pipeline_assets.sqlfiles import transpile

if TYPE_CHECKING:
    import duckdb
    import numpy as np


@dataclass(frozen=True)
class _Member:
    source: SourceFile
    file: TypedFile


class ParquetReader:
    """Reads the Parquet files of a `TabularReader`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._connection = connection
        self._scratch = scratch
        self._members: dict[int, _Member] = {}

    def read(self, tables: InputTables, files: list[SourceFile]) -> None:
        opener = TypedFileOpener(self._connection)
        by_columns: dict[tuple, list[_Member]] = defaultdict(list)
        for number, file in enumerate(files):
            assert file.path is not None  # the embedded engine reads local copies
            target = self._scratch / f"{tables.name}-{number}.parquet"
            try:
                opened = opener.open(file.path, tables.contract, target, waiting=bool(file.waiting))
                by_columns[opened.columns].append(_Member(file, opened))
            except RejectedObjectError as rejection:
                tables.reject(file, rejection)
        for members in by_columns.values():
            self._add_group(tables, members)

    def reads(self, index: int) -> bool:
        return index in self._members

    def _add_group(self, tables: InputTables, members: Sequence[_Member]) -> None:
        """Validate the records of files with the same columns into a table and count them."""
        contract, columns, matched = tables.contract, members[0].file.columns, members[0].file.matched
        files = range(len(tables.files), len(tables.files) + len(members))
        group = Group(len(tables.groups), f"{tables.name}__{len(tables.groups)}", files, has_rescued=True)
        records = records_of([member.file.path for member in members], columns)
        raw = typed_texts(contract, matched, columns, records, files.start)
        extra = ["_FILE", "_RESCUED", "_MALFORMED"]
        typed = transpile(validation_select(contract, matched, extra, typed_row="TRUE"), "duckdb")
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {group.table} AS SELECT * EXCLUDE (_MALFORMED, _FAULT), "
            f"CASE WHEN _MALFORMED THEN 0 ELSE _FAULT END AS _FAULT FROM (WITH RAW AS ({raw}) {typed})"
        )
        tables.groups.append(group)
        counted = counts_by_file(self._connection, group, contract)
        for member, (file, (rows, bad, first_row, floats)) in zip(members, counted.items(), strict=True):
            outcome = tables.enter(member.source, unknown=matched.unknown, missing=matched.missing)
            self._members[file] = member
            outcome.read, outcome.quarantined, outcome.floats = rows, bad, floats
            tables.first_row[file] = first_row
            group.has_faults = group.has_faults or bad > 0

    def bad_records(self, tables: InputTables, index: int, broken: dict[str, np.ndarray]) -> Iterator[BadRecord]:
        source, file = self._members[index].source, self._members[index].file
        records = broken["record"].tolist()
        texts = find_records(self._connection, file, records)
        for number, rule, (position, raw, fault) in zip(records, broken["rule"].tolist(), texts, strict=True):
            code, reason = explain_bad_record(tables.contract, rule, raw, fault, tables.misfits)
            quarantine_id, line = source.waiting[number] if source.waiting else (None, position)
            yield BadRecord(source.landed, line, code, reason, raw, file.header, quarantine_id)


def find_records(
    connection: duckdb.DuckDBPyConnection, file: TypedFile, numbers: Sequence[int]
) -> Iterator[tuple[int, str, str]]:
    """(position from 1, record as JSON, name of a column with bytes that are not UTF-8) of the records `numbers`."""
    select = bad_select(file.matched, file.columns, records_of([file.path], file.columns))
    result = connection.cursor().execute(select, [list(numbers)])
    while rows := result.fetchmany(1000):
        for position, raw, column in rows:
            yield position, raw, column or ""


def explain_bad_record(
    contract: Contract, rule: int, raw: str, fault: str, misfits: Sequence[str] = ()
) -> tuple[str, str]:
    """(code, reason) of one bad record; `rule` 0 is malformed, a negative one is an orphan's or one of `misfits`."""
    if rule == 0:
        return "malformed_record", f"{fault}: its bytes are not UTF-8 text. Deliver them as text."
    if misfit := explain_misfit(contract, rule, misfits):
        return misfit
    record = json.loads(raw, parse_int=str, parse_float=str)
    if rule < 0:
        column = referring(contract)[-1 - rule]
        return explain_orphan(column, _text(record[column.name]))
    broken = rules(contract)[rule - 1]
    uncleaned = replace(contract, dialect=Dialect())  # no text means NULL
    return broken.code, explain(broken, uncleaned, _text(record.get(broken.column)))


def _text(value: object) -> str:
    """A value of a record in a reason; NULL is an empty text."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
