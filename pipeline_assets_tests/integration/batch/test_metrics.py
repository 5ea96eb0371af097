"""Metrics of batches in CloudWatch (moto, over HTTP): the numbers of the report, and never a failed run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path

import boto3
import dagster as dg
import pytest

from pipeline_assets.aws import Aws
from pipeline_assets.batch.build_platform import build_platform
from pipeline_assets.batch.metrics import CloudWatchMetrics
from pipeline_assets.errors import WarehouseError
from pipeline_assets.orchestration.alerts import send_failure_alert
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.bookings_lake import BUCKET, BookingsLake, booking, customer
from pipeline_assets_tests.support.moto_aws import KEYS, REGION, SECRET, buckets_in, forget_everything, moto_server
from pipeline_assets_tests.support.s3_lake import S3BookingsLake

NAMESPACE = "some-stack"


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with moto_server() as url:
        yield url
    forget_everything()


def measured(lake: BookingsLake, url: str) -> BookingsLake:
    return lake.with_platform(metrics=CloudWatchMetrics(Aws(REGION, url), NAMESPACE))


def found(url: str, pipeline: str = "bookings") -> dict[str, tuple[float, str]]:
    """(sum, unit) of each metric of a pipeline."""
    client = boto3.client("cloudwatch", endpoint_url=url, region_name=REGION)
    values = {}
    for metric in client.list_metrics(Namespace=NAMESPACE)["Metrics"]:
        if metric["Dimensions"] != [{"Name": "Pipeline", "Value": pipeline}]:
            continue
        now = build_platform(load_settings()).clock().replace(tzinfo=UTC)
        (point,) = client.get_metric_statistics(
            Namespace=NAMESPACE,
            MetricName=metric["MetricName"],
            Dimensions=metric["Dimensions"],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=7200,
            Statistics=["Sum"],
        )["Datapoints"]
        values[metric["MetricName"]] = (point["Sum"], point["Unit"])
    return values


def test_a_batch_puts_its_numbers_by_pipeline(lake: BookingsLake, url: str) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1), booking(2, 1, "x"))
    report = measured(lake, url).run()

    metrics = found(url)
    assert {name: value for name, (value, unit) in metrics.items() if unit == "Count"} == {
        "CompletedBatches": 1,
        "ObjectsLoaded": 2,
        "ObjectsRejected": 0,
        "RowsRead": 3,
        "RowsLoaded": 2,
        "RowsSuperseded": 0,
        "RowsQuarantined": 1,
        "QuarantineWaiting": 1,
    }
    assert metrics["BytesRead"] == (report.bytes_read, "Bytes")
    seconds = {name: value for name, (value, unit) in metrics.items() if unit == "Seconds"}
    assert seconds.keys() == {"EngineSeconds", "WarehouseSeconds", "SinceArrival"}, "no time of delivery is known"
    assert seconds["EngineSeconds"] == pytest.approx(report.engine_seconds)
    assert 0 < seconds["WarehouseSeconds"] == pytest.approx(report.warehouse_seconds)
    assert 0 <= seconds["SinceArrival"] < 600


def test_a_batch_that_finds_nothing_puts_gauges_and_no_zeros(lake: BookingsLake, url: str) -> None:
    lake.customers("", customer(1))
    lake.run()
    measured(lake, url).run()

    assert {name: value for name, (value, _) in found(url).items() if name != "SinceArrival"} == {
        "CompletedBatches": 1,
        "QuarantineWaiting": 0,
    }


def test_the_time_of_an_object_in_s3_is_that_of_its_delivery(tmp_path: Path, url: str) -> None:
    with buckets_in(url, BUCKET) as client:
        lake = measured(S3BookingsLake.behind(url, tmp_path / "home", client), url).with_platform(shared=True)
        lake.customers("", customer(1))
        lake.bookings("", booking(1, 1))
        report = lake.run()

    assert 0 < report.latencies[0] <= report.latencies[1] < 600
    assert found(url)["LatencyMaximum"] == (pytest.approx(report.latencies[1]), "Seconds")
    assert report.landing_days == [], "a day that a key does not contain is no partition"


@pytest.mark.parametrize("lost", ["CloudWatch", "the warehouse"])
def test_metrics_that_cannot_be_put_are_logged_and_fail_no_run(
    lake: BookingsLake, url: str, lost: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR)
    lake.customers("", customer(1))
    measuring = measured(lake, "http://127.0.0.1:9" if lost == "CloudWatch" else url)
    if lost == "the warehouse":

        def failing(*_: object) -> None:
            raise WarehouseError("The warehouse is gone.")

        monkeypatch.setattr("pipeline_assets.batch.run.waiting_totals", failing)
    report = measuring.run()

    assert (report.loaded, lake.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMERS")) == (1, [(1,)])
    (record,) = [record.getMessage() for record in caplog.records]
    assert ("putting metrics of bookings into CloudWatch" if lost == "CloudWatch" else "are incomplete") in record
    assert SECRET not in record
    assert "\n" not in record
    assert ("RowsRead" in found(url)) == (lost == "the warehouse")


def test_a_failed_run_counts_for_each_of_its_pipelines(lake: BookingsLake, url: str) -> None:
    @dg.job(name="__ASSET_JOB", tags={"pipeline": "bookings, orders"})
    def of_the_button() -> None:
        _fail()

    with dg.DagsterInstance.ephemeral() as instance:
        failed = of_the_button.execute_in_process(instance=instance, raise_on_error=False)
        send_failure_alert(measured(lake, url).platform, instance, failed.run_id)
    assert found(url) == found(url, "orders") == {"FailedRuns": (1, "Count")}


@dg.op
def _fail() -> None:
    raise ValueError("x")


@pytest.mark.parametrize(
    ("given", "puts"),
    [
        ({"profile": "aws", "cloudwatch_metrics": True}, True),
        ({"profile": "aws"}, False),
        ({"cloudwatch_metrics": True}, False),
    ],
)
def test_metrics_are_put_in_the_aws_profile_if_asked_for(tmp_path: Path, given: dict[str, object], puts: bool) -> None:
    platform = build_platform(load_settings(home=tmp_path, **given))
    assert isinstance(platform.metrics, CloudWatchMetrics) == puts
