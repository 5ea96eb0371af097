"""Which files are rejected whole: the rule in numbers, and both readers of the embedded engine at its edges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline_assets.engine import RejectPolicy
from pipeline_assets_tests.support.delivered_orders import delivered, order
from pipeline_assets_tests.support.engine_session import PEOPLE, landed, read


def test_exactly_the_share_is_not_more_than_the_share() -> None:
    """0.29 * 100 is 28.999999999999996: multiplied, a file at exactly 29 % would be rejected."""
    policies = {percent: RejectPolicy(share=percent / 100, minimum_rows=1) for percent in range(101)}

    wrong = [
        (percent, rows, bad)
        for percent, policy in policies.items()
        for rows in (1, 7, 50, 90, 100, 150, 200)
        for bad in range(rows + 1)
        if policy.rejects(rows, bad) != (bad * 100 > percent * rows)
    ]

    assert wrong == []


@pytest.mark.parametrize(
    ("rows", "bad", "rejected"),
    [
        (9, 9, False),  # one row less than the minimum
        (10, 4, False),  # exactly the share
        (10, 5, True),
        (11, 5, True),
        (20, 8, False),
        (20, 9, True),
    ],
)
@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_file_is_rejected_from_the_minimum_of_rows_on_and_above_the_share_only(
    tmp_path: Path, form: str, rows: int, bad: int, rejected: bool
) -> None:
    policy = RejectPolicy(share=0.4, minimum_rows=10)
    if form == "csv":
        lines = ["ID,NAME", *(f"{'' if n < bad else n},x" for n in range(rows))]
        found, reported, (outcome,) = read(PEOPLE, landed(tmp_path / "people.csv", "\n".join(lines)), policy=policy)
        loaded = len(found)
    else:
        reading = delivered(
            json.dumps([order(n, total_amount="x" if n < bad else 1) for n in range(rows)]), policy=policy
        )
        reported, outcome, loaded = reading.bad, reading.outcome, len(reading.orders)

    assert loaded == outcome.loaded == (0 if rejected else rows - bad)
    assert (outcome.read, outcome.quarantined) == (rows, rows if rejected else bad)
    assert (outcome.rejection is not None) == rejected
    assert len(reported) == (1 if rejected else bad)
