"""The cursor of sent changes: each is sent once, in any order in which they become visible."""

from __future__ import annotations

import dagster as dg
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.openlineage.recorded import START, StatusChange, moved


@given(st.permutations(range(1, 41)))
def test_a_cursor_keeps_the_last_numbers_and_never_goes_back(numbers: list[int]) -> None:
    cursor = {START.value: [0], dg.DagsterEventType.RUN_SUCCESS.value: [7]}
    for number in numbers:
        before = cursor[START.value]
        cursor = moved(cursor, StatusChange(number, START, "run", 0.0))
        after = cursor[START.value]
        assert after == sorted(after)
        assert after[0] >= before[0]
        assert len(after) <= 20
    assert cursor == {START.value: list(range(21, 41)), dg.DagsterEventType.RUN_SUCCESS.value: [7]}
