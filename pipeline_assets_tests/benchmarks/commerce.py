"""Commerce: the landed objects of 1 million orders and 100,000 customers, and their mart by plain DuckDB.

The samples in objects of 20,000 records with Firehose's keys, as one day's delivery: `clean/` without bad records, as
plain tools stop at them or silently drop them, and `dirty/` as they are. Records are sent again and change in both.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline_assets.samples.files import Chunk

CUSTOMERS = 100_000
ORDERS = 10 * CUSTOMERS


def make_inputs(inputs: Path, folder: Path) -> None:
    """Write the objects of clean/ and dirty/."""
    write_objects(inputs / "clean", CUSTOMERS, bad=False)
    write_objects(inputs / "dirty", CUSTOMERS, bad=True)


def write_objects(bucket: Path, customers: int, *, bad: bool) -> None:
    """Write the samples of so many customers as landed objects below a folder, each chunk of records an object."""
    from pipeline_assets.samples import commerce_rows
    from pipeline_assets.samples.commerce import ORDERS_PER_CUSTOMER

    orders = customers * ORDERS_PER_CUSTOMER
    _write(bucket, "customers", commerce_rows.customers(2024, customers, bad=bad))
    _write(bucket, "orders", commerce_rows.orders(2024, orders, ORDERS_PER_CUSTOMER, bad=bad))


def _write(bucket: Path, dataset: str, chunks: Iterable[Chunk]) -> None:
    from pipeline_assets_tests.support.commerce_deliveries import FIRST_DELIVERY, landing_key

    start = ""
    for place, chunk in enumerate(chunks):
        if not chunk.rows:  # the byte order mark belongs to the first object
            start = chunk.text
            continue
        path = bucket / landing_key(dataset, FIRST_DELIVERY + timedelta(minutes=place), str(place))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((start + chunk.text).encode())
        start = ""


def land(inputs: Path, folder: Path, home: str, source: str) -> None:
    """A new home in which the objects of `source` have landed."""
    from pipeline_assets_tests.support.commerce_deliveries import BUCKET

    shutil.copytree(inputs / source, folder / home / "lake" / BUCKET, copy_function=os.link)


def plain_duckdb(inputs: Path, folder: Path, source: str = "clean") -> None:
    """The newest version of each key and the mart, as one writes it on a command line."""
    import duckdb

    from pipeline_assets_tests.support.commerce_model import mart_sql

    customers, orders = (inputs / source / f"firehose/{name}/landing/**/*" for name in ("customers", "orders"))
    select = mart_sql(customers, orders, bad=source != "clean")
    duckdb.execute(f"COPY ({select}) TO '{folder / 'out' / 'mart.parquet'}' (FORMAT parquet)")
