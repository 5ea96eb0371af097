"""What the Dagster instance recorded of runs: changes of their status, and what each did for one pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.event_api import RunStatusChangeRecordsFilter

from pipeline_assets.orchestration.alerts import failure_alert

START = dg.DagsterEventType.RUN_START
# Ends are read before starts: then no end is read without the start before it.
ENDS = (dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED)
_PAGE = 100
# By the type of change the numbers of the last ones that were sent, ascending; all below the first count as sent. More
# than one, as PostgreSQL numbers events before it commits them: a lower number may become visible after a higher one.
Cursor = dict[str, list[int]]
_WINDOW = 20
_OF_ASSETS = {
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_OBSERVATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}


@dataclass(frozen=True)
class StatusChange:
    """A run started or ended. `number` grows from change to change of the instance; `at` is in seconds since 1970."""

    number: int
    type: dg.DagsterEventType
    run_id: str
    at: float


@dataclass
class RunRecord:
    """What a run did for one pipeline, by the key of a dataset: the metadata of its events, and its checks by name."""

    run: dg.DagsterRun
    written: dict[str, dict[str, Any]] = field(default_factory=dict)
    observed: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: dict[str, dict[str, dg.AssetCheckEvaluation]] = field(default_factory=dict)
    error: str = ""

    @property
    def extracts(self) -> bool:
        """Whether the run was asked to extract from the source."""
        config: Any = self.run.run_config
        return any(op.get("config", {}).get("extract") for op in config.get("ops", {}).values())


def newest_changes(instance: dg.DagsterInstance) -> Cursor:
    """A cursor behind everything that happened so far."""
    cursor = {}
    for kind in (*ENDS, START):
        records = instance.fetch_run_status_changes(kind, limit=1).records
        cursor[kind.value] = [records[0].storage_id if records else 0]
    return cursor


def changes_after(instance: dg.DagsterInstance, cursor: Cursor) -> list[StatusChange]:
    """The next status changes behind a cursor, at most 100 of each type, in their order."""
    changes = []
    for kind in (*ENDS, START):
        sent = cursor[kind.value]
        page = RunStatusChangeRecordsFilter(kind, after_storage_id=sent[0])  # type: ignore[arg-type]
        for record in instance.fetch_run_status_changes(page, limit=_PAGE, ascending=True).records:
            if record.storage_id not in sent:
                changes.append(StatusChange(record.storage_id, kind, record.run_id, record.timestamp))
    return sorted(changes, key=lambda change: change.number)


def moved(cursor: Cursor, change: StatusChange) -> Cursor:
    """The cursor behind a change that was sent."""
    return cursor | {change.type.value: sorted([*cursor[change.type.value], change.number])[-_WINDOW:]}


def has_started(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run began; one that could not be launched, or was canceled in the queue, did not."""
    return bool(instance.all_logs(run_id, of_type=START))


def pipelines_of(run: dg.DagsterRun, names: Mapping[str, object]) -> list[str]:
    """The pipelines of a run: that of its job or, of a run that the UI's button started, those of its assets."""
    if run.job_name in names:
        return [run.job_name]
    checked = {key.asset_key for key in run.asset_check_selection or ()}
    selected = {key.path[0] for key in {*(run.asset_selection or ()), *checked}}
    return sorted(selected & set(names))


def record_of(instance: dg.DagsterInstance, run: dg.DagsterRun, pipeline: str, end: dg.DagsterEventType) -> RunRecord:
    """What an ended run did for a pipeline."""
    record = RunRecord(run)
    for entry in instance.all_logs(run.run_id, of_type=_OF_ASSETS):
        if (check := entry.asset_check_evaluation) and check.asset_key.path[0] == pipeline:
            of_asset = record.checks.setdefault(check.asset_key.to_user_string(), {})
            of_asset[check.check_name] = check
        reported = entry.asset_materialization or entry.asset_observation
        if reported and reported.asset_key.path[0] == pipeline:
            kind = record.written if entry.asset_materialization else record.observed
            # A batch of landing days reports each day, and then the whole.
            values = {name: value.value for name, value in reported.metadata.items()}
            kind.setdefault(reported.asset_key.to_user_string(), {}).update(values)
    if end is dg.DagsterEventType.RUN_FAILURE:
        record.error = str(failure_alert(instance, run.run_id).facts["error"])
    return record


def nominal_time(run: dg.DagsterRun) -> tuple[datetime, datetime | None] | None:
    """When a run was due by its schedule, or the landing days that it was started for; UTC."""
    if due := run.tags.get("dagster/scheduled_execution_time"):
        return datetime.fromisoformat(due).astimezone(UTC), None
    first = run.tags.get("dagster/partition") or run.tags.get("dagster/asset_partition_range_start")
    last = run.tags.get("dagster/partition") or run.tags.get("dagster/asset_partition_range_end")
    if not (first and last):
        return None
    start, end = (datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC) for day in (first, last))
    return start, end + timedelta(days=1)
