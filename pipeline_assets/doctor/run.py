"""Everything that `pipeline-assets doctor` checks, in the order in which one thing builds on another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline_assets.batch.platform import build_platform
from pipeline_assets.doctor.installation import CheckResult, check_installation

if TYPE_CHECKING:
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings


def run_doctor(settings: Settings, pipelines: Sequence[ResolvedPipeline]) -> Iterator[CheckResult]:
    """Try everything of the profile; one failure does not hide the next."""
    yield from check_installation(settings, pipelines)
    if settings.profile == "aws":
        from pipeline_assets.doctor.account import check_account
        from pipeline_assets.doctor.permission_probes import probe_permissions

        yield from probe_permissions(settings, pipelines)
        yield from check_account(build_platform(settings).warehouse, settings, pipelines)
