"""The columns that a table has against those that it should have: which it lacks, which are too narrow, which differ.

A column that is wider than its contract takes whatever the contract allows and is left alone, so that an older version
of the platform goes on with tables that a newer one has widened. What Snowflake cannot change in place, another kind of
type or other decimals, is applied where a table has no rows by making it anew; with rows it is named and left to
people. A type that is not known counts as the right one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pipeline_assets.contracts.ddl import Table
from pipeline_assets.errors import WarehouseError

Present = Mapping[str, Mapping[str, str]]  # SCHEMA.TABLE to its columns, each with its type, "" if not known

_OTHERWISE = {"TEXT": "VARCHAR", "FIXED": "NUMBER", "REAL": "FLOAT"}  # what views and SHOW call them
_DEFAULTS = {"VARCHAR": (16_777_216, None), "NUMBER": (38, 0)}


@dataclass
class Changes:
    """(column, type) that a table lacks or has too narrow, and (column, type, type found) of another type."""

    gained: list[tuple[str, str]] = field(default_factory=list)
    widened: list[tuple[str, str]] = field(default_factory=list)
    other: list[tuple[str, str, str]] = field(default_factory=list)


def changes(table: Table, found: Mapping[str, str]) -> Changes:
    """What a table that exists needs to be as it should."""
    needed = Changes()
    for name, kind, *_ in table.columns:
        if name not in found:
            needed.gained.append((name, kind))
        elif _is_other(kind, found[name]):
            needed.other.append((name, kind, found[name]))
        elif _is_wider(kind, found[name]):
            needed.widened.append((name, kind))
    return needed


def without_rows(tables: Iterable[Table], present: Present, count: Callable[[Table], int]) -> list[Table]:
    """The tables with columns of another type that can be made anew; rows are counted only of tables that have some."""
    return [table for table in tables if _others(table, present) and not count(table)]


def refuse_differences(tables: Iterable[Table], present: Present) -> None:
    """Stop at columns that cannot be changed in place.

    Raises:
        WarehouseError: there are some; rows would be rounded, or refused in the midst of a publication.
    """
    if found := [
        f"{table.qualified}.{name} is {theirs} and not {ours}"
        for table in tables
        for name, ours, theirs in _others(table, present)
    ]:
        raise WarehouseError(
            f"Columns differ from their contracts: {'; '.join(found)}.",
            remedy="The type of rows cannot be changed: rename the table, have it made anew, load it by `--reprocess`.",
        )


def kind_of(name: str, length: object, precision: object, scale: object) -> str:
    """A type as contracts write it, from the columns of INFORMATION_SCHEMA.COLUMNS."""
    base = _OTHERWISE.get(name.upper(), name.upper())
    if base == "VARCHAR" and length is not None:
        return f"VARCHAR({length})"
    if base == "NUMBER" and precision is not None and scale is not None:
        return f"NUMBER({precision},{scale})"
    return base


def shown_kind(data_type: str) -> str:
    """A type as contracts write it, from SHOW COLUMNS: {"type": "TEXT", "length": 200, …}."""
    shown = json.loads(data_type)
    return kind_of(shown["type"], shown.get("length"), shown.get("precision"), shown.get("scale"))


def _others(table: Table, present: Present) -> list[tuple[str, str, str]]:
    return changes(table, present.get(_key(table), {})).other


def _key(table: Table) -> str:
    return ".".join(table.qualified.split(".")[-2:])


def _parts(kind: str) -> tuple[str, int | None, int | None]:
    """Base, and length or digits, and decimals; None is what the type does not say."""
    found = re.fullmatch(r"(\w*)(?:\((\d+)(?:, ?(\d+))?\))?", kind)
    if not found:
        return kind, None, None
    base, *given = found.groups()
    return base, *(None if number is None else int(number) for number in given)


def _sizes(wanted: str, found: str) -> tuple[int | None, ...] | None:
    """(size wanted, decimals wanted, size found, decimals found), None where there are none to compare."""
    base, *ours = _parts(wanted)
    _, *theirs = _parts(found)
    if base not in _DEFAULTS or theirs[0] is None:
        return None
    return (*(_DEFAULTS[base] if ours[0] is None else ours), *theirs)


def _is_other(wanted: str, found: str) -> bool:
    if found and _parts(wanted)[0] != _parts(found)[0]:
        return True
    sizes = _sizes(wanted, found)
    return sizes is not None and sizes[1] != sizes[3]


def _is_wider(wanted: str, found: str) -> bool:
    sizes = _sizes(wanted, found)
    return sizes is not None and sizes[0] > sizes[2]  # type: ignore[operator]
