"""What a run is asked for, and what its batch reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline_assets.engine.choice import Wanted


@dataclass(frozen=True)
class Request:
    """What a run was asked for: `reprocess` takes known objects again, `replay` quarantined ones.

    `extract` first pulls what is new from the pipeline's source. `replay_ids` narrows a replay to some quarantined
    records; None means all of the pipeline. `engine` goes before the setting.
    """

    reprocess: bool = False
    replay: bool = False
    replay_ids: tuple[str, ...] | None = None
    engine: Wanted | None = None
    extract: bool = False


@dataclass
class BatchReport:
    """What one batch did. `rows` always keeps read == loaded + superseded + quarantined.

    `notes` are for people: what the run found out that is neither an error nor in a table.
    """

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
    lake_files: dict[str, int] = field(default_factory=dict)
    staged_rows: dict[str, int] = field(default_factory=dict)
    table_rows: dict[str, int] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    unknown_columns: dict[str, list[str]] = field(default_factory=dict)
    missing_columns: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
