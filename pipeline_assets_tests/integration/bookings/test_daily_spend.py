"""DAILY_SPEND is always what grouping all published bookings gives, whichever of them a batch moved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from pipeline_assets_tests.support.bookings_lake import BOOKING_HEADER, JOINED, BookingsLake, customer

START = datetime(2026, 1, 1, tzinfo=UTC)
FIRST_DAY = date(2005, 1, 1)
COLUMNS = JOINED.split(", ")
BASE = {"DESTINATION_TYPE": "Music", "AMOUNT_SPENT": "10.00", "CURRENCY_CODE": "EUR", "STATUS": "open"}
# What a newer delivery changes of a booking; "new day" and "new customer" are the case's own.
MOVES: dict[str, dict[str, str]] = {
    "nothing": {},
    "day": {"BOOKING_DATE": "new day"},
    "customer": {"CUSTOMER_ID": "new customer"},
    "customer and day": {"CUSTOMER_ID": "new customer", "BOOKING_DATE": "new day"},
    "destination": {"DESTINATION_TYPE": "Beach"},
    "destination, to none": {"DESTINATION_TYPE": ""},
    "currency": {"CURRENCY_CODE": "USD"},
    "currency, to none": {"CURRENCY_CODE": ""},
    "amount": {"AMOUNT_SPENT": "10.0001"},
    "status": {"STATUS": "cancelled"},
    "every group": {"BOOKING_DATE": "new day", "DESTINATION_TYPE": "Beach", "CURRENCY_CODE": "USD"},
    "everything": {
        "CUSTOMER_ID": "new customer",
        "BOOKING_DATE": "new day",
        "DESTINATION_TYPE": "Beach",
        "CURRENCY_CODE": "",
        "AMOUNT_SPENT": "0.0001",
        "STATUS": "",
    },
}


def line(row: Mapping[str, str]) -> str:
    return ",".join(row.get(column, "") for column in BOOKING_HEADER.split(","))


def from_scratch(lake: BookingsLake) -> dict[tuple, tuple[int, Decimal]]:
    """(day, destination, currency) -> (bookings, amount) over everything published."""
    groups: dict[tuple, list[Decimal]] = defaultdict(list)
    for published in lake.tables()["CUSTOMER_BOOKINGS"]:
        row = dict(zip(COLUMNS, published, strict=True))
        groups[row["BOOKING_DATE"], row["DESTINATION_TYPE"], row["CURRENCY_CODE"]].append(row["AMOUNT_SPENT"])
    return {group: (len(amounts), sum(amounts, Decimal(0))) for group, amounts in groups.items()}


def mart(lake: BookingsLake) -> dict[tuple, tuple[int, Decimal]]:
    rows = lake.tables()["DAILY_SPEND"]
    found = {row[:3]: (int(row[3]), row[4]) for row in rows}
    assert len(found) == len(rows), "a group is in the mart twice"
    return found


def published(lake: BookingsLake) -> dict[str, tuple]:
    """What each published booking is grouped by and adds."""
    return {row[0]: (row[1], row[9], row[11], row[12], row[13]) for row in lake.tables()["CUSTOMER_BOOKINGS"]}


def as_published(row: Mapping[str, str]) -> tuple:
    day, kind, currency = date.fromisoformat(row["BOOKING_DATE"]), row["DESTINATION_TYPE"], row["CURRENCY_CODE"]
    return row["CUSTOMER_ID"], day, kind or None, Decimal(row["AMOUNT_SPENT"]), currency or None


@pytest.mark.parametrize("reverse", [False, True], ids=["there", "and_back"])
def test_a_booking_that_moves_between_groups_leaves_the_old_one(lake: BookingsLake, reverse: bool) -> None:
    """Every case has its own days and customers: what happens to one cannot hide what happens to another."""
    old, new, beside = [], [], []
    for number, (alone, change) in enumerate((alone, change) for alone in (True, False) for change in MOVES.values()):
        days = [(FIRST_DAY + timedelta(2 * number + n)).isoformat() for n in (0, 1)]
        before = BASE | {"BOOKING_ID": f"M{number}", "CUSTOMER_ID": f"A{number}", "BOOKING_DATE": days[0]}
        own = {"new day": days[1], "new customer": f"B{number}"}
        after = before | {column: own.get(value, value) for column, value in change.items()}
        old.append(after if reverse else before)
        new.append(before if reverse else after)
        if not alone:
            others = {"CUSTOMER_ID": f"C{number}"}
            beside += [row | others | {"BOOKING_ID": f"{n}{number}"} for n, row in enumerate((before, after))]
    lake.customers("", *(customer(f"{kind}{number}") for kind in "ABC" for number in range(len(old))))
    lake.bookings("", *map(line, [*old, *beside]), modified=START)
    lake.run()
    lake.bookings("_moved", *map(line, new), modified=START + timedelta(hours=1))
    lake.run()

    assert published(lake) == {row["BOOKING_ID"]: as_published(row) for row in [*new, *beside]}
    assert mart(lake) == from_scratch(lake)


@pytest.mark.parametrize("seed", [1])
def test_after_each_of_many_batches_the_mart_is_what_grouping_everything_gives(lake: BookingsLake, seed: int) -> None:
    """Few bookings on many days, so that a day is rarely touched twice in one batch."""
    random = Random(seed)

    def versions(numbers: Iterable[int]) -> list[dict[str, str]]:
        return [
            {
                "BOOKING_ID": str(number),
                "CUSTOMER_ID": str(random.randrange(12)),
                "BOOKING_DATE": (FIRST_DAY + timedelta(random.randrange(40))).isoformat(),
                "DESTINATION_TYPE": random.choice(["Music", "Beach", ""]),
                "AMOUNT_SPENT": str(Decimal(random.randrange(10**6)) / 10_000),
                "CURRENCY_CODE": random.choice(["EUR", "USD", ""]),
            }
            for number in numbers
        ]

    current = {}
    for batch in range(5):
        now = START + timedelta(hours=batch)
        # Customer 11 comes last, so some bookings wait for it; others are delivered again.
        known = range(12) if batch == 4 else random.sample(range(11), 3) if batch else range(11)
        lake.customers(f"_{batch}", *(customer(key, f"V{batch}") for key in known), modified=now)
        fresh = versions([*random.sample(range(24), 5), 24 + batch] if batch else range(24))
        current |= {row["BOOKING_ID"]: row for row in fresh}
        lake.bookings(f"_{batch}", *map(line, fresh), modified=now)
        lake.run()
        assert mart(lake) == from_scratch(lake), f"batch {batch}"
    assert published(lake) == {key: as_published(row) for key, row in current.items()}
