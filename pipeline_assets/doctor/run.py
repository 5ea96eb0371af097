"""Everything that `pipeline-assets doctor` tries, in the order in which one thing builds on another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline_assets.batch.platform import build_platform
from pipeline_assets.doctor.installation import Finding, examine

if TYPE_CHECKING:
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings


def examine_all(settings: Settings, pipelines: Sequence[ResolvedPipeline]) -> Iterator[Finding]:
    """Try everything of the profile; one failure does not hide the next."""
    yield from examine(settings, pipelines)
    if settings.profile == "aws":
        from pipeline_assets.doctor.account import examine_account
        from pipeline_assets.doctor.permission_probes import examine_permissions

        yield from examine_permissions(settings, pipelines)
        yield from examine_account(build_platform(settings).warehouse, settings, pipelines)
