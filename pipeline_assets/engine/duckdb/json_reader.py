"""Read JSON files into groups of the embedded engine.

One pass in DuckDB splits each record by the contract's paths, finds keys that are not in the contract, and types and
validates the values; the table's row ids count the records. `record_sql` builds the SQL. The list in a record
(`Contract.items`) stays a list of texts in the table. A separate relation has one row per element with the record's
columns, and is validated too; the first bad element makes its record bad.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.validation import FLOATS, MISTYPED, Rule, rules
from pipeline_assets.duckdb_session import is_disk_full
from pipeline_assets.engine.duckdb.inputs import Group, InputTables, counts_by_file
from pipeline_assets.engine.formats.csv.dialect import decompressed
from pipeline_assets.engine.formats.json.documents import (
    Layout,
    detect_layout,
    lines_at,
    malformed_reason,
    parser_message,
    value_at,
    without_bom,
)
from pipeline_assets.engine.formats.json.record_sql import (
    ITEM_COLUMNS,
    display_path,
    expected_names,
    has_other_case,
    items_select,
    json_path,
    objects,
    positions,
    present,
    raw_select,
    scan,
)
from pipeline_assets.engine.interface import BadRecord, SourceFile
from pipeline_assets.engine.validation_query import (
    displayed_names,
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


_MANY_FILES = 50
_SMALL_FILE = 64 * 1024
_LARGE_FILE = 4 * 1024 * 1024


@dataclass(frozen=True)
class _Member:
    """A readable file: decompressed on the local disk, in one of DuckDB's layouts."""

    source: SourceFile
    path: Path
    layout: Layout


class DocumentReader:
    """See `pipeline_assets.engine.duckdb.inputs.Reader`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._connection = connection
        self._scratch = scratch
        self._members: dict[int, _Member] = {}

    def read(self, tables: InputTables, files: list[SourceFile]) -> None:
        by_layout: dict[Layout, list[_Member]] = defaultdict(list)
        for number, file in enumerate(files):
            try:
                target = self._scratch / f"{tables.name}-{number}.json"
                assert file.path is not None  # this engine fetches
                document = open_document(file.path, target, waiting=bool(file.waiting))
            except RejectedObjectError as rejection:
                tables.reject(file, rejection)
                continue
            if document:
                by_layout[document[1]].append(_Member(file, *document))
            else:
                tables.enter(file)
        for members in by_layout.values():
            self._read_group(tables, members)

    def _read_group(self, tables: InputTables, members: list[_Member]) -> None:
        """Read a group at once; if DuckDB refuses it, halve it until each refused file is alone."""
        import duckdb

        try:
            self._add_group(tables, members)
        # DuckDB's message about bytes that are not UTF-8 raises UnicodeDecodeError.
        except (duckdb.InvalidInputException, duckdb.IOException, UnicodeDecodeError) as error:
            if is_disk_full(error):
                raise
            if len(members) == 1:
                source, reason = members[0].source, f"The JSON is malformed: {parser_message(error)}."
                outcome = tables.enter(source)
                if not source.waiting:  # replayed records stay in quarantine
                    reason = f"{reason} Deliver the file again."
                    outcome.rejection = BadRecord(source.landed, None, "unreadable_object", reason)
            else:
                half = len(members) // 2
                self._read_group(tables, members[:half])
                self._read_group(tables, members[half:])

    def _add_group(self, tables: InputTables, members: list[_Member], *, any_case: bool = False) -> None:
        contract = tables.contract
        files = range(len(tables.files), len(tables.files) + len(members))
        group = Group(len(tables.groups), f"{tables.name}__{len(tables.groups)}", files, has_rescued=True)
        raw = raw_select(contract, self._records(tables, members), files.start, any_case=any_case)
        extra = ["_FILE", "_RESCUED", "_MALFORMED", *(ITEM_COLUMNS if contract.items else ()), MISTYPED]
        typed = transpile(validation_select(contract, positions(contract), extra), "duckdb")
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {group.table} AS SELECT * EXCLUDE (_MALFORMED, _FAULT, {MISTYPED}), "
            "CASE WHEN _MALFORMED THEN 0 ELSE _FAULT END AS _FAULT, NULL::INTEGER AS _POSITION "
            f"FROM (WITH RAW AS ({raw}) {typed})"
        )
        self._connection.execute(f"DROP TABLE IF EXISTS {tables.name}__records")
        item_floats = self._blame_records(contract, group) if contract.items else {}
        unknown = self._unknown_columns(contract, group)
        if not any_case and any(has_other_case(contract, keys) for keys in unknown.values()):
            self._add_group(tables, members, any_case=True)
            return
        tables.groups.append(group)
        counted = counts_by_file(self._connection, group, contract)
        for member, (file, (rows, bad, first_row, floats)) in zip(members, counted.items(), strict=True):
            outcome = tables.enter(member.source, unknown=unknown.get(file, ()))
            self._members[file] = member
            outcome.read, outcome.quarantined = rows, bad
            outcome.floats = floats + item_floats.get(file, 0)
            tables.first_row[file] = first_row
            group.has_faults = group.has_faults or bad > 0

    def _records(self, tables: InputTables, members: list[_Member]) -> str:
        """The relation with the group's records: the files, or a table of their records where that is faster.

        Every step after reading costs the same for one row as for two thousand, and DuckDB passes on the rows of one
        file at a time: the records of many small files are put into a table first. So are those of a large file that is
        not one record per line: DuckDB reads it with one thread, a sixth of the work, and all threads share the table.
        """
        layout = members[0].layout
        files = scan([member.path for member in members], layout)
        sizes = [member.path.stat().st_size for member in members]
        is_many = len(members) >= _MANY_FILES and sum(sizes) <= _SMALL_FILE * len(members)
        threads = self._connection.execute("SELECT current_setting('threads')").fetchall()[0][0]
        one_dominates = max(sizes) >= _LARGE_FILE and max(sizes) * threads > sum(sizes)
        if not is_many and not (one_dominates and layout != "newline_delimited"):
            return files
        table = f"{tables.name}__records"
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT file_index, json FROM {files}")
        return table

    def _blame_records(self, contract: Contract, group: Group) -> dict[int, int]:
        """The first bad element of a record's list makes the record bad; returns the floats of good records by file."""
        assert contract.items is not None
        offset, floats = len(rules(contract)), FLOATS if contract.items.floats else "0"
        source = (
            f"SELECT rowid AS _ROW, * EXCLUDE (_POSITION{f', {FLOATS}' * bool(contract.floats)}) FROM {group.table}"
        )
        elements = items_select(contract.items, source, ("_ROW", "_FILE"))
        table = f"{group.table}__elements"
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT _ROW, _FILE, _POSITION, _FAULT, {floats} AS n "
            f"FROM ({elements}) WHERE _FAULT IS NOT NULL OR {floats} > 0"
        )
        self._connection.execute(
            f"UPDATE {group.table} SET _FAULT = {offset} + bad.fault, _POSITION = bad.position FROM "
            f"(SELECT _ROW, arg_min(_FAULT, _POSITION) AS fault, MIN(_POSITION) AS position FROM {table} "
            f"WHERE _FAULT IS NOT NULL GROUP BY _ROW) AS bad "
            f"WHERE {group.table}.rowid = bad._ROW AND {group.table}._FAULT IS NULL"
        )
        counted = self._connection.execute(
            f"SELECT e._FILE, SUM(n) FROM {table} AS e JOIN {group.table} AS g ON g.rowid = e._ROW "
            "WHERE g._FAULT IS NULL GROUP BY e._FILE"
        ).fetchall()
        self._connection.execute(f"DROP TABLE {table}")
        return {file: int(floats) for file, floats in counted}

    def _unknown_columns(self, contract: Contract, group: Group) -> dict[int, tuple[str, ...]]:
        """By file, the keys that are not in the contract; keys inside its objects and lists have their path."""
        sources = [("", "_RESCUED")]
        sources += [(f"{'.'.join(path)}.", f"json_extract(_RESCUED, {json_path(path)})") for path in objects(contract)]
        unknown: dict[int, set[str]] = defaultdict(set)
        object_paths = {".".join(path) for path in objects(contract)}
        for prefix, source in sources:
            for file, key in self._connection.execute(
                f"SELECT DISTINCT _FILE, UNNEST(json_keys({source})) FROM {group.table} WHERE _RESCUED IS NOT NULL"
            ).fetchall():
                if prefix + key not in object_paths:
                    unknown[file].add(prefix + key)
        if contract.items:
            prefix = f"{'.'.join(contract.items.path)}[]."
            for file, key in self._connection.execute(
                f"SELECT DISTINCT _FILE, UNNEST(json_keys(element)) FROM (SELECT _FILE, UNNEST(_ITEMS_RESCUED) AS "
                f"element FROM {group.table} WHERE _ITEMS_RESCUED IS NOT NULL)"
            ).fetchall():
                unknown[file].add(prefix + key)
        return {file: tuple(sorted(keys)) for file, keys in unknown.items()}

    # --- bad records -----------------------------------------------------------------------------------------

    def bad_records(self, tables: InputTables, index: int, broken: dict[str, np.ndarray]) -> Iterator[BadRecord]:
        file, numbers = tables.files[index], broken["record"].tolist()
        contract, member = tables.contract, self._members[index]
        items = rules(contract.items) if contract.items else ()
        all_rules = [*rules(contract), *items]
        positions = self._item_positions(tables, index)
        texts = texts_of(self._connection, member.path, member.layout, numbers)
        for number, rule, (line, raw) in zip(numbers, broken["rule"].tolist(), texts, strict=True):
            position = positions.get(number)
            code, reason = explain_bad_record(contract, all_rules, rule, raw, position, tables.misfits)
            quarantine_id, original_line = file.waiting[number] if file.waiting else (None, line)
            yield BadRecord(file.landed, original_line, code, reason, raw, (), quarantine_id)

    def _item_positions(self, tables: InputTables, index: int) -> dict[int, int]:
        group, first = tables.group_of(index), tables.first_row[index]
        rows = self._connection.execute(
            f"SELECT rowid - {first}, _POSITION FROM {group.table} WHERE _FILE = {index} AND _POSITION IS NOT NULL"
        ).fetchall()
        return dict(rows)

    def other_shape(self, tables: InputTables, index: int) -> str | None:
        member, unknown = self._members[index], tables.outcomes[index].unknown_columns
        return shape_difference(self._connection, tables.contract, member.path, member.layout, unknown)


def texts_of(
    connection: duckdb.DuckDBPyConnection, path: Path, layout: Layout, numbers: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """(line or position from 1, raw) of the records `numbers`."""
    if layout == "newline_delimited":
        yield from lines_at(path, numbers)
        return
    listed = ", ".join(map(str, numbers)) or "NULL"
    result = connection.cursor().execute(
        f"SELECT n + 1, J FROM (SELECT json::VARCHAR AS J, row_number() OVER () - 1 AS n "
        f"FROM {scan([path], layout)}) WHERE n IN ({listed}) ORDER BY n"
    )
    while rows := result.fetchmany(1000):
        yield from rows


def shape_difference(
    connection: duckdb.DuckDBPyConnection, contract: Contract, path: Path, layout: Layout, unknown: Sequence[str]
) -> str | None:
    """How a whole file differs: required values that no record has, and keys that are not in the contract."""
    required = [column.path for column in contract.columns if column.required]
    if contract.items:
        # If all lists are empty, no value of their elements is missing.
        required += [(*contract.items.path, "*")]
        required += [(*contract.items.path, "*", *c.path) for c in contract.items.columns if c.required]
    counts = ", ".join(f"COUNT({present(value_path)})" for value_path in required)
    row = connection.execute(f"SELECT {counts} FROM (SELECT json AS J FROM {scan([path], layout)})").fetchone()
    absent = {value_path for value_path, count in zip(required, row or (), strict=True) if not count}
    empty = {value_path for value_path in absent if value_path[-1] == "*"}
    missing = [
        display_path(value_path)
        for value_path in required
        if value_path in absent and not any(value_path[: len(e)] == e for e in empty)
    ]
    if not missing:
        return None
    return f"No record has {', '.join(missing)}. Expected {', '.join(expected_names(contract))}" + (
        f"; not in the contract: {displayed_names(unknown)}." if unknown else "."
    )


def open_document(path: Path, target: Path, *, waiting: bool) -> tuple[Path, Layout] | None:
    """Decompress one file and detect its layout; None when the file has no records.

    Raises:
        RejectedObjectError: the file cannot be read.
    """
    plain = without_bom(decompressed(path, target), target.with_suffix(".plain.json"))
    # Replayed records are written one after another; each may have several lines.
    layout: Layout | None = "unstructured" if waiting else detect_layout(plain)
    return (plain, layout) if layout else None


def explain_bad_record(
    contract: Contract,
    all_rules: Sequence[Rule],
    rule: int,
    raw: str,
    position: int | None,
    misfits: Sequence[str] = (),
) -> tuple[str, str]:
    """(code, reason) of one bad record; `rule` 0 is malformed, rules of elements are numbered after the record's."""
    if rule == 0:
        return "malformed_record", malformed_reason(raw, _keys(contract))
    if misfit := explain_misfit(contract, rule, misfits):
        return misfit
    if rule < 0:
        reference = referring(contract)[-1 - rule]
        value, kind = value_at(raw, reference.path)
        return explain_orphan(reference, (value or kind or "").strip())
    broken = all_rules[rule - 1]
    shape, prefix = contract, ""
    path: tuple[str | int, ...] = ()
    if rule > len(rules(contract)):
        assert contract.items is not None
        shape, prefix = contract.items, f"{'.'.join(contract.items.path)}[{position}]: "
        path = (*contract.items.path, (position or 1) - 1)
    column = next((c for c in shape.columns if c.name == broken.column), None)
    own = column.path if column else contract.items.path if contract.items else ()
    value, kind = value_at(raw, (*path, *own))
    return broken.code, prefix + explain(broken, shape, value, kind)


def _keys(contract: Contract) -> set[str]:
    """Every key that the contract has, at any depth."""
    own = {step for column in contract.columns for step in column.path}
    return own | ({*contract.items.path} | _keys(contract.items) if contract.items else set())
