"""Compare the columns of a table with its contract: which are missing, which are too narrow, which have another type.

A column that is wider than in its contract is left unchanged, so that an older version of the platform works with
tables that a newer one has widened. Snowflake cannot change the kind of a type or its decimals in place: a table
without rows is replaced, a table with rows is reported. An unknown type counts as right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

from pipeline_assets.contracts.ddl import Table
from pipeline_assets.contracts.names import name_parts, sql_name
from pipeline_assets.errors import WarehouseError

Present = Mapping[str, Mapping[str, str]]  # SCHEMA.TABLE -> column -> type, "" if unknown

_SYNONYMS = {"TEXT": "VARCHAR", "FIXED": "NUMBER", "REAL": "FLOAT"}  # names in views and SHOW
_DEFAULTS = {"VARCHAR": (16_777_216, None), "NUMBER": (38, 0)}


@dataclass
class Changes:
    """(column, type) of missing and of too narrow columns, and (column, type, present type) of other types."""

    gained: list[tuple[str, str]] = field(default_factory=list)
    widened: list[tuple[str, str]] = field(default_factory=list)
    other: list[tuple[str, str, str]] = field(default_factory=list)


def changes(table: Table, present: Mapping[str, str]) -> Changes:
    """The changes that bring an existing table to its contract; `present` maps its columns to types."""
    needed = Changes()
    for name, kind, *_ in table.columns:
        if name not in present:
            needed.gained.append((name, kind))
        elif _is_other_type(kind, present[name]):
            needed.other.append((name, kind, present[name]))
        elif _is_wider(kind, present[name]):
            needed.widened.append((name, kind))
    return needed


def replaceable_tables(tables: Iterable[Table], present: Present, count: Callable[[Table], int]) -> list[Table]:
    """The tables with a column of another type and without rows; `count` runs only for tables with such a column."""
    return [table for table in tables if _other_types(table, present) and not count(table)]


def require_matching_types(tables: Iterable[Table], present: Present) -> None:
    """Require that no column has to change in a way that Snowflake cannot do in place.

    Raises:
        WarehouseError: a column has another type; a publication would round its values, or fail.
    """
    if differences := [
        f"{table.qualified}.{name} is {present_type} and not {wanted_type}"
        for table in tables
        for name, wanted_type, present_type in _other_types(table, present)
    ]:
        raise WarehouseError(
            f"Columns differ from their contracts: {'; '.join(differences)}.",
            remedy="The type of a column with rows cannot be changed: rename the table, let the next run create it "
            "again and load it by `--reprocess`.",
        )


def kind_of(name: str, length: object, precision: object, scale: object) -> str:
    """A type as contracts write it, from the columns of INFORMATION_SCHEMA.COLUMNS."""
    base = _SYNONYMS.get(name.upper(), name.upper())
    if base == "VARCHAR" and length is not None:
        return f"VARCHAR({length})"
    if base == "NUMBER" and precision is not None and scale is not None:
        return f"NUMBER({precision},{scale})"
    if base.startswith("TIMESTAMP") and scale is not None:  # SHOW has the digits of seconds
        return f"{base}({scale})"
    return base


def kind_from_show_columns(data_type: str) -> str:
    """A type as contracts write it, from SHOW COLUMNS: {"type": "TEXT", "length": 200, …}."""
    column = json.loads(data_type)
    return kind_of(column["type"], column.get("length"), column.get("precision"), column.get("scale"))


def _other_types(table: Table, present: Present) -> list[tuple[str, str, str]]:
    return changes(table, present.get(_key(table), {})).other


def _key(table: Table) -> str:
    return ".".join(map(sql_name, name_parts(table.qualified)[-2:]))


@cache
def _parts(kind: str) -> tuple[str, int | None, int | None]:
    """(base, length or digits, decimals); None where the type does not give it."""
    match = re.fullmatch(r"(\w*)(?:\((\d+)(?:, ?(\d+))?\))?", kind)
    if not match:
        return kind, None, None
    base, length, decimals = match.groups()
    return base, int(length) if length else None, int(decimals) if decimals else None


def _sizes(wanted: str, present: str) -> tuple[int | None, ...] | None:
    """(wanted size, wanted decimals, present size, present decimals); None if there is nothing to compare."""
    base, *ours = _parts(wanted)
    _, *theirs = _parts(present)
    if base not in _DEFAULTS or theirs[0] is None:
        return None
    return (*(_DEFAULTS[base] if ours[0] is None else ours), *theirs)


def _is_other_type(wanted: str, present: str) -> bool:
    if present and _parts(wanted)[0] != _parts(present)[0]:
        return True
    sizes = _sizes(wanted, present)
    return sizes is not None and sizes[1] != sizes[3]


def _is_wider(wanted: str, present: str) -> bool:
    sizes = _sizes(wanted, present)
    return sizes is not None and sizes[0] > sizes[2]  # type: ignore[operator]
