"""Where everything meets: settings in, Dagster definitions out.

Importing this module reads no environment and opens nothing; `defs` is called when the code location is loaded, and
only then are the settings read (their library is a seventh of the cost of importing dagster).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.bookings import automation as bookings
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.operations.platform import build_platform
from pipeline_assets.orders import automation as orders

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings

PIPELINES = {"bookings": bookings.build, "orders": orders.build}


def build_definitions(settings: Settings) -> dg.Definitions:
    """The whole code location for one installation.

    Raises:
        ConfigurationError: a setting, a contract or a SQL file is wrong.
    """
    if unknown := sorted(set(settings.queues) - set(PIPELINES)):
        raise ConfigurationError(
            f"PIPELINE_QUEUES names no pipeline of ours: {', '.join(unknown)}.",
            remedy=f"There are {', '.join(PIPELINES)}.",
        )
    platform = build_platform(settings)
    resources = {
        "platform": platform,
        "s3": platform.lake,
        "glue": platform.catalog,
        "snowflake": platform.warehouse,
        "engine": platform.engine,
        "alerts": platform.alerts,
    }
    return dg.Definitions.merge(*(build(settings) for build in PIPELINES.values()), dg.Definitions(resources=resources))


@dg.definitions
def defs() -> dg.Definitions:
    """The code location that workspace.yaml and `dg` load."""
    from pipeline_assets.settings import load_settings

    return build_definitions(load_settings())
