"""Customer bookings joined with their customers.

A booking is joined with the newest version of its customer. If its customer is unknown, it is quarantined as
`orphan_booking` (by the contract's relationship) and read again when new files arrive.
"""

from pipeline_assets.pipeline import CsvExport, LandedFiles, Mart, Pipeline, Plot, Table

BOOKINGS = Pipeline(
    "bookings",
    bucket="customer-booking-data-pipeline",
    sources=[
        LandedFiles("customers", "raw-data/customer_details*.csv"),
        LandedFiles("bookings", "raw-data/booking_details*.csv"),
    ],
    tables=[
        Table("customers"),
        Table("customer_bookings"),
        Mart("daily_spend", refresh_by="BOOKING_DATE"),
    ],
    plots=[
        Plot("daily_spend", of="daily_spend", kind="line"),
        Plot("monthly_spend", of="daily_spend", kind="line"),
    ],
    exports=[
        CsvExport(
            "customer_bookings_csv",
            of="customer_bookings",
            key="processed-data/customer_bookings_{started_at}_{batch_id}.csv",
        ),
    ],
)
