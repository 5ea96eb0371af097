"""Draw a sample of faults, the same for the same seed.

Each place of a fault is ranked by a hash of the seed, the file, the operator and the line that stands there, not by its
number: a change elsewhere does not draw other faults. Packages take turns, the small ones and sql/ as often as the
large, and a line is drawn once.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import targets
from .sql_faults import normalized, sql_mutants


@dataclass(frozen=True)
class Mutant:
    """A file with one fault: `before` and `after` are the lines in which it differs; `line` is 0 in SQL."""

    file: str
    operator: str
    line: int
    before: str
    after: str
    text: str

    @property
    def title(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}  {self.operator}"


@dataclass(frozen=True)
class Candidate:
    """A fault that may be drawn; `make` gives the mutant, or None when it is no other program."""

    file: str
    operator: str
    line: str
    nth: int
    make: Callable[[], Mutant | None]

    def rank(self, seed: int) -> str:
        key = f"{seed}\0{self.file}\0{self.operator}\0{self.line}\0{self.nth}"
        return hashlib.sha256(key.encode()).hexdigest()


def candidates(root: Path = targets.ROOT, only: Sequence[str] = ()) -> list[Candidate]:
    """Every fault in the files that decide about data, or in those whose path has one of `only`."""
    found: list[Candidate] = []
    for file in targets.files(root):
        if only and not any(part in file for part in only):
            continue
        source = (root / file).read_text(encoding="utf-8")
        found += _of_sql(file, source) if file.endswith(".sql") else _of_python(file, source)
    return found


def _of_sql(file: str, source: str) -> Iterator[Candidate]:
    base = normalized(source)
    for operator, text in sql_mutants(source):
        made = _mutant(file, operator, 0, base, text)
        if made is not None:
            yield Candidate(file, operator, f"{made.before} -> {made.after}", 0, partial(_same, made))


def _of_python(file: str, source: str) -> Iterator[Candidate]:
    from .python_faults import mutant, places  # Cosmic Ray is there for `make mutate` only

    met: Counter[tuple[str, str]] = Counter()
    for place in places(source):
        met[place.operator, place.line] += 1

        def make(place=place) -> Mutant | None:
            text = mutant(source, place)
            return _mutant(file, place.operator, place.line_number, source, text) if _is_other(source, text) else None

        yield Candidate(file, place.operator, place.line, met[place.operator, place.line], make)


def _same(mutant: Mutant) -> Mutant:
    return mutant


def _is_other(source: str, text: str) -> bool:
    """Whether it is a program, and another one."""
    try:
        return ast.dump(ast.parse(text)) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def _mutant(file: str, operator: str, line: int, source: str, text: str) -> Mutant | None:
    changes = [change for change in difflib.ndiff(source.splitlines(), text.splitlines()) if change[0] in "-+"]
    before, after = (
        " ".join(change[2:].strip() for change in changes if change[0] == sign).strip() for sign in ("-", "+")
    )
    return Mutant(file, operator, line, before, after, text) if changes else None


def drawn(found: Sequence[Candidate], seed: int) -> Iterator[Mutant]:
    """Mutants in the order in which the seed draws them; the first N are a sample of N."""
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in sorted(found, key=lambda candidate: candidate.rank(seed)):
        groups[targets.group(candidate.file)].append(candidate)
    taken: set[tuple[str, str]] = set()
    queues = [iter(groups[name]) for name in sorted(groups)]
    while queues:
        for queue in list(queues):
            mutant = _next(queue, taken)
            if mutant is None:
                queues.remove(queue)
            else:
                yield mutant


def _next(queue: Iterator[Candidate], taken: set[tuple[str, str]]) -> Mutant | None:
    for candidate in queue:
        if (candidate.file, candidate.line) not in taken and (mutant := candidate.make()) is not None:
            taken.add((candidate.file, candidate.line))
            return mutant
    return None
