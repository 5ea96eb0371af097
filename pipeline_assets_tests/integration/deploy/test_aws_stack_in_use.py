"""What the stack is for, against the AWS emulator: notifications, deliveries, and the pipelines' role doing their work.

The emulator enforces permissions here, so an adapter that asks for what its role may not do fails as on AWS.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from pipeline_assets.aws import Aws
from pipeline_assets.batch.alerts import Alert, AlertFile, AlertTopic
from pipeline_assets.commerce.pipeline import COMMERCE
from pipeline_assets.commerce.producer import deliver_once
from pipeline_assets.deploy.aws.permissions import PERMISSIONS
from pipeline_assets.deploy.aws.stack import deploy
from pipeline_assets.errors import ConfigurationError, PipelineError
from pipeline_assets.lake import S3Lake
from pipeline_assets.lake.delivery import build_delivery
from pipeline_assets.lake.glue_catalog import GlueCatalog
from pipeline_assets.lake.notifications import EventQueue
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.ministack import CREDENTIALS, REGION, MiniStack, ministack
from pipeline_assets_tests.support.orders_lake import lake_table

pytestmark = pytest.mark.aws
PREFIX = "acme-"


@dataclass(frozen=True)
class Deployed:
    """A stack and what `deploy` printed of it."""

    aws: MiniStack
    environment: dict[str, str]

    @property
    def role_arn(self) -> str:
        """The role of the pipelines."""
        return self.aws.outputs()["PipelineRoleArn"]

    def queue(self, pipeline: str) -> EventQueue:
        url = self.aws.client("sqs").get_queue_url(QueueName=f"pipeline-assets-{pipeline}")["QueueUrl"]
        return EventQueue(Aws(REGION, self.aws.url), url, PREFIX)

    def credentials(self) -> dict[str, str]:
        """Those of the pipelines' role."""
        sts = self.aws.client("sts")
        return sts.assume_role(RoleArn=self.role_arn, RoleSessionName="pipelines")["Credentials"]

    @contextmanager
    def without(self, action: str) -> Iterator[None]:
        """The role without one of its permissions, wherever it has it."""
        iam, role = self.aws.client("iam"), self.role_arn.rpartition("/")[2]
        document = iam.get_role_policy(RoleName=role, PolicyName="needed")["PolicyDocument"]
        less = json.loads(json.dumps(document))
        for statement in less["Statement"]:
            statement["Action"] = [name for name in statement["Action"] if name != action]
        less["Statement"] = [statement for statement in less["Statement"] if statement["Action"]]
        assert less != document
        iam.put_role_policy(RoleName=role, PolicyName="needed", PolicyDocument=json.dumps(less))
        try:
            yield
        finally:
            iam.put_role_policy(RoleName=role, PolicyName="needed", PolicyDocument=json.dumps(document))


@pytest.fixture(scope="module")
def stack() -> Iterator[Deployed]:
    with ministack(auth=True) as aws, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        said: list[str] = []
        settings = load_settings(
            aws_endpoint_url=aws.url, s3_endpoint_url=aws.url, aws_region=REGION, bucket_prefix=PREFIX
        )
        deploy(settings, dry_run=False, say=said.append)
        lines = [shlex.split(line)[0] for line in said if not line.startswith("#")]
        deployed = Deployed(aws, dict(line.split("=", 1) for line in lines))
        # The emulator asks for an action that AWS does not have; there, sqs:DeleteMessage covers batches.
        allow = {"Effect": "Allow", "Action": "sqs:DeleteMessageBatch", "Resource": "*"}
        aws.client("iam").put_role_policy(
            RoleName=deployed.role_arn.rpartition("/")[2],
            PolicyName="emulator",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}),
        )
        yield deployed


@pytest.fixture
def as_pipelines(stack: Deployed, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """The environment of the machines that run Dagster."""
    found = stack.credentials()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", found["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", found["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", found["SessionToken"])
    return stack


def eventually(look: Callable[[], object]) -> object:
    deadline = time.monotonic() + 10
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_an_object_in_a_watched_prefix_notifies_the_queue_of_its_pipeline_only(as_pipelines: Deployed) -> None:
    queues = {name: as_pipelines.queue(name) for name in ("orders", "reviews")}
    for queue in queues.values():
        queue.confirm(queue.poll().name)  # S3 rings once itself when it is told of a queue
    put = as_pipelines.aws.client("s3").put_object
    put(Bucket=f"{PREFIX}orders-source", Key="incoming/a b/ä.json", Body=b"[]")
    put(Bucket=f"{PREFIX}orders-source", Key="elsewhere/b.json", Body=b"[]")
    put(Bucket=f"{PREFIX}orders-staging", Key="orders_parquet_datalake/c.parquet", Body=b"PAR1")
    heard = queues["orders"].poll()
    assert [(event.bucket, event.key) for event in heard.events] == [(f"{PREFIX}orders-source", "incoming/a b/ä.json")]
    queues["orders"].confirm(heard.name)
    assert queues["reviews"].poll().events == []


@pytest.mark.parametrize("stream", ["customers", "orders"])
def test_a_delivered_record_is_in_the_landing_layout_and_notifies_the_queue(
    as_pipelines: Deployed, stream: str
) -> None:
    name = as_pipelines.aws.outputs()[f"{stream.capitalize()}Stream"]
    firehose = Aws(REGION, as_pipelines.aws.url).client("firehose")
    before = datetime.now(UTC)
    answer = firehose.put_record_batch(DeliveryStreamName=name, Records=[{"Data": b"1|a\n"}])
    assert answer["FailedPutCount"] == 0
    lake = S3Lake(region=REGION, endpoint_url=as_pipelines.aws.url, bucket_prefix=PREFIX)
    (landed,) = eventually(lambda: list(lake.list_objects("commerce-stream", f"firehose/{stream}/landing/")))
    hours = {f"firehose/{stream}/landing/{at:%Y/%m/%d/%H}/{name}-1-" for at in (before, datetime.now(UTC))}
    assert any(landed.key.startswith(hour) for hour in hours)
    queue = as_pipelines.queue("commerce")
    assert landed.key in [event.key for event in queue.poll().events]


def test_a_producer_delivers_with_its_own_role_and_may_do_nothing_else(
    stack: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = stack.aws.outputs()["ProducerRoleArn"]
    found = stack.aws.client("sts").assume_role(RoleArn=role, RoleSessionName="shop")["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", found["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", found["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", found["SessionToken"])
    (tmp_path / "customers.csv").write_text("1,a\n2,b\n")
    watched = {"customers": f"{tmp_path}/customers*.csv"}
    settings = load_settings(
        profile="aws", home=tmp_path, aws_region=REGION, aws_endpoint_url=stack.aws.url, commerce_watch=watched
    )
    delivered = deliver_once(build_delivery(settings), COMMERCE)
    assert delivered["customers"].records == 2
    others = {"s3": "list_buckets", "firehose": "list_delivery_streams", "sqs": "list_queues", "sns": "list_topics"}
    for service, call in others.items():
        with pytest.raises(ClientError, match=r"AccessDenied|Authorization"):
            getattr(Aws(REGION, stack.aws.url).client(service), call)()


def test_a_dead_letter_raises_the_alarm_and_the_alarm_notifies_the_topic(stack: Deployed) -> None:
    """The emulator measures no queue and takes a measurement for that of every queue: each alarm rings here."""
    sqs, topic = stack.aws.client("sqs"), stack.environment["PIPELINE_ALERTS_TOPIC_ARN"]
    dead = {url.rpartition("/")[2] for url in sqs.list_queues()["QueueUrls"] if url.endswith("-dead-letters")}
    inbox = sqs.create_queue(QueueName="on-call")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=inbox, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allow = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    sqs.set_queue_attributes(QueueUrl=inbox, Attributes={"Policy": policy})
    subscription = stack.aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]
    metric, told = "ApproximateNumberOfMessagesVisible", {}

    def everybody_rang() -> bool:
        for message in sqs.receive_message(QueueUrl=inbox, MaxNumberOfMessages=10).get("Messages", ()):
            alarm = json.loads(json.loads(message["Body"])["Message"])
            told[alarm["AlarmName"]] = alarm
        return set(told) == dead

    try:
        cloudwatch = stack.aws.client("cloudwatch")
        cloudwatch.put_metric_data(Namespace="AWS/SQS", MetricData=[{"MetricName": metric, "Value": 1}])
        eventually(everybody_rang)
    finally:
        stack.aws.client("sns").unsubscribe(SubscriptionArn=subscription)
        sqs.delete_queue(QueueUrl=inbox)
    for name, alarm in told.items():
        assert alarm["NewStateValue"] == "ALARM"
        assert [dimension["Value"] for dimension in alarm["Trigger"]["Dimensions"]] == [name]


CATALOG = sorted(row.action for row in PERMISSIONS if row.role == "pipeline" and row.on == "lake catalog")
Inbox = Callable[[], list[str]]


@pytest.fixture
def inbox(stack: Deployed) -> Iterator[Inbox]:
    """The subjects of what the topic of the alerts sent since the last look."""
    sqs, sns = stack.aws.client("sqs"), stack.aws.client("sns")
    url = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allow = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    topic = stack.environment["PIPELINE_ALERTS_TOPIC_ARN"]
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]

    def look() -> list[str]:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", ())
        return [json.loads(message["Body"])["Subject"] for message in messages]

    yield look
    sns.unsubscribe(SubscriptionArn=subscription)
    sqs.delete_queue(QueueUrl=url)


def send_alert(stack: Deployed, folder: Path) -> None:
    aws, arn = Aws(REGION, stack.aws.url), stack.environment["PIPELINE_ALERTS_TOPIC_ARN"]
    topic = AlertTopic(aws, arn, AlertFile(folder / "alerts"))
    topic.send(Alert("error", "orders", "rejected", {}), datetime(2024, 1, 10))  # noqa: DTZ001


def registered_and_removed(stack: Deployed, folder: Path) -> Iterator[list[str]]:
    """The partitions that the catalog has after a first batch, after a change of columns, and after the last file."""
    database, table = stack.environment["PIPELINE_GLUE_DATABASE"], lake_table()
    place = {"DatabaseName": database, "TableName": table.contract.name}
    lake = S3Lake(region=REGION, endpoint_url=stack.aws.url, bucket_prefix=PREFIX)
    catalog, root = GlueCatalog(lake, Aws(REGION, stack.aws.url), database), stack.aws.client("glue")

    def registered() -> list[str]:
        catalog.register(table, ["2024-01-10"])
        return [partition["Values"][0] for partition in root.get_partitions(**place)["Partitions"]]

    (folder / "file").write_bytes(b"PAR1")
    uri = lake.publish(folder / "file", table.bucket, table.folder("2024-01-10") + "orders_1.parquet")
    try:
        yield registered()
        made = root.get_table(DatabaseName=database, Name=table.contract.name)["Table"]
        older = made["StorageDescriptor"] | {"Columns": made["StorageDescriptor"]["Columns"][:-1]}
        kept = {name: made[name] for name in ("Name", "PartitionKeys", "TableType", "Parameters") if name in made}
        root.update_table(DatabaseName=database, TableInput=kept | {"StorageDescriptor": older})
        yield registered()
        lake.delete([uri])
        yield registered()
    finally:
        lake.delete([uri])
        with contextlib.suppress(root.exceptions.EntityNotFoundException):
            root.delete_table(DatabaseName=database, Name=table.contract.name)


class TestThePipelinesRole:
    """It may do what the pipelines do, and nothing beside it."""

    def test_the_lake(self, as_pipelines: Deployed, tmp_path: Path) -> None:
        lake = S3Lake(region=REGION, endpoint_url=as_pipelines.aws.url, bucket_prefix=PREFIX)
        for bucket in ("customer-booking-data-pipeline", "movie-landing", "commerce-stream", "lz-snowflake"):
            source = tmp_path / "file"
            source.write_bytes(b"content" * 1_000_000)
            landed = lake.head(lake.publish(source, bucket, "staging/a"))
            assert landed is not None
            assert lake.fetch(landed, tmp_path).stat().st_size == 7_000_000
            uri = lake.move(bucket, "staging/a", "staging/b")
            assert [found.key for found in lake.list_objects(bucket, "staging/")] == ["staging/b"]
            lake.delete([uri])
            assert lake.head(uri) is None  # and not: forbidden

    def test_catalog_and_alerts(
        self, as_pipelines: Deployed, inbox: Inbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert list(registered_and_removed(as_pipelines, tmp_path)) == [["2024-01-10"], ["2024-01-10"], []]
        send_alert(as_pipelines, tmp_path)
        assert inbox() == ["[error] orders: rejected"]
        assert "Failed sending" not in caplog.text

    @pytest.mark.parametrize("action", CATALOG)
    def test_each_permission_of_the_catalog_is_missed(
        self, as_pipelines: Deployed, tmp_path: Path, action: str
    ) -> None:
        with (
            as_pipelines.without(action),
            pytest.raises(ConfigurationError, match=f"the permission {action} is missing"),
        ):
            list(registered_and_removed(as_pipelines, tmp_path))

    def test_without_the_permission_to_publish_no_alert_comes_and_the_log_says_why(
        self, as_pipelines: Deployed, inbox: Inbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An alert that cannot be sent fails no run, so only the inbox and the log can tell."""
        with as_pipelines.without("sns:Publish"):
            send_alert(as_pipelines, tmp_path)
        assert inbox() == []
        assert "the permission sns:Publish is missing" in caplog.text

    def test_the_job(self, as_pipelines: Deployed) -> None:
        glue = Aws(REGION, as_pipelines.aws.url).client("glue")
        job = as_pipelines.environment["PIPELINE_GLUE_JOB"]
        run = glue.start_job_run(JobName=job, Arguments={"--plan": "p", "--answer": "a"})["JobRunId"]
        eventually(lambda: glue.get_job_run(JobName=job, RunId=run)["JobRun"]["JobRunState"] == "SUCCEEDED")
        assert glue.get_job_runs(JobName=job, MaxResults=50)["JobRuns"]
        with pytest.raises(Exception, match="AccessDenied"):
            glue.update_job(JobName=job, JobUpdate={"Role": "arn:aws:iam::000000000000:role/other"})

    def test_a_permission_that_is_taken_away_is_missed_and_named(
        self, stack: Deployed, as_pipelines: Deployed, tmp_path: Path
    ) -> None:
        queue = stack.queue("reviews")
        queue.poll()
        with (
            stack.without("sqs:ReceiveMessage"),
            pytest.raises(PipelineError, match="the permission sqs:ReceiveMessage is missing"),
        ):
            queue.poll()

    @pytest.mark.parametrize(
        ("service", "operation", "arguments"),
        [
            ("s3", "delete_bucket", {"Bucket": f"{PREFIX}movie-landing"}),
            ("s3", "put_object", {"Bucket": f"{PREFIX}pipeline-artifacts", "Key": "glue/spark_job.py", "Body": b""}),
            ("s3", "put_object", {"Bucket": "somebody-elses", "Key": "a", "Body": b""}),
            ("secretsmanager", "put_secret_value", {"SecretId": "pipeline-assets/pipeline", "SecretString": "{}"}),
            ("sqs", "send_message", {"QueueUrl": "orders", "MessageBody": "{}"}),
            ("iam", "list_roles", {}),
            ("glue", "delete_database", {"Name": "pipeline_assets"}),
            ("cloudformation", "delete_stack", {"StackName": "pipeline-assets"}),
        ],
    )
    def test_it_may_not(self, as_pipelines: Deployed, service: str, operation: str, arguments: dict) -> None:
        if "QueueUrl" in arguments:
            arguments = arguments | {"QueueUrl": as_pipelines.queue("orders").url}
        if arguments.get("Bucket") == "somebody-elses":
            as_pipelines.aws.client("s3").create_bucket(
                Bucket="somebody-elses", CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        with pytest.raises(Exception, match=r"AccessDenied|not authorized"):
            getattr(Aws(REGION, as_pipelines.aws.url).client(service), operation)(**arguments)


@pytest.mark.parametrize(
    ("may", "misses"),
    [([], "DescribeStacks"), (["DescribeStacks"], "CreateChangeSet")],
)
def test_a_refused_deployment_names_the_missing_permission_and_where(
    stack: Deployed, as_pipelines: Deployed, may: list[str], misses: str
) -> None:
    iam, role = stack.aws.client("iam"), stack.role_arn.rpartition("/")[2]
    allow = {"Effect": "Allow", "Action": [f"cloudformation:{name}" for name in may], "Resource": "*"}
    if may:
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        iam.put_role_policy(RoleName=role, PolicyName="deploys", PolicyDocument=document)
    url = stack.aws.url
    settings = load_settings(aws_endpoint_url=url, s3_endpoint_url=url, aws_region=REGION, bucket_prefix=PREFIX)
    with pytest.raises(ConfigurationError) as error:
        deploy(settings, dry_run=True, say=print)
    assert str(error.value).endswith(
        f" the stack pipeline-assets in eu-west-1: the permission cloudformation:{misses} is missing. "
        f"Grant cloudformation:{misses} to the user who deploys, or check PIPELINE_AWS_REGION."
    )


def test_a_script_of_the_job_really_runs_where_the_harness_lets_it(stack: Deployed) -> None:
    """What the end-to-end test of the Glue engine builds on."""
    s3, bucket = stack.aws.client("s3"), stack.environment["PIPELINE_ARTIFACTS_BUCKET"]
    script = s3.get_object(Bucket=bucket, Key="glue/spark_job.py")["Body"].read()
    report = (
        "import sys, boto3, pipeline_assets\n"
        f"boto3.client('s3').put_object(Bucket={bucket!r}, Key='runs/argv', "
        "Body=repr([sys.argv[1:], pipeline_assets.__file__]).encode())\n"
    )
    s3.put_object(Bucket=bucket, Key="glue/spark_job.py", Body=report.encode())
    try:
        job = stack.environment["PIPELINE_GLUE_JOB"]
        stack.aws.let_glue_jobs_run(job)
        glue = stack.aws.client("glue")
        run = glue.start_job_run(JobName=job, Arguments={"--plan": "s3://a/b c", "--answer": "x"})["JobRunId"]
        eventually(lambda: glue.get_job_run(JobName=job, RunId=run)["JobRun"]["JobRunState"] == "SUCCEEDED")
    finally:
        s3.put_object(Bucket=bucket, Key="glue/spark_job.py", Body=script)
    argv, module = eval(stack.aws.path(bucket, "runs/argv").read_text())
    assert argv[argv.index("--plan") + 1] == "s3://a/b c"
    assert argv[argv.index("--answer") + 1] == "x"
    assert "pipeline_assets.zip" in module
