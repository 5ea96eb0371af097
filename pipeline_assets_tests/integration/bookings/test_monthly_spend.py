"""The picture of spend: one line for each currency, also for bookings without one, newest months first."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from pipeline_assets.orchestration.plots import plot_rows
from pipeline_assets_tests.support.bookings_lake import BOOKING_HEADER, CUSTOMER_HEADER, BookingsLake, booking, customer


def test_spend_is_added_up_by_month_and_currency(lake: BookingsLake) -> None:
    lake.write("customer_details.csv", f"{CUSTOMER_HEADER}\n{customer(1)}\n")
    bookings = [
        booking(1, 1, "1.50", "31-01-2024"),
        booking(2, 1, "2.25", "01-01-2024"),
        booking(3, 1, "4.00", "01-02-2024"),
        booking(4, 1, "8.00", "02-02-2024").replace("EUR", ""),
    ]
    lake.write("booking_details.csv", "\n".join((BOOKING_HEADER, *bookings)) + "\n")
    lake.run()
    pipeline = type(lake).pipeline()
    with lake.platform.warehouse.read_only() as transaction:
        plots = plot_rows(transaction, pipeline, {"BOOKINGS.DAILY_SPEND"})
    (rows,) = (rows for plot, rows in plots.items() if plot.declared.name == "monthly_spend")
    assert [(date(month.year, month.month, month.day), *rest) for month, *rest in rows] == [
        (date(2024, 2, 1), Decimal(4), "EUR"),
        (date(2024, 2, 1), Decimal(8), "no currency"),
        (date(2024, 1, 1), Decimal("3.75"), "EUR"),
    ]
