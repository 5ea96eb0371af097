"""What a run is asked to do, and what its batch reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline_assets.engine.choice import Wanted

Days = tuple[str, str]  # the first and the last as YYYY-MM-DD, both included


@dataclass(frozen=True)
class Request:
    """What a run is asked to do: `reprocess` processes known objects again, `replay` quarantined records.

    `extract` first runs the pipeline's extract steps. `replay_ids` limits a replay to some quarantined records; None
    means all of the pipeline. `engine` overrides the setting. `days` limits a run to objects that landed on these days,
    and processes known ones again. `tables` limits a run of separate batches to those that write one of them; empty
    means all.
    """

    reprocess: bool = False
    replay: bool = False
    replay_ids: tuple[str, ...] | None = None
    engine: Wanted | None = None
    extract: bool = False
    days: Days | None = None
    tables: tuple[str, ...] = ()


@dataclass
class BatchReport:
    """What one batch did. In `rows`, read == loaded + superseded + quarantined.

    `notes` are messages for people, such as empty zones and skipped headers. `recovered` are batches that an
    interrupted run published, with the uris that this run promoted. `rows_before` and `table_rows` are the rows of each
    table before and after the batch. `landing_days` (YYYY-MM-DD) and `latencies` (seconds from delivery to commit of
    each new object, ascending) are of sources with dated keys. `name` is that of a separate batch. `engine_seconds` and
    `warehouse_seconds` are those of OPS.BATCHES.
    """

    name: str = ""
    batch_id: str | None = None
    engine: str | None = None
    new: int = 0
    known: int = 0
    loaded: int = 0
    rejected: int = 0
    requeued: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("read", "loaded", "superseded", "quarantined"), 0)
    )
    released: int = 0
    bytes_read: int = 0
    exported: dict[str, str] = field(default_factory=dict)
    exported_rows: dict[str, int] = field(default_factory=dict)
    recovered: dict[str, list[str]] = field(default_factory=dict)
    lake_files: dict[str, int] = field(default_factory=dict)
    lake_partitions: dict[str, int] = field(default_factory=dict)
    staged_rows: dict[str, int] = field(default_factory=dict)
    rows_before: dict[str, int] = field(default_factory=dict)
    table_rows: dict[str, int] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    unknown_columns: dict[str, list[str]] = field(default_factory=dict)
    missing_columns: dict[str, list[str]] = field(default_factory=dict)
    copied_partitions: dict[str, int] = field(default_factory=dict)
    landing_days: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    engine_seconds: float = 0
    warehouse_seconds: float = 0
    notes: list[str] = field(default_factory=list)
