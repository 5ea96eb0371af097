"""The bytes that lie at a key now win over those that lay there before, whatever the times say."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product

DAY = datetime(2024, 3, 1, tzinfo=UTC)
OPEN = "SELECT REGEXP_SUBSTR(SOURCE_URI, '[^/]+$'), LINE_NUMBER, REASON_CODE FROM OPS.QUARANTINE WHERE {} ORDER BY 1, 2"
WAITING = OPEN.format("REPLAYED_AT IS NULL AND CLOSED_AT IS NULL")
CLOSED = OPEN.format("CLOSED_AT IS NOT NULL")


def day(number: int) -> datetime:
    return DAY + timedelta(days=number)


def names(lake: BookingsLake) -> dict[str, str]:
    return dict(lake.rows("SELECT CUSTOMER_ID, FIRST_NAME FROM BOOKINGS.CUSTOMERS"))


def test_a_correction_with_an_older_time_replaces_what_it_corrects(lake: BookingsLake) -> None:
    lake.customers("_a", customer(1, "Wrong"), modified=day(10))
    lake.run()
    lake.customers("_b", customer(2, "Other"), customer(1, "Older"), modified=day(5))
    lake.run()

    lake.customers("_a", customer(1, "Right"), modified=day(1))  # as `cp -p` does
    report = lake.run()

    assert (report.new, report.loaded) == (1, 1)
    assert names(lake) == {"1": "Right", "2": "Other"}
    lake.run(reprocess=True)
    assert names(lake) == {"1": "Right", "2": "Other"}
    assert lake.run().new == 0


def test_a_newer_key_wins_over_a_correction_of_an_older_one(lake: BookingsLake) -> None:
    lake.customers("_a", customer(1, "First"), modified=day(1))
    lake.customers("_b", customer(1, "Newest"), modified=day(9))
    lake.run()

    lake.customers("_a", customer(1, "Corrected"), modified=day(2))
    lake.run()

    assert names(lake) == {"1": "Newest"}


def test_bytes_that_are_put_back_are_loaded_again(lake: BookingsLake) -> None:
    """`cp -p` of a backup gives the very object, etag and all, that lay there before the mistake."""
    path = lake.customers("_a", customer(1, "Good"), modified=day(3))
    backup = lake.home / "backup"
    os.link(path, backup)
    lake.run()
    path.unlink()
    lake.customers("_a", customer(1, "Mistake"), modified=day(4))
    lake.run()
    assert names(lake) == {"1": "Mistake"}

    path.unlink()
    os.link(backup, path)
    assert lake.run().loaded == 1

    assert names(lake) == {"1": "Good"}
    assert lake.run().new == 0


def test_an_order_corrected_with_an_older_time_replaces_its_lines(orders_lake: OrdersLake) -> None:
    orders_lake.orders("a", order(1, product("p"), product("q")), modified=day(5))
    orders_lake.run()

    orders_lake.orders("a", order(1, product("r")), modified=day(2))
    orders_lake.run()

    assert orders_lake.rows("SELECT PRODUCT_ID FROM ORDERS.ORDER_LINES") == [("r",)]


class History:
    """Overwrites of three keys with times in any order, and what a plain model makes of them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.draw = random.Random(seed)
        self.seen: dict[str, datetime] = {}  # of each key: the later of its time and that of what it replaced
        self.unread: dict[str, tuple[datetime, dict[str, str]]] = {}
        self.rows: dict[str, tuple[tuple[datetime, str], str]] = {}

    def overwrite(self, lake: BookingsLake, step: int) -> None:
        """No, one or more writes before the next run."""
        for write in range(self.draw.choice((0, 1, 1, 2, 3))):
            key, modified = self.draw.choice("abc"), day(self.draw.randrange(5))
            numbers = self.draw.sample(range(1, 5), self.draw.randint(1, 3))
            content = {f"{self.seed}-{number}": f"v{step}.{write}" for number in numbers}
            rows = (customer(number, name) for number, name in content.items())
            lake.customers(f"_{self.seed}_{key}", *rows, modified=modified)
            self.unread[key] = modified, content

    def model(self) -> dict[str, str]:
        """The names after the run; each row keeps its (time, key)."""
        for key, (time, values) in sorted(self.unread.items(), key=lambda item: (item[1][0], item[0])):
            self.seen[key] = max(time, self.seen.get(key, time))
            for number, value in values.items():
                version = self.seen[key], key
                if number not in self.rows or version >= self.rows[number][0]:
                    self.rows[number] = version, value
        self.unread.clear()
        return {number: value for number, (_, value) in self.rows.items()}


def test_any_history_of_overwrites_gives_what_a_plain_model_gives(lake: BookingsLake) -> None:
    """Twelve histories in one lake; each has keys and customers of its own, so none can hide what another does."""
    histories = [History(seed) for seed in range(12)]
    expected: dict[str, str] = {}
    for step in range(8):
        for history in histories:
            history.overwrite(lake, step)
        lake.run()
        for history in histories:
            expected |= history.model()
        assert names(lake) == expected
    lake.run(reprocess=True)
    assert names(lake) == expected


# --- records of a version that was replaced ------------------------------------------------------------------------


def test_a_newer_version_of_an_object_closes_the_records_of_the_older_one(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("_a", booking(1, 1), booking(2, 1, amount="ten"), booking(3, 99), modified=day(1))
    lake.bookings("_b", booking(4, 1, amount="four"), modified=day(1))
    lake.run()
    assert lake.rows(WAITING) == [
        ("booking_details_a.csv", 3, "not_a_number"),
        ("booking_details_a.csv", 4, "orphan_booking"),
        ("booking_details_b.csv", 2, "not_a_number"),
    ]

    lake.bookings("_a", booking(1, 1), booking(2, 1, amount="10"), booking(3, 1), modified=day(2))
    lake.run()

    assert lake.rows(WAITING) == [("booking_details_b.csv", 2, "not_a_number")]
    assert [line for _, line, _ in lake.rows(CLOSED)] == [3, 4]
    assert lake.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMER_BOOKINGS") == [(3,)]


def test_a_record_that_the_newer_version_lacks_is_not_loaded_when_its_customer_comes(lake: BookingsLake) -> None:
    lake.bookings("_a", booking(1, 7), booking(2, 7), modified=day(1))
    lake.run()

    lake.bookings("_a", booking(2, 7), modified=day(2))
    lake.customers("", customer(7))
    lake.run()

    assert lake.rows("SELECT BOOKING_ID FROM BOOKINGS.CUSTOMER_BOOKINGS") == [("2",)]
    assert lake.rows(WAITING) == []


def test_a_newer_version_that_is_rejected_closes_nothing(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("_a", booking(1, 1), booking(2, 99), modified=day(1))
    lake.run()

    lake.write("booking_details_a.csv", "BOOKING_ID,STATUS\n1,open\n", day(2))
    assert lake.run().rejected == 1
    assert ("booking_details_a.csv", 3, "orphan_booking") in lake.rows(WAITING)

    lake.bookings("_a", booking(1, 1), booking(2, 1), modified=day(3))
    lake.run()
    assert lake.rows(WAITING) == []


def test_the_same_records_of_another_object_stay_open(lake: BookingsLake, tmp_path: Path) -> None:
    lake.bookings("_a", booking(1, 99), modified=day(1))
    lake.bookings("_b", booking(2, 99), modified=day(1))
    lake.run()

    lake.bookings("_a", booking(1, 98), modified=day(2))
    lake.run()

    assert [(name, code) for name, _, code in lake.rows(WAITING)] == [
        ("booking_details_a.csv", "orphan_booking"),
        ("booking_details_b.csv", "orphan_booking"),
    ]


def test_an_orphan_joins_though_its_file_was_overwritten_by_one_that_is_rejected(lake: BookingsLake) -> None:
    """The rejected version decides about nothing: the customer that comes with it releases the booking at once."""
    lake.bookings("_a", booking(1, 7), modified=day(1))
    lake.run()

    lake.write("booking_details_a.csv", "A,B\n1,2\n", day(2))
    lake.customers("", customer(7))
    report = lake.run()

    assert (report.rejected, report.released) == (1, 1)
    assert lake.rows("SELECT BOOKING_ID FROM BOOKINGS.CUSTOMER_BOOKINGS") == [("1",)]
    assert [code for _, _, code in lake.rows(WAITING)] == ["missing_column"]
    assert lake.staged() == []
