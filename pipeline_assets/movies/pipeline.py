"""Movie archives: the buckets that the deployment creates, until the pipeline is built."""

from pipeline_assets.pipeline import Bucket, Pipeline

MOVIES = Pipeline(
    "movies",
    bucket="movie-processed",
    buckets=[
        Bucket("movie-landing", watched=["zipped/"]),
        Bucket("movie-processed"),
        Bucket("movie-archive", archive_after_days=30),
    ],
)
