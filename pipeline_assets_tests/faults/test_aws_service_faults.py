"""Rows 16 to 18 of the fault table for the services of AWS beside S3: Glue, its catalog, SQS, SNS, Secrets Manager.

Each is a server on this machine behind a proxy that misbehaves as busy services and networks do. What must hold: a part
of the calls refused only takes longer; all of them refused ends within a bound, in one line that names what failed,
with the state intact; and the next run, tick or process finishes without help. Clients wait between their attempts as
they do in production, but the waiting itself is only written down (`pauses`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.endpoint
import pytest

from pipeline_assets.aws import Aws
from pipeline_assets.batch.alerts import QUIET, Alert, AlertFile, AlertTopic
from pipeline_assets.engine.glue.job import GlueJob
from pipeline_assets.errors import ConfigurationError, LakeError, PipelineError
from pipeline_assets.lake import notifications
from pipeline_assets.lake.glue_catalog import GlueCatalog
from pipeline_assets.lake.notifications import EventQueue
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.integration.orchestration.test_automation_queue import QueueSensor, event
from pipeline_assets_tests.support.bookings_lake import LANDING, BookingsLake, booking, customer
from pipeline_assets_tests.support.command_line import process
from pipeline_assets_tests.support.fault_proxy import (
    Call,
    Fault,
    FaultProxy,
    bad_gateway,
    first,
    late,
    lose_reply,
    refuse_call,
    reset,
    share,
    since,
)
from pipeline_assets_tests.support.glue_server import GlueServer, glue_server
from pipeline_assets_tests.support.moto_aws import REGION
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product

PATIENCE = 120  # seconds between the attempts of one call, all together, that nobody should have to wait longer than
BUSY = refuse_call(503, "ServiceUnavailableException", "Service is unable to handle request.")
THROTTLED = refuse_call(400, "ThrottlingException", "Rate exceeded")
EXPIRED = refuse_call(400, "ExpiredTokenException", "The security token included in the request is expired")
EVERYTHING = {"busy": BUSY, "throttled": THROTTLED, "page": bad_gateway, "reset": reset, "lost": lose_reply}


def operation(name: str) -> Callable[[Call], bool]:
    """Calls of an operation."""
    return lambda call: call.headers.get("X-Amz-Target", "").endswith(f".{name}")


@dataclass(frozen=True)
class Hasty(Aws):
    """Gives up on an answer after a second."""

    def client(self, service: str, **options: Any) -> Any:
        return super().client(service, **options | {"timeout": 1})


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch, aws_keys: None) -> list[float]:
    """The seconds that clients would have waited between attempts."""
    found: list[float] = []
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=found.append))
    monkeypatch.setattr(notifications, "WAIT", 0)
    return found


@pytest.fixture
def proxy(moto_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(moto_url) as proxy:
        yield proxy


def is_one_line_about(error: PipelineError, *names: str) -> bool:
    said = str(error)
    return "\n" not in said and "html" not in said and all(name in said for name in names) and bool(error.remedy)


# --- Glue ------------------------------------------------------------------------------------------------------


@pytest.fixture
def glue(tmp_path: Path) -> Iterator[GlueServer]:
    """A run of the job is looked at a few times, then it has succeeded."""
    with glue_server(tmp_path) as server:
        server.dictated += [["STARTING", *["RUNNING"] * 25, "SUCCEEDED"], ["SUCCEEDED"]]
        yield server


@pytest.fixture
def wire(glue: GlueServer) -> Iterator[FaultProxy]:
    with FaultProxy(glue.url) as wire:
        yield wire


def job(wire: FaultProxy, kind: type[Aws] = Aws, waited: list[float] | None = None) -> GlueJob:
    waited = [] if waited is None else waited
    return GlueJob(kind(REGION, wire.url), "pipeline-spark", 3600, sleep=waited.append, clock=lambda: sum(waited))


@pytest.mark.parametrize("fault", EVERYTHING.values(), ids=EVERYTHING)
def test_row_16_a_third_of_glues_answers_missing_starts_one_run_and_sees_its_end(
    glue: GlueServer, wire: FaultProxy, fault: Fault
) -> None:
    wire.reset(share(0.3, fault, seed=1))

    assert job(wire).run("s3://b/plan", "s3://b/answer") == "jr_0"

    assert wire.faults > 2
    assert len(glue.runs) == 1


@pytest.mark.parametrize(
    ("calls", "fault"),
    [(1, reset), (2, BUSY), (2, lose_reply), (3, THROTTLED), (6, bad_gateway), (6, lose_reply)],
    ids=["before", "start", "start-lost", "wait", "page", "lost"],
)
def test_row_16_a_glue_that_is_gone_fails_in_time_and_the_retry_takes_up_the_run(
    glue: GlueServer, wire: FaultProxy, pauses: list[float], calls: int, fault: Fault
) -> None:
    """Whether it goes before, at, or after the start of the run."""
    wire.reset(since(calls, fault))
    waited: list[float] = []

    with pytest.raises(LakeError) as gone:
        job(wire, waited=waited).run("s3://b/plan", "s3://b/answer")

    assert gone.value.transient
    assert is_one_line_about(gone.value, "Glue" if calls > 2 else "pipeline-spark")
    assert 0 < sum(pauses) + sum(waited) < 4 * PATIENCE  # a start is looked up after each attempt
    assert not any(run.stopped for run in glue.runs.values()), "a run that we lost sight of works on"

    wire.reset()
    assert job(wire).run("s3://b/plan", "s3://b/answer") == "jr_0"
    assert len(glue.runs) == 1


def test_row_17_a_start_that_is_answered_too_late_is_looked_up_and_not_repeated(
    glue: GlueServer, wire: FaultProxy
) -> None:
    wire.reset(first(1, late(2), operation("StartJobRun")))

    assert job(wire, Hasty).run("s3://b/plan", "s3://b/answer") == "jr_0"

    assert wire.faults == 1
    assert glue.calls.count("StartJobRun") == len(glue.runs) == 1


def test_credentials_that_expire_while_a_run_is_waited_for_cost_no_second_run(
    glue: GlueServer, wire: FaultProxy
) -> None:
    wire.reset(since(4, EXPIRED))

    with pytest.raises(ConfigurationError) as expired:
        job(wire).run("s3://b/plan", "s3://b/answer")

    assert is_one_line_about(expired.value, "jr_0", "does not accept the credentials (ExpiredTokenException)", "Renew")
    assert wire.faults == 1, "waiting does not renew them"
    wire.reset()
    assert job(wire).run("s3://b/plan", "s3://b/answer") == "jr_0"
    assert not glue.runs["jr_0"].stopped


# --- the Glue catalog ------------------------------------------------------------------------------------------


@pytest.fixture
def catalog(moto_url: str) -> Iterator[Any]:
    """A client of the catalog itself; the database goes with the test."""
    client = boto3.client("glue", endpoint_url=moto_url, region_name=REGION)
    yield client
    client.delete_database(Name="shop")


@pytest.fixture
def orders(proxy: FaultProxy, tmp_path: Path, catalog: Any) -> OrdersLake:
    """Two orders of two days, and the catalog behind the proxy."""
    orders_lake = OrdersLake.with_tables(tmp_path / "home")
    orders_lake.orders("", order(1, product(1)), order(2, product(2), date="2024-01-11"))
    glue = GlueCatalog(orders_lake.platform.lake, Aws(REGION, proxy.url), "shop")
    return orders_lake.with_platform(catalog=glue)


def registered(catalog: Any) -> list[str]:
    found = catalog.get_partitions(DatabaseName="shop", TableName="orders_parquet_datalake")["Partitions"]
    return sorted(partition["Values"][0] for partition in found)


DAYS = ["2024-01-10", "2024-01-11"]


def test_row_16_a_third_of_the_catalogs_calls_refused_registers_everything(
    orders: OrdersLake, proxy: FaultProxy, catalog: Any
) -> None:
    proxy.reset(share(0.3, BUSY, seed=2))

    assert orders.run().loaded == 1

    assert proxy.faults
    assert registered(catalog) == DAYS


@pytest.mark.parametrize(
    ("calls", "fault"),
    [(1, BUSY), (2, bad_gateway), (4, reset), (4, EXPIRED)],
    ids=["busy", "page", "reset", "expired"],
)
def test_row_16_a_catalog_that_is_gone_fails_the_run_and_the_next_one_registers_what_was_written(
    orders: OrdersLake, proxy: FaultProxy, catalog: Any, pauses: list[float], calls: int, fault: Fault
) -> None:
    """Tables and files are published by then, once; what the catalog missed is noted in the staging area."""
    proxy.reset(since(calls, fault))

    with pytest.raises(PipelineError) as gone:
        orders.run()

    assert is_one_line_about(gone.value, "Failed registering", "shop.orders_parquet_datalake")
    assert sum(pauses) < PATIENCE
    published = orders.tables()
    assert [row[0] for row in published["ORDER_HEADERS"]] == ["1", "2"]
    assert len(orders.lake_files()) == 2
    assert orders.staged()

    proxy.reset()
    assert orders.run().new == 0

    assert registered(catalog) == DAYS
    assert orders.tables() == published
    assert orders.staged() == []


def test_row_18_a_registration_whose_answer_got_lost_is_made_again_and_is_no_second_one(
    orders: OrdersLake, proxy: FaultProxy, catalog: Any
) -> None:
    changes = ("CreateDatabase", "CreateTable", "BatchCreatePartition")
    rules = [first(1, lose_reply, operation(name)) for name in changes]
    proxy.reset(lambda call: next(filter(None, (rule(call) for rule in rules)), None))
    assert orders.run().loaded == 1
    assert proxy.faults == 3
    assert registered(catalog) == DAYS


# --- SQS -------------------------------------------------------------------------------------------------------


@pytest.fixture
def sqs(moto_url: str) -> Any:
    return boto3.client("sqs", endpoint_url=moto_url, region_name=REGION)


@pytest.fixture
def url(sqs: Any) -> Iterator[str]:
    url = sqs.create_queue(QueueName="events-of-bookings")["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


def queue_sensor_of(lake: BookingsLake, aws: Aws, url: str) -> QueueSensor:
    """A new_files_sensor that has listed once, and whose next listing is twenty ticks away."""
    queue = QueueSensor(lake, EventQueue(aws, url))  # type: ignore[arg-type]
    assert queue.tick() == []
    return queue


@pytest.mark.parametrize("fault", [*EVERYTHING.values(), EXPIRED], ids=[*EVERYTHING, "expired"])
def test_row_16_a_queue_that_is_gone_is_replaced_by_the_listing_and_the_log_says_so(
    lake: BookingsLake, proxy: FaultProxy, sqs: Any, url: str, pauses: list[float], fault: Fault, caplog: Any
) -> None:
    queue = queue_sensor_of(lake, Aws(REGION, proxy.url), url)
    proxy.reset(since(1, fault))
    lake.customers("", customer(1))
    sqs.send_message(QueueUrl=url, MessageBody=event(f"{LANDING}customer_details.csv"))

    with caplog.at_level(logging.ERROR):
        assert len(queue.tick()) == 1

    (said,) = [record.getMessage() for record in caplog.records if record.name == "pipeline_assets"]
    assert said.startswith("The zones are listed, as their queue cannot be read. Failed receiving from")
    assert "\n" not in said
    assert sum(pauses) < 10, "a tick has a minute"
    proxy.reset()
    assert queue.tick() == [], "heard late, and requested for already"


def test_row_16_a_third_of_the_queues_calls_refused_loses_no_event(
    lake: BookingsLake, proxy: FaultProxy, sqs: Any, url: str
) -> None:
    queue = queue_sensor_of(lake, Aws(REGION, proxy.url), url)
    proxy.reset(share(0.3, BUSY, seed=3))
    for number in range(8):
        lake.bookings(f"_{number}", booking(number, 1))
        sqs.send_message(QueueUrl=url, MessageBody=event(f"{LANDING}booking_details_{number}.csv", sequencer="1"))
        assert len(queue.tick()) == 1
    assert proxy.faults > 3


def test_a_queue_that_answers_too_late_does_not_keep_the_tick(
    lake: BookingsLake, proxy: FaultProxy, sqs: Any, url: str
) -> None:
    queue = queue_sensor_of(lake, Hasty(REGION, proxy.url), url)
    proxy.reset(since(1, late(2)))
    lake.customers("", customer(1))
    assert len(queue.tick()) == 1
    assert proxy.faults == 2


# --- SNS -------------------------------------------------------------------------------------------------------


@pytest.fixture
def inbox(moto_url: str, sqs: Any) -> Iterator[tuple[str, str]]:
    """A topic and the queue that gets what is published there."""
    sns = boto3.client("sns", endpoint_url=moto_url, region_name=REGION)
    topic, url = sns.create_topic(Name="alerts")["TopicArn"], sqs.create_queue(QueueName="inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    yield topic, url
    sns.delete_topic(TopicArn=topic)
    sqs.delete_queue(QueueUrl=url)


def rejecting(lake: BookingsLake, topic: AlertTopic) -> BookingsLake:
    """Five files that are rejected whole, one alert each, and a good one."""
    for number in range(5):
        lake.write(f"customer_details_{number}.csv", "NAME\nAda\n")
    lake.customers("", customer(1))
    return lake.with_platform(alerts=topic)


def written(lake: BookingsLake) -> int:
    return len((lake.home / "alerts.jsonl").read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("fault", [*EVERYTHING.values(), EXPIRED], ids=[*EVERYTHING, "expired"])
def test_row_16_a_topic_that_is_gone_fails_no_run_holds_it_up_once_and_the_log_says_so(
    lake: BookingsLake, proxy: FaultProxy, inbox: tuple[str, str], pauses: list[float], fault: Fault, caplog: Any
) -> None:
    topic = AlertTopic(Aws(REGION, proxy.url), inbox[0], AlertFile(lake.home / "alerts.jsonl"))
    proxy.reset(since(1, fault))

    with caplog.at_level(logging.ERROR):
        report = rejecting(lake, topic).run()

    assert (report.loaded, report.rejected) == (1, 5)
    assert written(lake) == 5
    assert proxy.faults <= 4, "one alert is tried a few times, and the others not at all"
    assert sum(pauses) < 30
    said = [record.getMessage() for record in caplog.records if inbox[0] in record.getMessage()]
    assert len(said) == 5
    assert said[0].startswith(f"Failed sending an alert to {inbox[0]}")
    assert not [line for line in said if "\n" in line]


def test_row_16_a_third_of_the_topics_calls_refused_sends_every_alert(
    lake: BookingsLake, proxy: FaultProxy, sqs: Any, inbox: tuple[str, str]
) -> None:
    topic = AlertTopic(Aws(REGION, proxy.url), inbox[0], AlertFile(lake.home / "alerts.jsonl"))
    proxy.reset(share(0.3, BUSY, seed=4))

    rejecting(lake, topic).run()

    assert proxy.faults
    assert len(sqs.receive_message(QueueUrl=inbox[1], MaxNumberOfMessages=10)["Messages"]) == 5


def test_a_topic_that_came_back_gets_alerts_again(proxy: FaultProxy, inbox: tuple[str, str], tmp_path: Path) -> None:
    now, at = [0.0], datetime.now(UTC)
    beside = AlertFile(tmp_path / "alerts.jsonl")
    topic = AlertTopic(Aws(REGION, proxy.url), inbox[0], beside, clock=lambda: now[0])
    proxy.reset(since(1, BUSY))
    topic.send(Alert("error", "orders", "lost", {}), at)
    proxy.reset()
    topic.send(Alert("error", "orders", "too soon", {}), at)
    assert not proxy.calls
    now[0] = QUIET
    topic.send(Alert("error", "orders", "sent", {}), at)
    assert len(proxy.calls) == 1


# --- Secrets Manager -------------------------------------------------------------------------------------------


@pytest.fixture
def secret(proxy: FaultProxy, moto_url: str) -> Iterator[dict[str, str]]:
    """The environment of a process whose Snowflake user lies in a secret."""
    client = boto3.client("secretsmanager", endpoint_url=moto_url, region_name=REGION)
    client.create_secret(Name="of-faults", SecretString='{"PIPELINE_SNOWFLAKE_USER": "FROM_THE_SECRET"}')
    where = {"PIPELINE_AWS_REGION": REGION, "PIPELINE_AWS_ENDPOINT_URL": proxy.url}
    yield {"PIPELINE_SECRET_ID": "of-faults", **where}
    client.delete_secret(SecretId="of-faults", ForceDeleteWithoutRecovery=True)


@pytest.mark.parametrize("fault", EVERYTHING.values(), ids=EVERYTHING)
def test_row_16_the_secret_is_read_although_a_few_calls_are_refused(
    proxy: FaultProxy, secret: dict[str, str], monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    for name, value in secret.items():
        monkeypatch.setenv(name, value)
    proxy.reset(first(3, fault))
    assert load_settings().snowflake_user == "FROM_THE_SECRET"


@pytest.mark.parametrize(
    ("fault", "code", "names"),
    [
        (BUSY, 1, "ServiceUnavailableException"),
        (bad_gateway, 1, "502"),
        (reset, 1, "Connection was closed"),
        (EXPIRED, 2, "does not accept the credentials"),
    ],
    ids=["busy", "page", "reset", "expired"],
)
def test_a_secret_that_cannot_be_read_is_one_line_before_any_work(
    proxy: FaultProxy, secret: dict[str, str], tmp_path: Path, fault: Fault, code: int, names: str
) -> None:
    home = tmp_path / "home"
    proxy.reset(since(1, fault))
    found = process(tmp_path, "run", "bookings", env={**os.environ, **secret, "PIPELINE_HOME": str(home)})
    assert (found.returncode, found.stdout) == (code, "")
    (line,) = found.stderr.splitlines()
    assert line.startswith("error: Failed reading the secret of-faults (PIPELINE_SECRET_ID)")
    assert names in line
    assert not home.exists()
