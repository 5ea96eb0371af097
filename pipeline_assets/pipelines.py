"""The registry: the list of all pipelines."""

from __future__ import annotations

from functools import cache

from pipeline_assets.bookings.pipeline import BOOKINGS
from pipeline_assets.commerce.pipeline import COMMERCE
from pipeline_assets.movies.pipeline import MOVIES
from pipeline_assets.orders.pipeline import ORDERS
from pipeline_assets.pipeline import Pipeline
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.reviews.pipeline import REVIEWS

PIPELINES: tuple[Pipeline, ...] = (
    BOOKINGS,
    MOVIES,
    COMMERCE,
    ORDERS,
    REVIEWS,
)


@cache
def pipelines() -> dict[str, ResolvedPipeline]:
    """The pipelines by name, without those that have no sources yet, only buckets.

    Raises:
        ConfigurationError: a value, a contract or a SELECT is wrong.
    """
    return {value.name: resolve(value) for value in PIPELINES if value.sources}
