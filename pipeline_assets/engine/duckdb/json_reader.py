"""Read JSON files into groups of the embedded engine.

One pass in DuckDB takes each record apart by the contract's paths, finds keys that the contract does not know, and
types and validates what is left; the table's row ids count the records. The SQL of it is in `document_sql`.

The list in a record (`Contract.items`) stays a list of texts in the table. It is shown as a relation of its own, one
row per element with the record's columns, and validated there; the first bad element makes its record bad.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.validation import MISTYPED, Rule, rules
from pipeline_assets.engine.duckdb.inputs import Group, Input
from pipeline_assets.engine.formats.csv.dialect import decompressed
from pipeline_assets.engine.formats.json.documents import (
    Layout,
    lines_at,
    parser_said,
    sniff,
    value_at,
    without_mark,
)
from pipeline_assets.engine.formats.json.record_sql import (
    ITEM_COLUMNS,
    display_path,
    expected_names,
    items_select,
    json_path,
    objects,
    positions,
    present,
    raw_select,
    scan,
)
from pipeline_assets.engine.interface import BadRecord, SourceFile
from pipeline_assets.engine.validation_query import explain, explain_orphan, referring, validation_select
from pipeline_assets.errors import RejectedObjectError
from pipeline_assets.sqlfiles import transpile

if TYPE_CHECKING:
    import duckdb
    import numpy as np


_MANY_FILES = 50
_SMALL_FILE = 64 * 1024


@dataclass(frozen=True)
class _Member:
    """A file that can be read: decompressed on the local disk, in one of DuckDB's layouts."""

    source: SourceFile
    path: Path
    layout: Layout


class DocumentReader:
    """See `pipeline_assets.engine.duckdb.inputs.Reader`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._connection = connection
        self._scratch = scratch
        self._members: dict[int, _Member] = {}

    def read(self, entry: Input, files: list[SourceFile]) -> None:
        by_layout: dict[Layout, list[_Member]] = defaultdict(list)
        for number, file in enumerate(files):
            try:
                target = self._scratch / f"{entry.name}-{number}.json"
                opened = open_document(file.path, target, waiting=bool(file.waiting))
            except RejectedObjectError as rejection:
                outcome = entry.enter(file)
                if not file.waiting:  # records that waited go on waiting
                    outcome.rejection = BadRecord(file.landed, None, rejection.code, str(rejection))
                continue
            if opened:
                by_layout[opened[1]].append(_Member(file, *opened))
            else:
                entry.enter(file)
        for members in by_layout.values():
            self._read_group(entry, members)

    def _read_group(self, entry: Input, members: list[_Member]) -> None:
        """Read a group at once; when DuckDB refuses it, halve it until the files that it refuses stand alone."""
        import duckdb

        try:
            self._add_group(entry, members)
        # A message about bytes that are no UTF-8 comes as an error of its own.
        except (duckdb.InvalidInputException, duckdb.IOException, UnicodeDecodeError) as error:
            if len(members) == 1:
                source, reason = members[0].source, f"The JSON is malformed: {parser_said(error)}."
                outcome = entry.enter(source)
                if not source.waiting:  # records that cannot be reported apart keep waiting
                    reason = f"{reason} Deliver the file again."
                    outcome.rejection = BadRecord(source.landed, None, "unreadable_object", reason)
            else:
                half = len(members) // 2
                self._read_group(entry, members[:half])
                self._read_group(entry, members[half:])

    def _add_group(self, entry: Input, members: list[_Member]) -> None:
        contract = entry.contract
        files = range(len(entry.files), len(entry.files) + len(members))
        group = Group(len(entry.groups), f"{entry.name}__{len(entry.groups)}", files, has_rescued=True)
        raw = raw_select(contract, self._records(entry, members), files.start)
        extra = ["_FILE", "_RESCUED", "_MALFORMED", *(ITEM_COLUMNS if contract.items else ()), MISTYPED]
        typed = transpile(validation_select(contract, positions(contract), extra), "duckdb")
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {group.table} AS SELECT * EXCLUDE (_MALFORMED, _FAULT, {MISTYPED}), "
            "CASE WHEN _MALFORMED THEN 0 ELSE _FAULT END AS _FAULT, NULL::INTEGER AS _POSITION "
            f"FROM (WITH RAW AS ({raw}) {typed})"
        )
        if contract.items:
            self._blame_records(contract, group)
        self._connection.execute(f"DROP TABLE IF EXISTS {entry.name}__records")
        entry.groups.append(group)
        unknown = self._unknown_columns(contract, group)
        counted = dict.fromkeys(files, (0, 0, 0))
        for file, *counts in self._connection.execute(
            f"SELECT _FILE, COUNT(*), COUNT(_FAULT), MIN(rowid) FROM {group.table} GROUP BY _FILE"
        ).fetchall():
            counted[file] = counts
        for member, (file, (rows, bad, first_row)) in zip(members, counted.items(), strict=True):
            outcome = entry.enter(member.source, unknown=unknown.get(file, ()))
            self._members[file] = member
            outcome.read, outcome.quarantined = rows, bad
            entry.first_row[file] = first_row
            group.has_faults = group.has_faults or bad > 0

    def _records(self, entry: Input, members: list[_Member]) -> str:
        """What to read the group's records from: the files, or a table of them when there are many small ones.

        DuckDB works on as many rows at a time as one file has, and all that follows reading costs the same for one
        row as for two thousand.
        """
        files = scan([member.path for member in members], members[0].layout)
        sizes = [member.path.stat().st_size for member in members]
        if len(members) < _MANY_FILES or sum(sizes) > _SMALL_FILE * len(members):
            return files
        table = f"{entry.name}__records"
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT file_index, json FROM {files}")
        return table

    def _blame_records(self, contract: Contract, group: Group) -> None:
        """The first bad element of a record's list makes the record bad."""
        assert contract.items is not None
        offset = len(rules(contract))
        elements = items_select(contract.items, f"SELECT rowid AS _ROW, * FROM {group.table}", ("_ROW",))
        self._connection.execute(
            f"UPDATE {group.table} SET _FAULT = {offset} + bad.fault, _POSITION = bad.position FROM "
            f"(SELECT _ROW, arg_min(_FAULT, _POSITION) AS fault, MIN(_POSITION) AS position FROM ({elements}) "
            f"WHERE _FAULT IS NOT NULL GROUP BY _ROW) AS bad "
            f"WHERE {group.table}.rowid = bad._ROW AND {group.table}._FAULT IS NULL"
        )

    def _unknown_columns(self, contract: Contract, group: Group) -> dict[int, tuple[str, ...]]:
        """By file, the keys that the contract does not know, those inside its objects and lists with their path."""
        places = [("", "_RESCUED")]
        places += [(f"{'.'.join(path)}.", f"json_extract(_RESCUED, {json_path(path)})") for path in objects(contract)]
        found: dict[int, set[str]] = defaultdict(set)
        known = {".".join(path) for path in objects(contract)}
        for prefix, place in places:
            for file, key in self._connection.execute(
                f"SELECT DISTINCT _FILE, UNNEST(json_keys({place})) FROM {group.table} WHERE _RESCUED IS NOT NULL"
            ).fetchall():
                if prefix + key not in known:
                    found[file].add(prefix + key)
        if contract.items:
            prefix = f"{'.'.join(contract.items.path)}[]."
            for file, key in self._connection.execute(
                f"SELECT DISTINCT _FILE, UNNEST(json_keys(element)) FROM (SELECT _FILE, UNNEST(_ITEMS_RESCUED) AS "
                f"element FROM {group.table} WHERE _ITEMS_RESCUED IS NOT NULL)"
            ).fetchall():
                found[file].add(prefix + key)
        return {file: tuple(sorted(keys)) for file, keys in found.items()}

    # --- telling ---------------------------------------------------------------------------------------------

    def bad_records(self, entry: Input, index: int, broken: dict[str, np.ndarray]) -> Iterator[BadRecord]:
        file, numbers = entry.files[index], broken["record"].tolist()
        contract, member = entry.contract, self._members[index]
        items = rules(contract.items) if contract.items else ()
        known = [*rules(contract), *items]
        positions = self._item_positions(entry, index)
        texts = texts_of(self._connection, member.path, member.layout, numbers)
        for number, rule, (line, raw) in zip(numbers, broken["rule"].tolist(), texts, strict=True):
            position = positions.get(number)
            code, reason = why(contract, known, rule, raw, position)
            waiting_id, waiting_line = file.waiting[number] if file.waiting else (None, line)
            yield BadRecord(file.landed, waiting_line, code, reason, raw, (), waiting_id)

    def _item_positions(self, entry: Input, index: int) -> dict[int, int]:
        group, first = entry.group_of(index), entry.first_row[index]
        found = self._connection.execute(
            f"SELECT rowid - {first}, _POSITION FROM {group.table} WHERE _FILE = {index} AND _POSITION IS NOT NULL"
        ).fetchall()
        return dict(found)

    def other_shape(self, entry: Input, index: int) -> str | None:
        member, unknown = self._members[index], entry.outcomes[index].unknown_columns
        return shape_difference(self._connection, entry.contract, member.path, member.layout, unknown)


def texts_of(
    connection: duckdb.DuckDBPyConnection, path: Path, layout: Layout, numbers: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """(line or position from 1, raw) of chosen records."""
    if layout == "newline_delimited":
        yield from lines_at(path, numbers)
        return
    listed = ", ".join(map(str, numbers)) or "NULL"
    found = connection.cursor().execute(
        f"SELECT n + 1, J FROM (SELECT json::VARCHAR AS J, row_number() OVER () - 1 AS n "
        f"FROM {scan([path], layout)}) WHERE n IN ({listed}) ORDER BY n"
    )
    while rows := found.fetchmany(1000):
        yield from rows


def shape_difference(
    connection: duckdb.DuckDBPyConnection, contract: Contract, path: Path, layout: Layout, unknown: Sequence[str]
) -> str | None:
    """How a file differs as a whole: required values that no record has, and keys that the contract lacks."""
    required = [column.path for column in contract.columns if column.required]
    if contract.items:
        # Of lists that are all empty nothing can be missing.
        required += [(*contract.items.path, "*")]
        required += [(*contract.items.path, "*", *c.path) for c in contract.items.columns if c.required]
    counts = ", ".join(f"COUNT({present(place)})" for place in required)
    found = connection.execute(f"SELECT {counts} FROM (SELECT json AS J FROM {scan([path], layout)})").fetchone()
    absent = {place for place, count in zip(required, found or (), strict=True) if not count}
    empty = {place for place in absent if place[-1] == "*"}
    lost = [
        display_path(place) for place in required if place in absent and not any(place[: len(e)] == e for e in empty)
    ]
    if not lost:
        return None
    return f"No record has {', '.join(lost)}. Expected {', '.join(expected_names(contract))}" + (
        f"; not in the contract: {', '.join(unknown)}." if unknown else "."
    )


def open_document(path: Path, target: Path, *, waiting: bool) -> tuple[Path, Layout] | None:
    """Unpack and sniff one file; None when nothing is in it.

    Raises:
        RejectedObjectError: it cannot be read.
    """
    plain = without_mark(decompressed(path, target), target.with_suffix(".plain.json"))
    # Records that waited are written one after another, however many lines each has.
    layout: Layout | None = "unstructured" if waiting else sniff(plain)
    return (plain, layout) if layout else None


def why(contract: Contract, known: Sequence[Rule], rule: int, raw: str, position: int | None) -> tuple[str, str]:
    """(code, reason) of one bad record; `rule` 0 is malformed, those of elements count on behind the record's."""
    if rule == 0:
        return "malformed_record", "The record is no JSON object, or names a key twice."
    if rule < 0:
        column = referring(contract)[-1 - rule]
        found, kind = value_at(raw, column.path)
        return explain_orphan(column, (found or kind or "").strip())
    broken = known[rule - 1]
    shape, prefix, path = contract, "", ()
    if rule > len(rules(contract)):
        assert contract.items is not None
        shape, prefix, path = contract.items, f"{'.'.join(contract.items.path)}[{position}]: ", contract.items.path
        path = (*path, (position or 1) - 1)
    column = next((c for c in shape.columns if c.name == broken.column), None)
    own = column.path if column else contract.items.path if contract.items else ()
    found, kind = value_at(raw, (*path, *own))
    return broken.code, prefix + explain(broken, shape, found, kind)
