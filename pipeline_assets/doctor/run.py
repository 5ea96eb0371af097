"""All checks of `pipeline-assets doctor`, ordered so that each comes after the checks that it depends on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pipeline_assets.batch.build_platform import build_platform
from pipeline_assets.doctor.installation import CheckResult, CheckWarningError, check_installation, check_result

if TYPE_CHECKING:
    from pipeline_assets.pipeline import DoctorCheck
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings


def run_doctor(settings: Settings, pipelines: Sequence[ResolvedPipeline]) -> Iterator[CheckResult]:
    """Run every check of the profile; a failure does not stop the next check."""
    yield from check_installation(settings, pipelines)
    platform = build_platform(settings)
    for check in (check for p in pipelines if p.value.doctor for check in p.value.doctor(platform)):
        yield check_result(check.name, partial(_attempt, check))
    if settings.profile == "aws":
        from pipeline_assets.doctor.account import check_account
        from pipeline_assets.doctor.permission_probes import probe_permissions

        yield from probe_permissions(settings, pipelines)
        yield from check_account(build_platform(settings).warehouse, settings, pipelines)


def _attempt(check: DoctorCheck) -> str:
    found, warnings = check.attempt()
    if warnings:
        raise CheckWarningError("; ".join(warnings))
    return found
