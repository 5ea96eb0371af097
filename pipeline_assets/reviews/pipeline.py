"""Incremental loads from MySQL: the bucket that the deployment creates, until the pipeline is built."""

from pipeline_assets.pipeline import Bucket, Pipeline

REVIEWS = Pipeline(
    "reviews",
    bucket="lz-snowflake",
    buckets=[Bucket("lz-snowflake", watched=["Snowflake/"])],
)
