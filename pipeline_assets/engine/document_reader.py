"""Read JSON files into groups of the embedded engine.

One pass in DuckDB takes each record apart by the contract's paths, finds keys that the contract does not know, and
types and validates what is left; the table's row ids count the records. All values come out as text, numbers with the
digits that they had. Texts do not tell an object from a text that looks like one, so records with anything odd about
them, few as a rule, keep their raw form for a second look.

The list in a record (`Contract.items`) stays a list of texts in the table. It is shown as a relation of its own, one
row per element with the record's columns, and validated there; the first bad element makes its record bad.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.validation import MISTYPED, Rule, rules
from pipeline_assets.engine.delimited import unpacked
from pipeline_assets.engine.documents import (
    LARGEST_RECORD,
    Layout,
    lines_at,
    parser_said,
    sniff,
    value_at,
    without_mark,
)
from pipeline_assets.engine.inputs import Group, Input, path_list, quoted
from pipeline_assets.engine.interface import BadRecord, SourceFile
from pipeline_assets.engine.reading import Columns, explain, validation_select
from pipeline_assets.errors import RejectedObjectError
from pipeline_assets.sqlfiles import transpile

if TYPE_CHECKING:
    import duckdb
    import numpy as np

# What a table of records carries beside the contract's columns.
ITEM_COLUMNS = ("_ITEMS", "_ITEMS_RESCUED", "_ITEMS_MISTYPED")
# A decimal in the structure makes DuckDB 2.0.0 keep the digits of every number in it: 25.00 stays 25.00.
_EXACT = {"__exact": "DECIMAL(1,0)"}

_MANY_FILES = 50
_SMALL_FILE = 64 * 1024


@dataclass(frozen=True)
class _Member:
    """A file that can be read: unpacked on the local disk, in one of DuckDB's layouts."""

    source: SourceFile
    path: Path
    layout: Layout


class DocumentReader:
    """See `pipeline_assets.engine.inputs.Reader`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._connection = connection
        self._scratch = scratch
        self._members: dict[int, _Member] = {}

    def read(self, entry: Input, files: list[SourceFile]) -> None:
        by_layout: dict[Layout, list[_Member]] = defaultdict(list)
        for number, file in enumerate(files):
            try:
                member = _open(file, self._scratch / f"{entry.name}-{number}.json")
            except RejectedObjectError as rejection:
                entry.enter(file).rejection = BadRecord(file.landed, None, rejection.code, str(rejection))
                continue
            if member:
                by_layout[member.layout].append(member)
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
                if not source.waiting:  # records that cannot be told apart keep waiting
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
        raw = _raw_select(contract, self._records(entry, members), files.start)
        extra = ["_FILE", "_RESCUED", "_MALFORMED", *(ITEM_COLUMNS if contract.items else ()), MISTYPED]
        typed = transpile(validation_select(contract, _positions(contract), extra), "duckdb")
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
        scan = _scan([member.path for member in members], members[0].layout)
        sizes = [member.path.stat().st_size for member in members]
        if len(members) < _MANY_FILES or sum(sizes) > _SMALL_FILE * len(members):
            return scan
        table = f"{entry.name}__records"
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT file_index, json FROM {scan}")
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
        places += [(f"{'.'.join(path)}.", f"json_extract(_RESCUED, {_json_path(path)})") for path in _objects(contract)]
        found: dict[int, set[str]] = defaultdict(set)
        known = {".".join(path) for path in _objects(contract)}
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
        contract = entry.contract
        items = rules(contract.items) if contract.items else ()
        known = [*rules(contract), *items]
        positions = self._item_positions(entry, index)
        texts = self._texts(self._members[index], numbers)
        for number, rule, (line, raw) in zip(numbers, broken["rule"].tolist(), texts, strict=True):
            position = positions.get(number)
            code, reason = _why(contract, known, rule, raw, position)
            waiting_id, waiting_line = file.waiting[number] if file.waiting else (None, line)
            yield BadRecord(file.landed, waiting_line, code, reason, raw, (), waiting_id)

    def _item_positions(self, entry: Input, index: int) -> dict[int, int]:
        group, first = entry.group_of(index), entry.first_row[index]
        found = self._connection.execute(
            f"SELECT rowid - {first}, _POSITION FROM {group.table} WHERE _FILE = {index} AND _POSITION IS NOT NULL"
        ).fetchall()
        return dict(found)

    def _texts(self, member: _Member, numbers: Sequence[int]) -> Iterator[tuple[int, str]]:
        """(line or position from 1, raw) of chosen records."""
        if member.layout == "newline_delimited":
            yield from lines_at(member.path, numbers)
            return
        listed = ", ".join(map(str, numbers)) or "NULL"
        found = self._connection.cursor().execute(
            f"SELECT n + 1, J FROM (SELECT json::VARCHAR AS J, row_number() OVER () - 1 AS n "
            f"FROM {_scan([member.path], member.layout)}) WHERE n IN ({listed}) ORDER BY n"
        )
        while rows := found.fetchmany(1000):
            yield from rows

    def other_shape(self, entry: Input, index: int) -> str | None:
        """How a file differs as a whole: required values that no record has, and keys that the contract lacks."""
        contract, member = entry.contract, self._members[index]
        required = [column.path for column in contract.columns if column.required]
        if contract.items:
            # Of lists that are all empty nothing can be missing.
            required += [(*contract.items.path, "*")]
            required += [(*contract.items.path, "*", *c.path) for c in contract.items.columns if c.required]
        counts = ", ".join(f"COUNT({_present(path)})" for path in required)
        found = self._connection.execute(
            f"SELECT {counts} FROM (SELECT json AS J FROM {_scan([member.path], member.layout)})"
        ).fetchone()
        absent = {path for path, count in zip(required, found or (), strict=True) if not count}
        empty = {path for path in absent if path[-1] == "*"}
        lost = [_told(path) for path in required if path in absent and not any(path[: len(e)] == e for e in empty)]
        if not lost:
            return None
        unknown = entry.outcomes[index].unknown_columns
        return f"No record has {', '.join(lost)}. Expected {', '.join(_expected(contract))}" + (
            f"; not in the contract: {', '.join(unknown)}." if unknown else "."
        )


def items_select(items: Contract, source: str, kept: Sequence[str]) -> str:
    """One row per element of the lists of `source`: typed columns, `_POSITION` from 1, `_RESCUED`, `_FAULT`, `kept`."""
    texts = ", ".join(f"_ITEM.{_member(c.path)} AS C{index}" for index, c in enumerate(items.columns))
    raw = (
        f"SELECT * EXCLUDE (_ITEMS_RESCUED, _ITEMS_MISTYPED), list_extract(_ITEMS_RESCUED, _POSITION) AS "
        f"_RESCUED, list_extract(_ITEMS_MISTYPED, _POSITION) AS {MISTYPED}, {texts} FROM "
        f"(SELECT {', '.join((*kept, '_ITEMS_RESCUED', '_ITEMS_MISTYPED'))}, UNNEST(_ITEMS) AS _ITEM, "
        f"generate_subscripts(_ITEMS, 1)::BIGINT AS _POSITION FROM ({source}))"
    )
    typed = transpile(validation_select(items, _positions(items), (*kept, "_RESCUED", "_POSITION", MISTYPED)), "duckdb")
    return f"WITH RAW AS ({raw}) SELECT * EXCLUDE ({MISTYPED}) FROM ({typed})"


def no_items(items: Contract) -> str:
    """`ITEM_COLUMNS` of rows that come without their lists, as they are published already."""

    def struct(level: dict[str, Any]) -> str:
        return "STRUCT(" + ", ".join(f'"{k}" {struct(v) if isinstance(v, dict) else v}' for k, v in level.items()) + ")"

    kinds = (struct(_tree([column.path for column in items.columns], "VARCHAR")), "VARCHAR", "INTEGER")
    return "".join(f", NULL::{kind}[] AS {name}" for kind, name in zip(kinds, ITEM_COLUMNS, strict=True))


def _open(file: SourceFile, target: Path) -> _Member | None:
    """Unpack and sniff one file; None when nothing is in it.

    Raises:
        RejectedObjectError: it cannot be read.
    """
    path = without_mark(unpacked(file.path, target), target.with_suffix(".plain.json"))
    # Records that waited are written one after another, however many lines each has.
    layout: Layout | None = "unstructured" if file.waiting else sniff(path)
    return _Member(file, path, layout) if layout else None


def _scan(paths: list[Path], layout: Layout) -> str:
    """Every record as JSON; a malformed line is NULL, a malformed file of another layout an error."""
    tolerant = ", ignore_errors = true" if layout == "newline_delimited" else ""
    return (
        f"read_json_objects({path_list(paths)}, format = '{layout}', compression = 'uncompressed', "
        f"maximum_object_size = {LARGEST_RECORD}{tolerant})"
    )


def _raw_select(contract: Contract, records: str, first: int) -> str:
    """RAW for `validation_select`: texts C0, C1, …, `_FILE`, `_RESCUED`, `_MALFORMED`, `_MISTYPED`, the list.

    The first look counts all values in a record: when there are as many as the contract has and none of those is
    missing, no other can be among them.
    """
    items = contract.items
    tree = _tree([column.path for column in contract.columns], "VARCHAR")
    if items:
        tree[items.path[0]] = [_tree([column.path for column in items.columns], "VARCHAR")]
    texts = ", ".join(f"O.{_member(column.path)} AS C{index}" for index, column in enumerate(contract.columns))
    parsed = (
        f"SELECT CAST(file_index + {first} AS INTEGER) AS _FILE, json::VARCHAR AS J, "
        f"from_json(json, {quoted(json.dumps(_EXACT | tree))}) AS O, "
        "len(json_type(json, '$..*')) AS _VALUES"
    )
    expected = str(_values(contract) + (items is not None))
    odd = [_looks_odd(f"C{index}") for index in range(len(contract.columns))]
    listed = ""
    if items:
        listed = f", O.{_member(items.path)} AS _ITEMS"
        tests = " OR ".join(_looks_odd(f"i.{_member(column.path)}") for column in items.columns)
        expected += f" + len(_ITEMS) * {_values(items) + 1}"
        any_odd = f"list_bool_or(list_transform(_ITEMS, lambda i: {tests}))"
        odd.append(f"CASE WHEN len(_ITEMS) = 0 THEN FALSE ELSE {any_odd} END")
    odd.append(f"_VALUES <> {expected}")
    looked_at = (
        f"SELECT *, J IS NULL OR NOT starts_with(J, '{{') AS _MALFORMED, "
        f"CASE WHEN {' OR '.join(f'COALESCE({test}, TRUE)' for test in odd)} THEN J END AS _RAW "
        f"FROM (SELECT _FILE, J, _VALUES, {texts}{listed} FROM ({parsed} FROM {records}))"
    )
    columns = ", ".join(f"C{index}" for index in range(len(contract.columns)))
    malformed = f"_MALFORMED OR {_names_a_key_twice(contract)} AS _MALFORMED"
    third = f"_FILE, {columns}, {malformed}, {_rescued(contract)} AS _RESCUED, {_mistyped(contract)} AS {MISTYPED}"
    if items:
        third += f", _ITEMS, {_items_rescued(items)} AS _ITEMS_RESCUED, {_items_mistyped(items)} AS _ITEMS_MISTYPED"
    return f"SELECT {third} FROM (SELECT *, {_maps(contract)} FROM ({looked_at}))"


def _values(contract: Contract) -> int:
    """How many values a whole record has, the objects in it included and its list left out."""
    return len({column.path[:depth] for column in contract.columns for depth in range(1, len(column.path) + 1)})


def _elements(items: Contract) -> str:
    return quoted(_json_path(items.path)[1:-1] + "[*]")


def _looks_odd(text: str) -> str:
    """Whether a text is missing, or may have been an object, a list or true/false in the JSON."""
    # Digits, capitals and signs, which most texts start with, come before the bracket and need no other test.
    return (
        f"CASE WHEN {text} < '[' THEN FALSE ELSE COALESCE(starts_with({text}, '{{') OR starts_with({text}, '[') "
        f"OR {text} = 'true' OR {text} = 'false', TRUE) END"
    )


def _mistyped(contract: Contract) -> str:
    """The number from 1 of the first column whose JSON value is of a wrong type; the list counts as the last."""
    cases = []
    for number, column in enumerate(contract.columns, 1):
        wrong = _is_wrong(column, _at(column.path))
        for parent in _objects(contract):
            if len(parent) == 1 and number - 1 == _first_below(contract, parent):
                wrong += f" OR NOT starts_with({_at(parent)}, '{{')"
        cases.append(f"WHEN {wrong} THEN {number}")
    if contract.items:
        cases.append(f"WHEN NOT starts_with({_at(contract.items.path)}, '[') THEN {len(contract.columns) + 1}")
    return f"CASE WHEN _RAW IS NULL OR _MALFORMED THEN NULL::INTEGER {' '.join(cases)} END"


def _items_mistyped(items: Contract) -> str:
    """For each element the same number, as a list."""
    cases = " ".join(
        f"WHEN {_is_wrong(column, _in_element(column.path))} THEN {number}"
        for number, column in enumerate(items.columns, 1)
    )
    listed = f"M{len(items.path)}.{_member(items.path)}"
    return (
        f"CASE WHEN _RAW IS NOT NULL AND NOT _MALFORMED THEN list_transform({listed}, lambda i: CASE {cases} END) END"
    )


def _is_wrong(column: Column, value: str) -> str:
    wrong = f"starts_with({value}, '{{') OR starts_with({value}, '[')"
    return wrong if column.logical_type == "boolean" else f"{wrong} OR {value} = 'true' OR {value} = 'false'"


def _maps(contract: Contract) -> str:
    """M0, M1, …: the record, and the objects and the list at each depth in it, as maps from key to JSON.

    Functions that take JSON apart round numbers to doubles; a cast that keeps their digits needs a key to start from.
    """
    keys = "MAP(VARCHAR, JSON)"
    paths = [*_objects(contract), *([contract.items.path] if contract.items else [])]
    trees: list[Any] = [keys]
    for depth in range(1, max(map(len, paths), default=0) + 1):
        trees.append(_tree([path for path in paths if len(path) == depth], keys))
    if contract.items:
        trees[len(contract.items.path)][contract.items.path[0]] = [keys]
    return ", ".join(
        f"from_json('{{\"r\":' || _RAW || '}}', {quoted(json.dumps(_EXACT | {'r': tree}))}).r AS M{depth}"
        for depth, tree in enumerate(trees)
    )


def _at(path: tuple[str, ...]) -> str:
    """The JSON at a path, from the maps: a text has its quotes there."""
    parent = f"M{len(path) - 1}{'.' * (len(path) > 1)}{_member(path[:-1])}"
    return f"{parent}[{quoted(path[-1])}]"


def _in_element(path: tuple[str, ...]) -> str:
    """The same in an element `i` of the list."""
    value = f"i[{quoted(path[0])}]"
    return f"json_extract({value}, {_json_path(path[1:])})" if len(path) > 1 else value


def _names_a_key_twice(contract: Contract) -> str:
    """Whether a key stands twice in a record, in an object that the contract takes apart, or in an element.

    DuckDB makes no map of such an object. Else it would take the first value, others the last one, and Snowflake
    refuses such JSON.
    """
    tests = ["_RAW IS NOT NULL AND M0 IS NULL"]
    for path in _objects(contract):
        tests.append(f"starts_with({_at(path)}, '{{') AND M{len(path)}.{_member(path)} IS NULL")
    if contract.items:
        maps = f"list_count(M{len(contract.items.path)}.{_member(contract.items.path)})"
        objects = (
            f"list_filter(json_extract(_RAW, {_elements(contract.items)}), lambda i: starts_with(i::VARCHAR, '{{'))"
        )
        tests.append(f"CASE WHEN {maps} < len(_ITEMS) THEN {maps} < len({objects}) END")
    return " OR ".join(f"COALESCE({test}, FALSE)" for test in tests)


def _rescued(contract: Contract) -> str:
    """The record without what the contract knows, as JSON text, or NULL."""
    return f"CASE WHEN _RAW IS NOT NULL AND NOT _MALFORMED THEN {_rest(contract, ())} END"


def _rest(contract: Contract, path: tuple[str, ...]) -> str:
    """What is left of the record, or of an object in it."""
    depth = len(path)
    known = {column.path[depth] for column in contract.columns if column.path[:depth] == path}
    known |= {contract.items.path[depth]} if contract.items and contract.items.path[:depth] == path else set()
    inner = [found for found in _objects(contract) if found[:-1] == path]
    below = ", ".join(f"{quoted(json.dumps(found[-1]))} || ':' || {_rest(contract, found)}" for found in inner)
    return _without(f"M{depth}{'.' * bool(path)}{_member(path)}", known, f"[{below}]" if below else "[]")


def _items_rescued(items: Contract) -> str:
    """The same for each element, as a list, or NULL when none has any."""
    known = {column.path[0] for column in items.columns}
    listed = f"list_transform(M{len(items.path)}.{_member(items.path)}, lambda i: {_without('i', known, '[]')})"
    return f"CASE WHEN list_count({listed}) > 0 THEN {listed} END"


def _without(keys: str, known: set[str], more: str) -> str:
    """A map as the text of a JSON object without the known keys, or NULL when nothing is left."""
    names = ", ".join(map(quoted, sorted(known)))
    return (
        f"NULLIF('{{' || array_to_string(list_concat(list_transform(list_filter(map_entries({keys}), "
        f"lambda e: e.key NOT IN ({names})), lambda e: to_json(e.key)::VARCHAR || ':' || "
        f"COALESCE(e.value::VARCHAR, 'null')), {more}), ',') || '}}', '{{}}')"
    )


def _positions(contract: Contract) -> Columns:
    """Every column of a JSON contract has its text, be it NULL."""
    return Columns({name: index for index, name in enumerate(contract.column_names)}, (), (), ())


def _objects(contract: Contract) -> list[tuple[str, ...]]:
    """The paths of the objects in a record that the contract takes apart."""
    return sorted({column.path[:depth] for column in contract.columns for depth in range(1, len(column.path))})


def _first_below(contract: Contract, path: tuple[str, ...]) -> int:
    """The index of the first column inside an object, a required one if it has any."""
    below = [i for i, column in enumerate(contract.columns) if column.path[: len(path)] == path]
    return next((i for i in below if contract.columns[i].required), below[0])


def _tree(paths: Sequence[tuple[str, ...]], leaf: object) -> dict[str, Any]:
    """Paths as nested objects."""
    tree: dict[str, Any] = {}
    for path in paths:
        level = tree
        for step in path[:-1]:
            level = level.setdefault(step, {})
        level[path[-1]] = leaf
    return tree


def _json_path(path: Sequence[str]) -> str:
    """A path as a SQL literal."""
    return quoted("$" + "".join(f'."{step}"' for step in path))


def _member(path: Sequence[str]) -> str:
    return ".".join(f'"{step}"' for step in path)


def _present(path: Sequence[str]) -> str:
    """An expression that is not NULL when the value at a path is there; a star stands for any element."""
    text = "$" + "".join("[*]" if step == "*" else f'."{step}"' for step in path)
    if "*" in path:
        return f"list_extract(json_extract(J, {quoted(text)}), 1)"
    return f"NULLIF(json_extract(J, {quoted(text)})::VARCHAR, 'null')"


def _told(path: Sequence[str]) -> str:
    return ".".join(path).replace(".*", "[]")


def _expected(contract: Contract) -> list[str]:
    names = [_told(column.path) for column in contract.columns]
    if contract.items:
        names += [_told((*contract.items.path, "*", *column.path)) for column in contract.items.columns]
    return list(dict.fromkeys(names))


def _why(contract: Contract, known: Sequence[Rule], rule: int, raw: str, position: int | None) -> tuple[str, str]:
    """(code, reason) of one bad record; `rule` 0 is malformed, those of elements count on behind the record's."""
    if rule == 0:
        return "malformed_record", "The record is no JSON object, or names a key twice."
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
