"""Run a pipeline as one Dagster run, in this process, recorded in the Dagster instance of PIPELINE_HOME."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dagster as dg

from pipeline_assets.batch.report import Request
from pipeline_assets.errors import InterruptedRunError
from pipeline_assets.orchestration.alerts import send_failure_alert
from pipeline_assets.orchestration.failures import failure_of
from pipeline_assets.orchestration.instance_files import instance_errors, require_usable_instance
from pipeline_assets.orchestration.keys import batch_step
from pipeline_assets.orchestration.sqlite_storages import keep_migrations_and_engines, kept_connections

if TYPE_CHECKING:
    from dagster._core.execution.execution_result import ExecutionResult

    from pipeline_assets.batch.platform import Platform

# The resource that sends the lineage of runs: its `sending(instance)` sends what the instance records in a block.
LINEAGE = "openlineage"

_RUNNING = "running"  # a folder of the instance with a lock for each run of the command line

_INSTANCE = """\
# Written once by pipeline-assets; you may change it. The runs of `pipeline-assets run` are recorded here too.
telemetry:
  enabled: false
# By default the daemon does not evaluate the freshness policies of the tables.
freshness:
  enabled: true
# No newsletter pop-up over the lineage.
nux:
  enabled: false
"""


def dagster_instance(home: Path) -> dg.DagsterInstance:
    """The Dagster instance in `home`, created on first use.

    Raises:
        ConfigurationError: dagster.yaml there cannot be used, or a database of Dagster is damaged.
    """
    from filelock import FileLock

    prepare_dagster_home(home)
    keep_migrations_and_engines()
    # Two processes that open a new instance at once both create its tables, and one of them fails (1.13.27).
    with instance_errors(home), FileLock(home / ".opening.lock"):
        return dg.DagsterInstance.from_config(str(home))


def prepare_dagster_home(home: Path) -> None:
    """Write dagster.yaml unless there is one; telemetry is off, as the platform works without network.

    Raises:
        ConfigurationError: as `dagster_instance`.
    """
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists() and not config.is_symlink():
        config.write_text(_INSTANCE, encoding="utf-8")
    require_usable_instance(home)
    # Without this variable Dagster writes the files of runs into the current folder.
    os.environ["DAGSTER_HOME"] = str(home)


def run_pipeline(
    definitions: dg.Definitions,
    home: Path,
    pipeline: str,
    request: Request,
    *,
    verbose: bool = False,
    tags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Execute a pipeline's job, as a run with some tags, and return a summary of it.

    Returns:
        The object that `pipeline-assets run --json` prints, and the descriptions of checks: with `error` if it failed,
        with `released` for a replay and for a run that loaded quarantined records.

    Raises:
        InterruptedRunError: Ctrl-C or SIGTERM; the state is intact.
    """
    started = time.monotonic()
    job = definitions.resolve_job_def(pipeline)
    config = {
        "ops": {batch_step(pipeline): {"config": {name: _plain(value) for name, value in asdict(request).items()}}},
        "loggers": {"console": {"config": {"log_level": "INFO" if verbose else "CRITICAL"}}},
    }
    with (
        kept_connections(),
        dagster_instance(home) as instance,
        instance_errors(home),
        _own_run(definitions, instance, home) as run_id,
        _lineage_sent(definitions, instance),
        _interruptible() as stopped,
    ):
        result = job.execute_in_process(
            run_config=config, instance=instance, raise_on_error=False, run_id=run_id, tags=tags
        )
        if stopped or _was_interrupted(result):
            raise InterruptedRunError(f"The run of {pipeline} was stopped.", remedy="Run again to finish.")
        if not result.success:
            with dg.build_resources(definitions.resources or {}, instance) as resources:
                send_failure_alert(resources.platform, instance, result.run_id)
    summary = _summary(pipeline, job, result, request)
    summary["seconds"] = round(time.monotonic() - started, 2)
    return summary


def _plain(value: object) -> object:
    """A value of a request for the run's configuration, which is stored as YAML."""
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Enum) else value


def end_lost_runs(platform: Platform, instance: dg.DagsterInstance, home: Path) -> None:
    """Record as failed, with an alert, each run of the command line on this machine whose process was killed.

    Such a process holds a lock, which the kernel releases; Dagster itself monitors only runs that it launched.
    """
    from filelock import FileLock, Timeout

    for path in (home / _RUNNING).glob("*.lock"):
        try:
            with FileLock(path, timeout=0):
                run = instance.get_run_by_id(path.stem)
                if run and not run.is_finished:
                    instance.report_run_failed(run)
                    send_failure_alert(platform, instance, run.run_id)
                path.unlink(missing_ok=True)
        except Timeout:
            continue


@contextmanager
def _own_run(definitions: dg.Definitions, instance: dg.DagsterInstance, home: Path) -> Iterator[str]:
    """The id of a new run that counts as lost if this process is killed in the block."""
    from filelock import FileLock

    run_id = str(uuid4())
    path = home / _RUNNING / f"{run_id}.lock"
    path.parent.mkdir(exist_ok=True)
    with FileLock(path):
        with dg.build_resources(definitions.resources or {}, instance) as resources:
            end_lost_runs(resources.platform, instance, home)
        yield run_id
        path.unlink(missing_ok=True)


@contextmanager
def _lineage_sent(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Iterator[None]:
    """Send the lineage of the run in the block, if the definitions have a resource for that."""
    senders = {name: value for name, value in (definitions.resources or {}).items() if name == LINEAGE}
    with dg.build_resources(senders, instance) as resources, ExitStack() as stack:
        for name in senders:
            stack.enter_context(getattr(resources, name).sending(instance))
        yield


def _summary(pipeline: str, job: dg.JobDefinition, result: ExecutionResult, request: Request) -> dict[str, Any]:
    materialized = {
        event.asset_key: event.materialization.metadata for event in result.get_asset_materialization_events()
    }
    observed = {
        event.asset_key: event.asset_observation_data.asset_observation.metadata
        for event in result.get_asset_observation_events()
    }
    # Each output of a batch has an event with what the batch did; without a name there is one batch.
    reported: dict[str, Mapping[str, Any]] = {}
    for metadata in (*materialized.values(), *observed.values()):
        if "batch_objects_known" in metadata:
            reported.setdefault(_text(metadata.get("batch_name")), metadata)

    def count(name: str) -> int:
        values = [metadata.get(f"batch_{name}") for metadata in reported.values()]
        return sum(int(value.value) for value in values if value is not None)

    summary = {
        "pipeline": pipeline,
        "success": result.success,
        "run_id": result.run_id,
        "seconds": 0.0,
        "objects": {name: count(f"objects_{name}") for name in ("new", "known", "loaded", "rejected")},
        "rows": {name: count(f"rows_{name}") for name in ("read", "loaded", "superseded", "quarantined")},
        "assets": [
            {
                "key": key.to_user_string(),
                "status": "materialized" if key in materialized else "unchanged" if key in observed else "failed",
            }
            for key in sorted(job.asset_layer.executable_asset_keys, key=lambda key: key.to_user_string())
            if not request.tables or key.path[-1] in request.tables or key in materialized or key in observed
        ],
        "checks": [_check(evaluation) for evaluation in result.get_asset_check_evaluations()],
    }
    released = count("rows_released_from_quarantine")
    if released or (request.replay and result.success):
        summary["released"] = released
    if notes := [line for metadata in reported.values() for line in _text(metadata.get("notes")).split("\n") if line]:
        summary["notes"] = list(dict.fromkeys(line.removeprefix("- ") for line in notes))
    if not result.success:
        summary["error"] = _error(result)
    return summary


def _check(evaluation: dg.AssetCheckEvaluation) -> dict[str, Any]:
    found = {
        "asset": evaluation.asset_key.to_user_string(),
        "name": evaluation.check_name,
        "passed": evaluation.passed,
        "severity": evaluation.severity.value,
        "description": evaluation.description,
    }
    command = _text(evaluation.metadata.get("next_command"))  # only of a check that failed
    return found | ({"next_command": command} if command else {})


def _text(value: dg.MetadataValue | None) -> str:
    return "" if value is None else str(value.value)


def _was_interrupted(result: ExecutionResult) -> bool:
    """Whether a step failed by Ctrl-C or SIGTERM: through Dagster's own handler, or as an interrupted DuckDB query."""
    for event in result.all_events:
        error = event.step_failure_data.error if event.is_step_failure else None
        while error:
            if error.cls_name == "DagsterExecutionInterruptedError" or "Query interrupted" in error.message:
                return True
            error = error.cause
    return False


def _error(result: ExecutionResult) -> str:
    """The message of the first failed step, with its remedy."""
    failures = [event for event in result.all_events if event.is_step_failure]
    return failure_of(failures[0]).message if failures else "The run was stopped."


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt on Ctrl-C and SIGTERM, so that transactions roll back and temporary files are deleted.

    Yields a list of the signals received: Dagster turns the exception into a failed step, so it may not arrive here.
    """
    received: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread can handle signals; its owner does
        return
    previous_handlers = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    except KeyboardInterrupt:
        raise InterruptedRunError("The run was stopped.", remedy="Run again to finish.") from None
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
