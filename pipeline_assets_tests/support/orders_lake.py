"""An orders lake for tests."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from pipeline_assets.contracts import Contract
from pipeline_assets.lake import LakeTable
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.pipelines import pipelines
from pipeline_assets_tests.support.pipeline_lake import PipelineLake, contract_of

SOURCE = "orders-source"
LAKE = "orders-staging"
LANDING = "incoming/"


def pipeline() -> ResolvedPipeline:
    return pipelines()["orders"]


def contract(name: str) -> Contract:
    return contract_of(pipeline(), name)


def lake_table() -> LakeTable:
    (table,) = pipeline().lake_tables
    return table


LINE_COLUMNS = ", ".join(contract("order_lines").column_names)
TABLES = {
    "ORDER_HEADERS": "SELECT ORDER_ID, ORDER_DATE, CUSTOMER_ID, TOTAL_AMOUNT, LINE_COUNT, LINES_TOTAL "
    "FROM ORDERS.ORDER_HEADERS ORDER BY ORDER_ID",
    "ORDER_LINES": f"SELECT {LINE_COLUMNS} FROM ORDERS.ORDER_LINES ORDER BY ORDER_ID, LINE_NUMBER",
    "DAILY_CATEGORY_SALES": "SELECT ORDER_DATE, CATEGORY, ORDERS, QUANTITY, AMOUNT FROM ORDERS.DAILY_CATEGORY_SALES "
    "ORDER BY ORDER_DATE, CATEGORY",
}


def product(product_id: object, price: object = 2.5, quantity: object = 2, category: object = "Toys") -> dict:
    return {
        "product_id": product_id,
        "name": f"Product {product_id}",
        "category": category,
        "price": price,
        "quantity": quantity,
    }


def order(order_id: object, *products: dict, date: object = "2024-01-10", total: object = 5, **more: object) -> dict:
    customer = {"customer_id": 7, "name": "Ada", "email": "ada@example.org", "address": "1 High Street"}
    return {
        "order_id": order_id,
        "order_date": date,
        "total_amount": total,
        "customer": customer,
        "products": list(products),
    } | more


class OrdersLake(PipelineLake):
    """One home with the orders pipeline."""

    pipeline = staticmethod(pipeline)
    landing = f"{SOURCE}/{LANDING}"
    tables_sql = TABLES

    @property
    def lake_table(self) -> Path:
        return self.home / "lake" / LAKE / "orders_parquet_datalake"

    def orders(self, name: str, *orders: object, modified: datetime | None = None) -> Path:
        """Land orders as one JSON array."""
        return self.write(f"orders{name}.json", json.dumps(orders), modified)

    def lake_files(self) -> list[Path]:
        """What a reader of the folder finds."""
        return sorted(self.lake_table.glob("*/*.parquet"))

    def lake_orders(self) -> dict[str, list[tuple]]:
        """The rows of each order in the lake, with the day of their folder, as a reader of the folder sees them."""
        found: dict[str, list[tuple]] = defaultdict(list)
        for path in self.lake_files():
            # In one go: a reader that opens a file twice may find another version the second time. Without Arrow's
            # threads: one of them that lets go of the BytesIO while the process ends aborts it (std::terminate).
            table = pq.read_table(io.BytesIO(path.read_bytes()), use_threads=False, pre_buffer=False)
            for row in table.to_pylist():
                found[row["order_id"]].append((path.parent.name, *row.values()))
        return {order_id: sorted(rows, key=str) for order_id, rows in found.items()}
