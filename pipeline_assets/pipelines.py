"""The list of the pipelines, for everything that goes through all of them without Dagster.

`definitions` has the same list as Dagster sees it; a test holds the two together.
"""

from __future__ import annotations

from functools import cache

from pipeline_assets.bookings import pipeline as bookings
from pipeline_assets.operations.pipeline import Pipeline
from pipeline_assets.orders import pipeline as orders


@cache
def pipelines() -> dict[str, Pipeline]:
    """Every pipeline by its name."""
    return {found.name: found for found in (bookings.pipeline(), orders.pipeline())}
