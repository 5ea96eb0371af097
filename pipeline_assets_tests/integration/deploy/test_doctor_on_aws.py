"""`doctor` against the AWS emulator, which enforces permissions: it passes with the pipelines' role, and names what is
missing from it, and only that.

Each row of the table is taken away from the role once; a try that does not notice is red here.
"""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.deploy.aws.permissions import PERMISSIONS, Permission
from pipeline_assets.deploy.aws.stack import deploy
from pipeline_assets.doctor.installation import CheckResult
from pipeline_assets.doctor.permission_probes import PROBES, probe_permissions
from pipeline_assets.doctor.probe_context import ProbeContext
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipelines import pipelines
from pipeline_assets.settings import Settings, load_settings
from pipeline_assets_tests.support.ministack import CREDENTIALS, REGION, MiniStack, ministack

pytestmark = pytest.mark.aws
PREFIX = "acme-"
ROWS = [row for row in PERMISSIONS if row.role == "pipeline"]


@dataclass(frozen=True)
class Deployed:
    """A stack, what `deploy` printed of it, and the role of the pipelines, whose credentials are in the environment."""

    aws: MiniStack
    environment: dict[str, str]
    policy: dict[str, Any]
    role_arn: str

    @property
    def role(self) -> str:
        return self.role_arn.rpartition("/")[2]

    def settings(self, **changes: object) -> Settings:
        given = {"aws_endpoint_url": self.aws.url, "s3_endpoint_url": self.aws.url, **self.of_the_stack()}
        given["glue_crawler"] = self.environment[
            "PIPELINE_STACK_NAME"
        ]  # the role may start it, whether it is there or not
        given["cloudwatch_metrics"] = True
        return load_settings(secret=False, **given | changes)

    def of_the_stack(self) -> dict[str, object]:
        names = {f"PIPELINE_{name.upper()}": name for name in Settings.model_fields}
        return {names[name]: value for name, value in self.environment.items() if name in names}

    def check_results(self, **changes: object) -> dict[str, CheckResult]:
        found = probe_permissions(self.settings(**changes), list(pipelines().values()))
        return {finding.what: finding for finding in found}

    @contextmanager
    def without(self, row: Permission) -> Iterator[None]:
        less = copy.deepcopy(self.policy)
        less["Statement"] = [s for s in less["Statement"] if self.reduced(s, row)]
        self.put(less)
        try:
            yield
        finally:
            self.put(self.policy)

    @staticmethod
    def reduced(statement: dict[str, Any], row: Permission) -> list[str]:
        """Take the row's action from the statement on its place; returns the actions that are left."""
        if statement["Sid"] == "".join(word.capitalize() for word in row.on.split()):
            statement["Action"] = [action for action in statement["Action"] if action != row.action]
        return statement["Action"]

    def put(self, policy: dict[str, Any]) -> None:
        iam = self.aws.client("iam")
        iam.put_role_policy(RoleName=self.role, PolicyName="needed", PolicyDocument=json.dumps(policy))


@pytest.fixture(scope="module")
def stack() -> Iterator[Deployed]:
    with ministack(auth=True) as aws, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        said: list[str] = []
        place = {"aws_endpoint_url": aws.url, "s3_endpoint_url": aws.url, "aws_region": REGION}
        deploy(load_settings(**place, bucket_prefix=PREFIX, profile="aws"), dry_run=False, say=said.append)
        lines = [shlex.split(line)[0] for line in said if not line.startswith("#")]
        environment = dict(line.split("=", 1) for line in lines)
        for pipeline in pipelines().values():  # as the first batches make them
            for table in pipeline.lake_tables:
                aws.client("glue").create_table(
                    DatabaseName=environment["PIPELINE_GLUE_DATABASE"], TableInput={"Name": table.contract.name}
                )
        role = aws.outputs()["PipelineRoleArn"]
        found = aws.client("iam").get_role_policy(RoleName=role.rpartition("/")[2], PolicyName="needed")
        secret = aws.client("secretsmanager").describe_secret(SecretId=environment["PIPELINE_SECRET_ID"])["ARN"]
        keys = aws.client("sts").assume_role(RoleArn=role, RoleSessionName="pipelines")["Credentials"]
        patch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
        patch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
        # Where the template refers to the secret, AWS gives its ARN and the emulator its name, which allows nothing.
        policy = json.dumps(found["PolicyDocument"]).replace(f'"{environment["PIPELINE_SECRET_ID"]}"', f'"{secret}"')
        policy = policy.replace(":crawler/", ":table/")  # what the emulator takes the name of a crawler for
        condition = {"StringEquals": {"cloudwatch:namespace": environment["PIPELINE_STACK_NAME"]}}
        assert f', "Condition": {json.dumps(condition)}' in policy
        policy = policy.replace(f', "Condition": {json.dumps(condition)}', "")  # the emulator does not know the key
        for url in json.loads(environment["PIPELINE_QUEUES"]).values():  # S3 rings itself when it is told of a queue
            aws.client("sqs").purge_queue(QueueUrl=url)
        deployed = Deployed(aws, environment, json.loads(policy), role)
        deployed.put(deployed.policy)
        yield deployed


def failed(check_results: dict[str, CheckResult]) -> list[str]:
    return [what for what, finding in check_results.items() if finding.passed is False]


def test_every_permission_of_the_pipelines_has_a_try() -> None:
    assert set(PROBES) == {(row.action, row.on) for row in ROWS}


def test_with_the_pipelines_role_everything_that_can_be_tried_passes(stack: Deployed) -> None:
    found = stack.check_results()
    assert failed(found) == []
    assert [what for what, f in found.items() if f.passed is not True or f.warns] == []
    assert "assumed-role" in found["AWS"].detail


ONE_OF_EACH_SERVICE = {row.action.partition(":")[0]: row for row in ROWS}


@pytest.mark.parametrize("row", ONE_OF_EACH_SERVICE.values(), ids=lambda row: row.action)
def test_a_permission_that_is_missing_is_named_and_no_other(stack: Deployed, row: Permission) -> None:
    with stack.without(row):
        found = stack.check_results()
    assert failed(found) == [f"{row.action} on {row.on}"]


@pytest.fixture(scope="module")
def clients(stack: Deployed) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.action} on {row.on}")
def test_each_try_notices_that_its_permission_is_missing(
    stack: Deployed, clients: dict[str, Any], row: Permission
) -> None:
    def attempt() -> str:
        bench = ProbeContext(stack.settings(), list(pipelines().values()), "role/x", clients=clients)
        return PROBES[row.action, row.on](bench, row)

    attempt()
    with stack.without(row), pytest.raises(ConfigurationError) as missing:
        attempt()
    assert f"the permission {row.action} is missing" in missing.value.message
    if row.action != "secretsmanager:GetSecretValue":  # the settings read it, and say so themselves
        assert row.purpose in missing.value.remedy
        assert "Grant it to role/x" in missing.value.remedy


def test_doctor_leaves_nothing_behind(stack: Deployed) -> None:
    def keys() -> set[str]:
        s3 = stack.aws.client("s3")
        pages = (s3.list_objects_v2(Bucket=found["Name"]) for found in s3.list_buckets()["Buckets"])
        return {entry["Key"] for page in pages for entry in page.get("Contents", ()) if "doctor" in entry["Key"]}

    before = keys()  # of those who might not delete
    stack.check_results()
    assert keys() == before
    glue, database = stack.aws.client("glue"), stack.environment["PIPELINE_GLUE_DATABASE"]
    tables = {table["Name"] for table in glue.get_tables(DatabaseName=database)["TableList"]}
    assert tables == {table.contract.name for pipeline in pipelines().values() for table in pipeline.lake_tables}


@pytest.mark.parametrize(
    ("setting", "value", "what", "told"),
    [
        ("bucket_prefix", "other-", "s3:ListBucket on data buckets", "There is no bucket other-"),
        ("artifacts_bucket", "gone", "s3:ListBucket on artifacts bucket", "There is no bucket gone."),
        ("alerts_topic_arn", "arn:aws:sns:eu-west-1:000000000000:gone", "sns:Publish on alerts topic", "no topic"),
        ("glue_job", "gone", "glue:StartJobRun on glue job", "There is no Glue job gone."),
        ("secret_id", "gone", "secretsmanager:GetSecretValue on secret", "no such secret in eu-west-1"),
        ("queues", {"orders": "{url}/000000000000/gone"}, "sqs:ReceiveMessage on queues", "There is no queue"),
    ],
)
def test_what_is_not_there_is_reported_apart_from_what_is_forbidden(
    stack: Deployed, setting: str, value: Any, what: str, told: str
) -> None:
    anything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    stack.put(anything)
    try:
        found = stack.check_results(**{setting: _filled(value, stack.aws.url)})
    finally:
        stack.put(stack.policy)
    assert failed(found) == [what]
    assert told in found[what].detail


def _filled(value: Any, url: str) -> Any:
    return json.loads(json.dumps(value).replace("{url}", url))


def test_dead_letters_are_a_warning_that_says_where_they_lie(stack: Deployed) -> None:
    sqs, url = stack.aws.client("sqs"), json.loads(stack.environment["PIPELINE_QUEUES"])["orders"]
    dead = f"{url}-dead-letters"
    sqs.send_message(QueueUrl=dead, MessageBody="nobody can read this")
    try:
        found = stack.check_results()
    finally:
        sqs.purge_queue(QueueUrl=dead)
    assert failed(found) == []
    (warned,) = [finding for finding in found.values() if finding.warns]
    assert warned.what == "sqs:GetQueueAttributes on queues"
    assert "1 messages wait in pipeline-assets-orders-dead-letters. What to do: docs/deploy.md" in warned.detail


def test_a_queue_without_dead_letters_has_none_waiting(stack: Deployed) -> None:
    sqs = stack.aws.client("sqs")
    url = sqs.create_queue(QueueName="pipeline-assets-plain")["QueueUrl"]
    try:
        found = stack.check_results(queues={"orders": url})
    finally:
        sqs.delete_queue(QueueUrl=url)
    assert failed(found) == []
    assert not found["sqs:GetQueueAttributes on queues"].warns


def test_no_crawler_is_started(stack: Deployed) -> None:
    """The name that is tried is one that the role may start and nobody has."""
    glue, name = stack.aws.client("glue"), stack.environment["PIPELINE_STACK_NAME"]
    glue.create_crawler(
        Name=name,
        Role=stack.role_arn,
        DatabaseName="x",
        Targets={"S3Targets": [{"Path": "s3://a/"}]},
    )
    try:
        found = stack.check_results()["glue:StartCrawler on crawler"]
        assert found.passed
        assert glue.get_crawler(Name=name)["Crawler"]["State"] == "READY"
    finally:
        glue.delete_crawler(Name=name)


def test_what_is_not_set_up_is_reported_as_that(stack: Deployed) -> None:
    unset = ("artifacts_bucket", "glue_job", "glue_crawler", "alerts_topic_arn", "secret_id")
    found = stack.check_results(**dict.fromkeys(unset), queues={})
    assert failed(found) == []
    untried = {what: f.detail for what, f in found.items() if f.passed is None}
    assert untried["sqs:ReceiveMessage on queues"] == "PIPELINE_QUEUES is not set: no queue, zones are listed"
    assert "alerts go to the log" in untried["sns:Publish on alerts topic"]
    assert "the embedded engine" in untried["glue:StartJobRun on glue job"]
    assert "comes from the environment" in untried["secretsmanager:GetSecretValue on secret"]


def test_another_account_and_another_region_are_named(stack: Deployed) -> None:
    found = stack.check_results(alerts_topic_arn="arn:aws:sns:us-east-1:111111111111:alerts")
    assert "names account 111111111111, the credentials are of account 000000000000" in found["account"].detail
    assert "names region us-east-1, PIPELINE_AWS_REGION eu-west-1" in found["region"].detail


def test_without_credentials_one_line_says_so(stack: Deployed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    found = stack.check_results()
    assert failed(found) == ["AWS"]
    assert "there are no AWS credentials" in found["AWS"].detail
    assert found["permissions"].passed is None
