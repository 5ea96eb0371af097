"""Lake, engine, warehouse and alerts, chosen once from the settings; a pipeline never asks which they are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.engine import Engine, RejectPolicy
from pipeline_assets.engine.duckdb_engine import DuckDBEngine
from pipeline_assets.errors import WarehouseBusyError
from pipeline_assets.lake import Catalog, Lake, LocalLake, S3Lake
from pipeline_assets.lake.aws import Aws
from pipeline_assets.lake.glue_catalog import GlueCatalog
from pipeline_assets.operations.alerts import AlertFile, Alerts, AlertTopic
from pipeline_assets.warehouse import EmbeddedWarehouse, SnowflakeWarehouse, Warehouse, WarehouseCatalog

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings

logger = logging.getLogger("pipeline_assets")


def utc_now() -> datetime:
    """Now, UTC, without a time zone: the form in which the warehouse keeps moments."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Platform:
    """What a batch works with. `scratch` and `locks` are local folders; `clock` tells UTC without a zone."""

    lake: Lake
    engine: Engine
    warehouse: Warehouse
    alerts: Alerts
    policy: RejectPolicy
    scratch: Path
    locks: Path
    patience: float
    catalog: Catalog
    lake_file_bytes: int
    clock: Callable[[], datetime] = utc_now

    @contextmanager
    def exclusive(self, pipeline: str) -> Iterator[None]:
        """Hold the pipeline: a second run on this machine waits here until the first has ended or died.

        Raises:
            WarehouseBusyError: the other run outlasted the patience.
        """
        from filelock import FileLock, Timeout

        self.locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.locks / f"{pipeline}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("Another run of %s is under way; waiting for it.", pipeline)
            try:
                lock.acquire(timeout=self.patience)
            except Timeout:
                raise WarehouseBusyError(
                    f"Another run of {pipeline} has not ended within {self.patience:g} seconds.",
                    remedy="Wait for it, or raise PIPELINE_WAREHOUSE_PATIENCE.",
                ) from None
        try:
            yield
        finally:
            lock.release()


def build_platform(settings: Settings) -> Platform:
    """The platform of one installation; opens no connection and touches no file."""
    lake: Lake
    warehouse: Warehouse
    catalog: Catalog
    alerts: Alerts = AlertFile(settings.home / "alerts.jsonl")
    if settings.profile == "local":
        lake = LocalLake(settings.lake_root)
        warehouse = EmbeddedWarehouse(
            settings.warehouse_root, settings.database, settings.warehouse_patience, lake.stage_url
        )
        catalog = WarehouseCatalog(lake, warehouse, utc_now)
    else:
        lake = S3Lake(
            region=settings.aws_region,
            endpoint_url=settings.s3_endpoint_url,
            bucket_prefix=settings.bucket_prefix,
        )
        warehouse = SnowflakeWarehouse(settings)
        aws = Aws(settings.aws_region, settings.aws_endpoint_url)
        catalog = GlueCatalog(lake, aws, settings.glue_database, settings.glue_crawler)
        if settings.alerts_topic_arn:
            alerts = AlertTopic(aws, settings.alerts_topic_arn, alerts)
    return Platform(
        lake=lake,
        engine=DuckDBEngine(memory_limit=settings.memory_limit, threads=settings.engine_threads),
        warehouse=warehouse,
        alerts=alerts,
        policy=RejectPolicy(settings.reject_share, settings.reject_minimum_rows),
        scratch=settings.scratch_root,
        locks=settings.home / "locks",
        patience=settings.warehouse_patience,
        catalog=catalog,
        lake_file_bytes=settings.lake_file_mib * 1024 * 1024,
    )
