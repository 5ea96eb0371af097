"""Streamed customers and orders: what the deployment creates, until the pipeline is built."""

from pipeline_assets.pipeline import Bucket, DeliveryStream, Pipeline

COMMERCE = Pipeline(
    "commerce",
    bucket="commerce-stream",
    buckets=[Bucket("commerce-stream", watched=["firehose/customers/landing/", "firehose/orders/landing/"])],
    streams=[
        DeliveryStream("customers", "firehose/customers/landing/"),
        DeliveryStream("orders", "firehose/orders/landing/"),
    ],
)
