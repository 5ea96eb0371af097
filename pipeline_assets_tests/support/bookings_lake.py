"""A bookings lake for tests."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pipeline_assets.bookings.pipeline import BOOKINGS
from pipeline_assets.contracts import Contract, model
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.pipelines import pipelines
from pipeline_assets_tests.support.pipeline_lake import PipelineLake, changed_pipeline, contract_of

BUCKET = "customer-booking-data-pipeline"
LANDING = "raw-data/"

CUSTOMER_HEADER = "CUSTOMER_ID,FIRST_NAME,LAST_NAME,EMAIL,PHONE_NUMBER,ADDRESS,COUNTRY_CODE,SEGMENT_ID"
BOOKING_HEADER = "BOOKING_ID,CUSTOMER_ID,BOOKING_DATE,BOOKING_TIME,DESTINATION_TYPE,AMOUNT_SPENT,CURRENCY_CODE,STATUS"
JOINED = (
    "BOOKING_ID, CUSTOMER_ID, FIRST_NAME, LAST_NAME, EMAIL, PHONE_NUMBER, ADDRESS, COUNTRY_CODE, SEGMENT_ID, "
    "BOOKING_DATE, BOOKING_TIME, DESTINATION_TYPE, AMOUNT_SPENT, CURRENCY_CODE, STATUS"
)
TABLES = {
    "CUSTOMERS": "SELECT CUSTOMER_ID, FIRST_NAME, LAST_NAME, EMAIL, PHONE_NUMBER, ADDRESS, COUNTRY_CODE, SEGMENT_ID "
    "FROM BOOKINGS.CUSTOMERS ORDER BY CUSTOMER_ID",
    "CUSTOMER_BOOKINGS": f"SELECT {JOINED} FROM BOOKINGS.CUSTOMER_BOOKINGS ORDER BY BOOKING_ID",
    "DAILY_SPEND": "SELECT BOOKING_DATE, DESTINATION_TYPE, CURRENCY_CODE, BOOKINGS, AMOUNT_SPENT "
    "FROM BOOKINGS.DAILY_SPEND ORDER BY BOOKING_DATE, DESTINATION_TYPE, CURRENCY_CODE",
}


def pipeline() -> ResolvedPipeline:
    return pipelines()["bookings"]


def contract(name: str) -> Contract:
    return contract_of(pipeline(), name)


def customer(customer_id: object, first: str = "Ada", last: str = "Lovelace") -> str:
    return f"{customer_id},{first},{last},{first.lower()}@example.org,,1 High Street,GB,1"


def booking(
    booking_id: object, customer_id: object, amount: str = "10.00", date: str = "24-05-2005", **more: str
) -> str:
    kind, status = more.get("kind", "Music"), more.get("status", "open")
    return f"{booking_id},{customer_id},{date},22:53:30,{kind},{amount},EUR,{status}"


class BookingsLake(PipelineLake):
    """One home with the bookings pipeline."""

    pipeline = staticmethod(pipeline)
    landing = f"{BUCKET}/{LANDING}"
    tables_sql = TABLES

    @property
    def bucket(self) -> Path:
        return self.home / "lake" / BUCKET

    def customers(self, name: str, *rows: str, modified: datetime | None = None) -> Path:
        return self.write(f"customer_details{name}.csv", "\n".join([CUSTOMER_HEADER, *rows]) + "\n", modified)

    def bookings(self, name: str, *rows: str, modified: datetime | None = None) -> Path:
        return self.write(f"booking_details{name}.csv", "\n".join([BOOKING_HEADER, *rows]) + "\n", modified)

    def processed(self) -> list[Path]:
        return sorted((self.bucket / "processed-data").glob("*"))


def with_date_format(lake: BookingsLake, form: str) -> BookingsLake:
    """The same home after somebody added a date format to the bookings contract."""
    model.DATE_PATTERNS.setdefault(form, "^[0-9]{2}[.][0-9]{2}[.][0-9]{4}$")
    corrected = changed_pipeline(
        BOOKINGS, lake.home / "changed", "bookings", lambda text: text.replace("value: [DD-", f"value: [{form}, DD-")
    )

    class Corrected(BookingsLake):
        pipeline = staticmethod(lambda: corrected)

    return Corrected(lake.home, lake.platform)
