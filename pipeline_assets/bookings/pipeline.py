"""Customer bookings joined with their customers.

A booking joins the newest version of its customer. One whose customer is not known waits in quarantine as
`orphan_booking` (the contract's relationship says so) and is read again when customers come.
"""

from pipeline_assets.pipeline import CsvExport, LandedFiles, Mart, Pipeline, Table

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
    exports=[
        CsvExport(
            "customer_bookings_csv",
            of="customer_bookings",
            key="processed-data/customer_bookings_{started_at}_{batch_id}.csv",
        ),
    ],
)
