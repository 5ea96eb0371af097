"""Faults that no test has to catch, each argued in `survivors.toml`.

An entry names the fault by its file, operator and the text before and after, never by a line number. It is for faults
that change nothing anybody could see, or nothing that matters; everything else gets a test.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .sampling import Mutant

ARGUED = Path(__file__).with_name("survivors.toml")


@dataclass(frozen=True)
class Survivor:
    """One entry."""

    file: str
    operator: str
    before: str
    after: str
    why: str

    def is_for(self, mutant: Mutant) -> bool:
        return (self.file, self.operator, self.before, self.after) == (
            mutant.file,
            mutant.operator,
            mutant.before,
            mutant.after,
        )


def argued(path: Path = ARGUED) -> list[Survivor]:
    """The entries of the list.

    Raises:
        ValueError: one gives no reason.
    """
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("survivor", [])
    found = [Survivor(**entry) for entry in entries]
    if silent := [entry.before for entry in found if not entry.why.strip()]:
        raise ValueError(f"No reason is given for {silent}.")
    return found


def reason(mutant: Mutant, entries: Sequence[Survivor]) -> str | None:
    """Why no test has to catch a fault, if that was argued."""
    return next((entry.why for entry in entries if entry.is_for(mutant)), None)


def entry(mutant: Mutant) -> str:
    """The entry to be added for a fault, its reason left open."""
    fields = {name: getattr(mutant, name) for name in ("file", "operator", "before", "after")} | {"why": ""}
    return "\n".join(["[[survivor]]", *(f"{name} = {_literal(value)}" for name, value in fields.items())])


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
