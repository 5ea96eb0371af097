"""Histories of deliveries and runs, each with keys of its own, go through one home with the same runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

# (place in its own history, event)
Numbered = Sequence[tuple[int, Any]]


def side_by_side(
    histories: Mapping[str, Sequence[Any]], run: object, renamed: Callable[[Any, int], Any]
) -> dict[str, Numbered]:
    """The histories without other runs than `run` as one, and those with others as another one.

    What one of them delivers before a run lands just before it, with what the others deliver there.
    `renamed(delivery, number)` is a delivery of the history of that number, with keys, files and days that no other one
    has.
    """
    plain, others = [], []
    for events in histories.values():
        is_plain = all(event == run for event in events if isinstance(event, type(run)))
        (plain if is_plain else others).append(events)
    return {
        "those of plain runs": _together(plain, type(run), renamed),
        "those of other runs": _together(others, type(run), renamed),
    }


def _together(
    histories: Sequence[Sequence[Any]], kind: type[object], renamed: Callable[[Any, int], Any]
) -> list[tuple[int, Any]]:
    """One history with the runs of all; to each of them, the runs of others are runs that find nothing new."""
    together: list[tuple[int, Any]] = []
    remaining = [list(enumerate(events)) for events in histories]

    def deliver(number: int) -> None:
        """Land what a history delivers before its next run."""
        while remaining[number] and not isinstance(remaining[number][0][1], kind):
            place, delivery = remaining[number].pop(0)
            together.append((place, renamed(delivery, number)))

    runs = [[event for event in events if isinstance(event, kind)] for events in histories]
    for run in reduce(_with_both, runs):
        for number, events in enumerate(remaining):
            if next((event for _, event in events if isinstance(event, kind)), None) == run:
                deliver(number)
                events.pop(0)
        together.append((0, run))
    for number in range(len(histories)):  # the test runs at the end
        deliver(number)
    return together


def _with_both(first: list[Any], second: list[Any]) -> list[Any]:
    """The shortest list that has both in it, each in its order."""
    if not first or not second:
        return first or second
    if first[0] == second[0]:
        return [first[0], *_with_both(first[1:], second[1:])]
    begun = [first[0], *_with_both(first[1:], second)], [second[0], *_with_both(first, second[1:])]
    return min(begun, key=len)
