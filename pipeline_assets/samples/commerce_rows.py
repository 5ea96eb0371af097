"""The records of the commerce samples, clean and dirty: words, rates of dirt, and one function per file for its text.

The columns are those of TPC-H's CUSTOMER and ORDERS, the values are our own. No text is longer than TPC-H allows.

An order's customer is chosen among those that its own number allows, as in `bookings_rows`, so a larger scale starts
with exactly the records of a smaller one. An `early` order names a customer whose record follows much later.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from .files import Chunk
from .records import (
    COUNTRY_OF_CITY,
    DirtPlan,
    Records,
    addresses,
    below,
    chosen,
    joined,
    lines,
    money,
    replaced,
    text,
)

# How many entities later a record is sent again, unchanged or as a newer version.
RESENT_AFTER = 40

# An early order is at least this many customers ahead of their stream, and at most twice as far into it.
EARLY_BY = 40

# Keys from here on are never in a customer file, whatever the scale.
FIRST_ORPHAN_CUSTOMER_KEY = 900_000_000

# Records per 10,000 with each kind. A bad record is an extra copy that follows the good one, so every customer and
# every order has an accepted record; its kind is the reason code that it is quarantined with.
BAD_RECORDS = {"missing_key": 5, "not_a_number": 5, "malformed_record": 5}
BAD_EXHIBITS = ("not_a_number", "not_a_number", "missing_key", "malformed_record")
CUSTOMER_DIRT = DirtPlan(
    entity="streamed_customer",
    rates={**BAD_RECORDS, "duplicate": 20, "changed": 200, "namesake": 100, "embedded_newline": 20, "padded": 20},
    exhibits=(
        "changed",
        "changed",
        "namesake",
        "namesake",
        "padded",
        "padded",
        "embedded_newline",
        *BAD_EXHIBITS,
        "duplicate",
    ),
    extra={**dict.fromkeys(BAD_RECORDS, 0), "duplicate": 0, "changed": RESENT_AFTER},
)
ORDER_DIRT = DirtPlan(
    entity="streamed_order",
    rates={
        **BAD_RECORDS,
        "duplicate": 20,
        "changed": 500,
        "early": 30,
        "orphan": 10,
        "embedded_newline": 10,
        "padded": 20,
    },
    exhibits=(
        "early",
        "early",
        "early",
        "early",
        "changed",
        "changed",
        "padded",
        "padded",
        "embedded_newline",
        *BAD_EXHIBITS,
        "orphan",
        "duplicate",
    ),
    extra={**dict.fromkeys(BAD_RECORDS, 0), "duplicate": RESENT_AFTER, "changed": RESENT_AFTER},
)

BYTE_ORDER_MARK = "\ufeff"
BAD_NUMBERS = ("12x.50", "n/a")

NATIONS = 25
SEGMENTS = ("AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY")
PRIORITIES = ("1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW")
CLERKS = 1_000

STATUSES = ("F", "O", "P")
STATUS_SHARES = np.repeat(np.arange(len(STATUSES)), (49, 49, 2))
# The status of a newer version: open and partly delivered orders are fulfilled, a fulfilled one is opened again.
NEXT_STATUS = np.array([2, 0, 0])

# Orders are numbered by date, 500 a day; after the last day the dates start again.
FIRST_DAY = date(2018, 1, 1)
DAYS = 2_191
ORDERS_PER_DAY = 500

# fmt: off
GOODS = (
    "boxes", "cables", "chairs", "clocks", "desks", "filters", "gauges", "hinges", "lamps", "mirrors", "panels",
    "pumps", "rollers", "shelves", "switches", "valves",
)
# fmt: on
REQUESTS = ("arrive on pallets", "fit the old frame", "go to the side door", "need a second label", "wait for a call")
WAYS = ("by rail", "by road", "next week", "without packing", "in two parts")

# A newer version of a record has draws of its own.
_NEWER = 1_000_000_000_000

_THREE_DIGITS = tuple(f"{number:03}" for number in range(1_000))
_FOUR_DIGITS = tuple(f"{number:04}" for number in range(10_000))


def customers(seed: int, count: int, *, bad: bool = True) -> Iterator[Chunk]:
    """The file of the customers 1 to `count`, with or without bad records; it starts with a byte order mark."""
    yield Chunk(BYTE_ORDER_MARK)
    for drawn in CUSTOMER_DIRT.records(seed, count):
        records = drawn if bad else _good(drawn)
        yield _chunk(_customer_records(seed, records), records)


def orders(seed: int, count: int, per_customer: int, *, bad: bool = True) -> Iterator[Chunk]:
    """The file of the orders 1 to `count`, with or without bad records."""
    for drawn in ORDER_DIRT.records(seed, count):
        records = drawn if bad else _good(drawn)
        yield _chunk(_order_records(seed, records, per_customer), records)


def _good(records: Records) -> Records:
    return records.only(~np.logical_or.reduce([records.having(kind) for kind in BAD_RECORDS]))


def _chunk(column: pa.Array, records: Records) -> Chunk:
    return Chunk(lines(column, line_end="\n"), rows=len(column), dirt=records.counts())


def _customer_records(seed: int, records: Records) -> pa.Array:
    numbers = records.numbers
    changed = records.having("changed")
    versions = numbers + _NEWER * changed
    nation = below(seed, "streamed_customer.nation", numbers, NATIONS)
    name = joined("Customer#", _nine_digits(numbers - records.having("namesake")))
    columns = [
        _keys(numbers, records),
        replaced(name, changed, joined(name, " & Sons")),
        _addresses(seed, versions, records),
        text(nation),
        _phones(seed, versions, nation),
        _amounts(below(seed, "streamed_customer.balance", versions, 1_099_999) - 99_999, records),
        chosen(SEGMENTS, below(seed, "streamed_customer.segment", numbers, len(SEGMENTS))),
        _comments(seed, "streamed_customer", records),
    ]
    return _records(columns, records)


def _order_records(seed: int, records: Records, per_customer: int) -> pa.Array:
    numbers = records.numbers
    small, large = (below(seed, f"streamed_order.price.{part}", numbers, 7_000) for part in ("a", "b"))
    comment = _comments(seed, "streamed_order", records)
    columns = [
        _keys(numbers, records),
        text(_customers_of_orders(seed, records, per_customer)),
        _statuses(seed, records),
        _amounts(85_771 + small * large, records),
        _dates(numbers),
        chosen(PRIORITIES, below(seed, "streamed_order.priority", numbers, len(PRIORITIES))),
        joined("Clerk#", _nine_digits(1 + below(seed, "streamed_order.clerk", numbers, CLERKS))),
        text(np.zeros_like(numbers)),
        replaced(comment, records.having("embedded_newline"), '"Deliver to\nthe ""Old Mill"", please"'),
    ]
    return _records(columns, records)


def _records(columns: list[pa.Array], records: Records) -> pa.Array:
    cut = joined(*columns[:-3], separator=",")
    return replaced(joined(*columns, separator=","), records.having("malformed_record"), cut)


def _keys(numbers: np.ndarray, records: Records) -> pa.Array:
    return replaced(text(numbers), records.having("missing_key"), "")


def _amounts(cents: np.ndarray, records: Records) -> pa.Array:
    bad = chosen(BAD_NUMBERS, records.numbers % len(BAD_NUMBERS))
    return replaced(money(cents), records.having("not_a_number"), bad)


def _nine_digits(numbers: np.ndarray) -> pa.Array:
    groups = (numbers // 1_000_000 % 1_000, numbers // 1_000 % 1_000, numbers % 1_000)
    return joined(*(chosen(_THREE_DIGITS, group) for group in groups))


def _addresses(seed: int, versions: np.ndarray, records: Records) -> pa.Array:
    city = below(seed, "streamed_customer.city", records.numbers, len(COUNTRY_OF_CITY))
    plain = addresses(seed, versions, city)
    return joined('"', replaced(plain, records.having("embedded_newline"), joined('Lot ""B""\n', plain)), '"')


def _phones(seed: int, versions: np.ndarray, nation: np.ndarray) -> pa.Array:
    first, second = (
        chosen(_THREE_DIGITS, 100 + below(seed, f"streamed_customer.phone.{part}", versions, 900)) for part in "ab"
    )
    line = chosen(_FOUR_DIGITS, below(seed, "streamed_customer.phone.c", versions, 10_000))
    return joined(text(10 + nation), first, second, line, separator="-")


def _comments(seed: int, entity: str, records: Records) -> pa.Array:
    numbers = records.numbers
    goods, requests, ways = (
        chosen(words, below(seed, f"{entity}.comment.{part}", numbers, len(words)))
        for part, words in enumerate((GOODS, REQUESTS, WAYS))
    )
    plain = joined(goods, requests, separator=" ")
    quoted = joined('"', goods, ', marked ""fragile"", ', requests, " ", ways, '"')
    comment = replaced(plain, below(seed, f"{entity}.comment.quoted", numbers, 10) < 2, quoted)
    # Blanks that belong to the comment, without quotes and within.
    padded = replaced(joined("  ", plain, " "), numbers % 2 == 0, joined('"  ', plain, ' "'))
    return replaced(comment, records.having("padded"), padded)


def _customers_of_orders(seed: int, records: Records, per_customer: int) -> np.ndarray:
    numbers = records.numbers
    allowed = (numbers - 1) // per_customer + 1
    drawn = below(seed, "streamed_order.customer", numbers, allowed)
    keys = np.where(records.having("early"), allowed + EARLY_BY + drawn, 1 + drawn)
    return np.where(records.having("orphan"), FIRST_ORPHAN_CUSTOMER_KEY + numbers, keys)


def _statuses(seed: int, records: Records) -> pa.Array:
    first = STATUS_SHARES[below(seed, "streamed_order.status", records.numbers, len(STATUS_SHARES))]
    return chosen(STATUSES, np.where(records.having("changed"), NEXT_STATUS[first], first))


def _dates(numbers: np.ndarray) -> pa.Array:
    days = [(FIRST_DAY + timedelta(days=day)).isoformat() for day in range(DAYS)]
    return chosen(days, (numbers - 1) // ORDERS_PER_DAY % DAYS)
