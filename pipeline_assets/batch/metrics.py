"""Metrics of batches and failed runs in CloudWatch, for alarms and dashboards.

They are the numbers of the materializations' metadata (`batch_…`). Metrics that cannot be put are logged; no run fails
for them, as its batch is published already.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from statistics import median
from typing import Any, Literal, Protocol

from pipeline_assets.aws import Aws, aws_errors
from pipeline_assets.batch.report import BatchReport
from pipeline_assets.errors import PipelineError

logger = logging.getLogger("pipeline_assets")

_ATTEMPTS, _SECONDS = 2, 5.0  # few, as the run waits for them


@dataclass(frozen=True)
class Metric:
    """One value; `unit` is CloudWatch's."""

    name: str
    value: float
    unit: Literal["Count", "Seconds", "Bytes"] = "Count"


FAILED_RUN = Metric("FailedRuns", 1)


class Metrics(Protocol):
    """Where metrics go."""

    def put(self, pipeline: str, metrics: Sequence[Metric], at: datetime) -> None: ...


class CloudWatchMetrics:
    """Custom metrics of CloudWatch in one namespace, with the dimension `Pipeline`."""

    def __init__(self, aws: Aws, namespace: str) -> None:
        self._aws = aws
        self._namespace = namespace

    def put(self, pipeline: str, metrics: Sequence[Metric], at: datetime) -> None:
        """Put values of a moment, UTC without a zone."""
        data = [
            {
                "MetricName": metric.name,
                "Dimensions": [{"Name": "Pipeline", "Value": pipeline}],
                "Timestamp": at.replace(tzinfo=UTC),
                "Value": metric.value,
                "Unit": metric.unit,
            }
            for metric in metrics
        ]
        try:
            with aws_errors(f"putting metrics of {pipeline} into CloudWatch", "cloudwatch:PutMetricData"):
                self._client.put_metric_data(Namespace=self._namespace, MetricData=data)
        except PipelineError as error:
            logger.error("%s", error)

    @cached_property
    def _client(self) -> Any:
        return self._aws.client("cloudwatch", attempts=_ATTEMPTS, timeout=_SECONDS)


def batch_metrics(report: BatchReport) -> list[Metric]:
    """The metrics of a batch that did not fail; one that found nothing new has only that it completed."""
    metrics = [Metric("CompletedBatches", 1)]
    if not report.batch_id:
        return metrics
    metrics += [Metric("ObjectsLoaded", report.loaded), Metric("ObjectsRejected", report.rejected)]
    metrics += [Metric(f"Rows{name.capitalize()}", count) for name, count in report.rows.items()]
    metrics += [
        Metric("BytesRead", report.bytes_read, "Bytes"),
        Metric("EngineSeconds", report.engine_seconds, "Seconds"),
        Metric("WarehouseSeconds", report.warehouse_seconds, "Seconds"),
    ]
    if report.latencies:
        metrics.append(Metric("LatencyMedian", median(report.latencies), "Seconds"))
        metrics.append(Metric("LatencyMaximum", report.latencies[-1], "Seconds"))
    return metrics
