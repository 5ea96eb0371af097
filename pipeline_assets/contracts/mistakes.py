"""Collect the mistakes of one contract, so that all of them are reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from pipeline_assets.contracts.properties import CUSTOM_PROPERTY, INSTEAD, Level
from pipeline_assets.errors import ContractError


@dataclass
class Mistakes:
    """(property path, what is wrong, remedy) of one file, in the order in which they were found."""

    file: str
    found: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, where: str, what: str, remedy: str = "") -> None:
        if (where, what, remedy) not in self.found:
            self.found.append((where, what, remedy))

    def refuse(self) -> None:
        """Stop when there are mistakes.

        Raises:
            ContractError: one line for each, with the file and the property.
        """
        if not self.found:
            return
        lines = [(f"{self.file}: {where}: {what}", remedy) for where, what, remedy in self.found]
        if len(lines) == 1:
            raise ContractError(lines[0][0], remedy=lines[0][1])
        raise ContractError("\n".join(f"{line} {remedy}".rstrip() for line, remedy in lines))

    def unread(self, where: str, given: Mapping[str, Any], level: Level, but: Iterable[str] = ()) -> None:
        """Report the properties that are not read at this level, except those in `but`."""
        for name in given:
            if name not in (*level.read, *level.notes, *but) and not (name == "customProperties" and level.custom):
                self.add(join(where, str(name)), f"is not read in {level.name}.", _instead(str(name), level.read))

    def custom(self, where: str, given: Mapping[str, Any], level: Level) -> dict[str, Any]:
        """The custom properties of a level by name; unknown and repeated ones are mistakes."""
        values: dict[str, Any] = {}
        for number, entry in enumerate(given.get("customProperties") or []):
            name = str(entry.get("property"))
            path = join(where, "customProperties", name if entry.get("property") else f"[{number}]")
            self.unread(path, entry, CUSTOM_PROPERTY)
            if name not in level.custom:
                self.add(path, f"is not read in {level.name}.", _instead(name, level.custom))
            elif name in values:
                self.add(path, "is given twice.")
            elif entry.get("value") is None:
                self.add(path, "has no value.", "Texts that YAML reads as null, like NULL and ~, need quotes.")
            values[name] = entry.get("value")
        return {name: value for name, value in values.items() if value is not None}

    def one_of(self, where: str, value: object, known: Iterable[str]) -> None:
        """Refuse a value that is not in the list."""
        names = tuple(known)
        if value not in names:
            self.add(where, f"{value!r} is unknown.", f"Known: {', '.join(names)}.")


def join(*parts: str) -> str:
    """The path of a property: the names that lead to it, with dots."""
    return ".".join(part for part in parts if part)


def _instead(name: str, known: Iterable[str]) -> str:
    names = tuple(known)
    if name in INSTEAD and not get_close_matches(name, names, 1, 0.9):
        return INSTEAD[name]
    close = get_close_matches(name, names, 1, 0.75)
    meant = f"Did you mean {close[0]}? " if close else ""
    return f"{meant}Known: {', '.join(names)}." if names else "None is known here."
