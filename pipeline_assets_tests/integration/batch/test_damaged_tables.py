"""What the README says about tables that somebody empties or drops."""

from __future__ import annotations

import pytest

from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer


@pytest.mark.parametrize("statement", ["DELETE FROM", "TRUNCATE TABLE", "DROP TABLE"])
@pytest.mark.parametrize("table", ["CUSTOMERS", "CUSTOMER_BOOKINGS", "DAILY_SPEND"])
def test_a_run_that_reprocesses_fills_a_table_that_somebody_emptied(
    lake: BookingsLake, statement: str, table: str
) -> None:
    lake.customers("", customer(1), customer(2))
    lake.bookings("", booking(1, 1), booking(2, 2))
    lake.run()
    before = lake.tables()
    with lake.platform.warehouse.autocommit() as session:
        session.execute(f"{statement} BOOKINGS.{table}")
    lake.run(reprocess=True)
    assert lake.tables() == before
