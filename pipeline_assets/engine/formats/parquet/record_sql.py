"""SQL of DuckDB that reads typed records as texts, so that one set of rules decides about the values of all formats.

A value has one exact text, whatever the contract expects: digits, ISO dates, timestamps, JSON of nested values.
`typed_texts` then writes dates as the contract expects them. A quarantined record is a line of JSON, and the columns of
its file are kept with the kinds of their values, so that a replayed record has the same texts again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.model import TIMED_DATE
from pipeline_assets.engine.duckdb.inputs import path_list, quoted
from pipeline_assets.engine.formats.json.record_sql import EXACT, scan
from pipeline_assets.engine.validation_query import Columns

# Kinds of values; `timestamptz` has a zone. They are in lower case, which no header of a CSV file has.
_TYPED_NAME = re.compile("(.*) (text|number|boolean|date|timestamp|timestamptz|json)", re.DOTALL)
_NUMBERS = "U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|DECIMAL.*"
_ISO = "YYYY-MM-DD"


@dataclass(frozen=True)
class TypedColumn:
    """A column of a file: its normalized name, the kind of its values, its type in DuckDB and its own name.

    The last two are empty for the columns of replayed records.
    """

    name: str
    kind: str
    type: str = ""
    stored: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.kind}"


def kind_of(type_name: str) -> str:
    """The kind of the values of one of DuckDB's types."""
    if type_name.endswith("]") or type_name.startswith(("STRUCT", "MAP", "UNION", "VARIANT")):
        return "json"
    if re.fullmatch(_NUMBERS, type_name):
        return "number"
    if type_name.startswith("TIMESTAMP"):
        return "timestamptz" if "ZONE" in type_name or "TZ" in type_name else "timestamp"
    return {"DATE": "date", "BOOLEAN": "boolean"}.get(type_name, "text")


def typed_header(names: Sequence[str]) -> tuple[TypedColumn, ...]:
    """The columns that were stored with a quarantined typed record; empty if they are those of another format."""
    matches = [match for name in names if (match := _TYPED_NAME.fullmatch(name))]
    return tuple(TypedColumn(match[1], match[2]) for match in matches) if len(matches) == len(names) else ()


def records_of(paths: Sequence[Path], columns: Sequence[TypedColumn]) -> str:
    """The records of files with the same columns as X0, X1, …, `file_index`, `file_row_number` from 0."""
    if all(column.type for column in columns):
        names = ", ".join(f"X{index}" for index in range(len(columns)))
        return f"read_parquet({path_list(list(paths))}, hive_partitioning = false) AS F({names})"
    structure = quoted(json.dumps(EXACT | {column.name: "VARCHAR" for column in columns}))
    texts = ", ".join(f"O[{quoted(column.name)}] AS X{index}" for index, column in enumerate(columns))
    return (
        f"(SELECT file_index, row_number() OVER () - 1 AS file_row_number, {texts} "
        f"FROM (SELECT file_index, from_json(json, {structure}) AS O "
        f"FROM {scan(list(paths), 'newline_delimited')} WHERE starts_with(json::VARCHAR, '{{')))"  # without the header
    )


def typed_texts(contract: Contract, matched: Columns, columns: Sequence[TypedColumn], records: str, first: int) -> str:
    """RAW for `validation_select`: texts C0, C1, …, `_FILE` from `first`, `_RESCUED`, `_MALFORMED`."""
    texts = [f"T{index}" for index in range(len(columns))]
    for name, position in matched.positions.items():
        texts[position] = _as_expected(texts[position], columns[position].kind, contract.column(name))
    selected = ", ".join(f"{text} AS C{index}" for index, text in enumerate(texts))
    broken = " OR ".join(f"B{position}" for position in matched.positions.values()) or "FALSE"
    return (
        f"SELECT _FILE, {selected}, {_rescued(matched, columns)} AS _RESCUED, {broken} AS _MALFORMED "
        f"FROM (SELECT CAST(file_index + {first} AS INTEGER) AS _FILE, {_texts(columns)} FROM {records})"
    )


def bad_select(matched: Columns, columns: Sequence[TypedColumn], records: str) -> str:
    """SELECT position from 1, record as JSON, name of the column with bytes that are not UTF-8, or NULL.

    Has one parameter: the list of the numbers of the records, from 0.
    """
    members = " || ',' || ".join(
        f"{quoted(json.dumps(column.name, ensure_ascii=False) + ':')} || COALESCE({_as_json(index, column)}, 'null')"
        for index, column in enumerate(columns)
    )
    broken = " ".join(f"WHEN B{position} THEN {quoted(name)}" for name, position in matched.positions.items())
    return (
        f"SELECT _NUMBER + 1, '{{' || {members} || '}}', {f'CASE {broken} END' if broken else 'NULL'} "
        f"FROM (SELECT file_row_number AS _NUMBER, {_texts(columns)} FROM {records} "
        "WHERE file_row_number IN (SELECT UNNEST(?::BIGINT[]))) ORDER BY _NUMBER"
    )


def _texts(columns: Sequence[TypedColumn]) -> str:
    """The text of each value as T0, T1, …, and whether it is bytes that are not UTF-8 as B0, B1, …"""
    texts = [f"{text_of(f'X{index}', column.type)} AS T{index}" for index, column in enumerate(columns)]
    texts += [
        f"X{index} IS NOT NULL AND TRY(decode(X{index})) IS NULL AS B{index}"
        if column.type == "BLOB"
        else f"FALSE AS B{index}"
        for index, column in enumerate(columns)
    ]
    return ", ".join(texts)


def text_of(value: str, type_name: str) -> str:
    """SQL of the text of a value of one of DuckDB's types, or of a text if the type is empty."""
    if type_name == "BLOB":
        return f"COALESCE(TRY(decode({value})), CAST({value} AS VARCHAR))"
    if type_name == "TIMESTAMP":
        # DuckDB 2.0.0 fails to write times far outside the calendar; of others it is the number of microseconds.
        usual = f"{value} BETWEEN TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999'"
        texts = f"CAST(CASE WHEN {usual} THEN {value} END AS VARCHAR), CAST(epoch_us({value}) AS VARCHAR)"
        return f"COALESCE({texts}, CASE WHEN {value} IS NOT NULL THEN 'infinity' END)"
    if kind_of(type_name) == "json":
        return f"CASE WHEN {value} IS NOT NULL THEN CAST(to_json({value}) AS VARCHAR) END"
    return f"CAST({value} AS VARCHAR)"


def _as_expected(text: str, kind: str, column: Column) -> str:
    """The text as the rules of a column expect it; a value of another kind is left to them.

    A whole number in a text column has no point, as 7.0 and 7 are one id. A timestamp is a date at midnight only.
    """
    if kind == "timestamptz" and column.logical_type in ("date", "timestamp"):
        text = f"regexp_replace({text}, '[+]00$', '')"
    match column.logical_type, kind:
        case "string", "number":
            whole = f"regexp_full_match({text}, '-?[0-9]+[.]0+')"
            return f"CASE WHEN {whole} THEN split_part({text}, '.', 1) ELSE {text} END"
        case "date", "date":
            return f"CASE WHEN length({text}) = 10 THEN {_as_input(text, column)} ELSE {text} END"
        case "date", "timestamp" | "timestamptz":
            midnight = f"length({text}) = 19 AND ends_with({text}, ' 00:00:00')"
            return f"CASE WHEN {midnight} THEN {_as_input(f'left({text}, 10)', column)} ELSE {text} END"
    return text


def _as_input(day: str, column: Column) -> str:
    """An ISO date in a format that the column accepts."""
    form = next((each for each in (_ISO, TIMED_DATE) if each in column.input_formats), column.input_formats[0])
    if form in (_ISO, TIMED_DATE):
        return day if form == _ISO else f"{day} || 'T00:00:00'"
    members = {"Y": f"substr({day}, 1, 4)", "M": f"substr({day}, 6, 2)", "D": f"substr({day}, 9, 2)"}
    written = [members.get(run[0]) or quoted(run[0]) for run in re.findall(r"Y+|M+|D+|.", form)]
    return " || ".join(written)


def _rescued(matched: Columns, columns: Sequence[TypedColumn]) -> str:
    """Columns that are not in the contract, as a JSON object without nulls, or NULL."""
    members = ", ".join(
        f"{quoted(json.dumps(name, ensure_ascii=False) + ':')} || {_as_json(index, columns[index])}"
        for name, index in zip(matched.unknown, matched.unknown_positions, strict=True)
    )
    return f"NULLIF('{{' || concat_ws(',', {members}) || '}}', '{{}}')" if members else "NULL::VARCHAR"


def _as_json(index: int, column: TypedColumn) -> str:
    """The JSON of a value, NULL for NULL; what JSON cannot express is a text."""
    text = f"T{index}"
    as_text = f"CAST(to_json({text}) AS VARCHAR)"
    match column.kind:
        case "boolean":
            return text
        case "number":
            return f"CASE WHEN regexp_matches({text}, '[a-df-z]') THEN {as_text} ELSE {text} END"  # nan, inf
        case "json":
            return f"CASE WHEN regexp_matches({text}, 'NaN|Infinity') THEN {as_text} ELSE {text} END"
    return f"CASE WHEN {text} IS NOT NULL THEN {as_text} END"
