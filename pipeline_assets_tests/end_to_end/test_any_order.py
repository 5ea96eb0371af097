"""Any number of runs, in any order, over redelivered, overwritten and late files gives the tables of one clean run.

The clean run is a plain Python model: every object version that a run has seen, folded newest-wins.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.histories import Numbered, side_by_side

START = datetime(2026, 3, 1, tzinfo=UTC)
CUSTOMER_IDS = ["1", "2"]
NAMES = ["", "_a"]


@dataclass(frozen=True)
class Delivery:
    """A file that lands (again): `rows` are (key, customer id, variant); a variant of None is a bad row."""

    kind: str
    name: str
    rows: tuple[tuple[str, str, int | None], ...]
    age: int


@dataclass(frozen=True)
class Run:
    """A run of the pipeline; what lies there is taken."""

    reprocess: bool = False
    replay: bool = False


@dataclass
class Taken:
    """A file version that a run took; `rows` are those that may still be loaded, by line."""

    landed: tuple[int, Delivery]
    moment: int
    number: int
    rows: dict[int, tuple[str, str, int | None]]


@dataclass
class Model:
    """Every file version that a run has taken, with its time: never before that of the version that it replaced."""

    lying: dict[tuple[str, str], tuple[int, Delivery]] = field(default_factory=dict)
    seen: list[Taken] = field(default_factory=list)
    current: dict[tuple[str, str], Taken] = field(default_factory=dict)

    def deliver(self, moment: int, delivery: Delivery) -> None:
        self.lying[(delivery.kind, delivery.name)] = (moment, delivery)

    def run(self) -> None:
        known = self.customers()
        for key, landed in self.lying.items():
            moment, before = landed[0], self.current.get(key)
            if before and before.landed == landed:
                continue
            if before:
                moment = max(moment, before.moment)
                # The new version decides about the orphans of the one that it replaces.
                before.rows = {n: row for n, row in before.rows.items() if key[0] == "customers" or row[1] in known}
            self.current[key] = Taken(landed, moment, len(self.seen), dict(enumerate(landed[1].rows, 2)))
            self.seen.append(self.current[key])

    def versions(self, kind: str) -> list[tuple[tuple, tuple[str, str, int | None]]]:
        """(version, row) of everything taken, oldest first; later lines of a file are newer."""
        return sorted(
            ((taken.moment, taken.landed[1].name, taken.number, line), row)
            for taken in self.seen
            if taken.landed[1].kind == kind
            for line, row in taken.rows.items()
        )

    def customers(self) -> dict[str, int]:
        return {key: variant for _, (key, _, variant) in self.versions("customers") if variant is not None}

    def bookings(self) -> dict[str, tuple[str, int]]:
        known = self.customers()
        return {
            key: (owner, variant)
            for _, (key, owner, variant) in self.versions("bookings")
            if variant is not None and owner in known
        }

    def waiting(self) -> set[tuple]:
        """(dataset, file, time, line, reason) of the bad rows in the version of each file that was taken last."""
        known = self.customers()
        bad = set()
        for (kind, name), taken in self.current.items():
            for line, (_, owner, variant) in taken.rows.items():
                if variant is None:
                    reason = "missing_key" if kind == "customers" else "not_a_number"
                    bad.add((kind, name, taken.moment, line, reason))
                elif kind == "bookings" and owner not in known:
                    bad.add((kind, name, taken.moment, line, "orphan_booking"))
        return bad


customers = st.builds(
    Delivery,
    kind=st.just("customers"),
    name=st.sampled_from(NAMES),
    rows=st.lists(
        st.tuples(st.sampled_from(CUSTOMER_IDS), st.just(""), st.one_of(st.integers(0, 5), st.none())), max_size=4
    ).map(tuple),
    age=st.integers(0, 3),
)
bookings = st.builds(
    Delivery,
    kind=st.just("bookings"),
    name=st.sampled_from(NAMES),
    rows=st.lists(
        st.tuples(
            st.sampled_from(["10", "11", "12"]),
            st.sampled_from(CUSTOMER_IDS),
            st.one_of(st.integers(0, 5), st.none()),
        ),
        min_size=1,
        max_size=5,
    ).map(tuple),
    age=st.integers(0, 3),
)
runs = st.builds(Run, reprocess=st.booleans(), replay=st.just(False)) | st.just(Run(replay=True))


def one(customer_id: str, variant: int | None = 0) -> tuple[str, str, int | None]:
    """A row of a customers file."""
    return customer_id, "", variant


def brought(kind: str, name: str, *rows: tuple[str, str, int | None], age: int = 0) -> Delivery:
    return Delivery(kind, name, rows, age)


# Histories in which a rule has gone wrong or easily would; drawn ones meet each of them seldom.
HARD: dict[str, list[Delivery | Run]] = {
    "customers first, their bookings in a later run": [
        brought("customers", "", one("1"), one("2")),
        Run(),
        brought("bookings", "", ("10", "1", 1), ("11", "2", 2)),
        Run(),
        brought("bookings", "_a", ("10", "2", 4), ("12", "1", 3)),
    ],
    "bookings first, one customer after the other": [
        brought("bookings", "", ("10", "1", 1), ("11", "2", 2), ("10", "2", 3)),
        Run(),
        brought("customers", "", one("1")),
        Run(reprocess=True, replay=True),
        brought("customers", "_a", one("2")),
    ],
    "an older version waits for its customer and comes in behind a newer one": [
        brought("customers", "", one("1")),
        brought("bookings", "", ("10", "1", 1)),
        Run(),
        brought("bookings", "_a", ("10", "2", 2), age=3),
        Run(),
        brought("customers", "_a", one("2", 4)),
    ],
    "a booking changes customer and day, and its old customer changes with it": [
        brought("customers", "", one("1"), one("2")),
        brought("bookings", "", ("10", "1", 0), ("11", "1", 0)),
        Run(),
        brought("customers", "_a", one("1", 5)),
        brought("bookings", "_a", ("10", "2", 3)),
    ],
    "a booking leaves a day on which another one stays": [
        brought("customers", "", one("1"), one("2")),
        brought("bookings", "", ("10", "1", 0), ("11", "2", 0)),
        Run(),
        brought("bookings", "_a", ("10", "1", 1)),
    ],
    "a bad row is corrected under the same name and taken again by a replay": [
        brought("customers", "", one("1"), one("1", None)),
        brought("bookings", "", ("10", "1", None), ("11", "2", 1)),
        Run(),
        brought("bookings", "", ("10", "1", 3), ("11", "2", None)),
        Run(replay=True),
        Run(reprocess=True, replay=True),
    ],
    "several versions in one file, and older files late": [
        brought("customers", "", one("1", 1), one("1", 2)),
        brought("bookings", "", ("10", "1", 1), ("10", "1", 2), ("10", "1", None)),
        Run(),
        brought("customers", "_a", one("1", 5), one("2", 1), age=3),
        brought("bookings", "_a", ("10", "2", 5), ("12", "2", 4), age=3),
    ],
    "an object is overwritten before anybody took it": [
        brought("customers", "", one("1", 1)),
        brought("bookings", "", ("10", "1", 1)),
        brought("customers", ""),
        brought("bookings", "", ("11", "1", 2)),
        Run(),
        brought("customers", "", one("1", 3)),
    ],
}


def renamed(delivery: Delivery, number: int) -> Delivery:
    """A delivery with keys, a file and months that no other history has."""
    rows = tuple(
        (f"{number}{key}", owner and f"{number}{owner}", None if variant is None else 10 * number + variant)
        for key, owner, variant in delivery.rows
    )
    return replace(delivery, name=f"_{number}{delivery.name}", rows=rows)


HISTORIES = side_by_side(HARD, Run(), renamed)


@pytest.mark.slow
@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
def test_a_hard_history_gives_the_tables_of_one_clean_run(events: Numbered) -> None:
    run_through(events)


@pytest.mark.slow
@pytest.mark.timeout(300)
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(customers, bookings, bookings, runs), min_size=4, max_size=9))
def test_any_interleaving_gives_the_tables_of_one_clean_run(events: list[Delivery | Run]) -> None:
    run_through(list(enumerate(events)))


def run_through(events: Numbered) -> None:
    """Land and run what happens in a home of its own, take everything once more, and compare with the model."""
    with tempfile.TemporaryDirectory() as folder:
        lake, model = BookingsLake.with_tables(Path(folder)), Model()
        for number, event in (*events, (0, Run())):
            if isinstance(event, Delivery):
                # Late files: an object may be older than what was taken before it.
                moment = 4 * number - 9 * event.age
                model.deliver(moment, event)
                land(lake, event, moment)
            else:
                rows = lake.run(reprocess=event.reprocess, replay=event.replay).rows
                assert rows["read"] == rows["loaded"] + rows["superseded"] + rows["quarantined"]
                model.run()
        assert_same(lake, model)
        before = lake.tables()
        lake.run(reprocess=True)
        assert lake.tables() == before


def land(lake: BookingsLake, delivery: Delivery, moment: int) -> None:
    modified = START + timedelta(minutes=moment)
    if delivery.kind == "customers":
        rows = [customer("" if v is None else key, f"V{v}") for key, _, v in delivery.rows]
        lake.customers(delivery.name, *rows, modified=modified)
    else:
        rows = [booking(key, owner, "x" if v is None else f"{v}.25", day(v)) for key, owner, v in delivery.rows]
        lake.bookings(delivery.name, *rows, modified=modified)


def day(variant: int | None) -> str:
    return day_of(variant or 0).strftime("%d-%m-%Y")


def day_of(variant: int) -> date:
    """Two days, in another month for every ten."""
    return date(2005, 1 + variant // 10, variant % 2 + 1)


def assert_same(lake: BookingsLake, model: Model) -> None:
    tables = lake.tables()
    assert {row[0]: row[1] for row in tables["CUSTOMERS"]} == {k: f"V{v}" for k, v in model.customers().items()}
    published = {row[0]: (row[1], row[2], row[9], row[12]) for row in tables["CUSTOMER_BOOKINGS"]}
    expected = {
        key: (owner, f"V{model.customers()[owner]}", day_of(v), Decimal(f"{v}.2500"))
        for key, (owner, v) in model.bookings().items()
    }
    assert published == expected
    spend: dict[date, tuple[int, Decimal]] = {}
    for _, _, booked, amount in expected.values():
        count, total = spend.get(booked, (0, Decimal(0)))
        spend[booked] = (count + 1, total + amount)
    assert {row[0]: (int(row[3]), row[4]) for row in tables["DAILY_SPEND"]} == spend
    assert waiting(lake) == model.waiting()
    assert not lake.staged()


def waiting(lake: BookingsLake) -> set[tuple]:
    found = set()
    for dataset, uri, modified, line, code in lake.rows(
        "SELECT DATASET, SOURCE_URI, SOURCE_MODIFIED_AT, LINE_NUMBER, REASON_CODE FROM OPS.QUARANTINE "
        "WHERE REPLAYED_AT IS NULL AND CLOSED_AT IS NULL"
    ):
        name = uri.rpartition("details")[2].removesuffix(".csv")
        moment = round((modified.replace(tzinfo=UTC) - START).total_seconds() / 60)
        found.add((dataset, name, moment, int(line), code))
    return found
