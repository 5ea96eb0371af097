"""The sample sources of pipeline `bookings`: two customer files and two booking files.

This module has the files, their numbers of records and their modification times; `bookings_rows` has the records, and
is imported late because it needs numpy and pyarrow.

The files differ in form on purpose. The shop's bookings are a plain CSV; those of the stores are gzip, with a BOM,
CRLF, lower-case headers in another order, ISO dates and a column that is in no contract.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from .files import SampleFile, publisher

CUSTOMERS_PER_SCALE = 500
BOOKINGS_PER_CUSTOMER = 8

# Fixed arrival times: the update is the newer version of its customers because it arrived later.
CUSTOMERS_ARRIVED = datetime(2024, 7, 1, 2, 0, tzinfo=UTC)
BOOKINGS_ARRIVED = datetime(2024, 7, 1, 2, 10, tzinfo=UTC)
STORE_BOOKINGS_ARRIVED = datetime(2024, 7, 1, 2, 20, tzinfo=UTC)
CUSTOMERS_UPDATE_ARRIVED = datetime(2024, 7, 2, 2, 0, tzinfo=UTC)


def write(directory: Path, *, scale: float, seed: int) -> list[SampleFile]:
    """Write the four files below `directory`/raw-data and describe them, oldest arrival first.

    `scale` 1.0 is 500 customers and 4,000 bookings; there is always at least one customer. Raises OSError
    when the folder cannot be written.
    """
    from . import bookings_rows as rows

    customers = max(1, round(CUSTOMERS_PER_SCALE * scale))
    bookings = customers * BOOKINGS_PER_CUSTOMER
    with publisher(directory) as bucket:
        return [
            bucket.publish(
                "raw-data/customer_details.csv",
                "customers",
                rows.customers(seed, customers),
                modified=CUSTOMERS_ARRIVED,
            ),
            bucket.publish(
                "raw-data/booking_details.csv",
                "bookings",
                rows.shop_bookings(seed, bookings, BOOKINGS_PER_CUSTOMER),
                modified=BOOKINGS_ARRIVED,
            ),
            bucket.publish(
                "raw-data/booking_details_store.csv.gz",
                "bookings",
                rows.store_bookings(seed, bookings, BOOKINGS_PER_CUSTOMER),
                modified=STORE_BOOKINGS_ARRIVED,
            ),
            bucket.publish(
                "raw-data/customer_details_update.csv",
                "customers",
                rows.updated_customers(seed, customers),
                modified=CUSTOMERS_UPDATE_ARRIVED,
            ),
        ]
