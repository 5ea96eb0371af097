"""The columns of a table, learnt from its objects in the order of their versions, and the objects that do not fit them.

A new column is added, a wider type followed; an object whose columns are narrower, of another type or renamed is
rejected with the difference. Names are compared in upper case. Values only: `landed` reads objects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline_assets.errors import ConfigurationError, RejectedObjectError
from pipeline_assets.reviews.columns import SourceColumn
from pipeline_assets.reviews.metadata import ListedTable

# How much an object tells about its columns: an extract their types, a Parquet file their kinds, CSV their names.
Detail = Literal["types", "kinds", "names"]
_TYPE = re.compile(r"([A-Z_]+)(?:\(([0-9]+)(?:,([0-9]+))?\))?")
_KINDS = {
    "VARCHAR": "text",
    "NUMBER": "number",
    "FLOAT": "number",
    "DATE": "date",
    "TIMESTAMP_NTZ": "timestamp",
    "BOOLEAN": "boolean",
}
UNKNOWN_TYPE = ""  # of a column of which an object has only NULL; it fits every type


@dataclass(frozen=True)
class Shape:
    """The columns that a table has learnt, in the order in which they appeared; `dropped` are no longer delivered.

    `version` orders the objects: it is that of the newest one that the shape was learnt from, ISO 8601.
    """

    columns: tuple[SourceColumn, ...] = ()
    dropped: frozenset[str] = frozenset()
    version: str = ""

    def column(self, name: str) -> SourceColumn | None:
        return next((column for column in self.columns if column_name(column) == name), None)


@dataclass(frozen=True)
class ObjectColumns:
    """The columns of one object."""

    columns: tuple[SourceColumn, ...]
    detail: Detail
    version: str


def column_name(column: SourceColumn) -> str:
    """The name of a column in the warehouse; headers of landed files are compared in the same way."""
    return column.name.strip().upper()


def learn(shape: Shape, found: ObjectColumns, table: ListedTable, target: str) -> Shape:
    """The shape after an object.

    An object older than the shape may be narrower and lack columns, as the table was like that then.

    Raises:
        RejectedObjectError: the object does not fit; the message has each column with what was expected.
    """
    given = {column_name(column): column for column in found.columns}
    _require_usable(found, given, table)
    if not shape.columns:
        learnt = tuple(replace(c, physical_type=c.physical_type or "VARCHAR") for c in found.columns)
        return Shape(learnt, version=found.version)
    is_older = found.version < shape.version
    known = {column_name(column): column for column in shape.columns}
    added = [column for name, column in given.items() if name not in known]
    missing = [name for name in known if name not in given]
    gone = [] if is_older else [name for name in missing if name not in shape.dropped]
    differences: list[str] = []
    columns = []
    for name, column in known.items():
        new = given.get(name)
        if new and (difference := _difference(column, new, found.detail, is_older=is_older)):
            differences.append(f"{name}: expected {column.physical_type}, actual {difference}")
        columns.append(_wider(column, new) if new and found.detail == "types" else column)
    if added and gone:
        differences += [f"{name}: expected {known[name].physical_type}, actual none" for name in gone]
        differences += [f"{column_name(column)}: expected none, actual {_actual(column)}" for column in added]
    elif table.schema == "freeze":
        differences += [f"{column_name(column)}: expected none, actual {_actual(column)}" for column in added]
        differences += [
            f"{column_name(old)}: expected {old.physical_type}, actual {new.physical_type}"
            for old, new in zip(shape.columns, columns, strict=True)
            if old.physical_type != new.physical_type
        ]
    if differences:
        raise _drift(differences, table, target, is_renamed=bool(added and gone))
    added = [replace(column, physical_type=column.physical_type or "VARCHAR") for column in added]
    dropped = shape.dropped if is_older else frozenset(missing)
    return Shape((*columns, *added), dropped, max(shape.version, found.version))


def require_columns(table: ListedTable, shape: Shape) -> None:
    """Refuse a list whose key or personal columns the table does not have: a personal one would not be masked.

    Raises:
        ConfigurationError: the message names the option and the columns that there are.
    """
    names = [column_name(column) for column in shape.columns]
    options = {"key": table.key if table.is_keyed else (), "personal": table.personal}
    for option, listed in options.items():
        if unknown := [name for name in listed if name.strip().upper() not in names]:
            raise ConfigurationError(
                f"{table.name}.{option}: {', '.join(unknown)} is not a column of the table.",
                remedy=f"Correct the list of tables; the columns are {', '.join(names)}.",
            )


def _require_usable(found: ObjectColumns, given: dict[str, SourceColumn], table: ListedTable) -> None:
    if len(given) < len(found.columns):
        names = [column_name(column) for column in found.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise RejectedObjectError(
            f"The columns {', '.join(twice)} are there twice: names are compared in upper case.",
            code="malformed_header",
            remedy="Rename one of each two, or leave it out in a view of the source.",
        )
    if reserved := [name for name in given if name in table.reserved]:
        raise RejectedObjectError(
            f"The platform has columns named {', '.join(reserved)}.",
            code="malformed_header",
            remedy="Rename them in a view of the source, and list the view.",
        )
    if missing := [name for name in (table.key if table.is_keyed else ()) if name.strip().upper() not in given]:
        raise RejectedObjectError(
            f"The key column {', '.join(missing)} is missing.",
            code="missing_column",
            remedy="Deliver it, or correct the key in the list of tables.",
        )


def _difference(known: SourceColumn, new: SourceColumn, detail: Detail, *, is_older: bool) -> str:
    """The type of a column that does not fit the known one; empty if it does."""
    if detail == "names" or new.physical_type == UNKNOWN_TYPE:
        return ""
    (base, size, scale), (new_base, new_size, new_scale) = _parts(known.physical_type), _parts(new.physical_type)
    if detail == "kinds":
        return "" if _KINDS[base] == _KINDS[new_base] else _KINDS[new_base]
    is_narrower = known.is_sized and new.is_sized and not is_older and _is_less(new_size, size)
    return new.physical_type if base != new_base or scale != new_scale or is_narrower else ""


def _wider(known: SourceColumn, new: SourceColumn) -> SourceColumn:
    """The wider of two types of one kind; an unsized text has no limit."""
    (base, size, _), (new_base, new_size, _) = _parts(known.physical_type), _parts(new.physical_type)
    if base != new_base or not _is_less(size, new_size):
        return replace(known, is_sized=known.is_sized and new.is_sized, nullable=known.nullable or new.nullable)
    return replace(new, name=known.name, nullable=known.nullable or new.nullable)


def _parts(physical_type: str) -> tuple[str, int | None, int]:
    """(base, length or digits, decimals); no length is no limit."""
    match = _TYPE.fullmatch(physical_type)
    assert match is not None, physical_type  # of our own mapping
    base, size, scale = match.groups()
    return base, int(size) if size else None, int(scale or 0)


def _is_less(size: int | None, other: int | None) -> bool:
    return size is not None and (other is None or size < other)


def _actual(column: SourceColumn) -> str:
    return column.physical_type or "a column without values"


def _drift(differences: Sequence[str], table: ListedTable, target: str, *, is_renamed: bool) -> RejectedObjectError:
    what = "A column was renamed, or one dropped and another added" if is_renamed else "Its columns have changed"
    if table.event:
        remedy = "Undo the change in the files, or list the table again under another name, and land them there."
    else:
        remedy = f"Undo the change in the source, or rename or drop {target}: the next extract loads all of the table."
    if table.schema == "freeze" and not is_renamed:
        remedy += " Write `schema: evolve` to follow new columns and wider types."
    return RejectedObjectError(f"{what}: {'; '.join(differences)}.", code="schema_drift", remedy=remedy)
