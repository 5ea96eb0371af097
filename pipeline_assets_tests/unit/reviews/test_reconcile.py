"""When keys are compared, and what a state keeps of it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from pipeline_assets.reviews.manifest import Kind, Manifest, Watermark
from pipeline_assets.reviews.metadata import ListedTable, Strategy
from pipeline_assets.reviews.reconcile import is_due
from pipeline_assets.reviews.watermark import TableState, advanced, read_state, write_state

NOW = datetime.fromisoformat("2024-01-02T03:04:05")
LOADED = TableState(Watermark(("1",), "2024-01-01T00:00:00.000000"))


def listed(strategy: Strategy) -> ListedTable:
    return ListedTable("notes", ("id",), strategy=strategy)


def compared(hours: float) -> TableState:
    """The state of a table whose keys were compared some hours ago."""
    at = (NOW - timedelta(hours=hours)).isoformat(timespec="microseconds")
    return TableState(LOADED.watermark, reconciled_at=at)


@pytest.mark.parametrize("strategy", ["upsert", "scd2"])
def test_keys_are_compared_once_the_hours_have_passed(strategy: Strategy) -> None:
    table = listed(strategy)
    assert not is_due(table, compared(23.9), NOW, 24)
    assert is_due(table, compared(24), NOW, 24)
    assert is_due(table, compared(0), NOW, 0), "0 hours: in every extract"
    assert is_due(table, LOADED, NOW, 24), "they were never compared"
    assert not is_due(table, TableState(), NOW, 0), "the first extract has every key"


@pytest.mark.parametrize("strategy", ["append_distinct", "full_refresh"])
def test_rows_without_an_identity_are_not_compared(strategy: Strategy) -> None:
    assert not is_due(listed(strategy), LOADED, NOW, 0)


def manifest(kind: Kind) -> Manifest:
    until = Watermark((), "2024-01-03T00:00:00.000000")
    return Manifest("0123456789ab", "shop", "notes", kind, None, until, 1, (), ())


def test_corrections_do_not_move_the_watermark() -> None:
    assert advanced(LOADED, [manifest("corrections")]) == LOADED
    assert advanced(TableState(), [manifest("corrections")]) == TableState()


def test_only_a_first_extract_counts_as_a_comparison_of_keys() -> None:
    assert advanced(TableState(), [manifest("full")]).reconciled_at == "2024-01-03T00:00:00.000000"
    assert advanced(LOADED, [manifest("full")]).reconciled_at == ""


def test_the_time_of_the_comparison_is_kept_and_older_states_have_none() -> None:
    assert read_state(write_state(compared(1))) == compared(1)
    older = write_state(compared(1)).replace("reconciled_at", "unknown")
    assert read_state(older).reconciled_at == ""
