"""The exported CSV of a run holds each booking of it that is new or differs in any column, and no other."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_assets_tests.support.bookings_lake import (
    BOOKING_HEADER,
    CUSTOMER_HEADER,
    BookingsLake,
    booking,
    contract,
    customer,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
Row = dict[str, str]
CUSTOMER: Row = {
    "FIRST_NAME": "Ada",
    "LAST_NAME": "Lovelace",
    "EMAIL": "ada@example.org",
    "PHONE_NUMBER": "+44 1",
    "ADDRESS": "1 High Street",
    "COUNTRY_CODE": "GB",
    "SEGMENT_ID": "1",
}
BOOKING: Row = {
    "BOOKING_DATE": "2005-05-24",
    "BOOKING_TIME": "22:53:30",
    "DESTINATION_TYPE": "Music",
    "AMOUNT_SPENT": "10.0000",
    "CURRENCY_CODE": "EUR",
    "STATUS": "open",
}
OTHER = {"BOOKING_DATE": "2005-05-25", "AMOUNT_SPENT": "10.0001", "CUSTOMER_ID": "a twin", "BOOKING_ID": "another"}
COLUMNS = contract("customer_bookings").columns
CASES = [
    (column.name, change)
    for column in COLUMNS
    for change in ("value to value", "none to value", "value to none")
    if change == "value to value" or not column.required
]


@dataclass(frozen=True)
class Case:
    """One booking and its customer before and after a delivery that changes one column."""

    customer: tuple[Row, Row]
    booking: tuple[Row, Row]

    @classmethod
    def of(cls, column: str, change: str) -> Case:
        name = f"{column} {change}"
        one = {"CUSTOMER_ID": f"customer {name}"} | CUSTOMER
        two = {"BOOKING_ID": f"booking {name}", "CUSTOMER_ID": one["CUSTOMER_ID"]} | BOOKING
        given = (one | two)[column]
        values = {
            "value to value": (given, OTHER.get(column, "other")),
            "none to value": ("", given),
            "value to none": (given, ""),
        }[change]
        if column in ("BOOKING_ID", "CUSTOMER_ID"):
            values = (given, f"{values[1]} {given}")
        changed = [{column: value} for value in values]
        # The key of a customer changes in the booking; a twin with the same name and address is there for it.
        if column in CUSTOMER:
            return cls((one | changed[0], one | changed[1]), (two, two))
        return cls((one, one), (two | changed[0], two | changed[1]))

    @property
    def exported(self) -> Row:
        """The booking as it must be exported after the delivery."""
        return self.customer[1] | self.booking[1]


def lines(header: str, rows: list[Row]) -> list[str]:
    return [",".join(row[column] for column in header.split(",")) for row in rows]


def land(lake: BookingsLake, name: str, customers: list[Row], bookings: list[Row], hours: int) -> None:
    lake.customers(name, *lines(CUSTOMER_HEADER, customers), modified=START + timedelta(hours=hours))
    lake.bookings(name, *lines(BOOKING_HEADER, bookings), modified=START + timedelta(hours=hours))


def read(path: Path) -> list[Row]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Deliveries:
    """What the run that brought every change exported, by booking; and what the run after it, which brought none."""

    exported: Mapping[str, Row]
    afterwards: Mapping[str, str]


@pytest.fixture(scope="module")
def deliveries(tmp_path_factory: pytest.TempPathFactory) -> Deliveries:
    """All cases in one batch, beside a booking that is delivered again as it was; a changed customer comes alone."""
    lake = BookingsLake.with_tables(tmp_path_factory.mktemp("export"))
    cases = {name: Case.of(*name) for name in CASES}
    same = Case.of("STATUS", "value to value")
    unchanged = ({**same.customer[0], "CUSTOMER_ID": "u"}, {**same.booking[0], "CUSTOMER_ID": "u", "BOOKING_ID": "u"})
    twin = cases["CUSTOMER_ID", "value to value"]
    twins = [CUSTOMER | {"CUSTOMER_ID": twin.booking[1]["CUSTOMER_ID"]}, unchanged[0]]
    customers = [[case.customer[n] for case in cases.values()] for n in (0, 1)]
    bookings = [[case.booking[n] for case in cases.values()] for n in (0, 1)]
    land(lake, "", [*customers[0], *twins], [*bookings[0], unchanged[1]], 0)
    lake.run()
    (first,) = lake.processed()
    first.unlink()

    def new(rows: list[list[Row]]) -> list[Row]:
        return [after for before, after in zip(*rows, strict=True) if after != before]

    land(lake, "_changed", new(customers), [*new(bookings), unchanged[1]], 1)
    lake.run()
    (second,) = lake.processed()
    exported = {row["BOOKING_ID"]: row for row in read(second)}
    land(lake, "_again", [*customers[1], *twins], [*bookings[1], unchanged[1]], 2)
    return Deliveries(exported, lake.run().exported)


@pytest.mark.parametrize(("column", "change"), CASES)
def test_a_change_of_one_column_is_exported(deliveries: Deliveries, column: str, change: str) -> None:
    expected = Case.of(column, change).exported
    assert deliveries.exported.get(expected["BOOKING_ID"]) == expected


def test_a_booking_that_is_delivered_again_as_it_was_is_not_exported(deliveries: Deliveries) -> None:
    assert "u" not in deliveries.exported
    assert len(deliveries.exported) == len(CASES)


def test_a_delivery_that_changes_nothing_exports_no_file(deliveries: Deliveries) -> None:
    assert deliveries.afterwards == {}


def test_a_file_of_the_export_has_the_columns_of_its_contract(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    lake.run()
    (path,) = lake.processed()
    assert [list(row) for row in read(path)] == [[column.name for column in COLUMNS]]


@pytest.mark.parametrize("again", [booking(1, 1, "10"), booking(1, 1, date="2005-05-24"), f" {booking(1, 1)}"])
def test_the_same_values_written_otherwise_are_no_change(lake: BookingsLake, again: str) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1), modified=START)
    assert len(lake.run().exported) == 1
    lake.bookings("_again", again, modified=START + timedelta(hours=1))
    assert lake.run().exported == {}
