"""Alerts reach the file always and the SNS topic when there is one (moto, over HTTP)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import boto3
import pytest

from pipeline_assets.aws import Aws
from pipeline_assets.operations.alerts import SUBJECT_LIMIT, Alert, AlertFile, AlertTopic
from pipeline_assets_tests.moto_aws import moto_server

REGION = "eu-west-1"
AT = datetime(2026, 1, 1, 12)  # noqa: DTZ001 - moments are UTC without a zone here
ALERT = Alert(
    "error", "orders", "lake://orders-source/incoming/Bestellung_für_Zürich.json\nwas rejected", {"code": "x"}
)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-to-be-shown-anywhere")
    with moto_server() as url:
        yield url


def written(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_topic_gets_a_subject_that_mail_can_carry_and_everything_as_json(url: str, tmp_path: Path) -> None:
    sns = boto3.client("sns", endpoint_url=url, region_name=REGION)
    sqs = boto3.client("sqs", endpoint_url=url, region_name=REGION)
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="mail")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    AlertTopic(Aws(REGION, url), topic, AlertFile(tmp_path / "alerts.jsonl")).send(ALERT, AT)

    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    body = json.loads(message["Body"])
    assert body["Subject"].startswith("[error] orders: lake://orders-source/incoming/Bestellung_f r_Z rich.json was")
    assert len(body["Subject"]) <= SUBJECT_LIMIT
    assert json.loads(body["Message"]) == written(tmp_path / "alerts.jsonl")[0]
    assert json.loads(body["Message"])["subject"] == ALERT.subject


def test_a_topic_that_refuses_does_not_undo_what_happened(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    topic = f"arn:aws:sns:{REGION}:123456789012:nobody"
    AlertTopic(Aws(REGION, url), topic, AlertFile(tmp_path / "alerts.jsonl")).send(ALERT, AT)
    assert len(written(tmp_path / "alerts.jsonl")) == 1
    assert f"Failed sending an alert to {topic}" in caplog.text
