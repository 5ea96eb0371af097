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
from pipeline_assets.batch import alerts as module
from pipeline_assets.batch.alerts import MESSAGE_LIMIT, SUBJECT_LIMIT, Alert, AlertFile, AlertTopic
from pipeline_assets_tests.support.moto_aws import forget_everything, moto_server

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
    forget_everything()


def written(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def topic_with_inbox(url: str) -> tuple[str, str]:
    sns = boto3.client("sns", endpoint_url=url, region_name=REGION)
    sqs = boto3.client("sqs", endpoint_url=url, region_name=REGION)
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="mail")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return topic, queue


def received(url: str, queue: str) -> dict:
    (message,) = boto3.client("sqs", endpoint_url=url, region_name=REGION).receive_message(QueueUrl=queue)["Messages"]
    return json.loads(message["Body"])


def test_the_topic_gets_a_subject_that_mail_can_carry_and_everything_as_json(url: str, tmp_path: Path) -> None:
    topic, inbox = topic_with_inbox(url)

    AlertTopic(Aws(REGION, url), topic, AlertFile(tmp_path / "alerts.jsonl")).send(ALERT, AT)

    body = received(url, inbox)
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


def test_an_alert_that_is_longer_than_sns_takes_is_cut_and_says_so(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The error of a failed Glue run has the end of its log, and a line of that may be a whole query plan."""
    caplog.set_level(logging.ERROR)
    topic, inbox = topic_with_inbox(url)
    error = "\n".join(["it failed", *("ü" * 250_000 for _ in range(60))])
    alert = Alert("error", "orders", "x" * 5000, {"run_id": "7", "error": error})
    AlertTopic(Aws(REGION, url), topic, AlertFile(tmp_path / "alerts.jsonl")).send(alert, AT)

    body = received(url, inbox)
    message = json.loads(body["Message"])
    assert len(body["Message"].encode()) <= MESSAGE_LIMIT
    assert message["cut"].startswith("This is shortened")
    assert message["facts"]["run_id"] == "7"
    assert message["facts"]["error"].startswith("it failed\n" + "ü" * 1000 + "…\n")
    assert len(body["Subject"]) == SUBJECT_LIMIT == 99
    assert written(tmp_path / "alerts.jsonl")[0]["facts"]["error"] == error
    assert not [record for record in caplog.records if "Failed sending" in record.message]


def test_an_alert_that_sns_does_not_take_does_not_silence_the_topic(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR)
    topic, inbox = topic_with_inbox(url)
    alerts = AlertTopic(Aws(REGION, url), topic, AlertFile(tmp_path / "alerts.jsonl"))
    with monkeypatch.context() as patch:
        patch.setattr(module, "_message", lambda entry: "x" * 300_000)
        alerts.send(ALERT, AT)
    assert f"Failed sending an alert to {topic}: InvalidParameter" in caplog.text
    alerts.send(ALERT, AT)
    assert json.loads(received(url, inbox)["Message"])["facts"] == {"code": "x"}
