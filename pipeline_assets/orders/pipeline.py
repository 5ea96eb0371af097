"""Nested JSON orders, flattened.

An order that is delivered again replaces all of its rows: header, lines, and its rows in the lake, which may have to
move to another day's folder. Lake files have the columns and types that their readers expect; exact decimals and line
numbers are in the tables.
"""

from pipeline_assets.pipeline import LakeTable, LandedFiles, Mart, Pipeline, Plot, Table

ORDERS = Pipeline(
    "orders",
    bucket="orders-staging",
    sources=[
        LandedFiles("orders", "incoming/**/*.json|incoming/**/*.ndjson|incoming/**/*.jsonl", bucket="orders-source"),
    ],
    tables=[
        Table("order_headers"),
        Table("order_lines"),
        Mart("daily_category_sales", refresh_by="ORDER_DATE"),
    ],
    plots=[Plot("category_sales", of="daily_category_sales", kind="barh")],
    lake_tables=[LakeTable("orders_parquet_datalake")],
)
