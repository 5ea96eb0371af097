"""`pipeline-assets deploy aws` against the AWS emulator, over HTTP: create, change, fail, delete, take over."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from pipeline_assets.aws import Aws
from pipeline_assets.deploy.aws import change_sets, glue_artifacts, stack
from pipeline_assets.deploy.aws.change_sets import Stack
from pipeline_assets.deploy.aws.stack import remove
from pipeline_assets.deploy.aws.template import ARTIFACTS, infra_root
from pipeline_assets.deploy.inventory import data_buckets
from pipeline_assets.errors import ConfigurationError, DeploymentError
from pipeline_assets.pipelines import pipelines
from pipeline_assets.settings import Settings, load_settings
from pipeline_assets_tests.support.command_line import process
from pipeline_assets_tests.support.deployed_stack import buckets_of, configured, deployed, occupy_job, stack_of
from pipeline_assets_tests.support.ministack import REGION, MiniStack

pytestmark = pytest.mark.aws


def printed_environment(said: list[str]) -> dict[str, str]:
    lines = [shlex.split(line)[0] for line in said if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


ALL_BUCKETS = {f"acme-{name}" for name in (*(bucket.name for bucket in data_buckets()), ARTIFACTS)}


class TestDeploying:
    def test_it_makes_everything_and_prints_the_environment(self, aws: MiniStack, settings: Settings) -> None:
        said = deployed(settings)
        found, role = printed_environment(said), aws.outputs()["PipelineRoleArn"]
        assert stack_of(aws)["StackStatus"] == "CREATE_COMPLETE"
        assert buckets_of(aws) == ALL_BUCKETS
        queues = json.loads(found["PIPELINE_QUEUES"])
        # A pipeline that the platform does not know yet has its queue already, and is not named to it.
        assert set(queues) == set(pipelines())
        existing = set(aws.client("sqs").list_queues()["QueueUrls"])
        assert set(queues.values()) <= existing
        assert len(existing) == 10
        job = aws.client("glue").get_job(JobName=found["PIPELINE_GLUE_JOB"])["Job"]
        assert (job["Command"]["Name"], job["GlueVersion"]) == ("glueetl", "5.0")
        assert aws.client("glue").get_database(Name=found["PIPELINE_GLUE_DATABASE"])
        assert aws.client("sns").get_topic_attributes(TopicArn=found["PIPELINE_ALERTS_TOPIC_ARN"])
        assert aws.client("iam").get_role(RoleName=role.rpartition("/")[2])
        assert said[-1] == f"# the machines that run the pipelines assume the role {role}"
        # The emulator says the ARN where AWS says the name.
        profile = said[-2].removeprefix("# EC2 machines need the instance profile ").rpartition("/")[2]
        (taken,) = aws.client("iam").get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"]
        assert taken["Arn"] == role
        assert aws.client("secretsmanager").describe_secret(SecretId=found["PIPELINE_SECRET_ID"])
        block = aws.client("s3").get_public_access_block(Bucket="acme-lz-snowflake")["PublicAccessBlockConfiguration"]
        assert set(block.values()) == {True}

    def test_what_it_prints_is_read_by_a_shell_and_by_the_settings(
        self, aws: MiniStack, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        printed = printed_environment(deployed(settings))
        for name, value in printed.items():
            monkeypatch.setenv(name, value)
        ours = {name.removeprefix("PIPELINE_").lower() for name in printed if name.startswith("PIPELINE_")}
        assert ours <= set(Settings.model_fields)
        instance = (infra_root() / "dagster.yaml").read_text(encoding="utf-8")
        assert [name for name in printed if not name.startswith("PIPELINE_") and name not in instance] == []
        monkeypatch.setenv("PIPELINE_AWS_ENDPOINT_URL", aws.url)  # the secret that they name is read there
        again = load_settings()
        assert (again.profile, again.glue_job, again.artifacts_bucket) == (
            "aws",
            "pipeline-assets",
            "acme-pipeline-artifacts",
        )
        assert again.alerts_topic_arn == "arn:aws:sns:eu-west-1:000000000000:pipeline-assets-alerts"

    def test_script_and_package_lie_where_the_job_looks(self, aws: MiniStack, settings: Settings) -> None:
        deployed(settings)
        job = aws.client("glue").get_job(JobName="pipeline-assets")["Job"]
        for place in (job["Command"]["ScriptLocation"], job["DefaultArguments"]["--extra-py-files"]):
            bucket, _, key = place.removeprefix("s3://").partition("/")
            assert (
                aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read() == (glue_artifacts.job_files()[key])
            )

    def test_a_second_deployment_changes_and_writes_nothing(self, aws: MiniStack, settings: Settings) -> None:
        first = printed_environment(deployed(settings))
        written = aws.client("s3").head_object(Bucket="acme-pipeline-artifacts", Key="glue/spark_job.py")
        said = deployed(settings)
        assert said[0] == "# pipeline-assets: no change"
        assert printed_environment(said) == first
        again = aws.client("s3").head_object(Bucket="acme-pipeline-artifacts", Key="glue/spark_job.py")
        assert again["VersionId"] == written["VersionId"]
        assert not aws.client("cloudformation").list_change_sets(StackName="pipeline-assets")["Summaries"]

    def test_changed_code_alone_is_uploaded_alone(
        self, aws: MiniStack, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deployed(settings)
        files = glue_artifacts.job_files()
        monkeypatch.setattr(glue_artifacts, "job_files", lambda: files | {"glue/spark_job.py": b"print(1)"})
        said = deployed(settings)
        assert said[0] == "# upload  s3://acme-pipeline-artifacts/glue/spark_job.py"
        assert aws.path("acme-pipeline-artifacts", "glue/spark_job.py").read_bytes() == b"print(1)"

    def test_a_changed_setting_changes_what_it_concerns(self, aws: MiniStack, settings: Settings) -> None:
        deployed(settings)
        said = deployed(configured(aws, alerts_email="on-call@example.com"))
        # The emulator says "modify" of a resource whose condition became true.
        (change,) = [line for line in said if " AWS::" in line]
        assert "AlertsByMail AWS::SNS::Subscription" in change
        topic = "arn:aws:sns:eu-west-1:000000000000:pipeline-assets-alerts"
        (subscribed,) = aws.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        assert subscribed["Endpoint"] == "on-call@example.com"

    def test_what_was_learned_survives_a_deployment_from_a_shell_that_does_not_know_it(self, aws: MiniStack) -> None:
        """Without the user of the storage integration its role trusts nobody, and every COPY is refused."""
        learned = {
            "snowflake_storage_user_arn": "arn:aws:iam::999999999999:user/snowflake",
            "snowflake_storage_external_id": "ACME_SFCRole=1_x=",
            "host_principal_arn": "arn:aws:iam::000000000000:role/host",
            "alerts_email": "on-call@example.com",
        }
        said = deployed(configured(aws, **learned))
        printed = printed_environment(said)
        assert "instance profile" not in "".join(said)  # of a role that EC2 may not take
        assert {f"PIPELINE_{name.upper()}": value for name, value in learned.items()}.items() <= printed.items()
        said = deployed(configured(aws))
        assert said[0] == "# pipeline-assets: no change"
        assert printed_environment(said) == printed
        deployed(configured(aws, glue_crawler="pipeline-assets"))  # nor do they go with a change of something else
        parameters = {p["ParameterKey"]: p["ParameterValue"] for p in stack_of(aws)["Parameters"]}
        assert set(learned.values()) <= set(parameters.values())

    def test_what_was_learned_is_forgotten_on_request(self, aws: MiniStack) -> None:
        deployed(configured(aws, alerts_email="on-call@example.com"))
        printed = printed_environment(deployed(configured(aws, alerts_email="none")))
        assert "PIPELINE_ALERTS_EMAIL" not in printed
        topic = printed["PIPELINE_ALERTS_TOPIC_ARN"]
        assert aws.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []

    def test_a_dry_run_says_what_would_change_and_leaves_nothing(self, aws: MiniStack, settings: Settings) -> None:
        said = deployed(settings, dry_run=True)
        assert "# add     OrdersSourceBucket AWS::S3::Bucket" in said
        assert said[-1] == "# dry run: nothing was changed in eu-west-1"
        assert not printed_environment(said)
        assert buckets_of(aws) == set()
        left = aws.client("cloudformation").describe_stacks()["Stacks"]
        assert [stack for stack in left if stack["StackStatus"] != "DELETE_COMPLETE"] == []

    def test_a_dry_run_of_a_change_leaves_the_stack_as_it_is(self, aws: MiniStack, settings: Settings) -> None:
        deployed(settings)
        said = deployed(configured(aws, alerts_email="on-call@example.com"), dry_run=True)
        assert "AlertsByMail AWS::SNS::Subscription" in said[0]
        assert deployed(settings)[0] == "# pipeline-assets: no change"

    def test_the_command(self, aws: MiniStack, tmp_path: Path) -> None:
        found = process(tmp_path, "deploy", "aws", "--dry-run", env=aws.environment)
        assert found.returncode == 0, found.stderr
        assert "# add     OrdersSourceBucket AWS::S3::Bucket" in found.stdout


class TestFailing:
    def test_a_resource_that_cannot_be_made_is_named_with_its_reason(self, aws: MiniStack, settings: Settings) -> None:
        occupy_job(aws, "pipeline-assets")
        with pytest.raises(DeploymentError, match=r"GlueJob \(AWS::Glue::Job\): .*already exists") as error:
            deployed(settings)
        assert "\n" not in str(error.value)
        assert str(error.value).endswith("what CloudFormation had begun was rolled back.")

    def test_a_first_deployment_that_failed_is_deleted_and_made_again(self, aws: MiniStack, settings: Settings) -> None:
        """The name of a bucket is another account's."""
        other = aws.client("s3", {"AccessKeyId": "111111111111", "SecretAccessKey": "test"})
        other.create_bucket(Bucket="acme-lz-snowflake", CreateBucketConfiguration={"LocationConstraint": REGION})
        with pytest.raises(DeploymentError, match=r"LzSnowflakeBucket \(AWS::S3::Bucket\): .*already exists"):
            deployed(settings)
        assert buckets_of(aws) == set()  # buckets that were only just made do not stay
        assert stack_of(aws)["StackStatus"] == "ROLLBACK_COMPLETE"
        with pytest.raises(ConfigurationError, match="in the way of a dry run"):
            deployed(settings, dry_run=True)
        other.delete_bucket(Bucket="acme-lz-snowflake")
        said = deployed(settings)
        assert "its remains are deleted" in said[0]
        assert stack_of(aws)["StackStatus"] == "CREATE_COMPLETE"

    def test_a_change_that_fails_leaves_what_there_was(
        self, aws: MiniStack, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deployed(settings)
        occupy_job(aws, "taken")
        made = json.loads(stack.template_body("acme-"))
        made["Resources"]["Taken"] = json.loads(json.dumps(made["Resources"]["GlueJob"]))
        made["Resources"]["Taken"]["Properties"]["Name"] = "taken"
        made["Resources"]["AlertsTopic"]["Properties"]["DisplayName"] = "other"
        monkeypatch.setattr(stack, "template_body", lambda prefix: json.dumps(made))
        with pytest.raises(DeploymentError, match=r"Taken \(AWS::Glue::Job\)"):
            deployed(settings)
        assert stack_of(aws)["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
        topic = "arn:aws:sns:eu-west-1:000000000000:pipeline-assets-alerts"
        assert aws.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"].get("DisplayName") != "other"

    def test_a_template_that_is_refused_leaves_no_empty_stack(self, aws: MiniStack, settings: Settings) -> None:
        stack = Stack(Aws(REGION, aws.url), "refused", say=print)
        with pytest.raises(Exception, match="refused"):
            stack.apply('{"Resources": {"A": {"Type": "AWS::No::Such"}}}', {}, dry_run=False)
        assert stack.outputs() == {}

    def test_nobody_there_is_one_line_that_names_the_address(self, aws: MiniStack) -> None:
        settings = configured(aws, aws_endpoint_url="http://127.0.0.1:1")
        Stack(Aws(REGION, "http://127.0.0.1:1"), "x", say=print)
        with pytest.raises(Exception, match="Could not connect to the endpoint") as error:
            deployed(settings)
        assert "\n" not in str(error.value)

    def test_waiting_has_an_end(self, aws: MiniStack, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stack that never settles: the message says that CloudFormation goes on."""
        monkeypatch.setattr(Stack, "_find", lambda *_: {"StackStatus": "UPDATE_IN_PROGRESS", "StackId": "x"})
        seconds = iter(range(0, 10_000, 60))
        pauses: list[float] = []
        stack = Stack(
            Aws(REGION, aws.url), "x", say=print, patience=600, sleep=pauses.append, clock=lambda: next(seconds)
        )
        with pytest.raises(DeploymentError, match="After 10 minutes x has not ended UPDATE_IN_PROGRESS"):
            stack.delete()
        assert len(pauses) == 10
        assert max(pauses) <= change_sets._PAUSES[1] * 1.3

    def test_a_deployment_under_way_is_waited_for(
        self, aws: MiniStack, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deployed(settings)
        find, busy = Stack._find, iter([{"StackStatus": "UPDATE_IN_PROGRESS", "StackId": "pipeline-assets"}] * 3)
        monkeypatch.setattr(Stack, "_find", lambda stack, name=None: next(busy, None) or find(stack, name))
        said = deployed(settings)
        assert said[0] == "# UPDATE_IN_PROGRESS is under way on pipeline-assets; waiting for its end."
        assert "# pipeline-assets: no change" in said

    def test_stopped_while_planning_nothing_is_left(
        self, aws: MiniStack, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Stack, "_changes", stop)
        with pytest.raises(KeyboardInterrupt):
            deployed(settings)
        assert Stack(Aws(REGION, aws.url), "pipeline-assets", say=print)._find() is None


class TestDeleting:
    def test_an_empty_platform_goes_whole(self, aws: MiniStack, settings: Settings) -> None:
        deployed(settings)
        said: list[str] = []
        remove(settings, say=said.append)
        assert buckets_of(aws) == set()
        assert aws.client("sqs").list_queues().get("QueueUrls", []) == []
        assert said[-1] == "# pipeline-assets: deleted"

    def test_deleting_again_is_no_error(self, aws: MiniStack, settings: Settings) -> None:
        said: list[str] = []
        remove(settings, say=said.append)
        assert said == ["# pipeline-assets: there is no such stack"]

    def test_what_landed_stays_and_the_next_deployment_takes_it_over(self, aws: MiniStack, settings: Settings) -> None:
        deployed(settings)
        aws.client("s3").put_object(Bucket="acme-orders-source", Key="incoming/orders.json", Body=b"[]")
        said: list[str] = []
        remove(settings, say=said.append)
        assert buckets_of(aws) == {"acme-orders-source"}
        assert said[0].startswith("# acme-orders-source holds objects")
        said = deployed(settings)
        assert "# import  OrdersSourceBucket AWS::S3::Bucket" in said
        assert stack_of(aws)["StackStatus"] == "CREATE_COMPLETE"
        kept = aws.client("s3").get_object(Bucket="acme-orders-source", Key="incoming/orders.json")["Body"].read()
        assert kept == b"[]"
        assert deployed(settings)[0] == "# pipeline-assets: no change"

    def test_a_takeover_that_fails_leaves_what_landed(self, aws: MiniStack, settings: Settings) -> None:
        deployed(settings)
        aws.client("s3").put_object(Bucket="acme-orders-source", Key="incoming/orders.json", Body=b"[]")
        remove(settings, say=print)
        occupy_job(aws, "pipeline-assets")
        with pytest.raises(DeploymentError, match="GlueJob"):
            deployed(settings)
        assert aws.path("acme-orders-source", "incoming/orders.json").read_bytes() == b"[]"
        aws.client("glue").delete_job(JobName="pipeline-assets")
        deployed(settings)
        kept = aws.client("s3").get_object(Bucket="acme-orders-source", Key="incoming/orders.json")["Body"].read()
        assert kept == b"[]"

    def test_old_versions_count_as_data(self, aws: MiniStack, settings: Settings) -> None:
        """Somebody deleted the object; its versions are what it can be brought back from."""
        deployed(settings)
        s3 = aws.client("s3")
        s3.put_object(Bucket="acme-lz-snowflake", Key="Snowflake/a.parquet", Body=b"PAR1")
        s3.delete_object(Bucket="acme-lz-snowflake", Key="Snowflake/a.parquet")
        remove(settings, say=print)
        assert buckets_of(aws) == {"acme-lz-snowflake"}


def test_the_package_is_the_same_bytes_for_the_same_modules() -> None:
    assert glue_artifacts.job_files() == glue_artifacts.job_files()
