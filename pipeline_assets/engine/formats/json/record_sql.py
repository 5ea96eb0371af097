"""The SQL that splits JSON records into values; DuckDB's dialect, because it depends on DuckDB's JSON functions.

All values come out as text, numbers with their original digits. A text value does not show whether the JSON had an
object or a text that looks like one. So records with any irregularity, usually few, keep their raw form, and further
expressions examine it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.names import sql_names
from pipeline_assets.contracts.validation import MISTYPED
from pipeline_assets.engine.duckdb.inputs import path_list, quoted
from pipeline_assets.engine.formats.json.documents import LARGEST_RECORD, Layout
from pipeline_assets.engine.validation_query import Columns, validation_select
from pipeline_assets.sqlfiles import transpile

# Columns of a table of records beside the contract's.
ITEM_COLUMNS = ("_ITEMS", "_ITEMS_RESCUED", "_ITEMS_MISTYPED")
# A decimal in the structure makes DuckDB 2.0.0 keep the digits of all numbers: 25.00 stays 25.00.
EXACT = {"__exact": "DECIMAL(1,0)"}


def items_select(items: Contract, source: str, kept: Sequence[str]) -> str:
    """One row per element of the lists of `source`: typed columns, `_POSITION` from 1, `_RESCUED`, `_FAULT`, `kept`."""
    texts = ", ".join(f"_ITEM.{_member(c.path)} AS C{index}" for index, c in enumerate(items.columns))
    raw = (
        f"SELECT * EXCLUDE (_ITEMS_RESCUED, _ITEMS_MISTYPED), list_extract(_ITEMS_RESCUED, _POSITION) AS "
        f"_RESCUED, list_extract(_ITEMS_MISTYPED, _POSITION) AS {MISTYPED}, {texts} FROM "
        f"(SELECT {sql_names((*kept, '_ITEMS_RESCUED', '_ITEMS_MISTYPED'))}, UNNEST(_ITEMS) AS _ITEM, "
        f"generate_subscripts(_ITEMS, 1)::BIGINT AS _POSITION FROM ({source}))"
    )
    typed = transpile(validation_select(items, positions(items), (*kept, "_RESCUED", "_POSITION", MISTYPED)), "duckdb")
    return f"WITH RAW AS ({raw}) SELECT * EXCLUDE ({MISTYPED}) FROM ({typed})"


def no_items(items: Contract) -> str:
    """`ITEM_COLUMNS` as NULL, for published rows, which have no lists."""

    def struct(level: dict[str, Any]) -> str:
        return "STRUCT(" + ", ".join(f'"{k}" {struct(v) if isinstance(v, dict) else v}' for k, v in level.items()) + ")"

    kinds = (struct(_tree([column.path for column in items.columns], "VARCHAR")), "VARCHAR", "INTEGER")
    return "".join(f", NULL::{kind}[] AS {name}" for kind, name in zip(kinds, ITEM_COLUMNS, strict=True))


def scan(paths: list[Path], layout: Layout) -> str:
    """Read every record as JSON; a malformed line is NULL, a malformed file of another layout is an error."""
    tolerant = ", ignore_errors = true" if layout == "newline_delimited" else ""
    return (
        f"read_json_objects({path_list(paths)}, format = '{layout}', compression = 'uncompressed', "
        f"maximum_object_size = {LARGEST_RECORD}{tolerant})"
    )


def raw_select(contract: Contract, records: str, first: int, *, any_case: bool = True) -> str:
    """RAW for `validation_select`: texts C0, C1, …, `_FILE`, `_RESCUED`, `_MALFORMED`, `_MISTYPED`, the list.

    With `any_case`, keys that differ from the contract's in case only are read too; that takes longer to plan. A record
    is regular when it has as many values as the contract and none of the contract's is missing: then it has no other
    values either.
    """
    items = contract.items
    tree = _tree([column.path for column in contract.columns], "VARCHAR")
    if items:
        tree[items.path[0]] = [_tree([column.path for column in items.columns], "VARCHAR")]
    texts = _texts(contract, "O")
    parsed = (
        f"SELECT CAST(file_index + {first} AS INTEGER) AS _FILE, json::VARCHAR AS J, "
        f"from_json(json, {quoted(json.dumps(EXACT | tree))}) AS O, "
        "len(json_type(json, '$..*')) AS _VALUES"
    )
    expected = str(_values(contract) + (items is not None))
    irregular = [_looks_irregular(f"C{index}", column) for index, column in enumerate(contract.columns)]
    listed = ""
    if items:
        listed = f", O.{_member(items.path)} AS _ITEMS"
        tests = " OR ".join(_looks_irregular(f"i.{_member(column.path)}", column) for column in items.columns)
        expected += f" + len(_ITEMS) * {_values(items) + 1}"
        any_irregular = f"list_bool_or(list_transform(_ITEMS, lambda i: {tests}))"
        irregular.append(f"CASE WHEN len(_ITEMS) = 0 THEN FALSE ELSE {any_irregular} END")
    irregular.append(f"_VALUES <> {expected}")
    examined = (
        "SELECT *, J IS NULL AS _MALFORMED, "
        f"CASE WHEN {' OR '.join(f'COALESCE({test}, TRUE)' for test in irregular)} THEN J END AS _RAW "
        f"FROM (SELECT _FILE, J, _VALUES, {texts}{listed} FROM ({parsed} FROM {records}))"
    )
    structure = quoted(json.dumps(EXACT | tree))
    columns = ", ".join(
        f"{_as_whole(f'C{i}', column, _at(column.path))} AS C{i}" for i, column in enumerate(contract.columns)
    )
    malformed = f"_MALFORMED OR {_is_malformed(contract)} AS _MALFORMED"
    selected = f"_FILE, {columns}, {malformed}, {_rescued(contract)} AS _RESCUED, {_mistyped(contract)} AS {MISTYPED}"
    if items:
        selected += f", {_whole_items(items)} AS _ITEMS, {_items_rescued(items)} AS _ITEMS_RESCUED"
        selected += f", {_items_mistyped(items)} AS _ITEMS_MISTYPED"
    mapped = f"SELECT *, {_maps(contract, '_RAW')} FROM ({examined})"
    return f"SELECT {selected} FROM ({_in_contract_case(contract, mapped, structure) if any_case else mapped})"


def has_other_case(contract: Contract, unknown: Iterable[str]) -> bool:
    """Whether one of the unknown keys is a key of the contract in another case."""
    known = {name.lower() for name in expected_names(contract)}
    known |= {".".join(path).lower() for path in objects(contract)}
    known |= {contract.items.path[-1].lower()} if contract.items else set()
    return any(name.lower() in known for name in unknown)


def _texts(contract: Contract, record: str) -> str:
    return ", ".join(f"{record}.{_member(column.path)} AS C{index}" for index, column in enumerate(contract.columns))


def _values(contract: Contract) -> int:
    """How many values a complete record has, with its nested objects, without its list."""
    return len({column.path[:depth] for column in contract.columns for depth in range(1, len(column.path) + 1)})


def _elements(items: Contract) -> str:
    return quoted(json_path(items.path)[1:-1] + "[*]")


def _looks_irregular(text: str, column: Column) -> str:
    """Whether a text is NULL, or may have been an object, a list, true/false or a number like 7.0 in the JSON."""
    # Most texts start with a digit, a capital or a sign; these sort before the bracket and need no other test.
    return (
        f"CASE WHEN {text} < '[' THEN {_looks_whole(text, column)} ELSE COALESCE(starts_with({text}, '{{') "
        f"OR starts_with({text}, '[') OR {text} = 'true' OR {text} = 'false', TRUE) END"
    )


def _looks_whole(text: str, column: Column) -> str:
    """Whether a text may have been a whole number with a point in the JSON."""
    if column.logical_type != "string":
        return "FALSE"
    return f"(contains({text}, '.0') AND regexp_full_match({text}, '-?[0-9]+[.]0+'))"


def _as_whole(text: str, column: Column, value: str) -> str:
    """The text of a value; a whole number in a text column is written without its point, as 7.0 and 7 are one id."""
    if column.logical_type != "string":
        return text
    test = f"_RAW IS NOT NULL AND {_looks_whole(text, column)} AND NOT starts_with({value}, '\"')"
    return f"CASE WHEN {test} THEN split_part({text}, '.', 1) ELSE {text} END"


def _whole_items(items: Contract) -> str:
    """The elements, with whole numbers in text columns written without their point."""
    tests = " OR ".join(_looks_whole(f"i.{_member(c.path)}", c) for c in items.columns if c.logical_type == "string")
    if not tests:
        return "_ITEMS"

    def struct(level: dict[str, Any]) -> str:
        return "{" + ", ".join(f"'{k}': {struct(v) if isinstance(v, dict) else v}" for k, v in level.items()) + "}"

    tree: dict[str, Any] = {}
    for column in items.columns:
        level = tree
        for step in column.path[:-1]:
            level = level.setdefault(step, {})
        value = f"M{len(items.path)}.{_member(items.path)}[n]"
        level[column.path[-1]] = _as_whole(
            f"i.{_member(column.path)}", column, _in_element(column.path).replace("i[", f"{value}[", 1)
        )
    return (
        f"CASE WHEN _RAW IS NOT NULL AND list_bool_or(list_transform(_ITEMS, lambda i: COALESCE({tests}, FALSE))) "
        f"THEN list_transform(_ITEMS, lambda i, n: CASE WHEN i IS NOT NULL THEN {struct(tree)} END) ELSE _ITEMS END"
    )


def _in_contract_case(contract: Contract, mapped: str, structure: str) -> str:
    """The records with their maps, after keys that differ from the contract's in case only were renamed.

    A key that is spelled as in the contract goes before others, which are then unknown; two others of one name make the
    record malformed, as a key that is there twice.
    """
    levels = [((), "map_keys(M0)"), *((p, f"map_keys(M{len(p)}.{_member(p)})") for p in objects(contract))]
    tests = [_has_other_case(_keys(contract, path), keys) for path, keys in levels]
    if contract.items:
        element = f"M{len(contract.items.path)}.{_member(contract.items.path)}"
        for path in ((), *(path for path in objects(contract.items) if len(path) == 1)):
            keys = f"json_keys(i[{quoted(path[0])}])" if path else "map_keys(i)"
            test = _has_other_case(_keys(contract.items, path), keys)
            tests.append(f"list_bool_or(list_transform({element}, lambda i: COALESCE({test}, FALSE)))")
    has_other_case = " OR ".join(f"COALESCE({test}, FALSE)" for test in tests)
    renamed = (
        f"SELECT *, CASE WHEN _RAW IS NOT NULL AND NOT _MALFORMED AND ({has_other_case}) "
        f"THEN {_renamed(contract, (), '_RAW')} END AS _RENAMED FROM ({mapped})"
    )
    own = [f"C{index}" for index in range(len(contract.columns))] + ["_ITEMS"] * bool(contract.items)
    maps = [f"M{depth}" for depth in range(len(_map_trees(contract)))]
    items = f", O.{_member(contract.items.path)} AS _ITEMS" if contract.items else ""
    again = (
        f"SELECT * EXCLUDE ({', '.join(own)}, {', '.join(maps)}), "
        + ", ".join(f"{name} AS {name}__READ" for name in (*own, *maps))
        + f", {_texts(contract, 'O')}{items}, {_maps(contract, '_RENAMED')} "
        f"FROM (SELECT *, from_json(_RENAMED::JSON, {structure}) AS O FROM ({renamed}))"
    )
    chosen = ", ".join(f"CASE WHEN _RENAMED IS NULL THEN {n}__READ ELSE {n} END AS {n}" for n in (*own, *maps))
    return f"SELECT _FILE, _MALFORMED, COALESCE(_RENAMED, _RAW) AS _RAW, {chosen} FROM ({again})"


def _keys(contract: Contract, path: tuple[str, ...]) -> list[str]:
    """The keys of the contract in the record (or element), or in an object in it."""
    depth = len(path)
    paths = [column.path for column in contract.columns]
    paths += [contract.items.path] if contract.items else []
    return sorted({p[depth] for p in paths if p[:depth] == path and len(p) > depth})


def _has_other_case(names: Sequence[str], keys: str) -> str:
    listed, lower = (", ".join(quoted(name) for name in each) for each in (names, [n.lower() for n in names]))
    return f"list_bool_or(list_transform({keys}, lambda k: k NOT IN ({listed}) AND lower(k) IN ({lower})))"


def _renamed(contract: Contract, path: tuple[str, ...], value: str) -> str:
    """The text of an object with keys as the contract spells them, also in the objects and elements in it."""
    names, depth = _keys(contract, path), len(path)
    e, m = f"e{depth}{contract.name[:1]}", f"m{depth}{contract.name[:1]}"
    spelled = " ".join(
        f"WHEN lower({e}.key) = {quoted(name.lower())} AND NOT list_contains(map_keys({m}), {quoted(name)}) "
        f"THEN {quoted(name)}"
        for name in names
    )
    inner = {parent[-1]: parent for parent in objects(contract) if parent[:-1] == path}
    cases = "".join(
        f"WHEN lower({e}.key) = {quoted(name.lower())} THEN {_renamed(contract, parent, f'{e}.value::VARCHAR')} "
        for name, parent in inner.items()
    )
    if contract.items and contract.items.path[:-1] == path:
        elements = f"from_json('{{\"r\":' || {e}.value || '}}', {quoted(json.dumps(EXACT | {'r': ['JSON']}))}).r"
        each = _renamed(replace(contract.items, name="x"), (), "x::VARCHAR")
        cases += (
            f"WHEN lower({e}.key) = {quoted(contract.items.path[-1].lower())} AND starts_with({e}.value::VARCHAR, '[') "
            f"THEN '[' || array_to_string(list_transform({elements}, lambda x: COALESCE({each}, 'null')), ',') || ']' "
        )
    text = f"COALESCE({e}.value::VARCHAR, 'null')"
    text = f"CASE {cases}ELSE {text} END" if cases else text
    entries = (
        f"list_transform(map_entries({m}), lambda {e}: to_json(CASE WHEN {e}.key IN ({', '.join(map(quoted, names))}) "
        f"THEN {e}.key {spelled} ELSE {e}.key END)::VARCHAR || ':' || {text})"
    )
    keys = f"from_json('{{\"r\":' || {value} || '}}', {quoted(json.dumps(EXACT | {'r': 'MAP(VARCHAR, JSON)'}))}).r"
    whole = f"list_transform([{keys}], lambda {m}: '{{' || array_to_string({entries}, ',') || '}}')[1]"
    return f"CASE WHEN starts_with({value}, '{{') THEN COALESCE({whole}, {value}) ELSE {value} END"


def _mistyped(contract: Contract) -> str:
    """The number, from 1, of the first column whose JSON value has a wrong type; the list counts as the last."""
    cases = []
    for number, column in enumerate(contract.columns, 1):
        wrong = _is_wrong(column, _at(column.path))
        for parent in objects(contract):
            if number - 1 == _first_below(contract, parent):
                wrong += f" OR {_is_not_object(_at(parent))}"
        cases.append(f"WHEN {wrong} THEN {number}")
    if contract.items:
        cases.append(f"WHEN NOT starts_with({_at(contract.items.path)}, '[') THEN {len(contract.columns) + 1}")
    return f"CASE WHEN _RAW IS NULL OR _MALFORMED THEN NULL::INTEGER {' '.join(cases)} END"


def _items_mistyped(items: Contract) -> str:
    """The same number for each element, as a list; 1 for an element that is not an object."""
    cases = "" if items.required else "WHEN i IS NULL THEN 1"  # otherwise the rule for the required column reports it
    for number, column in enumerate(items.columns, 1):
        wrong = _is_wrong(column, _in_element(column.path))
        for parent in objects(items):
            if number - 1 == _first_below(items, parent):
                wrong += f" OR {_is_not_object(_in_element(parent))}"
        cases += f" WHEN {wrong} THEN {number}"
    listed = f"M{len(items.path)}.{_member(items.path)}"
    return (
        f"CASE WHEN _RAW IS NOT NULL AND NOT _MALFORMED THEN list_transform({listed}, lambda i: CASE {cases} END) END"
    )


def _is_wrong(column: Column, value: str) -> str:
    if column.logical_type == "string" and not (column.key or column.reference):
        return f"{value} = 'true' OR {value} = 'false'"  # a text column keeps the JSON of an object or a list
    wrong = f"starts_with({value}, '{{') OR starts_with({value}, '[')"
    return wrong if column.logical_type == "boolean" else f"{wrong} OR {value} = 'true' OR {value} = 'false'"


def _is_not_object(value: str) -> str:
    """Whether the value is something else than an object; NULL when there is no value."""
    return f"NOT starts_with(NULLIF({value}::VARCHAR, 'null'), '{{')"


def _maps(contract: Contract, raw: str) -> str:
    """M0, M1, …: the record, and the objects and the list at each depth in it, as maps from key to JSON.

    DuckDB's functions that extract from JSON round numbers to doubles; a cast that keeps their digits needs a key
    around the record.
    """
    return ", ".join(
        f"from_json('{{\"r\":' || {raw} || '}}', {quoted(json.dumps(EXACT | {'r': tree}))}).r AS M{depth}"
        for depth, tree in enumerate(_map_trees(contract))
    )


def _map_trees(contract: Contract) -> list[Any]:
    """The structures of the maps at each depth."""
    keys = "MAP(VARCHAR, JSON)"
    paths = [*objects(contract), *([contract.items.path] if contract.items else [])]
    trees: list[Any] = [keys]
    for depth in range(1, max(map(len, paths), default=0) + 1):
        trees.append(_tree([path for path in paths if len(path) == depth], keys))
    if contract.items:
        trees[len(contract.items.path)][contract.items.path[0]] = [keys]
    return trees


def _at(path: tuple[str, ...]) -> str:
    """The JSON at a path, from the maps; a text still has its quotes."""
    parent = f"M{len(path) - 1}{'.' * (len(path) > 1)}{_member(path[:-1])}"
    return f"{parent}[{quoted(path[-1])}]"


def _in_element(path: tuple[str, ...]) -> str:
    """The JSON at a path in an element `i` of the list."""
    value = f"i[{quoted(path[0])}]"
    return f"json_extract({value}, {json_path(path[1:])})" if len(path) > 1 else value


def _is_malformed(contract: Contract) -> str:
    """Whether a record is no object, or has a key twice: in itself, in an object with columns, or in an element.

    DuckDB makes no map of such JSON. Without this test it would take the first value, others the last one, and
    Snowflake refuses such JSON.
    """
    tests = ["_RAW IS NOT NULL AND M0 IS NULL"]
    for path in objects(contract):
        tests.append(f"starts_with({_at(path)}, '{{') AND M{len(path)}.{_member(path)} IS NULL")
    if contract.items:
        maps = f"list_count(M{len(contract.items.path)}.{_member(contract.items.path)})"
        listed = (
            f"list_filter(json_extract(_RAW, {_elements(contract.items)}), lambda i: starts_with(i::VARCHAR, '{{'))"
        )
        tests.append(f"CASE WHEN {maps} < len(_ITEMS) THEN {maps} < len({listed}) END")
    return " OR ".join(f"COALESCE({test}, FALSE)" for test in tests)


def _rescued(contract: Contract) -> str:
    """The parts of the record that are not in the contract, as JSON text, or NULL."""
    return f"CASE WHEN _RAW IS NOT NULL AND NOT _MALFORMED THEN {_rest(contract, ())} END"


def _rest(contract: Contract, path: tuple[str, ...]) -> str:
    """The unknown parts of the record, or of an object in it."""
    depth = len(path)
    known = {column.path[depth] for column in contract.columns if column.path[:depth] == path}
    known |= {contract.items.path[depth]} if contract.items and contract.items.path[:depth] == path else set()
    inner = [parent for parent in objects(contract) if parent[:-1] == path]
    below = ", ".join(f"{quoted(json.dumps(parent[-1]))} || ':' || {_rest(contract, parent)}" for parent in inner)
    return _without(f"M{depth}{'.' * bool(path)}{_member(path)}", known, f"[{below}]" if below else "[]")


def _items_rescued(items: Contract) -> str:
    """The unknown parts of each element, as a list, or NULL when no element has any.

    An object in an element is kept whole if it has an unknown key.
    """
    known = {column.path[0] for column in items.columns}
    unknown = "".join(f" OR (e.key = {quoted(path[0])} AND {_has_unknown(items, path)})" for path in objects(items))
    rest = _without("i", known, "[]", unknown)
    listed = f"list_transform(M{len(items.path)}.{_member(items.path)}, lambda i: {rest})"
    return f"CASE WHEN list_count({listed}) > 0 THEN {listed} END"


def _has_unknown(items: Contract, path: tuple[str, ...]) -> str:
    """Whether an object in an element (the map entry `e`) has a key that is not in the contract."""
    known = ", ".join(quoted(c.path[len(path)]) for c in items.columns if c.path[: len(path)] == path)
    keys = f"json_keys(json_extract(e.value, {json_path(path[1:])}))"
    return f"COALESCE(len(list_filter({keys}, lambda k: k NOT IN ({known}))) > 0, FALSE)"


def _without(keys: str, known: set[str], more: str, unless: str = "") -> str:
    """A map as the text of a JSON object without the known keys, or NULL when that is empty."""
    names = ", ".join(map(quoted, sorted(known)))
    return (
        f"NULLIF('{{' || array_to_string(list_concat(list_transform(list_filter(map_entries({keys}), "
        f"lambda e: e.key NOT IN ({names}){unless}), lambda e: to_json(e.key)::VARCHAR || ':' || "
        f"COALESCE(e.value::VARCHAR, 'null')), {more}), ',') || '}}', '{{}}')"
    )


def positions(contract: Contract) -> Columns:
    """The columns of JSON records: every column of the contract has a text, which may be NULL."""
    return Columns({name: index for index, name in enumerate(contract.column_names)}, (), (), ())


def objects(contract: Contract) -> list[tuple[str, ...]]:
    """The paths of the objects in a record that have columns of the contract."""
    return sorted({column.path[:depth] for column in contract.columns for depth in range(1, len(column.path))})


def _first_below(contract: Contract, path: tuple[str, ...]) -> int:
    """The index of the first required column inside an object, or of the first one if none is required."""
    below = [i for i, column in enumerate(contract.columns) if column.path[: len(path)] == path]
    return next((i for i in below if contract.columns[i].required), below[0])


def _tree(paths: Sequence[tuple[str, ...]], leaf: object) -> dict[str, Any]:
    """A nested dict with `leaf` at each path."""
    tree: dict[str, Any] = {}
    for path in paths:
        level = tree
        for step in path[:-1]:
            level = level.setdefault(step, {})
        level[path[-1]] = leaf
    return tree


def json_path(path: Sequence[str]) -> str:
    """A path as a SQL literal."""
    return quoted("$" + "".join(f'."{step}"' for step in path))


def _member(path: Sequence[str]) -> str:
    return ".".join(f'"{step}"' for step in path)


def present(path: Sequence[str]) -> str:
    """An expression that is not NULL when there is a value at the path; a star matches any element."""
    text = "$" + "".join("[*]" if step == "*" else f'."{step}"' for step in path)
    if "*" in path:
        return f"list_extract(json_extract(J, {quoted(text)}), 1)"
    return f"NULLIF(json_extract(J, {quoted(text)})::VARCHAR, 'null')"


def display_path(path: Sequence[str]) -> str:
    return ".".join(path).replace(".*", "[]")


def expected_names(contract: Contract) -> list[str]:
    names = [display_path(column.path) for column in contract.columns]
    if contract.items:
        names += [display_path((*contract.items.path, "*", *column.path)) for column in contract.items.columns]
    return list(dict.fromkeys(names))
