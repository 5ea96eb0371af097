"""A bookings lake for tests: write landed files, run batches, read tables."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pipeline_assets.bookings.pipeline import BUCKET, pipeline
from pipeline_assets.operations.landing import run_batch
from pipeline_assets.operations.pipeline import BatchReport, Request
from pipeline_assets.operations.platform import Platform, build_platform
from pipeline_assets.settings import load_settings, prepare_home

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


def customer(customer_id: object, first: str = "Ada", last: str = "Lovelace") -> str:
    return f"{customer_id},{first},{last},{first.lower()}@example.org,,1 High Street,GB,1"


def booking(
    booking_id: object, customer_id: object, amount: str = "10.00", date: str = "24-05-2005", **more: str
) -> str:
    kind, status = more.get("kind", "Music"), more.get("status", "open")
    return f"{booking_id},{customer_id},{date},22:53:30,{kind},{amount},EUR,{status}"


@dataclass
class BookingsLake:
    """One home with the bookings pipeline; `write` lands files, `run` takes them."""

    home: Path
    platform: Platform

    @classmethod
    def at(cls, home: Path, **settings: object) -> BookingsLake:
        read = load_settings(home=home, **settings)
        prepare_home(read)
        return cls(home, build_platform(read))

    @property
    def bucket(self) -> Path:
        return self.home / "lake" / BUCKET

    def path(self, name: str) -> Path:
        return self.bucket / "raw-data" / name

    def write(self, name: str, content: str | bytes, modified: datetime | None = None) -> Path:
        """Land bytes under raw-data/; `modified` sets the store's time of it."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}"
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        if modified:
            os.utime(temporary, (modified.timestamp(), modified.timestamp()))
        os.replace(temporary, path)
        return path

    def customers(self, name: str, *rows: str, modified: datetime | None = None) -> Path:
        return self.write(f"customer_details{name}.csv", "\n".join([CUSTOMER_HEADER, *rows]) + "\n", modified)

    def bookings(self, name: str, *rows: str, modified: datetime | None = None) -> Path:
        return self.write(f"booking_details{name}.csv", "\n".join([BOOKING_HEADER, *rows]) + "\n", modified)

    def land(self, source: Path, name: str) -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(source, path))

    def run(self, run_id: str = "test", **request: object) -> BatchReport:
        return run_batch(self.platform, pipeline(), run_id, Request(**request))  # type: ignore[arg-type]

    def rows(self, sql: str) -> list[tuple]:
        with self.platform.warehouse.look() as unit:
            return unit.rows(sql)

    def tables(self) -> dict[str, list[tuple]]:
        """The three tables, business columns only, in a fixed order."""
        with self.platform.warehouse.look() as unit:
            return {name: unit.rows(sql) for name, sql in TABLES.items()}

    def processed(self) -> list[Path]:
        return sorted((self.bucket / "processed-data").glob("*"))

    def staged(self) -> list[Path]:
        return [path for path in (self.bucket / "staging").rglob("*") if path.is_file()]

    def with_platform(self, **changes: object) -> BookingsLake:
        return replace(self, platform=replace(self.platform, **changes))
