"""Where everything meets: settings in, Dagster definitions out.

Importing this module reads no environment and opens nothing; `defs` is called when the code location is loaded, and
only then are the settings read (their library is a seventh of the cost of importing dagster).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from pipeline_assets.batch.platform import build_platform
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.orchestration.automation import pipeline_definitions
from pipeline_assets.pipelines import pipelines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings


def build_definitions(settings: Settings, built: Mapping[str, ResolvedPipeline] | None = None) -> dg.Definitions:
    """The whole code location for one installation; `built` are other pipelines than those of the registry.

    Raises:
        ConfigurationError: a setting, a contract or a SQL file is wrong.
    """
    built = pipelines() if built is None else built
    if unknown := sorted(set(settings.queues) - set(built)):
        raise ConfigurationError(
            f"PIPELINE_QUEUES names no pipeline of ours: {', '.join(unknown)}.",
            remedy=f"There are {', '.join(built)}.",
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
    return dg.Definitions.merge(
        *(pipeline_definitions(pipeline, settings) for pipeline in built.values()), dg.Definitions(resources=resources)
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The code location that workspace.yaml and `dg` load."""
    from pipeline_assets.settings import load_settings

    return build_definitions(load_settings())
