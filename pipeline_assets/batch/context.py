"""What all phases of one batch share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pipeline_assets.batch.platform import Platform
from pipeline_assets.batch.report import Request
from pipeline_assets.engine import FileOutcome
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.warehouse import ledger

STAGING = "staging/"
# The folders of a batch's staged files that are promoted, see `promote`.
REMOVE, RELEASE, PUBLISH, CATALOG, MOVE = "remove/", "release/", "publish/", "catalog/", "move/"


@dataclass(frozen=True)
class BatchContext:
    """One batch of a pipeline: its platform, its run, its request, and the watermarks that it will publish.

    The batch id is fixed before anything is moved or read, so that every phase names its files by it. `outcomes` has,
    in publish steps, the outcome of each object by source; those of an object whose records are read again from
    quarantine are `waiting`. Steps add messages for people to `notes`; the report of the batch has each once.
    """

    platform: Platform
    pipeline: ResolvedPipeline
    batch_id: str
    run_id: str
    started_at: datetime
    request: Request
    watermarks: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, Sequence[FileOutcome]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    is_published: bool = False

    @property
    def staging(self) -> str:
        """The prefix in the pipeline's bucket for everything that this batch stages."""
        return f"{staging_of(self.pipeline)}{self.batch_id}/"

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A folder on the local disk that is deleted at the end of the block.

        Raises:
            ConfigurationError: the folder cannot be made.
        """
        folder = scratch_of(self.platform, self.pipeline) / name
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise ConfigurationError(
                f"The folder for intermediate files cannot be made: {error.strerror}.",
                remedy="Make scratch/ in PIPELINE_HOME a folder that this user may write to.",
            ) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def watermark(self, name: str) -> str | None:
        """The value that was last published under a name; None if there is none."""
        with self.platform.warehouse.read_only() as transaction:
            return ledger.watermark(transaction, self.pipeline.name, name)

    def set_watermark(self, name: str, value: str) -> None:
        """Keep a value for the next run; it is published in this batch's transaction, or not at all.

        Raises:
            ConfigurationError: the batch is published already, for example in a `promote` step.
        """
        if self.is_published:
            raise ConfigurationError(
                f"The watermark {name!r} of {self.pipeline.name} was set after the commit.",
                remedy="Set it in an extract, arrive or publish step.",
            )
        self.watermarks[name] = value


def staging_of(pipeline: ResolvedPipeline) -> str:
    """The prefix for everything that a pipeline stages; other pipelines may share the bucket."""
    return f"{STAGING}{pipeline.name}/"


def scratch_of(platform: Platform, pipeline: ResolvedPipeline) -> Path:
    """The folder on the local disk for the runs of a pipeline, which run one after another."""
    return platform.scratch / pipeline.name
