"""Which of some names a misspelt one resembles."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONG_NAME = 10  # letters; in shorter names a second difference makes another word


def resembling(name: str, names: Iterable[str]) -> str | None:
    """The nearest of `names`, if at most one or, in long ones, two letters differ; case and signs do not count."""
    wanted = _letters(name)
    distance, letters, nearest = min((_edit_distance(wanted, _letters(each)), _letters(each), each) for each in names)
    return nearest if distance <= (1 if len(letters) < _LONG_NAME else 2) else None


def _letters(name: str) -> str:
    return re.sub("[^A-Z0-9]", "", name.upper())


def _edit_distance(one: str, other: str) -> int:
    """The number of letters to insert, delete, replace or swap with the next one (optimal string alignment)."""
    rows = [list(range(len(other) + 1))]
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != wanted)))
            if i > 1 and j > 1 and one[i - 2 : i] == other[j - 1] + other[j - 2]:
                row[-1] = min(row[-1], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]
