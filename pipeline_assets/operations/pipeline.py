"""What a pipeline is to the platform, what a run asks of it, and what a batch reports.

Values only: how a batch goes is in `landing`, what a transform may do in `work`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline_assets.contracts import Contract
from pipeline_assets.engine.choice import Wanted
from pipeline_assets.lake import LakeTable, Zone

if TYPE_CHECKING:
    from pipeline_assets.operations.work import Work


@dataclass(frozen=True)
class Dataset:
    """Landed files of one shape."""

    contract: Contract
    zone: Zone

    @property
    def name(self) -> str:
        return self.contract.name


@dataclass(frozen=True)
class Pipeline:
    """What a batch needs to know of a pipeline.

    `bucket` is where it writes. `datasets` are read in this order, so one that others refer to comes first.
    `transform` settles the inputs and says what to load, derive, lay out and hand out. `targets` are the contracts of
    the tables it publishes, `lake_tables` those it keeps in the lake.
    """

    name: str
    bucket: str
    datasets: tuple[Dataset, ...]
    targets: tuple[Contract, ...]
    transform: Callable[[Work], None]
    lake_tables: tuple[LakeTable, ...] = ()


@dataclass(frozen=True)
class Request:
    """What a run was asked for: `reprocess` takes known objects again, `replay` quarantined ones.

    `replay_ids` narrows a replay to some quarantined records; None means all of the pipeline. `engine` goes before the
    setting.
    """

    reprocess: bool = False
    replay: bool = False
    replay_ids: tuple[str, ...] | None = None
    engine: Wanted | None = None


@dataclass
class BatchReport:
    """What one batch did. `rows` always keeps read == loaded + superseded + quarantined."""

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
    handed_out: list[str] = field(default_factory=list)
    lake_files: dict[str, int] = field(default_factory=dict)
    staged_rows: dict[str, int] = field(default_factory=dict)
    table_rows: dict[str, int] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    unknown_columns: dict[str, list[str]] = field(default_factory=dict)
    missing_columns: dict[str, list[str]] = field(default_factory=dict)
