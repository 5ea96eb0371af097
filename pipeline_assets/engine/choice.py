"""Which engine takes a batch: the one that was asked for, or by the size of what landed.

The embedded engine is the quickest as long as one machine can hold the work on its disk, so it takes everything below
the threshold, and all of it where no other engine is set up. docs/benchmarks.md argues the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline_assets.engine.interface import Engine
from pipeline_assets.errors import ConfigurationError

Wanted = Literal["auto", "duckdb", "spark", "glue"]


@dataclass(frozen=True)
class EngineChoice:
    """The engines of an installation by name; `distributed` are those that outgrow a machine, best first."""

    engines: Mapping[str, Engine]
    wanted: Wanted = "auto"
    distributed: tuple[str, ...] = ()
    threshold_bytes: int = 0

    def pick(self, landed_bytes: int, wanted: Wanted | None = None) -> Engine:
        """The engine for a batch of so many landed bytes; `wanted` goes before the setting.

        Raises:
            ConfigurationError: the engine that was asked for is not set up.
        """
        name = wanted or self.wanted
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
