"""Streamed customers and orders.

A delivery stream writes objects of records without header. A run moves them from `landing/` through `processing/` to
`processed/`; the time in an object's key orders the versions of its records.
"""

from pipeline_assets.commerce.producer import deliver_in_batch
from pipeline_assets.pipeline import Bucket, DeliveryStream, LakeTable, LandedFiles, Mart, Pipeline, Plot, Step, Table

COMMERCE = Pipeline(
    "commerce",
    bucket="commerce-stream",
    sources=[
        LandedFiles("customers", "firehose/customers/landing/**/*", dated_keys=True, moved=True),
        LandedFiles("orders", "firehose/orders/landing/**/*", dated_keys=True, moved=True),
    ],
    tables=[
        Table("customer_raw", write="append"),
        Table("orders_raw", write="append"),
        Table("customers"),
        Table("orders"),
        Mart("order_customer_date_price", refresh_by=["CUSTOMER_KEY", "ORDER_DATE"]),
    ],
    plots=[Plot("delivery_latency", of="orders_raw", kind="line")],
    lake_tables=[LakeTable("order_customer_date_price_parquet")],
    steps=[Step("extract", deliver_in_batch)],
    buckets=[Bucket("commerce-stream", archive_after_days=90)],
    streams=[
        DeliveryStream("customers", "firehose/customers/landing/"),
        DeliveryStream("orders", "firehose/orders/landing/"),
    ],
)
