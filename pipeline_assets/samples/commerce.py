"""The sample sources of pipeline `commerce`: one growing file of customers and one of orders, for a producer to tail.

This module has the files and their numbers of records; `commerce_rows` has the records, and is imported late because it
needs numpy and pyarrow.

Neither file has a header, and each record ends with a newline. There are never fewer than 60 customers and 600 orders,
so that each kind of dirt occurs in a set that is still mostly clean.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from .files import SampleFile, publisher

CUSTOMERS_PER_SCALE = 1_500
FEWEST_CUSTOMERS = 60
ORDERS_PER_CUSTOMER = 10

WRITTEN = datetime(2024, 3, 1, 10, 0, tzinfo=UTC)


def write(directory: Path, *, scale: float, seed: int) -> list[SampleFile]:
    """Write customers.csv and orders.csv below `directory` and describe them.

    `scale` 1.0 is 1,500 customers and 15,000 orders; at 0.04 and below, 60 and 600. A larger scale appends to the
    files of a smaller one. Raises OSError when the folder cannot be written.
    """
    from . import commerce_rows as rows

    customers = customer_count(scale)
    with publisher(directory) as folder:
        return [
            folder.publish(
                "customers.csv", "customers", rows.customers(seed, customers), modified=WRITTEN, tailed=True
            ),
            folder.publish(
                "orders.csv",
                "orders",
                rows.orders(seed, customers * ORDERS_PER_CUSTOMER, ORDERS_PER_CUSTOMER),
                modified=WRITTEN,
                tailed=True,
            ),
        ]


def customer_count(scale: float) -> int:
    """How many customers a scale has."""
    return max(FEWEST_CUSTOMERS, round(CUSTOMERS_PER_SCALE * scale))
