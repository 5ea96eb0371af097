"""Any number of runs over deliveries in any order, second and overwritten ones, gives the tables of one clean run.

The clean run is a plain Python model: every object version that a run has taken, in the order of delivery times, keys
and records.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_assets_tests.support.commerce_lake import CommerceLake, customer, order
from pipeline_assets_tests.support.histories import Numbered, side_by_side

START = datetime(2026, 3, 1, tzinfo=UTC)
NO_GZIP = b"\x1f\x8bno gzip"
Row = tuple[str, str, int | None]  # key, customer, variant; a variant of None is a bad record


@dataclass(frozen=True)
class Delivery:
    """An object that lands (again) at the key of a second; without rows it is one that is rejected."""

    stream: str
    second: int
    name: str
    rows: tuple[Row, ...]

    @property
    def key(self) -> tuple[str, int, str]:
        return self.stream, self.second, self.name

    @property
    def lines(self) -> tuple[str, ...]:
        if self.stream == "customers":
            return tuple(customer("" if v is None else key, f"V{v}") for key, _, v in self.rows)
        return tuple(
            order(key, owner, "FOP"[v % 3] if v is not None else "X", f"{v}.25", day(v)) for key, owner, v in self.rows
        )


def day(variant: int | None) -> str:
    """Two days, others for every six."""
    six, number = divmod(variant or 0, 6)
    return f"2024-02-{2 * six + number % 2 + 1:02d}"


@dataclass(frozen=True)
class Run:
    """A run of the pipeline; `day` limits it to the objects of one landing day."""

    reprocess: bool = False
    replay: bool = False
    day: int | None = None


@dataclass
class Model:
    """What lies in landing, and every version that was taken, in the order in which that happened."""

    landing: dict[tuple[str, int, str], Delivery] = field(default_factory=dict)
    taken: list[Delivery] = field(default_factory=list)
    current: dict[tuple[str, int, str], Delivery] = field(default_factory=dict)

    def run(self, only: int | None) -> None:
        for key, delivery in list(self.landing.items()):
            if only is None or day_of(key[1]) == only:
                del self.landing[key]
                if self.current.get(key) != delivery:
                    self.current[key] = delivery
                    self.taken.append(delivery)

    def rows(self, stream: str) -> list[Row]:
        """Every good record; a newer one is further behind."""
        versions = sorted((d.second, d.name, number) for number, d in enumerate(self.taken) if d.stream == stream)
        return [row for *_, number in versions for row in self.taken[number].rows if row[2] is not None]

    def newest(self, stream: str) -> dict[str, Row]:
        return {row[0]: row for row in self.rows(stream)}


def second_of(number: int) -> datetime:
    """Three seconds of two days."""
    return START + timedelta(days=number // 2, seconds=number)


def day_of(number: int) -> int:
    return number // 2


keys = {"customers": ["1", "2"], "orders": ["10", "11", "12"]}
variants = st.one_of(st.integers(0, 5), st.integers(0, 5), st.none())


def delivered(stream: str) -> st.SearchStrategy[Delivery]:
    row = st.tuples(st.sampled_from(keys[stream]), st.sampled_from(["1", "2"]), variants)
    rows = st.lists(row, max_size=4).map(tuple)
    return st.builds(Delivery, st.just(stream), st.integers(0, 3), st.sampled_from("ab"), rows)


runs = st.one_of(
    st.builds(Run, reprocess=st.booleans()),
    st.just(Run(replay=True)),
    st.builds(Run, day=st.integers(0, 1)),
    st.just(Run(reprocess=True, replay=True)),
)


def brought(stream: str, second: int, *rows: Row, name: str = "a") -> Delivery:
    return Delivery(stream, second, name, rows)


events = st.one_of(delivered("customers"), delivered("orders"), delivered("orders"), runs)
FIRST = brought("orders", 0, ("10", "1", 0), ("11", "2", 3))
ADA = brought("customers", 0, ("1", "", 0), ("2", "", 0))
HARD: dict[str, list[Delivery | Run]] = {
    "everything delivered again before, between and after": [
        *(ADA, FIRST, FIRST, Run(), FIRST, ADA, Run(), brought("orders", 1, ("10", "1", 1)), FIRST, Run(), FIRST),
    ],
    "a key with other bytes and the old ones again": [
        *(ADA, FIRST, Run(), brought("orders", 0, ("10", "1", 3)), Run(), FIRST, Run(), FIRST),
    ],
    "two objects of one second in each order": [
        *(ADA, brought("orders", 0, ("10", "1", 0), name="b"), Run(), brought("orders", 0, ("10", "1", 3), name="a")),
        *(Run(), brought("orders", 1, ("11", "1", 0), name="a"), Run()),
        brought("orders", 1, ("11", "1", 3), name="b"),
    ],
    "later days first": [
        *(brought("orders", 3, ("10", "1", 3)), Run(day=1), FIRST, brought("customers", 2, ("1", "", 1)), Run(day=0)),
        *(Run(reprocess=True), ADA, Run(replay=True)),
    ],
    "a bad record that a newer version of its object lacks": [
        *(ADA, brought("orders", 0, ("10", "1", None), ("11", "1", 0)), Run(), brought("orders", 0, ("10", "1", 3))),
        *(Run(replay=True), brought("orders", 0, ("10", "1", None), ("11", "1", 0)), Run(replay=True)),
    ],
    "an object that is rejected, corrected and spoilt again": [
        *(ADA, brought("orders", 0), Run(), FIRST, Run(reprocess=True), brought("orders", 0), Run(), Run(replay=True)),
    ],
    "processed again while something is delivered again": [
        *(ADA, FIRST, Run(), FIRST, brought("orders", 2, ("10", "2", 3)), Run(reprocess=True), ADA, Run(day=0), FIRST),
        Run(reprocess=True, replay=True),
    ],
}


def renamed(delivery: Delivery, number: int) -> Delivery:
    """A delivery with keys, days and an object that no other history has."""
    rows = tuple(
        (f"{number}{key}", owner and f"{number}{owner}", None if variant is None else 6 * number + variant)
        for key, owner, variant in delivery.rows
    )
    return replace(delivery, name=f"{delivery.name}{number}", rows=rows)


HISTORIES = side_by_side(HARD, Run(), renamed)


@pytest.mark.slow
@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
def test_a_hard_history_gives_the_tables_of_one_clean_run(events: Numbered) -> None:
    run_through(events)


@pytest.mark.slow
@pytest.mark.timeout(300)
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(events, min_size=4, max_size=9))
def test_any_interleaving_gives_the_tables_of_one_clean_run(events: list[Delivery | Run]) -> None:
    run_through(list(enumerate(events)))


def run_through(events: Numbered) -> None:
    """Land and run what happens in a home of its own, take everything once more, and compare with the model."""
    with tempfile.TemporaryDirectory() as folder:
        lake, model = CommerceLake.with_tables(Path(folder)), Model()
        for number, event in (*events, (0, Run())):
            if isinstance(event, Delivery):
                model.landing[event.key] = event
                land(lake, event, number)
            else:
                on = f"{START + timedelta(days=event.day):%Y-%m-%d}" if event.day is not None else None
                days = (on, on) if on else None
                rows = lake.run(reprocess=event.reprocess, replay=event.replay, days=days).rows
                assert rows["read"] == rows["loaded"] + rows["superseded"] + rows["quarantined"]
                model.run(event.day)
        assert_same(lake, model)
        before = lake.tables(), lake.copied_rows(), lake.zones()
        lake.run(reprocess=True)
        assert (lake.tables(), lake.copied_rows(), lake.zones()) == before


def land(lake: CommerceLake, delivery: Delivery, number: int) -> None:
    """Land an object after its second, so that keys order the objects of one second.

    Each has a time of its own: bytes that return with the time and the reused inode of an earlier version are that one.
    """
    at = second_of(delivery.second)
    key = lake.key(delivery.stream, at, delivery.name)
    written = at + timedelta(seconds=2, milliseconds=number)
    lake.write(key, "\n".join(delivery.lines) if delivery.rows else NO_GZIP, written)


def assert_same(lake: CommerceLake, model: Model) -> None:
    tables = lake.tables()
    customers, orders = model.newest("customers"), model.newest("orders")
    raw = sorted((row[0], row[1]) for row in tables["CUSTOMER_RAW"])
    assert raw == sorted((key, f"V{v}") for key, _, v in model.rows("customers"))
    raw = sorted((row[0], row[1], str(row[3])) for row in tables["ORDERS_RAW"])
    assert raw == sorted((key, owner, f"{v}.25") for key, owner, v in model.rows("orders"))
    assert {row[0]: row[1] for row in tables["CUSTOMERS"]} == {k: f"V{v}" for k, (_, _, v) in customers.items()}
    found = {row[0]: (row[1], row[2], str(row[3]), row[4]) for row in tables["ORDERS"]}
    expected = {
        key: (owner, "FOP"[v % 3], f"{v}.25", date.fromisoformat(day(v)))
        for key, (_, owner, v) in orders.items()
        if v is not None
    }
    assert found == expected
    spent: dict[tuple[str, date], list[Decimal]] = defaultdict(list)
    for owner, status, price, on in expected.values():
        if status == "F" and owner in customers:
            spent[owner, on].append(Decimal(price))
    mart = {(key, f"V{customers[key][2]}", on, sum(prices), len(prices)) for (key, on), prices in spent.items()}
    assert {tuple(row) for row in tables["ORDER_CUSTOMER_DATE_PRICE"]} == mart
    assert lake.copied_rows() == sorted((f"order_date={on}", key, name, *sums) for key, name, on, *sums in mart)
    accepted = {delivery.key: delivery for delivery in model.taken if delivery.rows}  # a rejected one decides nothing
    bad = sum(v is None for delivery in accepted.values() for *_, v in delivery.rows)
    rejected = sum(not delivery.rows for delivery in model.current.values())
    assert lake.rows(
        "SELECT COUNT(LINE_NUMBER), COUNT(DISTINCT CASE WHEN LINE_NUMBER IS NULL THEN SOURCE_URI END) "
        "FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL AND CLOSED_AT IS NULL"
    ) == [(bad, rejected)]
    zones = {key.split("/")[1] for key in lake.landed_keys() if not key.endswith(".reason.json")}
    assert zones <= {"processed", "rejected"}
    assert not lake.staged()
