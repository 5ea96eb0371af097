"""Buckets that were there before the stack: what they hold stays, their settings become those of the template."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline_assets.aws import Aws
from pipeline_assets.deploy.aws import bucket_settings, stack
from pipeline_assets.deploy.aws.change_sets import Stack
from pipeline_assets.errors import ConfigurationError, DeploymentError
from pipeline_assets.settings import Settings
from pipeline_assets_tests.support.deployed_stack import buckets_of, deployed, occupy_job, stack_of
from pipeline_assets_tests.support.ministack import REGION, MiniStack

pytestmark = pytest.mark.aws
OLD = "acme-orders-source"


@pytest.fixture
def aws(aws: MiniStack) -> MiniStack:
    """With a bucket of an earlier system: nothing is set on it but a rule of its own."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=OLD, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.delete_public_access_block(Bucket=OLD)
    rule = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3}}
    s3.put_bucket_lifecycle_configuration(Bucket=OLD, LifecycleConfiguration={"Rules": [rule]})
    s3.put_object(Bucket=OLD, Key="incoming/old.json", Body=b"[]")
    return aws


@pytest.fixture
def _with_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator speaks plain HTTP, for which no policies are made; it does not enforce them here."""
    made = stack.parameters
    monkeypatch.setattr(stack, "parameters", lambda settings: made(settings) | {"RequireTls": "true"})


def settings_of(aws: MiniStack, bucket: str) -> dict[str, Any]:
    s3 = aws.client("s3")
    notification = s3.get_bucket_notification_configuration(Bucket=bucket)
    return {
        "versioning": s3.get_bucket_versioning(Bucket=bucket).get("Status"),
        "public": s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"],
        "rules": s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"],
        "queues": [entry["QueueArn"] for entry in notification.get("QueueConfigurations", ())],
    }


def test_a_bucket_that_is_taken_over_gets_the_settings_of_the_template(aws: MiniStack, settings: Settings) -> None:
    """CloudFormation records it as it is, and finds no change ever after."""
    said = deployed(settings)
    assert "# import  OrdersSourceBucket AWS::S3::Bucket" in said
    found = settings_of(aws, OLD)
    assert found["versioning"] == "Enabled"
    assert set(found["public"].values()) == {True}
    assert {rule["ID"] for rule in found["rules"]} == {
        "incomplete-uploads",
        "old-versions",
        "expire-staging",
        "old-leases",
    }
    assert found["queues"] == ["arn:aws:sqs:eu-west-1:000000000000:pipeline-assets-orders"]
    assert aws.path(OLD, "incoming/old.json").read_bytes() == b"[]"
    assert deployed(settings)[0] == "# pipeline-assets: no change"


def test_what_a_setting_was_is_reported(aws: MiniStack, settings: Settings) -> None:
    """It stands nowhere else afterwards."""
    (line,) = [line for line in deployed(settings) if line.startswith(f"# setting {OLD}: lifecycle")]
    was = json.loads(line.partition(", was ")[2])
    assert [(rule["ID"], rule["Expiration"]) for rule in was["Rules"]] == [("theirs", {"Days": 3})]


def test_a_dry_run_tells_and_leaves_them(aws: MiniStack, settings: Settings) -> None:
    said = deployed(settings, dry_run=True)
    assert "# import  OrdersSourceBucket AWS::S3::Bucket" in said
    told = [line.split(",")[0] for line in said if line.startswith("# setting")]
    assert f"# setting {OLD}: versioning" in told
    assert f"# setting {OLD}: notification" in told
    assert aws.client("s3").get_bucket_versioning(Bucket=OLD).get("Status") is None
    assert buckets_of(aws) == {OLD}


def test_a_deployment_that_ended_before_the_settings_is_made_good_by_the_next(
    aws: MiniStack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stack.bucket_settings, "find_drift", _stop)
        with pytest.raises(KeyboardInterrupt):
            deployed(settings)
    said = deployed(settings)
    assert any(line.startswith(f"# setting {OLD}: versioning") for line in said)
    assert settings_of(aws, OLD)["versioning"] == "Enabled"


def test_a_setting_that_somebody_changed_is_put_back_and_reported(aws: MiniStack, settings: Settings) -> None:
    deployed(settings)
    aws.client("s3").put_bucket_versioning(Bucket=OLD, VersioningConfiguration={"Status": "Suspended"})
    assert deployed(settings)[0] == f'# setting {OLD}: versioning, was {{"Status": "Suspended"}}'
    assert settings_of(aws, OLD)["versioning"] == "Enabled"


GIVEN_BACK = {
    "encryption": {
        "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]
    },
    "lifecycle": {
        "TransitionDefaultMinimumObjectSize": "all_storage_classes_128K",
        "Rules": [
            {"ID": "b", "Status": "Enabled", "Prefix": "staging/", "Expiration": {"Days": 7}},
            {
                "ID": "a",
                "Status": "Enabled",
                "Filter": {},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
            },
        ],
    },
    "notification": {
        "QueueConfigurations": [
            {
                "Id": "ZTA1Mzg",
                "QueueArn": "arn:aws:sqs:eu-west-1:1:pipeline-assets-orders",
                "Events": ["s3:ObjectCreated:*"],
                "Filter": {"Key": {"FilterRules": [{"Name": "Prefix", "Value": "incoming/"}]}},
            }
        ]
    },
}
PROPERTIES = {
    "BucketEncryption": {
        "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    },
    "LifecycleConfiguration": {
        "Rules": [
            {"Id": "a", "Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}},
            {"Id": "b", "Status": "Enabled", "Prefix": "staging/", "ExpirationInDays": 7},
        ]
    },
    "NotificationConfiguration": {
        "QueueConfigurations": [
            {
                "Event": "s3:ObjectCreated:*",
                "Queue": "arn:aws:sqs:eu-west-1::pipeline-assets-orders",
                "Filter": {"S3Key": {"Rules": [{"Name": "prefix", "Value": "incoming/"}]}},
            }
        ]
    },
}


@pytest.mark.parametrize("name", GIVEN_BACK)
def test_what_s3_gives_back_of_the_same_is_no_difference(name: str) -> None:
    """The emulator gives back what it was given; S3 adds to it and writes it otherwise."""
    (setting,) = [setting for setting in bucket_settings.SETTINGS if setting.name == name]
    wanted, given_back = setting.wanted(PROPERTIES), GIVEN_BACK[name]
    assert setting.form(wanted) == setting.form(given_back)
    other = json.loads(json.dumps(given_back).replace("AES256", "aws:kms").replace("ing/", "ed/"))
    assert setting.form(wanted) != setting.form(other)


@pytest.mark.usefixtures("_with_policies")
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_bucket_with_a_policy_of_its_own_is_refused_before_anything_is_made(
    aws: MiniStack, settings: Settings, dry_run: bool
) -> None:
    """CloudFormation would make everything, meet the policy and roll back."""
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteBucket", "Resource": f"arn:aws:s3:::{OLD}"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    aws.client("s3").put_bucket_policy(Bucket=OLD, Policy=policy)
    with pytest.raises(ConfigurationError, match=f"taking over {OLD}: .*delete-bucket-policy") as error:
        deployed(settings, dry_run=dry_run)
    assert "\n" not in str(error.value)
    assert buckets_of(aws) == {OLD}
    assert Stack(Aws(REGION, aws.url), "pipeline-assets", say=print)._find() is None
    aws.client("s3").delete_bucket_policy(Bucket=OLD)
    deployed(settings, dry_run=dry_run)


class EarlyValidation:
    """CloudFormation as it is documented where the emulator differs: a name that is taken fails the planning itself."""

    def __init__(self, client: Any, taken: list[tuple[str, str]]) -> None:
        self._client, self._taken, self._validated = client, taken, set[str]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_change_set(self, **asked: Any) -> Any:
        if not asked["DisableValidation"]:
            self._validated.add(asked["ChangeSetName"])
        return self._client.create_change_set(**asked)

    def describe_change_set(self, **asked: Any) -> Any:
        found = self._client.describe_change_set(**asked)
        if asked["ChangeSetName"] in self._validated and found["Status"] == "CREATE_COMPLETE":
            check = "AWS::EarlyValidation::ResourceExistenceCheck"
            found |= {"Status": "FAILED", "StatusReason": f"The following validation failed: [{check}]."}
        return found

    def get_paginator(self, name: str) -> Any:
        return self if name == "describe_events" else self._client.get_paginator(name)

    def paginate(self, StackName: str, ChangeSetName: str) -> Iterator[dict[str, Any]]:
        self._client.describe_change_set(StackName=StackName, ChangeSetName=ChangeSetName)  # it is there still
        said = {"ValidationStatusReason": "a resource of that name already exists", "ValidationFailureMode": "FAIL"}
        yield {"OperationEvents": [{"EventType": "STACK_EVENT", "LogicalResourceId": "x", "ResourceType": "y"}]}
        for logical_id, of in self._taken:
            yield {"OperationEvents": [{"LogicalResourceId": logical_id, "ResourceType": of, **said}]}


def validating_early(monkeypatch: pytest.MonkeyPatch, *taken: tuple[str, str]) -> None:
    make = Aws.client

    def client(aws: Aws, service: str, **more: Any) -> Any:
        made = make(aws, service, **more)
        return EarlyValidation(made, list(taken)) if service == "cloudformation" else made

    monkeypatch.setattr(Aws, "client", client)


def test_names_that_are_taken_are_reported_though_the_planning_names_the_check_only(
    aws: MiniStack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, job = ("OrdersSourceBucket", "AWS::S3::Bucket"), ("GlueJob", "AWS::Glue::Job")
    occupy_job(aws, "pipeline-assets")
    validating_early(monkeypatch, bucket, job)
    with pytest.raises(DeploymentError, match=r"GlueJob \(AWS::Glue::Job\): a resource of that name already exists"):
        deployed(settings)
    assert buckets_of(aws) == {OLD}


def test_buckets_that_can_be_taken_over_are_no_names_that_are_taken(
    aws: MiniStack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    validating_early(monkeypatch, ("OrdersSourceBucket", "AWS::S3::Bucket"))
    deployed(settings)
    assert stack_of(aws)["StackStatus"] == "CREATE_COMPLETE"


def test_a_bucket_of_another_account_is_one_that_is_taken(
    aws: MiniStack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = aws.client("s3", {"AccessKeyId": "111111111111", "SecretAccessKey": "test"})
    other.create_bucket(Bucket="acme-lz-snowflake", CreateBucketConfiguration={"LocationConstraint": REGION})
    validating_early(monkeypatch, ("OrdersSourceBucket", "AWS::S3::Bucket"), ("LzSnowflakeBucket", "AWS::S3::Bucket"))
    with pytest.raises(DeploymentError, match=r"LzSnowflakeBucket.* already exists"):
        deployed(settings)
    assert buckets_of(aws) == {OLD}


def _stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
