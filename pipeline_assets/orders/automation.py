"""When `orders` runs: when something lands, and once a day for what no bell announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.operations.automation import pipeline_definitions
from pipeline_assets.orders.assets import build_assets, source_specs
from pipeline_assets.orders.checks import build_checks
from pipeline_assets.orders.pipeline import LANDING, NAME, SOURCE

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings


def build(settings: Settings) -> dg.Definitions:
    """Everything of this pipeline."""
    return pipeline_definitions(
        NAME,
        assets=[*source_specs(), build_assets(settings)],
        checks=build_checks(),
        description="Take what landed in incoming/ up to the lake and DAILY_CATEGORY_SALES.",
        landing=(SOURCE, [LANDING]),
        settings=settings,
    )
