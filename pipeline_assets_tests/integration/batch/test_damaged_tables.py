"""What the README says about tables that somebody empties or drops."""

from __future__ import annotations

from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer


def test_a_run_that_reprocesses_fills_a_table_that_somebody_emptied(lake: BookingsLake) -> None:
    lake.customers("", customer(1), customer(2))
    lake.bookings("", booking(1, 1), booking(2, 2))
    lake.run()
    before = lake.tables()
    for table in ("CUSTOMERS", "CUSTOMER_BOOKINGS", "DAILY_SPEND"):
        for verb in ("DELETE FROM", "TRUNCATE TABLE", "DROP TABLE"):
            statement = f"{verb} BOOKINGS.{table}"
            with lake.platform.warehouse.autocommit() as session:
                session.execute(statement)
            lake.run(reprocess=True)
            assert lake.tables() == before, statement
