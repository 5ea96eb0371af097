"""What the tables of `bookings` hold after later batches, rule by rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pipeline_assets_tests.bookings_lake import BookingsLake, booking, customer

START = datetime(2026, 1, 1, tzinfo=UTC)


def spend(lake: BookingsLake) -> list[tuple[str, int, Decimal]]:
    return [(str(row[0]), int(row[3]), row[4]) for row in lake.tables()["DAILY_SPEND"]]


def test_a_booking_that_moves_to_another_date_leaves_the_old_one(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1, "5.00", "01-05-2005"), booking(2, 1, "7.00", "01-05-2005"), modified=START)
    lake.run()
    lake.bookings("_moved", booking(1, 1, "5.00", "02-05-2005"), modified=START + timedelta(hours=1))
    lake.run()
    assert spend(lake) == [("2005-05-01", 1, Decimal("7.0000")), ("2005-05-02", 1, Decimal("5.0000"))]
    lake.bookings("_moved", booking(2, 1, "7.00", "02-05-2005"), modified=START + timedelta(hours=2))
    lake.run()
    assert spend(lake) == [("2005-05-02", 2, Decimal("12.0000"))]


def test_an_empty_currency_is_a_group_of_its_own(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1), booking(2, 1).replace("EUR", ""))
    lake.run()
    assert [(row[2], int(row[3])) for row in lake.tables()["DAILY_SPEND"]] in (
        [("EUR", 1), (None, 1)],
        [(None, 1), ("EUR", 1)],
    )


def test_a_booking_that_changes_hands_to_an_unknown_customer_keeps_its_old_row_until_they_come(
    lake: BookingsLake,
) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1), modified=START)
    lake.run()
    lake.bookings("_new", booking(1, 2), modified=START + timedelta(hours=1))
    lake.run()
    assert [row[:3] for row in lake.tables()["CUSTOMER_BOOKINGS"]] == [("1", "1", "Ada")]
    lake.customers("_new", customer(2, "Grace"))
    lake.run()
    assert [row[:3] for row in lake.tables()["CUSTOMER_BOOKINGS"]] == [("1", "2", "Grace")]


def test_a_waiting_booking_whose_file_is_taken_again_counts_once(lake: BookingsLake) -> None:
    lake.bookings("", booking(1, 1))
    lake.run()
    lake.customers("", customer(1))
    report = lake.run(reprocess=True)
    assert report.rows == {"read": 2, "loaded": 2, "superseded": 0, "quarantined": 0}
    assert lake.rows("SELECT COUNT(*) FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL") == [(0,)]


def test_a_customer_keeps_every_booking(lake: BookingsLake) -> None:
    """A MERGE on CUSTOMER_ID kept one booking per customer."""
    lake.customers("", customer(1))
    lake.bookings("", *(booking(n, 1) for n in range(27)))
    lake.run()
    assert lake.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMER_BOOKINGS") == [(27,)]


def test_cents_stay(lake: BookingsLake) -> None:
    """NUMBER(38,0) rounded them."""
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1, "0.01"), booking(2, 1, "0.0001"), booking(3, 1, "0.00001"))
    lake.run()
    assert [row[12] for row in lake.tables()["CUSTOMER_BOOKINGS"]] == [Decimal("0.0100"), Decimal("0.0001")]
    assert lake.rows("SELECT REASON_CODE FROM OPS.QUARANTINE") == [("not_a_number",)]


def test_every_table_says_where_its_rows_come_from(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    report = lake.run()
    for table in ("CUSTOMERS", "CUSTOMER_BOOKINGS", "DAILY_SPEND"):
        ((batch, uri, loaded),) = lake.rows(f"SELECT _BATCH_ID, _SOURCE_URI, _LOADED_AT FROM BOOKINGS.{table}")
        assert batch == report.batch_id
        assert uri
        assert loaded


def test_customers_alone_hand_out_no_file(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    assert lake.run().handed_out == []
    assert not lake.processed()


def test_two_batches_within_one_second_hand_out_two_files(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    frozen = lake.with_platform(clock=lambda: datetime(2026, 5, 1, 12))  # noqa: DTZ001 - a clock without a zone
    for number in range(2):
        lake.bookings(f"_{number}", booking(number, 1))
        frozen.run()
    assert len(lake.processed()) == 2
    assert all(path.name.startswith("customer_bookings_20260501T120000Z_") for path in lake.processed())


def test_verbatim_times_and_blank_phones(lake: BookingsLake) -> None:
    lake.write(
        "customer_details.csv",
        'CUSTOMER_ID,FIRST_NAME,PHONE_NUMBER,ADDRESS\n 1 , Ada , ," 1 High Street,\n2nd floor "\n',
    )
    lake.bookings("", "1,1,24-05-2005, 30:00.0,Music,1.00,,open")
    lake.run()
    (row,) = lake.tables()["CUSTOMER_BOOKINGS"]
    assert row[:3] == ("1", "1", "Ada")
    assert row[5] is None
    assert row[6] == " 1 High Street,\n2nd floor "
    assert row[10] == " 30:00.0"


def test_amounts_arrive_from_both_date_forms(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1, date="24-05-2005"), booking(2, 1, date="2005-05-24"))
    lake.run()
    assert spend(lake) == [("2005-05-24", 2, Decimal("20.0000"))]
