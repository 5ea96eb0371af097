"""Select the engine for a batch: the one that was requested, or one by the size of the landed objects.

The embedded engine is the fastest as long as the work fits on the disk of one machine. It takes every batch below the
threshold, and every batch where no other engine is set up. docs/benchmarks.md explains the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipeline_assets.engine.interface import Engine
from pipeline_assets.errors import ConfigurationError


class Wanted(StrEnum):
    """What a run may ask for; `auto` decides by the size."""

    auto = "auto"
    duckdb = "duckdb"
    spark = "spark"
    glue = "glue"


@dataclass(frozen=True)
class EngineChoice:
    """The engines of an installation by name; `distributed` names those for large batches, preferred first."""

    engines: Mapping[str, Engine]
    wanted: Wanted = Wanted.auto
    distributed: tuple[str, ...] = ()
    threshold_bytes: int = 0

    def pick(self, landed_bytes: int, wanted: Wanted | None = None) -> Engine:
        """The engine for a batch of `landed_bytes`; the argument `wanted` overrides the setting.

        Raises:
            ConfigurationError: the requested engine is not set up.
        """
        name: str = wanted or self.wanted
        if name == "auto":
            name = "duckdb"
            if landed_bytes >= self.threshold_bytes and self.distributed:
                name = self.distributed[0]
        if name not in self.engines:
            raise ConfigurationError(
                f"The engine {name} is not set up.",
                remedy="PIPELINE_GLUE_JOB and PIPELINE_ARTIFACTS_BUCKET name the Glue job and its bucket; "
                "`pipeline-assets deploy aws` creates them.",
            )
        return self.engines[name]
