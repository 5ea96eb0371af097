"""Any number of runs, in any order, over redelivered, overwritten and late orders gives what one clean run gives.

Tables and lake alike. The clean run is a plain Python model: every file version that a run has seen, newest wins.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_assets_tests.support.histories import Numbered, side_by_side
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product

START = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Version:
    """One order in a file; `prices` are those of its products, and a day of None is a bad order."""

    key: str
    day: int | None
    prices: tuple[int, ...]

    @property
    def document(self) -> dict:
        date = "soon" if self.day is None else f"2024-01-{self.day:02d}"
        return order(self.key, *(product(f"P{price}", price, 2) for price in self.prices), date=date)


@dataclass(frozen=True)
class Delivery:
    """A file that lands (again), as old as it says."""

    name: str
    orders: tuple[Version, ...]
    age: int


@dataclass(frozen=True)
class Run:
    """A run of the pipeline; what lies there is taken."""

    reprocess: bool = False
    replay: bool = False


@dataclass
class Model:
    """Every file version that a run has taken, with its time: never before that of the version that it replaced."""

    lying: dict[str, tuple[int, Delivery]] = field(default_factory=dict)
    seen: list[tuple[int, Delivery]] = field(default_factory=list)
    taken: dict[str, tuple[int, tuple[int, Delivery]]] = field(default_factory=dict)

    def take(self) -> None:
        for name, landed in self.lying.items():
            replaced, before = self.taken.get(name, (landed[0], None))
            if landed != before:
                moment = max(landed[0], replaced)
                self.taken[name] = moment, landed
                self.seen.append((moment, landed[1]))

    def versions(self) -> list[tuple[tuple, Version]]:
        """(version, order) of everything seen, oldest first; later orders of a file are newer."""
        return sorted(
            (((moment, delivery.name, number, place), version)
             for number, (moment, delivery) in enumerate(self.seen)
             for place, version in enumerate(delivery.orders, 1)),
            key=lambda found: found[0],
        )  # fmt: skip

    def current(self) -> dict[str, Version]:
        return {version.key: version for _, version in self.versions() if version.day is not None}

    def waiting(self) -> set[tuple]:
        """(time, file, line) of the bad orders in the version of each file that was taken last."""
        return {
            (moment, name, line)
            for name, (moment, (_, delivery)) in self.taken.items()
            for line, version in enumerate(delivery.orders, 1)
            if version.day is None
        }


versions = st.builds(
    Version,
    key=st.sampled_from(["1", "2", "3"]),
    day=st.one_of(st.integers(1, 3), st.integers(1, 3), st.none()),
    prices=st.lists(st.integers(1, 4), max_size=3).map(tuple),
)
deliveries = st.builds(
    Delivery,
    name=st.sampled_from(["a", "b"]),
    orders=st.lists(versions, max_size=5).map(tuple),
    age=st.integers(0, 3),
)
runs = st.builds(Run, reprocess=st.booleans()) | st.just(Run(replay=True))


def brought(name: str, *orders: tuple[str, int | None, tuple[int, ...]], age: int = 0) -> Delivery:
    return Delivery(name, tuple(Version(*each) for each in orders), age)


# Histories in which a rule has gone wrong or easily would; drawn ones meet each of them seldom.
HARD: dict[str, list[Delivery | Run]] = {
    "orders without lines first": [
        brought("a", ("1", 1, ()), ("2", 1, ())),
        Run(),
        brought("b", ("1", 2, (1, 2)), ("3", 1, (3,))),
        Run(),
        brought("a", ("2", 3, (1,))),
    ],
    "an order moves to another day and loses its lines, others stay": [
        brought("a", ("1", 1, (1, 2)), ("2", 1, (3,)), ("3", 2, (4,))),
        Run(),
        brought("b", ("1", 2, (2,)), ("3", 2, ())),
        Run(),
        brought("b", ("1", 3, ())),
    ],
    "two lines of one category, then one": [
        brought("a", ("1", 1, (2, 2, 1)), ("2", 1, (1,))),
        Run(),
        brought("b", ("1", 1, (4,))),
    ],
    "an older version late, beside a bad newer one": [
        brought("a", ("1", 2, (2,))),
        Run(),
        brought("b", ("1", 1, (1, 1)), ("2", 1, (3,)), age=3),
        brought("a", ("1", None, (4,)), ("3", 1, (1,))),
        Run(replay=True),
        Run(reprocess=True, replay=True),
    ],
    "several versions in one file, the last one bad": [
        brought("a", ("1", 1, (1,)), ("1", 2, (2, 3)), ("1", None, (4,))),
        brought("b", ("2", None, ())),
        Run(),
        brought("b", ("2", 3, (1,)), ("1", 3, (1,)), age=2),
    ],
}


def renamed(delivery: Delivery, number: int) -> Delivery:
    """A delivery with keys, a file and days that no other history has."""
    orders = tuple(
        Version(f"{number}{each.key}", each.day and each.day + 3 * number, each.prices) for each in delivery.orders
    )
    return replace(delivery, name=f"{number}{delivery.name}", orders=orders)


HISTORIES = side_by_side(HARD, Run(), renamed)


@pytest.mark.slow
@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
def test_a_hard_history_gives_the_tables_and_the_lake_of_one_clean_run(events: Numbered) -> None:
    run_through(events)


@pytest.mark.slow
@pytest.mark.timeout(300)
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(deliveries, deliveries, runs), min_size=4, max_size=8))
def test_any_interleaving_gives_the_tables_and_the_lake_of_one_clean_run(events: list[Delivery | Run]) -> None:
    run_through(list(enumerate(events)))


def run_through(events: Numbered) -> None:
    """Land and run what happens in a home of its own, take everything once more, and compare with the model."""
    with tempfile.TemporaryDirectory() as folder:
        lake, model = OrdersLake.with_tables(Path(folder)), Model()
        for number, event in (*events, (0, Run())):
            if isinstance(event, Delivery):
                # Late files: an object may be older than what was taken before it.
                moment = 4 * number - 9 * event.age
                model.lying[event.name] = (moment, event)
                lake.write(
                    f"{event.name}.json",
                    json.dumps([version.document for version in event.orders]),
                    START + timedelta(minutes=moment),
                )
            else:
                rows = lake.run(reprocess=event.reprocess, replay=event.replay).rows
                assert rows["read"] == rows["loaded"] + rows["superseded"] + rows["quarantined"]
                model.take()
        assert_same(lake, model)
        before = lake.tables(), lake.lake_orders()
        lake.run(reprocess=True)
        assert (lake.tables(), lake.lake_orders()) == before


def assert_same(lake: OrdersLake, model: Model) -> None:
    tables, current = lake.tables(), model.current()
    assert {row[0]: (row[1].day, row[4], row[5]) for row in tables["ORDER_HEADERS"]} == {
        key: (version.day, len(version.prices), Decimal(2 * sum(version.prices))) for key, version in current.items()
    }
    assert [(row[0], row[1], row[11]) for row in tables["ORDER_LINES"]] == [
        (key, place, Decimal(price))
        for key, version in sorted(current.items())
        for place, price in enumerate(version.prices, 1)
    ]
    sold: dict[int, tuple[int, int]] = {}
    for version in current.values():
        if version.prices:
            orders, amount = sold.get(version.day or 0, (0, 0))
            sold[version.day or 0] = (orders + 1, amount + 2 * sum(version.prices))
    assert {row[0].day: (row[2], row[4]) for row in tables["DAILY_CATEGORY_SALES"]} == sold
    assert {
        key: (rows[0][0], sorted(row[11] for row in rows)) for key, rows in lake.lake_orders().items()
    } == {
        key: (f"dt=2024-01-{version.day:02d}", sorted(map(float, version.prices)))
        for key, version in current.items()
        if version.prices
    }  # fmt: skip
    assert waiting(lake) == model.waiting()
    assert not lake.staged()


def waiting(lake: OrdersLake) -> set[tuple]:
    return {
        (
            round((modified.replace(tzinfo=UTC) - START).total_seconds() / 60),
            Path(uri).stem,
            int(line),
        )
        for uri, modified, line in lake.rows(
            "SELECT SOURCE_URI, SOURCE_MODIFIED_AT, LINE_NUMBER FROM OPS.QUARANTINE "
            "WHERE REPLAYED_AT IS NULL AND CLOSED_AT IS NULL"
        )
    }
