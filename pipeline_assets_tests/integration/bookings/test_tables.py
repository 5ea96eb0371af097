"""What the tables of `bookings` hold after later batches, rule by rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pipeline_assets_tests.support.bookings_lake import (
    BOOKING_HEADER,
    BookingsLake,
    booking,
    customer,
    with_date_format,
)

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
    assert lake.run().exported == {}
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


def test_unknown_columns_of_a_booking_outlive_a_change_of_its_customer(lake: BookingsLake) -> None:
    lake.customers("", customer(1), modified=START)
    lake.write("booking_details.csv", f"{BOOKING_HEADER},Voucher\n{booking(1, 1)},V42\n")
    lake.run()
    lake.customers("", customer(1, "Augusta"), modified=START + timedelta(hours=1))
    lake.run()
    assert lake.rows("SELECT FIRST_NAME, _RESCUED FROM BOOKINGS.CUSTOMER_BOOKINGS") == [
        ("Augusta", '{"VOUCHER":"V42"}')
    ]


def test_replay_never_invents_a_row_from_broken_records(lake: BookingsLake) -> None:
    """Two halves of a record are adjacent in quarantine, and other bytes than UTF-8 are kept as a transcription."""
    lake.customers("", customer(1))
    halves = ['2,1,24-05-2005,10:00:00,"Beach', booking(3, 1, kind='"Music"'), 'City",1.00,EUR,open']
    latin = booking(4, 1, kind="Jos\xe9").encode("latin-1")
    lake.write("booking_details.csv", "\n".join([BOOKING_HEADER, booking(1, 1), *halves, ""]).encode() + latin + b"\n")
    lake.run()
    before = lake.tables()
    assert [row[0] for row in before["CUSTOMER_BOOKINGS"]] == ["1", "3"]
    assert lake.run(replay=True).released == 0
    assert lake.tables() == before
    assert lake.rows("SELECT COUNT(*) FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL") == [(3,)]


def test_a_record_that_is_bad_for_another_reason_after_a_fix_waits_for_that_reason(lake: BookingsLake) -> None:
    lake.bookings("", booking(1, 9, date="24.05.2005"))
    lake.run()
    with_date_format(lake, "DD.MM.YYYY").run(replay=True)
    assert lake.rows("SELECT REASON_CODE FROM OPS.QUARANTINE") == [("orphan_booking",)]


def test_a_rejected_file_that_is_delivered_again_is_no_concern_any_more(lake: BookingsLake) -> None:
    lake.write("customer_details.csv", "NAME\nAda\n")
    lake.run()
    assert lake.rows("SELECT REPLAYED_AT IS NULL FROM OPS.QUARANTINE") == [(True,)]
    lake.customers("", customer(1))
    lake.run()
    assert lake.rows("SELECT REPLAYED_AT IS NULL FROM OPS.QUARANTINE") == [(False,)]


def test_backups_and_half_uploads_are_no_customers(lake: BookingsLake) -> None:
    for name in (
        "customer_details.csv.part",
        "customer_details.csv.bak",
        "customer_details.csv~",
        "customer_details.md5",
    ):
        lake.write(name, f"CUSTOMER_ID\n{name}\n")
    lake.write("customer_details_2026/x.csv", "CUSTOMER_ID\nfolder\n")
    assert lake.run().new == 0


def test_an_open_quote_at_the_end_of_many_files_loses_no_record(lake: BookingsLake) -> None:
    """DuckDB 2.0.0 drops that record without a word when it reads several files at once."""
    for number in range(30):
        stray = f'{number + 1000},"x' if number % 3 == 0 else ""
        lake.write(f"customer_details_{number}.csv", f"CUSTOMER_ID,FIRST_NAME\n{number},Ada\n{stray}")
    report = lake.run()
    assert report.rows == {"read": 40, "loaded": 30, "superseded": 0, "quarantined": 10}


def test_a_field_of_many_megabytes_is_one_bad_record(lake: BookingsLake) -> None:
    lake.customers("", f"1,{'x' * 300_000},B,e,,a,GB,1", f'2,A,"{"y" * 3_000_000},B,e,,a,GB,1', customer(3))
    report = lake.run()
    assert report.rows["read"] == report.rows["loaded"] + report.rows["quarantined"]
    assert [row[0] for row in lake.tables()["CUSTOMERS"]] == ["3"]
