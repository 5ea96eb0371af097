"""What replay and reprocessing may read again, and that whatever is read again counts once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.engine import RejectPolicy
from pipeline_assets_tests.support.bookings_lake import (
    CUSTOMER_HEADER,
    BookingsLake,
    booking,
    customer,
    with_date_format,
)
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product
from pipeline_assets_tests.support.pipeline_lake import PipelineLake

OPEN = (
    "SELECT DATASET, REGEXP_SUBSTR(SOURCE_URI, '[^/]+$'), LINE_NUMBER, REASON_CODE, RAW_RECORD FROM OPS.QUARANTINE "
    "WHERE REPLAYED_AT IS NULL ORDER BY 1, 2, 3, 4"
)
LEDGER = (
    "SELECT DATASET, REGEXP_SUBSTR(URI, '[^/]+$'), STATUS, ROWS_READ, ROWS_LOADED, ROWS_SUPERSEDED, ROWS_QUARANTINED "
    "FROM OPS.FILE_LEDGER ORDER BY 1, 2"
)


def state(lake: PipelineLake) -> dict[str, list[tuple]]:
    """The tables, what waits, and the account of every object."""
    return lake.tables() | {"waiting": lake.rows(OPEN), "ledger": lake.rows(LEDGER)}


# --- malformed records ---------------------------------------------------------------------------------------

GRACE = customer(2, "Grace", "Hopper").encode()
MALFORMED_CUSTOMERS: dict[str, list[bytes]] = {
    "open_quote": [GRACE.replace(b"Grace", b'"Grace')],
    "two_halves": [b'2,"Grace', b'3,"Ada",L,e,,a,GB,1', b'Hopper",H,e,,a,GB,1'],  # a good one stands between
    "too_many_fields": [GRACE + b",more"],
    "too_few_fields": [GRACE.rpartition(b",")[0]],
    "text_behind_a_quote": [GRACE.replace(b"Grace", b'"Grace" B.')],
    "not_utf_8": [GRACE.replace(b"Grace", b"Jos\xe9")],
    "not_utf_8_in_quotes": [GRACE.replace(b"Grace", b'"Jos\xe9, M."')],
}


def land_customers(lake: BookingsLake) -> None:
    """Each kind in a file of its own, a good record before and behind."""
    for number, (kind, broken) in enumerate(MALFORMED_CUSTOMERS.items()):
        rows = [customer(f"{kind[:9]}-{n}{number}").encode() for n in (1, 2)]
        lines = [CUSTOMER_HEADER.encode(), rows[0], *broken, rows[1], b""]
        lake.write(f"customer_details_{kind}.csv", b"\n".join(lines))


ONE_LINE = '{"order_id": 2, "order_date": "2024-01-10", "total_amount": 5, "customer": {"customer_id": 7}}'
MALFORMED_ORDERS: dict[str, list[bytes]] = {
    "not_json": [b"order 2"],
    "cut_off": [ONE_LINE[:-2].encode()],
    "two_halves": [*ONE_LINE.replace(', "total', ',\n"total').encode().split(b"\n")],
    "no_object": [f"[{ONE_LINE}]".encode()],
    "two_on_a_line": [f"{ONE_LINE}{ONE_LINE}".encode()],
    "a_key_twice": [ONE_LINE.replace('"order_id": 2', '"order_id": 2, "order_id": 3').encode()],
    "not_utf_8": [ONE_LINE.replace('"customer_id": 7', '"customer_id": 7, "name": "Jos\xe9"').encode("latin-1")],
}


def land_orders(lake: OrdersLake) -> None:
    for number, (kind, broken) in enumerate(MALFORMED_ORDERS.items()):
        rows = [ONE_LINE.replace('"order_id": 2', f'"order_id": {10 * number + n}').encode() for n in (11, 12)]
        lake.write(f"{kind}.ndjson", b"\n".join([rows[0], *broken, rows[1], b""]))


def replay_finds_nothing(lake: PipelineLake, table: str, *, good: int, malformed: int) -> None:
    lake.run()
    before = state(lake)
    assert (len(before[table]), len(before["waiting"])) == (good, malformed)
    assert {code for *_, code, _ in before["waiting"]} == {"malformed_record"}

    assert lake.run(replay=True).released == 0
    assert state(lake) == before
    named = tuple(key for (key,) in lake.rows("SELECT QUARANTINE_ID FROM OPS.QUARANTINE"))
    assert lake.run(replay=True, replay_ids=named).released == 0
    assert state(lake) == before


def test_no_malformed_line_of_a_csv_is_published_by_a_replay(lake: BookingsLake) -> None:
    """Not by name either: where its fields end nobody knows, and of other bytes only a transcription is kept."""
    land_customers(lake)
    replay_finds_nothing(lake, "CUSTOMERS", good=2 * 7 + 1, malformed=8)


def test_no_malformed_order_is_published_by_a_replay(orders_lake: OrdersLake) -> None:
    land_orders(orders_lake)
    replay_finds_nothing(orders_lake, "ORDER_HEADERS", good=2 * 7, malformed=8)


# --- read again beside their own file ------------------------------------------------------------------------


def stricter(lake: BookingsLake) -> BookingsLake:
    """A file of three rows is by now rejected for two bad ones."""
    return lake.with_platform(policy=RejectPolicy(share=0.5, minimum_rows=3))


def land_waiting(lake: BookingsLake) -> None:
    lake.bookings("_passes_later", booking(1, 1), booking(2, 1, "x"))
    lake.bookings("_never_passes", booking(3, 9))
    lake.bookings("_rejected_later", booking(4, 1), booking(5, 1, "x"), booking(6, 1, "x"))


@pytest.mark.parametrize("replay", [False, True], ids=["reprocess", "replay_and_reprocess"])
def test_a_record_that_waits_and_is_read_again_with_its_file_counts_once(
    lake: BookingsLake, tmp_path: Path, replay: bool
) -> None:
    """What comes out is what one run over the same files gives; of a file that is rejected by now nothing is loaded."""
    land_waiting(lake)
    lake.run()
    lake.customers("", customer(1))
    report = stricter(lake).run(reprocess=True, replay=replay)

    once = BookingsLake.with_tables(tmp_path / "once")
    land_waiting(once)
    once.customers("", customer(1))
    expected = stricter(once).run()
    assert state(lake) == state(once)
    assert [row[0] for row in lake.tables()["CUSTOMER_BOOKINGS"]] == ["1"]
    assert (report.rows, report.rejected, report.released) == (expected.rows, 1, 0)


def test_a_record_that_is_bad_for_another_reason_by_now_and_is_read_with_its_file_waits_once(
    lake: BookingsLake,
) -> None:
    lake.bookings("", booking(1, 9, date="24.05.2005"))
    lake.run()
    corrected = with_date_format(lake, "DD.MM.YYYY")
    for _ in range(2):
        corrected.run(reprocess=True, replay=True)
        assert [row[2:4] for row in lake.rows(OPEN)] == [(2, "orphan_booking")]


def test_an_order_that_waits_and_is_read_again_with_its_file_counts_once(orders_lake: OrdersLake) -> None:
    orders_lake.orders("", order(1, product("P1")), order(2, product("P1"), date="soon"))
    orders_lake.run()
    before = state(orders_lake), orders_lake.lake_orders()
    report = orders_lake.run(reprocess=True, replay=True)
    assert (state(orders_lake), orders_lake.lake_orders()) == before
    assert (report.rows, report.released) == ({"read": 2, "loaded": 1, "superseded": 0, "quarantined": 1}, 0)


# --- rejected objects ----------------------------------------------------------------------------------------


def open_rejections(lake: PipelineLake) -> list[str]:
    rows = lake.rows("SELECT REASON_CODE FROM OPS.QUARANTINE WHERE LINE_NUMBER IS NULL AND REPLAYED_AT IS NULL")
    return sorted(code for (code,) in rows)


def test_a_redelivery_that_is_rejected_too_leaves_the_older_rejection_open(lake: BookingsLake) -> None:
    lake.write("customer_details.csv", "NAME\nAda\n")
    lake.run()
    lake.write("customer_details.csv", "CUSTOMER_ID,CUSTOMER_ID\n1,1\n")
    lake.customers("_other", customer(2))  # another object that loads closes nothing either
    lake.run()
    assert open_rejections(lake) == ["malformed_header", "missing_column"]
    lake.customers("", customer(1))
    lake.run()
    assert open_rejections(lake) == []


def test_orders_that_are_rejected_again_leave_the_older_rejection_open(orders_lake: OrdersLake) -> None:
    for number, broken in enumerate(["[{", '[{"order_id": 1,'], 1):
        orders_lake.write("orders.json", broken)
        orders_lake.orders("_other", order(number))
        orders_lake.run()
        assert len(open_rejections(orders_lake)) == number
    orders_lake.orders("", order(9))
    orders_lake.run()
    assert open_rejections(orders_lake) == []
