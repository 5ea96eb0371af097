"""The registry: the list of all pipelines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipeline_assets.bookings.pipeline import BOOKINGS
from pipeline_assets.commerce.pipeline import COMMERCE
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.movies.pipeline import MOVIES
from pipeline_assets.orders.pipeline import ORDERS
from pipeline_assets.pipeline import Pipeline
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.reviews.pipeline import REVIEWS

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings

PIPELINES: tuple[Pipeline, ...] = (
    BOOKINGS,
    MOVIES,
    COMMERCE,
    ORDERS,
    REVIEWS,
)


def pipelines(settings: Settings | None = None) -> dict[str, ResolvedPipeline]:
    """The pipelines of an installation by name, without those that have no sources, only buckets.

    Without settings, a pipeline that depends on them is the shipped example.

    Raises:
        ConfigurationError: a value, a contract, a SELECT or a list of tables is wrong.
    """
    values = (value.configured(settings) if value.configured else value for value in PIPELINES)
    return {value.name: resolve(value) for value in values if value.sources}


def require_known_pipelines(settings: Settings, pipelines: Iterable[str]) -> None:
    """Refuse queues and scheduled extracts of pipelines that do not exist.

    Raises:
        ConfigurationError: it names them, and the pipelines that exist.
    """
    for variable, named in (("QUEUES", settings.queues), ("SCHEDULED_EXTRACTS", settings.scheduled_extracts)):
        if unknown := sorted(set(named).difference(pipelines)):
            raise ConfigurationError(
                f"PIPELINE_{variable} names unknown pipelines: {', '.join(unknown)}.",
                remedy=f"The pipelines are {', '.join(pipelines)}.",
            )
