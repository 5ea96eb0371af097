"""What one batch of `orders` does.

An order is taken apart into a header and its lines. Of an order delivered again the newest version replaces all that
there is of it: header, lines, and its rows in the lake, where it may have to leave the folder of another day. Which
orders are published already, in which version and under which day, is looked up by key, so the cost of a run follows
the new data. The tables are loaded from the batch's own Parquet, which has the exact decimals and line numbers that the
lake's columns, fixed by those who read them, do not.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pipeline_assets.contracts import Contract, load_contract
from pipeline_assets.lake import LakeTable, Zone
from pipeline_assets.operations.pipeline import Dataset, Pipeline
from pipeline_assets.operations.work import Work
from pipeline_assets.sqlfiles import load_sql

NAME = "orders"
SOURCE = "orders-source"
LAKE = "orders-staging"
LANDING = "incoming/"
PATTERN = "|".join(f"**/*{ending}{packed}" for ending in (".json", ".ndjson", ".jsonl") for packed in ("", ".gz"))


@cache
def contract(name: str) -> Contract:
    """A contract of this pipeline."""
    return load_contract(Path(__file__).parent / "contracts" / f"{name}.yaml")


def lake_table() -> LakeTable:
    """The order lines in the lake."""
    return LakeTable(contract("orders_parquet_datalake"), LAKE, "orders_parquet_datalake/", "orders")


def pipeline() -> Pipeline:
    """The pipeline as a value."""
    return Pipeline(
        name=NAME,
        bucket=LAKE,
        datasets=(Dataset(contract("orders"), Zone(SOURCE, LANDING, PATTERN)),),
        targets=(contract("order_headers"), contract("order_lines"), contract("daily_category_sales")),
        transform=flatten_orders,
        lake_tables=(lake_table(),),
    )


def flatten_orders(work: Work) -> None:
    """Settle versions, flatten, and say what to publish."""
    work.look_up("orders/keys", {"KNOWN_ORDER_HEADERS": ("orders/known_order_headers", contract("order_headers"))})
    work.known("orders", load_sql("orders/known_orders").text)
    work.settle("orders")
    work.view("ORDER_HEADERS", "orders/order_headers")
    work.view("ORDER_LINES", "orders/order_lines")

    work.load(contract("order_headers"), "SELECT * FROM ORDER_HEADERS")
    work.load(contract("order_lines"), "SELECT * FROM ORDER_LINES", part_of=contract("order_headers"))
    work.derive(
        contract("daily_category_sales"),
        outdated="orders/daily_category_sales_outdated",
        select="orders/daily_category_sales",
        source="ORDERS.ORDER_LINES",
    )
    work.lay_out(lake_table(), "orders/orders_parquet_datalake", "orders/replaced_orders")
