"""Histories of deliveries and runs, each with keys of its own, go through one home with the same runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

# (place in its own history, event)
Numbered = Sequence[tuple[int, Any]]


def side_by_side(
    histories: Mapping[str, Sequence[Any]], run: object, renamed: Callable[[Any, int], Any]
) -> dict[str, Numbered]:
    """The histories by their names; those without other runs than `run` are one.

    What one of them delivers between two runs lands with what the others deliver there. `renamed(delivery, number)` is
    a delivery of the history of that number, with keys, files and days that no other one has.
    """
    is_plain = {
        name: all(event == run for event in events if isinstance(event, type(run)))
        for name, events in histories.items()
    }
    stages: list[list[list[tuple[int, Any]]]] = []
    for number, events in enumerate(histories[name] for name, plain in is_plain.items() if plain):
        stages.append([[]])
        for place, event in enumerate(events):
            if event == run:
                stages[-1].append([])
            else:
                stages[-1][-1].append((place, renamed(event, number)))
    together: list[tuple[int, Any]] = []
    for delivered in zip_longest(*stages, fillvalue=()):
        together += [*_flat(delivered), (0, run)]
    others = {name: list(enumerate(histories[name])) for name, plain in is_plain.items() if not plain}
    return {"those of plain runs": together[:-1]} | others  # the test runs at the end


def _flat(found: Iterable[Iterable[tuple[int, Any]]]) -> list[tuple[int, Any]]:
    return [each for some in found for each in some]
