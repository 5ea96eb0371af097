"""What the Dagster instance recorded: the last result of each check, runs of pipelines, files of exports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

import dagster as dg

from pipeline_assets.catalog.datasets import Dataset
from pipeline_assets.catalog.health import DAYS
from pipeline_assets.orchestration.checks import checks_of
from pipeline_assets.orchestration.markdown import without_code
from pipeline_assets.pipeline.resolved import ResolvedPipeline

_MATERIALIZATIONS = 100  # of each dataset, the newest
_RUNS = 20_000  # read at most, the newest


def quality_rules(
    pipelines: Sequence[ResolvedPipeline], freshness_hours: float, instance: dg.DagsterInstance | None
) -> dict[str, list[dict[str, Any]]]:
    """The checks of each dataset by its key, with their last results if there is an instance.

    Examples of failing rows are left out: a site is passed on, and they may be personal.
    """
    specs = [check.spec for pipeline in pipelines for check in checks_of(pipeline, freshness_hours)]
    keys = [spec.key for spec in specs]
    records = instance.event_log_storage.get_asset_check_summary_records(keys) if instance else {}
    rules: dict[str, list[dict[str, Any]]] = {}
    for spec in specs:
        record = records.get(spec.key)
        last = record.last_completed_check_execution_record if record else None
        rule: dict[str, Any] = {"name": spec.name, "description": without_code(spec.description or "")}
        if last and (evaluation := last.evaluation):
            found = evaluation.description or ""
            rule |= {
                "passed": evaluation.passed,
                "severity": evaluation.severity.value,
                "at": _time(last.create_timestamp),
                "found": found.partition(": ")[0] if "rows" in evaluation.metadata else found,
            }
        rules.setdefault(spec.asset_key.to_user_string(), []).append(rule)
    return rules


def runs_of(
    pipelines: Sequence[ResolvedPipeline], instance: dg.DagsterInstance, at: datetime
) -> dict[str, list[dict[str, Any]]]:
    """The ended runs of each pipeline in the days up to `at`, UTC: when each began, and whether it succeeded.

    Also runs that the UI's button started, which are of no pipeline's job and may be of several pipelines.
    """
    runs: dict[str, list[dict[str, Any]]] = {pipeline.name: [] for pipeline in pipelines}
    since = datetime.combine(at.date() - timedelta(days=DAYS - 1), time(), UTC)
    for record in reversed(instance.get_run_records(dg.RunsFilter(created_after=since), limit=_RUNS)):
        run = record.dagster_run
        if not (record.start_time and record.end_time):
            continue
        for name in (run.tags.get("pipeline") or run.job_name).split(", "):
            if name in runs:
                is_success = run.status == dg.DagsterRunStatus.SUCCESS
                runs[name].append({"at": _time(record.start_time), "success": is_success})
    return runs


def exported_files(datasets: Iterable[Dataset], instance: dg.DagsterInstance) -> dict[str, dict[str, str]]:
    """The newest file of each export that has one, and when it was written, by the key of the export."""
    files = {}
    for dataset in datasets:
        key = dg.AssetKey(dataset.key.split("/"))
        event = instance.get_latest_materialization_event(key) if dataset.kind == "export" else None
        if event and event.asset_materialization and (uri := event.asset_materialization.metadata.get("dagster/uri")):
            files[dataset.key] = {"file": str(uri.value), "changed": _time(event.timestamp)}
    return files


def row_counts(datasets: Iterable[Dataset], instance: dg.DagsterInstance) -> dict[str, list[dict[str, Any]]]:
    """The rows of each dataset after the newest batches that changed it, oldest first, by the key of the dataset.

    Events of single partitions are left out: the event of the whole batch has the rows of the table.
    """
    counts = {}
    for dataset in datasets:
        if dataset.in_warehouse:
            records = instance.fetch_materializations(
                dg.AssetKey(dataset.key.split("/")), limit=_MATERIALIZATIONS
            ).records
            counts[dataset.key] = [
                {"at": _time(record.timestamp), "rows": rows.value}
                for record in reversed(records)
                if record.asset_materialization
                and record.partition_key is None
                and (rows := record.asset_materialization.metadata.get("dagster/row_count"))
            ]
    return {key: counted for key, counted in counts.items() if counted}


def _time(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
