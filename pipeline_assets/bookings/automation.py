"""When `bookings` runs: when something lands, and once a day for what no bell announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.bookings.assets import build_assets, source_specs
from pipeline_assets.bookings.checks import build_checks
from pipeline_assets.bookings.pipeline import BUCKET, LANDING, NAME
from pipeline_assets.operations.automation import pipeline_definitions

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings


def build(settings: Settings) -> dg.Definitions:
    """Everything of this pipeline."""
    return pipeline_definitions(
        NAME,
        assets=[*source_specs(), build_assets(settings)],
        checks=build_checks(),
        description="Take what landed in raw-data/ up to DAILY_SPEND.",
        landing=(BUCKET, [LANDING]),
        settings=settings,
    )
