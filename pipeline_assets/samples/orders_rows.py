"""The orders of the orders samples, clean and dirty: products, rates of dirt, and one function per file for its text.

No JSON library writes the orders, because one that takes a dict per order is too slow for millions. An order is
concatenated from words that are escaped once, and its products are a list column over one flat column of lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .files import Chunk
from .records import (
    COUNTRY_OF_CITY,
    FIRST_NAMES,
    LAST_NAMES,
    TWO_DIGITS,
    DirtPlan,
    Records,
    addresses,
    below,
    chosen,
    joined,
    lines,
    mail_names,
    money,
    replaced,
    text,
)

# Share of the shop's orders that are sent again in the corrections.
CORRECTED_PERCENT = 2

# Share of the orders whose total is not the sum of their lines: the shipping costs are in no line.
SHIPPED_PERCENT = 3
SHIPPING_CENTS = 495

# Share of the lines, except the first of an order, that repeat the product of the line before.
AGAIN_PERCENT = 5

ORDERS_PER_CUSTOMER = 4

# The truncated file's orders have ids from here on and are in no other file, so a test notices one that loads.
FIRST_TRUNCATED_ORDER_ID = 900_000_000
TRUNCATED_ORDERS = 50

# Orders per 10,000 with each kind of dirt: 0.5 % altogether. Kinds with two forms alternate by the order's
# number: an id absent or null, a customer that is a string or products that are an object.
SHOP_DIRT = DirtPlan(
    entity="shop_order",
    rates={"missing_key": 12, "not_a_date": 12, "not_a_number": 13, "wrong_type": 13},
    exhibits=("missing_key", "not_a_date", "not_a_number", "wrong_type", "wrong_type"),
    extra={},
)
APP_DIRT = DirtPlan(
    entity="app_order",
    rates={"missing_key": 10, "not_a_date": 10, "not_a_number": 10, "wrong_type": 10, "malformed_record": 10},
    exhibits=("malformed_record", "missing_key", "not_a_date", "not_a_number", "wrong_type", "wrong_type"),
    extra={},
)

# Name, category, price in cents. Whole prices are written without decimals: a type guessed from one file would
# be an integer.
PRODUCTS = (
    ("Espresso cups, set of 4", "Kitchen", 2490),
    ("Café filter No. 4", "Kitchen", 349),
    ('Frying pan 11"', "Kitchen", 3995),
    ("Käsemesser", "Kitchen", 1800),
    ("Bread knife", "Kitchen", 2250),
    ("Crème brûlée torch", "Kitchen", 2999),
    ('Monitor 27", matte', "Electronics", 21900),
    ("USB-C cable (2 m)", "Electronics", 999),
    ("Headphones \\ microphone", "Electronics", 8450),
    ("Desk lamp", "Electronics", 4500),
    ("Power bank 20,000 mAh", "Electronics", 3499),
    ("Wanderkarte Zürich", "Books", 1490),
    ('"Don Quijote", illustrated', "Books", 3250),
    ("El niño y el océano", "Books", 1275),
    ("Przewodnik: Łódź", "Books", 1920),
    ("Cookbook: 365 soups", "Books", 2700),
    ("日本語 for beginners", "Books", 2995),
    ("Yoga mat", "Sports & Outdoor", 2500),
    ("Tent <2 persons>", "Sports & Outdoor", 12900),
    ("Climbing rope, 60 m", "Sports & Outdoor", 15499),
    ("Water bottle\t0.5 l", "Sports & Outdoor", 1195),
    ("T-shirt 'Smörgåsbord'", "Clothing", 1990),
    ("Rain jacket", "Clothing", 7995),
    ("Wool socks (3 pairs)", "Clothing", 1450),
    ("Tee für zwei, 100 g", "Food", 895),
    ("Olive oil; extra virgin", "Food", 1349),
    ("Jalapeño / Habanero sauce", "Food", 575),
    ("Chocolate = 85 % cocoa", "Food", 300),
    ("Gift card 🎁", "Gifts", 5000),
    ("Sticker", "Gifts", 25),
)
FIRST_PRODUCT_ID = 1001
PRICES = np.array([cents for _, _, cents in PRODUCTS])

# One address in twenty starts with one of these.
ADDRESS_PREFIXES = (*[""] * 76, 'c/o "The Granary", ', "Flat 2\\3, ", "Unit 5\n", "Hof / Remise, ")

# Lines per order, 2.3 on average. Neighbours differ: an order's corrected version takes the next count, so
# its number of lines always changes.
LINE_COUNTS = np.array([0, *(1, 2, 3, 4) * 5, *(1, 2, 3) * 4, *(1, 2) * 2, 5, 2, 5])
MOST_LINES = 5
# Negative ones are returns.
QUANTITIES = np.repeat((1, 2, 3, 4, 6, 12, -1, -2), (50, 24, 10, 6, 4, 2, 3, 1))

FIRST_DAY = date(2024, 4, 2)
DAYS = 90
BAD_DATES = ("2024-02-31", "soon")
CHANNELS = ("ios", "android", "android", "tablet")
# So different that near midnight the date as written is not the date in UTC.
OFFSETS = ("+02:00", "+02:00", "+01:00", "+00:00", "-04:00", "+05:30")
SHOP_LINE_ENDS = ("}",)
# One line in ten of the app has a discount, which its contract does not know.
APP_LINE_ENDS = ("}",) * 9 + (', "discount": 0.1}',)

_MINUTES = tuple(f"{hour:02}:{minute:02}" for hour in range(24) for minute in range(60))

# A small example of an order: one product twice, the second a return.
SINGLE_ORDER = {
    "order_id": "S-1",
    "order_date": "2024-06-30",
    "total_amount": 54.8,
    "customer": {
        "customer_id": 1,
        "name": "Zoë O'Brien",
        "email": "zoe.obrien@example.com",
        "address": 'c/o "The Granary", 7 Mill Lane, São Paulo',
    },
    "products": [
        {"product_id": 1001, "name": "Espresso cups, set of 4", "category": "Kitchen", "price": 24.9, "quantity": 3},
        {"product_id": 1001, "name": "Espresso cups, set of 4", "category": "Kitchen", "price": 24.9, "quantity": -1},
        {"product_id": 1030, "name": "Sticker", "category": "Gifts", "price": 0.25, "quantity": 20},
    ],
}


def shop_orders(seed: int, count: int) -> Iterator[Chunk]:
    """The shop's file: orders 1 to `count` as one JSON array, an order on each line, with integer ids."""
    for records in SHOP_DIRT.records(seed, count):
        yield _chunk(_elements(_shop_order(seed, records, version=0), records.numbers == 1), records, line_end="")
    yield Chunk("\n]\n")


def app_orders(seed: int, count: int) -> Iterator[Chunk]:
    """The app's file: orders 1 to `count`, one per line, with ids that are strings, times and unknown keys."""
    for records in APP_DIRT.records(seed, count):
        yield _chunk(_app_order(seed, records), records)


def single_order() -> Iterator[Chunk]:
    """One order on its own, over many lines; the same whatever the seed."""
    yield Chunk(json.dumps(SINGLE_ORDER, indent=2, ensure_ascii=False) + "\n", rows=1, dirt=_no_dirt())


def corrected_orders(seed: int, count: int) -> Iterator[Chunk]:
    """Newer versions, one per line, with other products, of about 2 % of the shop's orders 1 to `count`.

    Only orders without dirt are corrected, so that every kind of dirt still occurs afterwards. Order 1
    always is, so that the file is not empty at the smallest scale.
    """
    for records in SHOP_DIRT.records(seed, count):
        numbers = records.numbers
        picked = (below(seed, "shop_order.corrected", numbers, 100) < CORRECTED_PERCENT) | (numbers == 1)
        corrected = records.only(picked & SHOP_DIRT.clean(seed, numbers))
        yield _chunk(_shop_order(seed, corrected, version=1), corrected)


def truncated_orders(seed: int) -> Iterator[Chunk]:
    """A whole array in the shop's form, for `publish` to halve; none of its orders counts as a row."""
    numbers = np.arange(FIRST_TRUNCATED_ORDER_ID, FIRST_TRUNCATED_ORDER_ID + TRUNCATED_ORDERS)
    clean = Records(numbers, np.zeros_like(numbers), SHOP_DIRT.kinds)
    elements = _elements(_shop_order(seed, clean, version=0), numbers == FIRST_TRUNCATED_ORDER_ID)
    yield Chunk(lines(elements, line_end="") + "\n]\n", dirt=_no_dirt())


def _no_dirt() -> dict[str, int]:
    return dict.fromkeys(SHOP_DIRT.kinds, 0)


def _chunk(column: pa.Array, records: Records, *, line_end: str = "\n") -> Chunk:
    return Chunk(lines(column, line_end=line_end), rows=len(column), dirt=records.counts())


def _elements(orders: pa.Array, first: np.ndarray) -> pa.Array:
    # The separator is written before each element, as it is not known whether another follows.
    return joined(pc.if_else(pa.array(first), "[\n", ",\n"), orders)


def _shop_order(seed: int, records: Records, *, version: int) -> pa.Array:
    source = SHOP_DIRT.entity
    products, cents = _products(seed, source, records, SHOP_PRODUCTS, SHOP_LINE_ENDS, version)
    members = _members(
        order_date=_quoted(_dates(records, _days(seed, source, records))),
        total_amount=money(_totals(seed, source, records, cents)),
        customer=_customers(seed, source, records, as_id=text),
        products=products,
    )
    return joined("{", _order_id(records, text(records.numbers)), members, "}")


def _app_order(seed: int, records: Records) -> pa.Array:
    source, numbers = APP_DIRT.entity, records.numbers
    products, cents = _products(seed, source, records, APP_PRODUCTS, APP_LINE_ENDS, version=0)
    channel = chosen(CHANNELS, below(seed, f"{source}.channel", numbers, len(CHANNELS)))
    second = below(seed, f"{source}.time", numbers, 24 * 60 * 60)
    offset = chosen(OFFSETS, below(seed, f"{source}.offset", numbers, len(OFFSETS)))
    clock = joined(chosen(_MINUTES, second // 60), ":", chosen(TWO_DIGITS, second % 60), offset)
    date_and_time = joined(_days(seed, source, records), "T", clock)
    order_id = joined('"A-', pc.utf8_lpad(text(numbers), 7, "0"), '"')
    head = _members(channel=_quoted(channel), order_date=_quoted(_dates(records, date_and_time)), products="")
    begun = joined("{", _order_id(records, order_id), head)
    customer = _customers(seed, source, records, as_id=lambda ids: _quoted(text(ids)))
    ended = _members(customer=customer, total_amount=money(_totals(seed, source, records, cents)))
    whole = joined(begun, products, ", ", ended, "}")
    return replaced(whole, records.having("malformed_record"), begun)


def _members(**values: pa.Array | str) -> pa.Array:
    """The members of a JSON object, without its braces, from values that are JSON already."""
    parts = [part for name, value in values.items() for part in (f', "{name}": ', value)]
    return joined(parts[0].removeprefix(", "), *parts[1:])


def _quoted(column: pa.Array) -> pa.Array:
    return joined('"', column, '"')


def _order_id(records: Records, ids: pa.Array) -> pa.Array:
    """The first member with its comma, or nothing if the member is absent."""
    missing = pc.if_else(pa.array(records.numbers % 2 == 0), "", '"order_id": null, ')
    return replaced(joined('"order_id": ', ids, ", "), records.having("missing_key"), missing)


def _days(seed: int, source: str, records: Records) -> pa.Array:
    days = [(FIRST_DAY + timedelta(days=day)).isoformat() for day in range(DAYS)]
    return chosen(days, below(seed, f"{source}.date", records.numbers, DAYS))


def _dates(records: Records, good: pa.Array) -> pa.Array:
    return replaced(good, records.having("not_a_date"), chosen(BAD_DATES, records.numbers % len(BAD_DATES)))


def _totals(seed: int, source: str, records: Records, cents: np.ndarray) -> np.ndarray:
    shipped = below(seed, f"{source}.shipped", records.numbers, 100) < SHIPPED_PERCENT
    return cents + SHIPPING_CENTS * shipped


def _escaped(words: Sequence[str]) -> list[str]:
    return [json.dumps(word, ensure_ascii=False)[1:-1] for word in words]


def _customers(seed: int, source: str, records: Records, *, as_id: Callable[[np.ndarray], pa.Array]) -> pa.Array:
    # A customer's values depend on the number alone, so the shop and the app agree.
    allowed = (records.numbers - 1) // ORDERS_PER_CUSTOMER + 1
    customers = 1 + below(seed, f"{source}.customer", records.numbers, allowed)
    first = below(seed, "customer.first_name", customers, len(FIRST_NAMES))
    last = below(seed, "customer.last_name", customers, len(LAST_NAMES))
    city = below(seed, "customer.city", customers, len(COUNTRY_OF_CITY))
    prefix = below(seed, "customer.address_prefix", customers, len(ADDRESS_PREFIXES))
    name = _quoted(joined(chosen(FIRST_NAMES, first), " ", chosen(LAST_NAMES, last)))
    mail_name = joined(chosen(mail_names(FIRST_NAMES), first), ".", chosen(mail_names(LAST_NAMES), last))
    address = joined(chosen(_escaped(ADDRESS_PREFIXES), prefix), addresses(seed, customers, city))
    email = joined('"', mail_name, text(customers), '@example.com"')
    members = _members(customer_id=as_id(customers), name=name, email=email, address=_quoted(address))
    a_string = records.having("wrong_type") & (records.numbers % 2 == 0)
    return replaced(joined("{", members, "}"), a_string, name)


def _products(
    seed: int, source: str, records: Records, products: Sequence[str], line_ends: Sequence[str], version: int
) -> tuple[pa.Array, np.ndarray]:
    """Each order's products as a JSON list, and their total in cents."""
    counts = _line_counts(seed, source, records, version)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    numbers = np.repeat(records.numbers, counts) * MOST_LINES + place
    product = below(seed, f"{source}.product.{version}", numbers, len(PRODUCTS))
    again = (place > 0) & (below(seed, f"{source}.again.{version}", numbers, 100) < AGAIN_PERCENT)
    product = np.where(again, np.roll(product, 1), product)
    quantity = QUANTITIES[below(seed, f"{source}.quantity.{version}", numbers, len(QUANTITIES))]
    unpriced = np.repeat(records.having("not_a_number"), counts)
    ends = chosen(line_ends, below(seed, f"{source}.line_end", numbers, len(line_ends)))
    flat = joined(chosen(products, product + len(PRODUCTS) * unpriced), text(quantity), ends)
    listed = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat), ", ")
    an_object = records.having("wrong_type") & (records.numbers % 2 == 1)
    sums = np.concatenate(([0], np.cumsum(PRICES[product] * quantity)))
    return replaced(joined("[", listed, "]"), an_object, listed), np.diff(sums[offsets])


def _line_counts(seed: int, source: str, records: Records, version: int) -> np.ndarray:
    turn = below(seed, f"{source}.lines", records.numbers, len(LINE_COUNTS)) + version
    # A word as price needs one line, and one line without list brackets is an object.
    one = records.having("not_a_number") | records.having("wrong_type")
    return np.where(one, 1, LINE_COUNTS[turn % len(LINE_COUNTS)])


def _product(number: int, *, price: str | None, ids_are_strings: bool, ascii_only: bool) -> str:
    """The JSON of a line up to its quantity, which is appended."""
    name, category, cents = PRODUCTS[number]
    product_id = FIRST_PRODUCT_ID + number
    known = {"product_id": str(product_id) if ids_are_strings else product_id, "name": name, "category": category}
    amount = price or (f"{cents / 100:.2f}" if cents % 100 else str(cents // 100))
    return f'{json.dumps(known, ensure_ascii=ascii_only)[:-1]}, "price": {amount}, "quantity": '


def _catalogue(*, ids_are_strings: bool, ascii_only: bool) -> tuple[str, ...]:
    """Every product with its price, then every product with a word as price."""
    return tuple(
        _product(number, price=price, ids_are_strings=ids_are_strings, ascii_only=ascii_only)
        for price in (None, '"free"')
        for number in range(len(PRODUCTS))
    )


SHOP_PRODUCTS = _catalogue(ids_are_strings=False, ascii_only=False)
# The app escapes all characters that are not ASCII, as many JSON libraries do.
APP_PRODUCTS = _catalogue(ids_are_strings=True, ascii_only=True)
