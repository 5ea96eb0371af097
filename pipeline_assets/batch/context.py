"""What all phases of one batch share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pipeline_assets.batch.platform import Platform
from pipeline_assets.batch.report import Request
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.warehouse import ledger

STAGING = "staging/"


@dataclass(frozen=True)
class BatchContext:
    """One batch of a pipeline: who runs it, with what, and the state it will publish.

    The batch id is fixed before anything is moved or read, so that every phase names its files by it.
    """

    platform: Platform
    pipeline: ResolvedPipeline
    batch_id: str
    run_id: str
    started_at: datetime
    request: Request
    watermarks: dict[str, str] = field(default_factory=dict)
    is_published: bool = False

    @property
    def staging(self) -> str:
        """The prefix in the pipeline's bucket below which everything that this batch stages lies."""
        return f"{staging_of(self.pipeline)}{self.batch_id}/"

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A folder on the local disk that goes away with the block."""
        folder = scratch_of(self.platform, self.pipeline) / name
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def watermark(self, name: str) -> str | None:
        """The state that the last batch with one published under a name."""
        with self.platform.warehouse.read_only() as transaction:
            return ledger.watermark(transaction, self.pipeline.name, name)

    def set_watermark(self, name: str, value: str) -> None:
        """Keep a state for the next run; it is published with this batch, in its transaction, or not at all.

        Raises:
            ConfigurationError: the batch is published already; a `promote` step came too late with it.
        """
        if self.is_published:
            raise ConfigurationError(
                f"The watermark {name!r} of {self.pipeline.name} was set after the commit.",
                remedy="Set it in an extract or arrive step.",
            )
        self.watermarks[name] = value


def staging_of(pipeline: ResolvedPipeline) -> str:
    """The prefix below which a pipeline stages; other pipelines may share the bucket."""
    return f"{STAGING}{pipeline.name}/"


def scratch_of(platform: Platform, pipeline: ResolvedPipeline) -> Path:
    """The folder on the local disk that the runs of a pipeline work in, one after another."""
    return platform.scratch / pipeline.name
