"""A batch whose counts do not add up is published not at all, whoever counted wrong: here the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pipeline_assets.engine import Engine, FileOutcome, RejectPolicy, Session, Written
from pipeline_assets.engine.choice import EngineChoice
from pipeline_assets.errors import RowAccountingError
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product
from pipeline_assets_tests.support.pipeline_lake import PipelineLake

Change = dict[str, int]
Lake = TypeVar("Lake", bound=PipelineLake)


class ChangedSession:
    """A session that does its work and tells something else."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@dataclass(frozen=True)
class ChangedEngine:
    """An engine whose sessions are wrapped."""

    engine: Engine
    wrap: Callable[[Session], Any]

    name = "duckdb"
    fetches = True

    @contextmanager
    def session(self, scratch: Path, policy: RejectPolicy) -> Iterator[Session]:
        with self.engine.session(scratch, policy) as session:
            yield self.wrap(session)


def with_sessions(lake: Lake, wrap: Callable[[Session], Any]) -> Lake:
    engine = ChangedEngine(lake.platform.engine.pick(0, "duckdb"), wrap)
    return lake.with_platform(engine=EngineChoice({"duckdb": engine}, "duckdb"))


def misreporting(dataset: str, *changes: Change) -> Callable[[Session], Any]:
    """Sessions that tell other outcomes of the files of a dataset, in the order of their uris."""

    class Misreporting(ChangedSession):
        def outcomes(self, name: str) -> Sequence[FileOutcome]:
            found = sorted(self._session.outcomes(name), key=lambda outcome: outcome.landed.uri)
            if name != dataset:
                return found
            told = zip(found, [*changes, *[{}] * len(found)], strict=False)
            return [replace(o, **{count: getattr(o, count) + n for count, n in change.items()}) for o, change in told]

    return Misreporting


class FindsAnotherRow(ChangedSession):
    """One row more is left after validation than the outcomes say."""

    def new_rows(self, name: str) -> int:
        return self._session.new_rows(name) + 1


@dataclass(frozen=True)
class Claimed:
    """A written file and how many rows its writer says it has."""

    path: Path
    rows: int


class ClaimsAnotherRow(ChangedSession):
    """Staged files have one row less than was told."""

    def write(self, select: str, path: Path, form: Any) -> Written:
        written = self._session.write(select, path, form)
        return Claimed(written.path, written.rows + 1)


class ClaimsOneRowLess(ChangedSession):
    """Staged files have one row more than was told."""

    def write(self, select: str, path: Path, form: Any) -> Written:
        written = self._session.write(select, path, form)
        return Claimed(written.path, max(written.rows - 1, 0))


class WritesRowsTwice(ChangedSession):
    """As if several versions of a key had been kept."""

    def write(self, select: str, path: Path, form: Any) -> Written:
        twice = f"SELECT * FROM ({select}) AS ONCE UNION ALL SELECT * FROM ({select}) AS AGAIN"
        return self._session.write(twice, path, form)


WRONG_COUNTS: dict[str, list[Change]] = {
    "a record more was read": [{"read": 1}],
    "a record fewer was read": [{"read": -1}],
    "a row more was loaded": [{"loaded": 1}],
    "a row more was loaded, and read": [{"loaded": 1, "read": 1}],
    "a row fewer was loaded": [{"loaded": -1}],
    "a loaded row counts as quarantined": [{"loaded": -1, "quarantined": 1}],
    "a loaded row counts as superseded": [{"loaded": -1, "superseded": 1}],
    "a superseded row is forgotten": [{"superseded": -1}],
    "a quarantined record is forgotten": [{"quarantined": -1}],
    "a quarantined record counts as loaded": [{"quarantined": -1, "loaded": 1}],
    "rows of one file count for another": [{"loaded": 1, "read": 1}, {"loaded": -1, "read": -1}],
}
WRONG_SESSIONS = [FindsAnotherRow, ClaimsAnotherRow, ClaimsOneRowLess, WritesRowsTwice]


def filled(lake: BookingsLake) -> BookingsLake:
    """Two files of bookings: rows of every outcome in the first, nothing to load in the second."""
    lake.customers("", customer(1))
    lake.bookings("_1", booking(1, 1, "1.00"), booking(1, 1, "2.00"), booking(2, 1), booking(3, 1, "x"))
    lake.bookings("_2", booking(4, 1, "x"))
    return lake


def remembered(lake: PipelineLake) -> dict[str, list[tuple]]:
    """Everything that a publication writes."""
    counts = {t: lake.rows(f"SELECT COUNT(*) FROM OPS.{t}") for t in ("FILE_LEDGER", "QUARANTINE", "BATCHES")}
    return lake.tables() | counts


@pytest.mark.parametrize("changes", WRONG_COUNTS.values(), ids=WRONG_COUNTS)
def test_outcomes_that_do_not_add_up_publish_nothing(lake: BookingsLake, changes: list[Change]) -> None:
    before = remembered(filled(lake))
    with pytest.raises(RowAccountingError, match="nothing was published"):
        with_sessions(lake, misreporting("bookings", *changes)).run()
    assert remembered(lake) == before
    assert not lake.processed()


@pytest.mark.parametrize("wrong", WRONG_SESSIONS)
def test_rows_that_are_not_those_that_were_counted_publish_nothing(
    lake: BookingsLake, wrong: type[ChangedSession]
) -> None:
    before = remembered(filled(lake))
    with pytest.raises(RowAccountingError, match="nothing was published"):
        with_sessions(lake, wrong).run()
    assert remembered(lake) == before
    assert not lake.processed()


@pytest.mark.parametrize("wrong", [misreporting("orders", {"read": 1}), *WRONG_SESSIONS])
def test_the_same_goes_for_orders_and_their_lake(orders_lake: OrdersLake, wrong: Callable[[Session], Any]) -> None:
    orders_lake.orders("", order(1, product("P1")), order(2))
    before = remembered(orders_lake)
    with pytest.raises(RowAccountingError, match="nothing was published"):
        with_sessions(orders_lake, wrong).run()
    assert remembered(orders_lake) == before
    assert not orders_lake.lake_files()


def test_the_next_run_takes_what_was_not_published(lake: BookingsLake) -> None:
    with pytest.raises(RowAccountingError):
        with_sessions(filled(lake), WritesRowsTwice).run()
    report = lake.run()
    assert report.rows == {"read": 6, "loaded": 3, "superseded": 1, "quarantined": 2}
    assert [row[0] for row in lake.tables()["CUSTOMER_BOOKINGS"]] == ["1", "2"]
    assert not lake.staged()
