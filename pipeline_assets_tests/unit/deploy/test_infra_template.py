"""infra/template.yaml: made from its list and its table, what every bucket has, who may write to which queue."""

from __future__ import annotations

import json

import pytest
import yaml

from pipeline_assets.deploy.aws.stack import parameters, template_body
from pipeline_assets.deploy.aws.template import ARTIFACTS, JOB_MODULES, infra_root, rendered, template
from pipeline_assets.deploy.inventory import data_buckets
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline import LandedFiles, Pipeline
from pipeline_assets.pipelines import PIPELINES, pipelines
from pipeline_assets.settings import PROJECT_ROOT, load_settings

MADE = yaml.safe_load((infra_root() / "template.yaml").read_text(encoding="utf-8"))
WEATHER = Pipeline("weather", bucket="weather-landing", sources=[LandedFiles("days", "in/*.csv")])
BUCKETS = {name: found for name, found in MADE["Resources"].items() if found["Type"] == "AWS::S3::Bucket"}


def test_the_committed_template_is_the_one_that_is_made() -> None:
    assert (infra_root() / "template.yaml").read_text(encoding="utf-8") == rendered()


def test_another_registry_makes_another_template() -> None:
    assert rendered([*PIPELINES, WEATHER]) != rendered()
    assert rendered(PIPELINES[1:]) != rendered()


def test_two_pipelines_do_not_share_a_bucket() -> None:
    twin = Pipeline("twin", bucket="weather-landing", sources=[LandedFiles("days", "days/*.csv")])
    with pytest.raises(ConfigurationError, match="weather and twin both have the bucket weather-landing"):
        data_buckets([WEATHER, twin])


def test_prefixes_within_watched_ones_are_watched_once() -> None:
    sources = [LandedFiles("days", "in/*.csv"), LandedFiles("hours", "in/hours/*.csv"), LandedFiles("all", "in/*.tsv")]
    (bucket,) = data_buckets([Pipeline("weather", bucket="weather-landing", sources=sources)])
    assert bucket.watched == ("in/",)


@pytest.mark.parametrize("logical_id", BUCKETS)
def test_every_bucket_is_encrypted_private_versioned_and_outlives_the_stack(logical_id: str) -> None:
    bucket = BUCKETS[logical_id]
    properties = bucket["Properties"]
    assert bucket["DeletionPolicy"] == "RetainExceptOnCreate"
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert "AES256" in json.dumps(properties["BucketEncryption"])
    rules = {rule["Id"] for rule in properties["LifecycleConfiguration"]["Rules"]}
    assert {"incomplete-uploads", "old-versions"} <= rules
    assert "aws:SecureTransport" in json.dumps(MADE["Resources"][f"{logical_id}Policy"])


def test_only_the_archive_and_processed_objects_go_to_glacier() -> None:
    archived = {
        (name, rule.get("Prefix"))
        for name, bucket in BUCKETS.items()
        for rule in bucket["Properties"]["LifecycleConfiguration"]["Rules"]
        if "GLACIER" in json.dumps(rule)
    }
    assert archived == {
        ("MovieArchiveBucket", None),
        ("CommerceStreamBucket", "firehose/customers/processed/"),
        ("CommerceStreamBucket", "firehose/orders/processed/"),
    }


def test_every_bucket_that_a_pipeline_lists_or_writes_is_in_the_list() -> None:
    listed = {bucket.name: bucket for bucket in data_buckets()}
    for pipeline in pipelines().values():
        assert listed[pipeline.bucket].pipeline == pipeline.name
        for table in pipeline.lake_tables:
            assert listed[table.bucket].pipeline == pipeline.name
        for source in pipeline.sources:
            bucket = listed[source.zone.bucket]
            assert bucket.pipeline == pipeline.name
            assert any(source.zone.prefix.startswith(prefix) for prefix in bucket.watched), source.name


def test_watched_prefixes_of_a_bucket_do_not_overlap() -> None:
    """S3 refuses two notifications for one kind of event whose prefixes overlap."""
    for bucket in data_buckets():
        for prefix in bucket.watched:
            assert not any(prefix.startswith(other) for other in bucket.watched if other != prefix)


def test_a_queue_takes_messages_of_its_own_buckets_in_this_account_only() -> None:
    (statement,) = MADE["Resources"]["OrdersQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    sources = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
    assert sources == [{"Fn::Sub": "arn:${AWS::Partition}:s3:::${BucketPrefix}orders-source"}]
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_every_dead_letter_queue_has_an_alarm_that_notifies_the_topic() -> None:
    queues = {name for name in MADE["Resources"] if name.endswith("QueueDeadLetters")}
    redriven = {
        queue["Properties"]["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
        for queue in MADE["Resources"].values()
        if queue["Type"] == "AWS::SQS::Queue" and "RedrivePolicy" in queue["Properties"]
    }
    alarms = [found["Properties"] for found in MADE["Resources"].values() if found["Type"] == "AWS::CloudWatch::Alarm"]
    watched = {alarm["Dimensions"][0]["Value"]["Fn::GetAtt"][0] for alarm in alarms}
    assert queues == redriven == watched
    assert len(queues) == len(alarms) >= 5
    for alarm in alarms:
        assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
        assert alarm["AlarmActions"] == [{"Ref": "AlertsTopic"}]


def test_of_services_only_the_alarms_of_this_stack_may_publish_alerts() -> None:
    (statement,) = MADE["Resources"]["AlertsTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert (statement["Action"], statement["Resource"]) == ("sns:Publish", {"Ref": "AlertsTopic"})
    assert statement["Condition"]["ArnLike"]["aws:SourceArn"]["Fn::Sub"].endswith(":alarm:${AWS::StackName}-*")
    # A key of KMS would have to let CloudWatch use it, which Amazon's own does not.
    assert "KmsMasterKeyId" not in MADE["Resources"]["AlertsTopic"]["Properties"]


def test_the_secret_has_no_value() -> None:
    assert not {"SecretString", "GenerateSecretString"} & set(MADE["Resources"]["PipelineSecret"]["Properties"])


# Metrics have no ARN.
IN_THE_NAMESPACE = {"StringEquals": {"cloudwatch:namespace": {"Fn::Sub": "${AWS::StackName}"}}}


def test_no_role_may_do_everything_on_anything() -> None:
    for name, resource in MADE["Resources"].items():
        for policy in resource["Properties"].get("Policies", ()) if resource["Type"] == "AWS::IAM::Role" else ():
            for statement in policy["PolicyDocument"]["Statement"]:
                assert not [action for action in statement["Action"] if "*" in action], name
                is_limited = statement["Condition"] == IN_THE_NAMESPACE if "Condition" in statement else False
                assert is_limited or "*" not in statement["Resource"], name
            # IAM counts the characters of all inline policies of a role together, without blanks.
            assert len(json.dumps(policy["PolicyDocument"], separators=(",", ":"))) < 10_240


def test_the_producer_may_deliver_to_the_declared_streams_and_nothing_else() -> None:
    (policy,) = MADE["Resources"]["ProducerRole"]["Properties"]["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["firehose:PutRecordBatch"]
    arns = [resource["Fn::Sub"].rpartition("/")[2] for resource in statement["Resource"]]
    assert arns == ["${AWS::StackName}-customers", "${AWS::StackName}-orders"]


def test_the_job_gets_the_versions_that_we_test_with() -> None:
    pinned = (PROJECT_ROOT / "constraints.txt").read_text().splitlines()
    assert [module for module in JOB_MODULES if module not in pinned] == []


def test_a_sixth_pipeline_is_an_entry_of_the_registry() -> None:
    made = template([*PIPELINES, WEATHER])
    queues = {"WeatherQueue", "WeatherQueueDeadLetters", "WeatherQueueDeadLettersAlarm"}
    assert {"WeatherLandingBucket", *queues} <= set(made["Resources"])
    assert "WeatherQueue" in made["Outputs"]
    assert "weather-landing" in json.dumps(made["Resources"]["PipelineRole"])


class TestWhatIsSent:
    """Names are literals in it, as CloudFormation takes over only what has one."""

    def test_buckets_are_named(self) -> None:
        sent = json.loads(template_body("acme-"))["Resources"]
        names = [found["Properties"]["BucketName"] for found in sent.values() if found["Type"] == "AWS::S3::Bucket"]
        assert sorted(names) == sorted(f"acme-{name}" for name in (*(b.name for b in data_buckets()), ARTIFACTS))

    def test_it_has_a_value_for_every_parameter(self) -> None:
        assert set(parameters(load_settings())) == set(MADE["Parameters"])

    def test_plain_http_is_refused_except_by_an_emulator(self) -> None:
        assert parameters(load_settings())["RequireTls"] == "true"
        assert parameters(load_settings(aws_endpoint_url="http://127.0.0.1:1"))["RequireTls"] == "false"

    def test_a_prefix_that_makes_names_too_long_is_refused_before_anything_is_asked(self) -> None:
        from pipeline_assets.deploy.aws.stack import deploy

        with pytest.raises(ConfigurationError, match="63 characters"):
            deploy(load_settings(bucket_prefix="x" * 40), dry_run=True, say=print)
