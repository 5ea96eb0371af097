"""The health of each pipeline by day: runs, rows, latency, quarantine, freshness and cost.

Runs are those of this Dagster instance; all else is from our own tables, and is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.warehouse import Transaction
from pipeline_assets.warehouse.daily import arrivals_by_day, batches_by_day, quarantine_by_day, rows_by_day

DAYS = 30  # shown, today included
_ROWS = ("read", "loaded", "superseded", "quarantined")


@dataclass
class Daily:
    """What one pipeline did by day, UTC; a day on which nothing happened is left out.

    `batches`: published batches, seconds of engine and warehouse. `rows`: read, loaded, superseded, quarantined.
    `arrivals` by source: the last arrival, and the median seconds from delivery or None. `quarantine`: came, closed.
    """

    batches: dict[date, tuple[int, float | None, float | None]] = field(default_factory=dict)
    rows: dict[date, tuple[int, ...]] = field(default_factory=dict)
    arrivals: dict[str, dict[date, tuple[datetime, float | None]]] = field(default_factory=dict)
    quarantine: dict[date, tuple[int, int]] = field(default_factory=dict)


def read_daily(
    session: Transaction, pipelines: Iterable[ResolvedPipeline], *, has_seconds: bool, in_s3: bool
) -> dict[str, Daily]:
    """What some pipelines did. Without `has_seconds` OPS.BATCHES is of an earlier version of the platform.

    `in_s3`: whether the time of an object is that of its delivery, see `Source.has_delivery_time`.

    Raises:
        WarehouseError: the tables cannot be read.
    """
    has_delivery_time = {(p.name, s.name): s.has_delivery_time(in_s3) for p in pipelines for s in p.landed_sources}
    daily = {name: Daily() for name, _ in has_delivery_time}
    names = list(daily)
    for name, day, count, *seconds in batches_by_day(session, names) if has_seconds else ():
        engine, warehouse = (None if each is None else float(each) for each in seconds)
        daily[name].batches[day] = (int(count), engine, warehouse)
    for name, day, *counts in rows_by_day(session, names):
        daily[name].rows[day] = tuple(map(int, counts))
    for name, dataset, day, last, latency in arrivals_by_day(session, names):
        if (name, dataset) in has_delivery_time:  # else it was removed from the pipeline
            is_known = has_delivery_time[name, dataset] and latency is not None
            daily[name].arrivals.setdefault(dataset, {})[day] = (last, float(latency) if is_known else None)
    for name, day, came, closed in quarantine_by_day(session, names):
        daily[name].quarantine[day] = (int(came), int(closed))
    return daily


def days_of(daily: Daily, runs: Sequence[Mapping[str, Any]], at: datetime) -> list[dict[str, Any]]:
    """The last `DAYS` days up to `at` (UTC), oldest first, as JSON values; None for what is unknown.

    `waiting` is the quarantine at the end of the day, `age` the hours since the last arrival then, of the source in
    which nothing arrived for longest; `latency` is of the slowest source, in seconds, as are `engine` and `warehouse`.
    """
    return [_day(daily, runs, at.date() - timedelta(days=before), at) for before in reversed(range(DAYS))]


def _day(daily: Daily, runs: Sequence[Mapping[str, Any]], day: date, at: datetime) -> dict[str, Any]:
    of_day = [run for run in runs if run["at"][:10] == day.isoformat()]
    batches, engine, warehouse = daily.batches.get(day, (0, None, None))
    moved = [counts for each, counts in daily.quarantine.items() if each <= day]
    end = min(at, datetime.combine(day + timedelta(days=1), time()))
    last = [
        max(arrived)
        for arrivals in daily.arrivals.values()
        if (arrived := [when for each, (when, _) in arrivals.items() if each <= day])
    ]
    latencies = [arrivals[day][1] for arrivals in daily.arrivals.values() if day in arrivals]
    return {
        "day": day.isoformat(),
        "runs": len(of_day),
        "failed": sum(not run["success"] for run in of_day),
        "batches": batches,
        **dict(zip(_ROWS, daily.rows.get(day, (0,) * len(_ROWS)), strict=True)),
        "latency": max((seconds for seconds in latencies if seconds is not None), default=None),
        "waiting": sum(came - closed for came, closed in moved),
        "age": round(max((end - when).total_seconds() for when in last) / 3600, 1) if last else None,
        "engine": engine,
        "warehouse": warehouse,
    }
