"""The records of the bookings samples, clean and dirty: words, rates of dirt, and one function per file for its text.

A booking's customer is chosen among those that its own number allows, not among all customers of the scale. So a larger
scale starts with exactly the records of a smaller one; it also gives early customers more bookings.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

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

# Share of the bookings that are in the stores' file.
STORE_PERCENT = 15

# Share of the customers that have a newer version in the update file.
UPDATED_PERCENT = 2

# Share of the booking times that a spreadsheet cut to minutes, seconds and tenths: `30:00.0`.
DAMAGED_TIME_PERCENT = 5

# How many bookings later a booking is sent again with its new status.
RESENT_AFTER = 40

# Ids from here on are never in a customer file, whatever the scale.
FIRST_ORPHAN_CUSTOMER_ID = 900_000_000

# Records per 10,000 with each kind of dirt: 0.3 % of the bookings altogether.
BOOKING_DIRT = DirtPlan(
    entity="booking",
    rates={
        "bad_date": 3,
        "bad_amount": 3,
        "missing_booking_id": 3,
        "missing_customer_id": 3,
        "too_many_fields": 3,
        "too_few_fields": 3,
        "duplicate": 3,
        "resent": 3,
        "orphan": 3,
        "padded": 3,
    },
    exhibits=(
        "bad_date",
        "bad_date",
        "bad_amount",
        "bad_amount",
        "missing_booking_id",
        "missing_customer_id",
        "too_many_fields",
        "too_few_fields",
        "duplicate",
        "resent",
        "orphan",
        "padded",
    ),
    extra={"duplicate": 0, "resent": RESENT_AFTER},
)

# As above for the customers, also 0.3 %. A record without its id is an extra copy of a record that has it: if it
# were the only one, that customer's bookings would be orphans that no count mentions.
CUSTOMER_DIRT = DirtPlan(
    entity="customer",
    rates={"missing_customer_id": 8, "formula": 8, "embedded_newline": 7, "padded": 7},
    exhibits=(
        "formula",
        "formula",
        "formula",
        "formula",
        "missing_customer_id",
        "embedded_newline",
        "padded",
    ),
    extra={"missing_customer_id": 0},
)

CUSTOMER_HEADER = "CUSTOMER_ID,FIRST_NAME,LAST_NAME,EMAIL,PHONE_NUMBER,ADDRESS,COUNTRY_CODE,SEGMENT_ID"
BOOKING_HEADER = "BOOKING_ID,CUSTOMER_ID,BOOKING_DATE,BOOKING_TIME,DESTINATION_TYPE,AMOUNT_SPENT,CURRENCY_CODE,STATUS"
STORE_HEADER = (
    "customer_id,booking_id,status,booking_date,booking_time,loyalty_tier,currency_code,amount_spent,destination_type"
)

MAIL_DOMAINS = ("example.com", "example.net", "example.org", "mail.example.com")
# Text that a spreadsheet would read as a formula, one for each character that starts one.
FORMULA_PREFIXES = ("=Unit 2, ", "+1 Annexe, ", "-1 Basement, ", "@The Old Forge, ")

DESTINATION_TYPES = ("Beach", "City", "Cruise", "Cultural", "Mountain", "Safari", "Ski", "Wellness")
LOYALTY_TIERS = ("", "bronze", "silver", "gold")
# One booking in ten names no currency.
CURRENCIES = ("EUR", "EUR", "EUR", "USD", "USD", "USD", "GBP", "GBP", "INR", "")
# A booking that is sent again has the next status.
STATUSES = ("open", "confirmed", "returned", "cancelled")
STATUS_SHARES = np.repeat(np.arange(len(STATUSES)), (2, 12, 4, 2))

FIRST_DAY = date(2022, 7, 1)
DAYS = 731
BAD_DATES = ("31-02-2024", "n/a")
BAD_AMOUNTS = ('"12,50 EUR"', "free")

_FOUR_DIGITS = tuple(f"{number:04}" for number in range(10_000))


def customers(seed: int, count: int) -> Iterator[Chunk]:
    """The main customer file: customers 1 to `count`."""
    yield _header(CUSTOMER_HEADER, CUSTOMER_DIRT)
    for records in CUSTOMER_DIRT.records(seed, count):
        yield _chunk(_customer_records(seed, records, version=0), records)


def updated_customers(seed: int, count: int) -> Iterator[Chunk]:
    """Newer versions, with a changed email and address, of about 2 % of the customers 1 to `count`.

    Only customers without dirt change, so that every kind of dirt still occurs after the update. Customer 1
    always changes, so that the file is not empty at the smallest scale.
    """
    yield _header(CUSTOMER_HEADER, CUSTOMER_DIRT)
    for records in CUSTOMER_DIRT.records(seed, count):
        numbers = records.numbers
        picked = (below(seed, "customer.updated", numbers, 100) < UPDATED_PERCENT) | (numbers == 1)
        updated = records.only(picked & CUSTOMER_DIRT.clean(seed, numbers))
        yield _chunk(_customer_records(seed, updated, version=1), updated)


def shop_bookings(seed: int, count: int, per_customer: int) -> Iterator[Chunk]:
    """The main booking file: those of the bookings 1 to `count` that were not made in a store."""
    yield _header(BOOKING_HEADER, BOOKING_DIRT)
    for records in BOOKING_DIRT.records(seed, count):
        shop = records.only(~_in_store(seed, records))
        values = _booking_values(seed, shop, per_customer, date_format="%d-%m-%Y")
        columns = [values[name] for name in BOOKING_HEADER.lower().split(",")]
        yield _chunk(_wrong_lengths(columns, shop), shop)


def store_bookings(seed: int, count: int, per_customer: int) -> Iterator[Chunk]:
    """The stores' booking file: BOM, CRLF, other column order, ISO dates and the extra `loyalty_tier`."""
    yield _header("\ufeff" + STORE_HEADER, BOOKING_DIRT, line_end="\r\n")
    for records in BOOKING_DIRT.records(seed, count):
        store = records.only(_in_store(seed, records))
        values = _booking_values(seed, store, per_customer, date_format="%Y-%m-%d")
        tiers = below(seed, "booking.loyalty_tier", store.numbers, len(LOYALTY_TIERS))
        values["loyalty_tier"] = chosen(LOYALTY_TIERS, tiers)
        columns = [values[name] for name in STORE_HEADER.split(",")]
        yield _chunk(_wrong_lengths(columns, store), store, line_end="\r\n")


def _header(header: str, plan: DirtPlan, *, line_end: str = "\n") -> Chunk:
    # Zero counts for every kind, so that a file without dirt still lists them.
    return Chunk(header + line_end, dirt=dict.fromkeys(plan.kinds, 0))


def _chunk(column: pa.Array, records: Records, *, line_end: str = "\n") -> Chunk:
    return Chunk(lines(column, line_end=line_end), rows=len(column), dirt=records.counts())


def _customer_records(seed: int, records: Records, *, version: int) -> pa.Array:
    numbers = records.numbers
    first = below(seed, "customer.first_name", numbers, len(FIRST_NAMES))
    last = below(seed, "customer.last_name", numbers, len(LAST_NAMES))
    city = below(seed, "customer.city", numbers, len(COUNTRY_OF_CITY))
    ids = replaced(_padded(text(numbers), records), records.having("missing_customer_id"), "")
    columns = [
        ids,
        _padded(chosen(FIRST_NAMES, first), records),
        _padded(chosen(LAST_NAMES, last), records),
        _emails(seed, numbers, first, last, version),
        _phones(seed, numbers),
        _addresses(seed, records, city, version),
        chosen(list(COUNTRY_OF_CITY.values()), city),
        text(1 + below(seed, "customer.segment", numbers, 4)),
    ]
    return joined(*columns, separator=",")


def _padded(column: pa.Array, records: Records) -> pa.Array:
    return replaced(column, records.having("padded"), joined("  ", column, " "))


def _emails(seed: int, numbers: np.ndarray, first: np.ndarray, last: np.ndarray, version: int) -> pa.Array:
    # The domain changes with each version, so that an updated customer's e-mail address always differs.
    domain = (below(seed, "customer.mail_domain", numbers, len(MAIL_DOMAINS)) + version) % len(MAIL_DOMAINS)
    names = joined(chosen(mail_names(FIRST_NAMES), first), ".", chosen(mail_names(LAST_NAMES), last))
    return joined(names, text(numbers), "@", chosen(MAIL_DOMAINS, domain))


def _phones(seed: int, numbers: np.ndarray) -> pa.Array:
    # No international `+`: it would make every phone number look like a formula.
    area = chosen(TWO_DIGITS, 10 + below(seed, "customer.phone_area", numbers, 90))
    line = chosen(_FOUR_DIGITS, below(seed, "customer.phone_line", numbers, 10_000))
    return joined("0", area, "-555-", line)


def _addresses(seed: int, records: Records, city: np.ndarray, version: int) -> pa.Array:
    numbers = records.numbers
    plain = addresses(seed, numbers, city, version=version)
    formula = joined(chosen(FORMULA_PREFIXES, numbers % len(FORMULA_PREFIXES)), plain)
    address = replaced(plain, records.having("formula"), formula)
    two_lines = joined('c/o ""The Granary""\n', plain)
    return joined('"', replaced(address, records.having("embedded_newline"), two_lines), '"')


def _in_store(seed: int, records: Records) -> np.ndarray:
    return below(seed, "booking.store", records.numbers, 100) < STORE_PERCENT


def _booking_values(seed: int, records: Records, per_customer: int, *, date_format: str) -> dict[str, pa.Array]:
    numbers = records.numbers
    destination = below(seed, "booking.destination", numbers, len(DESTINATION_TYPES))
    currency = below(seed, "booking.currency", numbers, len(CURRENCIES))
    booking_id = _padded(text(numbers), records)
    return {
        "booking_id": replaced(booking_id, records.having("missing_booking_id"), ""),
        "customer_id": _booking_customers(seed, records, per_customer),
        "booking_date": _dates(seed, records, date_format),
        "booking_time": _times(seed, numbers),
        "destination_type": chosen(DESTINATION_TYPES, destination),
        "amount_spent": _amounts(seed, records),
        "currency_code": chosen(CURRENCIES, currency),
        "status": _statuses(seed, records),
    }


def _booking_customers(seed: int, records: Records, per_customer: int) -> pa.Array:
    numbers = records.numbers
    allowed = (numbers - 1) // per_customer + 1
    known = 1 + below(seed, "booking.customer", numbers, allowed)
    ids = np.where(records.having("orphan"), FIRST_ORPHAN_CUSTOMER_ID + numbers, known)
    return replaced(_padded(text(ids), records), records.having("missing_customer_id"), "")


def _dates(seed: int, records: Records, date_format: str) -> pa.Array:
    days = [(FIRST_DAY + timedelta(days=day)).strftime(date_format) for day in range(DAYS)]
    good = chosen(days, below(seed, "booking.date", records.numbers, DAYS))
    bad = chosen(BAD_DATES, records.numbers % len(BAD_DATES))
    return replaced(good, records.having("bad_date"), bad)


def _times(seed: int, numbers: np.ndarray) -> pa.Array:
    second_of_day = below(seed, "booking.time", numbers, 24 * 60 * 60)
    hours = chosen(TWO_DIGITS, second_of_day // 3600)
    minutes_seconds = joined(chosen(TWO_DIGITS, second_of_day // 60 % 60), ":", chosen(TWO_DIGITS, second_of_day % 60))
    damaged = below(seed, "booking.damaged_time", numbers, 100) < DAMAGED_TIME_PERCENT
    return replaced(joined(hours, ":", minutes_seconds), damaged, joined(minutes_seconds, ".0"))


def _amounts(seed: int, records: Records) -> pa.Array:
    # A product of two draws makes small amounts common and large ones rare: 4.99 to 2,495.
    numbers = records.numbers
    quantity = below(seed, "booking.amount_quantity", numbers, 500)
    price = below(seed, "booking.amount_price", numbers, 500)
    good = money(499 + quantity * price)
    bad = chosen(BAD_AMOUNTS, numbers % len(BAD_AMOUNTS))
    return replaced(good, records.having("bad_amount"), bad)


def _statuses(seed: int, records: Records) -> pa.Array:
    first = STATUS_SHARES[below(seed, "booking.status", records.numbers, len(STATUS_SHARES))]
    return chosen(STATUSES, (first + records.having("resent")) % len(STATUSES))


def _wrong_lengths(columns: list[pa.Array], records: Records) -> pa.Array:
    whole = joined(*columns, separator=",")
    longer = replaced(whole, records.having("too_many_fields"), joined(whole, ",surplus"))
    return replaced(longer, records.having("too_few_fields"), joined(*columns[:-1], separator=","))
