"""The checks of an installation itself, one result each: home, contracts, SQL, engine, embedded warehouse and lake.

`account` checks Snowflake, `permission_probes` the permissions of AWS.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_assets.batch.build_platform import build_platform
from pipeline_assets.batch.platform import Platform
from pipeline_assets.contracts import load_contract
from pipeline_assets.errors import PipelineError, masked
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.pipelines import require_known_pipelines
from pipeline_assets.settings import PROJECT_ROOT, prepare_home, unknown_variables
from pipeline_assets.sqlfiles import load_sql, sql_files, transpile, with_bind_variables

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings


@dataclass(frozen=True)
class CheckResult:
    """The result of one check; `passed` is None if it was skipped, and `detail` says why.

    `warns` marks a check that passed but shows something to look after.
    """

    what: str
    passed: bool | None
    detail: str
    warns: bool = False


class CheckSkippedError(Exception):
    """Raised by a check that cannot or need not run; the text says why."""


class CheckWarningError(Exception):
    """Raised by a check that passes with a warning; the text says what to do."""


def check_result(what: str, attempt: Callable[[], str]) -> CheckResult:
    """Run a check and turn its return value, or our exceptions, into a result."""
    try:
        return CheckResult(what, True, attempt())
    except CheckSkippedError as reason:
        return CheckResult(what, None, str(reason))
    except CheckWarningError as notice:
        return CheckResult(what, True, str(notice), warns=True)
    except (PipelineError, OSError) as error:
        return CheckResult(what, False, masked(str(error)))  # libraries repeat URLs


def check_installation(settings: Settings, pipelines: Sequence[ResolvedPipeline]) -> Iterator[CheckResult]:
    """Run every check; a failure does not stop the next check."""
    platform = build_platform(settings)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("settings", lambda: _settings(settings, [pipeline.name for pipeline in pipelines])),
        ("home", lambda: _home(settings)),
        ("contracts", _contracts),
        ("sql", _sql),
        ("engine", lambda: _engine(platform, settings)),
    ]
    if settings.profile == "local":
        checks += [("warehouse", lambda: _warehouse(platform)), ("lake", lambda: _lake(platform, pipelines))]
    if settings.openlineage_url or settings.openlineage_file:
        checks.append(("openlineage", lambda: _openlineage(settings)))
    for what, attempt in checks:
        yield check_result(what, attempt)


def _settings(settings: Settings, pipelines: Sequence[str]) -> str:
    require_known_pipelines(settings, pipelines)
    if unknown := list(unknown_variables()):
        raise CheckWarningError(f"not a setting, ignored: {', '.join(unknown)}")
    return "every PIPELINE_ variable is a setting"


def _home(settings: Settings) -> str:
    prepare_home(settings)
    free = shutil.disk_usage(settings.home).free
    return f"{settings.home} can be written, {free / 1e9:.1f} GB free"


def _contracts() -> str:
    paths = sorted((PROJECT_ROOT / "pipeline_assets").glob("*/contracts/*.yaml"))
    return f"{len([load_contract(path) for path in paths])} contracts are well-formed"


def _sql() -> str:
    names = [name for name in sql_files() if not name.startswith("platform/")]
    for name in names:
        transpile(with_bind_variables(load_sql(name).text), "duckdb")
    return f"{len(names)} files parse"


def _engine(platform: Platform, settings: Settings) -> str:
    with platform.engine.pick(0).session(settings.scratch_root / "doctor", platform.policy) as session:
        session.count("SELECT 1 AS ONE")
    shutil.rmtree(settings.scratch_root / "doctor", ignore_errors=True)
    return f"{platform.engine.pick(0).name} answers"


def _warehouse(platform: Platform) -> str:
    with platform.warehouse.read_only() as transaction:
        transaction.scalar("SELECT 1")
    return f"{platform.warehouse.database} answers"


def _lake(platform: Platform, pipelines: Sequence[ResolvedPipeline]) -> str:
    buckets = sorted({source.zone.bucket for pipeline in pipelines for source in pipeline.sources})
    return ", ".join(f"{sum(1 for _ in platform.lake.list_objects(bucket))} objects in {bucket}" for bucket in buckets)


def _openlineage(settings: Settings) -> str:
    from pipeline_assets.openlineage import lineage_sender

    sender = lineage_sender(settings, {})
    assert sender is not None
    return sender.destination.probe()
