"""What `test_real_data` holds on real files, on files made here: these rules need no data beside the checkout."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline_assets_tests.support.bookings_lake import JOINED, BookingsLake, booking, customer

START = datetime(2026, 1, 1, tzinfo=UTC)
ADDRESS = '"1 High Street, ""Flat 2"""'


@pytest.fixture
def landed(lake: BookingsLake) -> BookingsLake:
    lake.customers("", f"81,Ada,Lovelace,ada@example.org,,{ADDRESS},GB,1", customer(82, "Grace"), modified=START)
    lake.bookings(
        "",
        *(booking(number, 81 + number % 2, f"{number}.01", f"{number:02}-05-2005") for number in range(1, 29)),
        modified=START,
    )
    return lake


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def later(hours: int) -> datetime:
    return START + timedelta(hours=hours)


def handed_out(lake: BookingsLake, before: list[Path]) -> list[str]:
    """The bookings in the one file that is new."""
    (path,) = set(lake.processed()) - set(before)
    return [row["BOOKING_ID"] for row in read(path)]


def test_every_row_arrives_and_amounts_are_exact_in_tables_mart_and_file(landed: BookingsLake) -> None:
    assert landed.run().rows == {"read": 30, "loaded": 30, "superseded": 0, "quarantined": 0}
    expected = sum(Decimal(f"{number}.01") for number in range(1, 29))
    sums = "SELECT COUNT(*), SUM(AMOUNT_SPENT) FROM BOOKINGS.CUSTOMER_BOOKINGS"
    assert landed.rows(sums) == [(28, expected)]
    assert landed.rows("SELECT SUM(BOOKINGS), SUM(AMOUNT_SPENT) FROM BOOKINGS.DAILY_SPEND") == [(28, expected)]
    (out,) = landed.processed()
    assert sum(Decimal(row["AMOUNT_SPENT"]) for row in read(out)) == expected


def test_the_processed_file_has_the_fifteen_columns_in_order_and_the_values_as_delivered(landed: BookingsLake) -> None:
    landed.run()
    (out,) = landed.processed()
    rows = {row["BOOKING_ID"]: row for row in read(out)}
    assert list(rows["2"]) == JOINED.split(", ")
    assert len(rows) == 28
    assert rows["2"] | {"AMOUNT_SPENT": Decimal(rows["2"]["AMOUNT_SPENT"])} == {
        "BOOKING_ID": "2",
        "CUSTOMER_ID": "81",
        "FIRST_NAME": "Ada",
        "LAST_NAME": "Lovelace",
        "EMAIL": "ada@example.org",
        "PHONE_NUMBER": "",
        "ADDRESS": '1 High Street, "Flat 2"',
        "COUNTRY_CODE": "GB",
        "SEGMENT_ID": "1",
        "BOOKING_DATE": "2005-05-02",
        "BOOKING_TIME": "22:53:30",
        "DESTINATION_TYPE": "Music",
        "AMOUNT_SPENT": Decimal("2.01"),
        "CURRENCY_CODE": "EUR",
        "STATUS": "open",
    }


def test_a_second_run_finds_nothing_new_and_changes_nothing(landed: BookingsLake) -> None:
    landed.run()
    before = landed.tables()
    again = landed.run()
    assert (again.new, again.known) == (0, 2)
    assert landed.tables() == before
    assert len(landed.processed()) == 1


def test_an_appended_booking_hands_out_that_booking_only(landed: BookingsLake) -> None:
    landed.run()
    before = landed.processed()
    text = landed.path("booking_details.csv").read_text(encoding="utf-8")
    landed.write("booking_details.csv", text + booking(99_999, 81, "5.55") + "\n", modified=later(1))
    assert landed.run().loaded == 1
    assert handed_out(landed, before) == ["99999"]
    assert landed.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMER_BOOKINGS") == [(29,)]


def test_an_overwritten_customer_file_updates_and_hands_out_that_customers_bookings(landed: BookingsLake) -> None:
    landed.run()
    before, others = landed.processed(), "SELECT * FROM BOOKINGS.CUSTOMER_BOOKINGS WHERE CUSTOMER_ID <> '81' ORDER BY 1"
    text = landed.path("customer_details.csv").read_text(encoding="utf-8")
    landed.write("customer_details.csv", text.replace("Ada,Lovelace", "Ada,King"), modified=later(1))
    landed.run()
    assert landed.rows("SELECT CUSTOMER_ID, LAST_NAME, COUNT(*) FROM BOOKINGS.CUSTOMER_BOOKINGS GROUP BY 1, 2") in (
        [("81", "King", 14), ("82", "Lovelace", 14)],
        [("82", "Lovelace", 14), ("81", "King", 14)],
    )
    assert len(landed.rows(others)) == 14
    assert sorted(map(int, handed_out(landed, before))) == list(range(2, 29, 2))


def test_a_booking_before_its_customer_waits_and_joins_by_itself(landed: BookingsLake) -> None:
    landed.bookings("_early", booking(77_777, 9_999, "3.33"), modified=START)
    landed.run()
    before = landed.processed()
    assert landed.rows("SELECT REASON_CODE FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL") == [("orphan_booking",)]
    landed.customers("_late", customer(9_999), modified=later(1))
    assert landed.run("second").released == 1
    assert handed_out(landed, before) == ["77777"]
    assert landed.rows("SELECT REPLAYED_AT IS NULL, REPLAY_RUN_ID FROM OPS.QUARANTINE") == [(False, "second")]
