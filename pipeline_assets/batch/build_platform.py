"""Choose lake, engines, warehouse, catalog and alerts once, from the settings; no pipeline depends on the choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_assets.aws import Aws
from pipeline_assets.batch.alerts import AlertFile, Alerts, AlertTopic
from pipeline_assets.batch.metrics import CloudWatchMetrics, Metrics
from pipeline_assets.batch.platform import Platform, utc_now
from pipeline_assets.engine import Engine, RejectPolicy
from pipeline_assets.engine.choice import EngineChoice, Wanted
from pipeline_assets.engine.duckdb.engine import DuckDBEngine
from pipeline_assets.engine.glue.engine import GlueEngine
from pipeline_assets.engine.glue.job import GlueJob
from pipeline_assets.engine.spark.engine import SparkEngine
from pipeline_assets.lake import Catalog, Lake, LocalLake, S3Lake
from pipeline_assets.lake.archives import ArchiveLimits
from pipeline_assets.lake.delivery import build_delivery
from pipeline_assets.lake.glue_catalog import GlueCatalog
from pipeline_assets.lake.notifications import EventQueue
from pipeline_assets.warehouse import EmbeddedWarehouse, SnowflakeWarehouse, Warehouse, WarehouseCatalog

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings


def build_platform(settings: Settings) -> Platform:
    """The platform of one installation; opens no connection and touches no file."""
    lake: Lake
    warehouse: Warehouse
    catalog: Catalog
    alerts: Alerts = AlertFile(settings.home / "alerts.jsonl")
    queues: dict[str, EventQueue] = {}
    metrics: Metrics | None = None
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
            patience=settings.s3_patience,
        )
        warehouse = SnowflakeWarehouse(settings)
        aws = Aws(settings.aws_region, settings.aws_endpoint_url)
        catalog = GlueCatalog(lake, aws, settings.glue_database, settings.glue_crawler)
        queues = {name: EventQueue(aws, url, settings.bucket_prefix) for name, url in settings.queues.items()}
        if settings.alerts_topic_arn:
            alerts = AlertTopic(aws, settings.alerts_topic_arn, alerts)
        if settings.cloudwatch_metrics:
            metrics = CloudWatchMetrics(aws, settings.stack_name)
    return Platform(
        lake=lake,
        engine=_engines(settings, lake),
        warehouse=warehouse,
        alerts=alerts,
        policy=RejectPolicy(settings.reject_share, settings.reject_minimum_rows),
        scratch=settings.scratch_root,
        locks=settings.home / "locks",
        patience=settings.warehouse_patience,
        catalog=catalog,
        lake_file_bytes=settings.lake_file_mib * 1024 * 1024,
        archive_limits=ArchiveLimits(
            settings.archive_max_entries, settings.archive_max_bytes, settings.archive_max_ratio
        ),
        shared=settings.profile == "aws",
        settings=settings,
        retries=settings.retries,
        retry_seconds=settings.retry_seconds,
        queues=queues,
        delivery=build_delivery(settings),
        metrics=metrics,
    )


def _engines(settings: Settings, lake: Lake) -> EngineChoice:
    """Every configured engine; none starts anything before its first batch."""
    memory = settings.memory_limit
    engines: dict[str, Engine] = {
        "duckdb": DuckDBEngine(memory_limit=memory, threads=settings.engine_threads),
        "spark": SparkEngine(master=settings.spark_master, memory_limit=memory),
    }
    distributed = [] if settings.spark_master.startswith("local") else ["spark"]
    if settings.profile == "aws" and settings.glue_job and settings.artifacts_bucket:
        job = GlueJob(
            Aws(settings.aws_region, settings.aws_endpoint_url), settings.glue_job, settings.glue_timeout_minutes * 60
        )
        s3 = Aws(settings.aws_region, settings.s3_endpoint_url)
        engines["glue"] = GlueEngine(job=job, lake=lake, s3=s3, bucket=settings.artifacts_bucket, memory_limit=memory)
        distributed.insert(0, "glue")
    return EngineChoice(
        engines, Wanted(settings.engine), tuple(distributed), settings.engine_threshold_mib * 1024 * 1024
    )
