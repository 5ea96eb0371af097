"""What a batch works with: lake, engines, warehouse, catalog and alerts; `build_platform` chooses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.batch.alerts import Alerts
from pipeline_assets.batch.metrics import Metrics
from pipeline_assets.engine import RejectPolicy
from pipeline_assets.engine.choice import EngineChoice
from pipeline_assets.lake import Catalog, Lake
from pipeline_assets.lake.archives import ArchiveLimits
from pipeline_assets.lake.delivery import Delivery
from pipeline_assets.lake.notifications import EventQueue
from pipeline_assets.warehouse import Warehouse

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings


def utc_now() -> datetime:
    """The current UTC time without a time zone, as the warehouse stores timestamps."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Platform:
    """What a batch works with. `scratch` and `locks` are local folders; `clock` returns UTC without a time zone.

    `queues` maps a pipeline to its queue of S3 events, if it has one. `delivery` is what a producer works with.
    """

    lake: Lake
    engine: EngineChoice
    warehouse: Warehouse
    alerts: Alerts
    policy: RejectPolicy
    scratch: Path
    locks: Path
    patience: float
    catalog: Catalog
    lake_file_bytes: int
    archive_limits: ArchiveLimits
    queues: Mapping[str, EventQueue] = field(default_factory=dict)
    shared: bool = False  # whether other machines use this lake
    settings: Settings | None = None  # of the installation, for the steps of a pipeline that has settings of its own
    retries: int = 0
    retry_seconds: float = 0
    clock: Callable[[], datetime] = utc_now
    delivery: Delivery | None = None
    metrics: Metrics | None = None
