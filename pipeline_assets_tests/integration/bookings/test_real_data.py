"""`bookings` on real data that nobody here wrote, by the command people use."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline_assets_tests.support.bookings_lake import JOINED, BookingsLake, booking, customer


@pytest.fixture
def landed(lake: BookingsLake, shared_data: Path) -> BookingsLake:
    lake.land(shared_data / "bookings" / "customer_details_raw.csv", "customer_details.csv")
    lake.land(shared_data / "bookings" / "booking_details_raw.csv", "booking_details.csv")
    return lake


def amounts(path: Path) -> Decimal:
    with open(path, encoding="utf-8", newline="") as file:
        return sum((Decimal(row["AMOUNT_SPENT"]) for row in csv.DictReader(file)), Decimal(0))


def total(lake: BookingsLake) -> tuple[int, Decimal]:
    ((count, amount),) = lake.rows("SELECT COUNT(*), SUM(AMOUNT_SPENT) FROM BOOKINGS.CUSTOMER_BOOKINGS")
    return count, amount


def test_every_row_arrives_and_amounts_are_exact_to_the_cent(landed: BookingsLake, shared_data: Path) -> None:
    report = landed.run()
    assert report.rows == {"read": 16_643, "loaded": 16_643, "superseded": 0, "quarantined": 0}
    expected = amounts(shared_data / "bookings" / "booking_details_raw.csv")
    assert total(landed) == (16_044, expected)
    assert landed.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMERS") == [(599,)]
    assert landed.rows("SELECT SUM(BOOKINGS), SUM(AMOUNT_SPENT) FROM BOOKINGS.DAILY_SPEND") == [(16_044, expected)]
    (out,) = landed.processed()
    assert amounts(out) == expected


def test_the_processed_file_has_the_fifteen_columns_and_the_values_as_delivered(landed: BookingsLake) -> None:
    landed.run()
    (out,) = landed.processed()
    with open(out, encoding="utf-8", newline="") as file:
        rows = {row["BOOKING_ID"]: row for row in csv.DictReader(file)}
    assert list(rows["1"]) == JOINED.split(", ")
    assert len(rows) == 16_044
    assert (rows["1"]["BOOKING_DATE"], rows["1"]["BOOKING_TIME"]) == ("2005-05-24", "22:53:30")
    assert rows["1"]["PHONE_NUMBER"] == ""
    assert "," in rows["1"]["ADDRESS"]


def test_a_second_run_finds_nothing_new_and_changes_nothing(landed: BookingsLake) -> None:
    landed.run()
    before = landed.tables()
    again = landed.run()
    assert (again.new, again.known) == (0, 2)
    assert landed.tables() == before
    assert len(landed.processed()) == 1


def test_an_appended_booking_hands_out_that_booking_only(landed: BookingsLake) -> None:
    landed.run()
    path = landed.path("booking_details.csv")
    path.write_text(path.read_text() + booking(99_999, 130, "5.55") + "\n", encoding="utf-8")
    report = landed.run()
    assert report.loaded == 1
    assert total(landed)[0] == 16_045
    (_, changed) = sorted(landed.processed(), key=lambda path: path.stat().st_mtime)
    assert [line.split(",")[0] for line in changed.read_text().splitlines()] == ["BOOKING_ID", "99999"]


def test_an_overwritten_customer_file_updates_that_customers_bookings(landed: BookingsLake) -> None:
    landed.run()
    path = landed.path("customer_details.csv")
    path.write_text(path.read_text().replace("81,ANDREA,HENDERSON", "81,ANDREA,MILLER"), encoding="utf-8")
    names = "SELECT LAST_NAME, COUNT(*) FROM BOOKINGS.CUSTOMER_BOOKINGS WHERE CUSTOMER_ID = '81' GROUP BY LAST_NAME"
    ((before, bookings),) = landed.rows(names)
    landed.run()
    assert before == "HENDERSON"
    assert landed.rows(names) == [("MILLER", bookings)]
    assert total(landed)[0] == 16_044


def test_a_booking_before_its_customer_waits_and_joins_by_itself(landed: BookingsLake) -> None:
    landed.bookings("_early", booking(77_777, 9_999, "3.33"))
    landed.run()
    assert landed.rows("SELECT REASON_CODE FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL") == [("orphan_booking",)]
    landed.customers("_late", customer(9_999))
    assert landed.run().released == 1
    assert landed.rows("SELECT FIRST_NAME FROM BOOKINGS.CUSTOMER_BOOKINGS WHERE BOOKING_ID = '77777'") == [("Ada",)]
    assert landed.rows("SELECT COUNT(*) FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL") == [(0,)]
    assert landed.rows("SELECT REPLAY_RUN_ID FROM OPS.QUARANTINE") == [("test",)]
