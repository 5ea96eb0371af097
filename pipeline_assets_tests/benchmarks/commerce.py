"""Commerce: the landed objects of 1 million orders and 100,000 customers, and their mart by plain DuckDB.

The samples in objects of 20,000 records with Firehose's keys, as one day's delivery: `clean/` without bad records, as
plain tools stop at them or silently drop them, and `dirty/` as they are. Records are sent again and change in both.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from .harness import PROJECT_ROOT, Benchmark, Contender
from .parts import RUN_IMPORTS, whole_run

if TYPE_CHECKING:
    from pipeline_assets.samples.files import Chunk

CUSTOMERS = 100_000
ORDERS = 10 * CUSTOMERS
ADDED = 1000


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


def ours_run(inputs: Path, folder: Path, home: str) -> int:
    """One whole batch from landing to the mart: zones, raw and current tables, mart and its copy in the lake."""
    return whole_run(folder / home, "commerce", "COMMERCE.ORDERS_RAW")


def land_a_thousand(inputs: Path, folder: Path, home: str) -> None:
    """One object of 1,000 new orders, a day after the others, in a home that knows those."""
    from pipeline_assets_tests.support.commerce_deliveries import BUCKET, FIRST_DELIVERY, landing_key

    path = folder / home / "lake" / BUCKET / landing_key("orders", FIRST_DELIVERY + timedelta(days=1), "more")
    path.parent.mkdir(parents=True, exist_ok=True)
    records = (f"m{number},{number + 1},F,10.00,2024-03-02,1-URGENT,Clerk#1,0,more\n" for number in range(ADDED))
    path.write_text("".join(records), encoding="utf-8")


def _run(name: str, prepare: Callable | None, expected_rows: int | None = None, **arguments: str) -> Contender:
    return Contender(
        f"ours, whole run{name}",
        ours_run,
        prepare=prepare,
        arguments=arguments,
        imports=RUN_IMPORTS,
        expected_rows=expected_rows,
    )


def land_clean(inputs: Path, folder: Path, home: str) -> None:
    """A new home in which the clean objects have landed."""
    land(inputs, folder, home, "clean")


def land_dirty(inputs: Path, folder: Path, home: str) -> None:
    """A new home in which the samples have landed."""
    land(inputs, folder, home, "dirty")


BENCHMARK = Benchmark(
    name="commerce",
    title="Commerce: 1 M streamed orders and 100,000 customers → tables, mart, Parquet",
    about="""1,000,000 orders and 100,000 customers in 110 landed objects, with records that are sent again and change.
    Plain DuckDB takes the newest version of each key and computes the mart into one file. "Whole run" also types and
    validates every field, copies each object to processing and moves it to processed, publishes every record, the
    newest of each key, the mart and the ledger in one transaction of the embedded warehouse, and writes the mart as a
    Parquet file for each day. "1,000 orders more" and "nothing new" are the runs after it.""",
    make_inputs=make_inputs,
    inputs_from=(Path(__file__), *sorted((PROJECT_ROOT / "pipeline_assets" / "samples").glob("*.py"))),
    contenders=(
        _run("", land_clean, home="home"),
        Contender("plain DuckDB", plain_duckdb, imports=("duckdb",)),
        _run(", 1,000 orders more", land_a_thousand, ADDED, home="home"),
        _run(", nothing new", None, 0, home="home"),
        _run(", dirty samples", land_dirty, home="dirty-home"),
    ),
)
