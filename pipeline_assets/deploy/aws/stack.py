"""`pipeline-assets deploy aws`: the CloudFormation stack in infra/, and the code of its Glue job.

    plan -> change -> settings of buckets -> upload script and package -> print the environment

Lines that are no settings open with `#`, so the output as a whole is a file for the shell:
`pipeline-assets deploy aws > aws.env`. Surprising is the template that is sent: bucket names stand in it as literals,
as CloudFormation takes a bucket over only when its name is one. So a deployment after `--delete`, or over the buckets
of the systems that this one replaces, adopts them with what they hold instead of failing on them.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline_assets.aws import Aws, aws_errors
from pipeline_assets.deploy.aws import bucket_settings, glue_artifacts
from pipeline_assets.deploy.aws.change_sets import Change, Stack
from pipeline_assets.deploy.aws.template import ARTIFACTS, COMPUTE_LOGS, template
from pipeline_assets.deploy.inventory import data_buckets
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipelines import pipelines

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings

Say = Callable[[str], None]
_BODY_LIMIT = 51_200  # bytes of a template that CloudFormation takes in a call
_LONGEST_BUCKET = 63
FORGET = "none"  # takes a learned value out of the stack again, as an empty variable counts as unset
# Parameters that are kept where no setting says otherwise: their settings, and the template's defaults.
_LEARNED = {
    "AlertsEmail": ("alerts_email", ""),
    "HostPrincipalArn": ("host_principal_arn", ""),
    "SnowflakePrincipalArn": ("snowflake_storage_user_arn", ""),
    "SnowflakeExternalId": ("snowflake_storage_external_id", "not-known-yet"),
}


def deploy(settings: Settings, *, dry_run: bool, say: Say) -> None:
    """Create or change the stack and upload what its job runs; repeatable, says "no change" when nothing differs.

    Raises:
        ConfigurationError: a setting is wrong, or a permission or the credentials are missing.
        DeploymentError: CloudFormation refused or rolled back, with the resource and its reason.
    """
    stack, s3 = _stack(settings, say), _s3(settings)
    _check_names(settings)
    bucket = settings.bucket_prefix + ARTIFACTS
    body, given, client = template_body(settings.bucket_prefix), parameters(settings), s3.client("s3")

    def adoptable(imports: Sequence[Change]) -> None:
        if given["RequireTls"] == "true":  # only then the stack makes policies
            bucket_settings.refuse_policies(client, bucket_names(body, imports))

    changes = stack.apply(body, given, dry_run=dry_run, before_import=adoptable)
    for change in changes:
        say(f"# {change}")
    drifts = bucket_settings.find_drift(client, body, stack=settings.stack_name, queues=stack.arn("sqs"))
    for drift in drifts:
        say(f"# {drift}")
    files = glue_artifacts.job_files()
    keys = glue_artifacts.outdated(s3, bucket, files)
    for key in keys:
        say(f"# upload  s3://{bucket}/{key}")
    if not changes and not drifts and not keys:
        say(f"# {settings.stack_name}: no change")
    if dry_run:
        if changes or drifts or keys:
            say(f"# dry run: nothing was changed in {settings.aws_region}")
        return
    for drift in drifts:
        drift.put(client)
    glue_artifacts.upload(s3, bucket, files, keys)
    outputs = stack.outputs()
    for name, value in environment(settings, outputs, stack.parameters()).items():
        say(f"{name}={shlex.quote(value)}")
    if "InstanceProfile" in outputs:
        say(f"# a machine of EC2 gets the instance profile {outputs['InstanceProfile']}")
    say(f"# the machines that run the pipelines take the role {outputs['PipelineRoleArn']}")


def remove(settings: Settings, *, say: Say) -> None:
    """Delete the stack, and those of its buckets that are empty; what holds data stays and is named.

    Queues, streams, roles and the job can be made again in minutes from this repository; objects cannot. So a deletion
    never takes an object that landed, and there is no option that would: whoever wants that empties the bucket
    themselves, knowing which. Refusing the whole deletion instead would leave a stack that nobody can take down
    while data lie in the buckets, which is always, and streams and queues that cost money meanwhile. The buckets
    that stay belong to no stack; the next deployment adopts them. What `deploy` itself uploaded goes with the stack.
    """
    stack, s3 = _stack(settings, say), _s3(settings)
    existed = stack.delete()
    glue_artifacts.withdraw(s3, settings.bucket_prefix + ARTIFACTS)
    client = s3.client("s3")
    for name in (*(bucket.name for bucket in data_buckets()), ARTIFACTS):
        _remove_if_empty(client, settings.bucket_prefix + name, say)
    say(f"# {settings.stack_name}: {'deleted' if existed else 'there is no such stack'}")


def template_body(prefix: str) -> str:
    """The template as it is sent: compact, and with the names of the buckets in place of their formulas."""
    made: dict[str, Any] = json.loads(json.dumps(template()))
    for resource in made["Resources"].values():
        if resource["Type"] == "AWS::S3::Bucket":
            formula = resource["Properties"]["BucketName"]["Fn::Sub"]
            resource["Properties"]["BucketName"] = formula.replace("${BucketPrefix}", prefix)
    body = json.dumps(made, separators=(",", ":"))
    if len(body) > _BODY_LIMIT:
        raise ConfigurationError(f"The template is longer than the {_BODY_LIMIT:,} bytes that a call takes.")
    return body


def bucket_names(body: str, changes: Sequence[Change]) -> list[str]:
    """The names of the buckets that the changes are about."""
    resources = json.loads(body)["Resources"]
    ids = [change.logical_id for change in changes if change.resource_type == "AWS::S3::Bucket"]
    return [resources[logical_id]["Properties"]["BucketName"] for logical_id in ids]


def parameters(settings: Settings) -> dict[str, str | None]:
    """The template's parameters as the settings say; None leaves what the stack has, or takes the default.

    What is learned once must survive a deployment from a shell that does not know it: Snowflake's user forgotten, the
    role trusts nobody and every COPY is refused.
    """
    plain = (settings.aws_endpoint_url or "").startswith("http://") or (settings.s3_endpoint_url or "").startswith(
        "http://"
    )
    learned = {name: getattr(settings, setting) for name, (setting, _) in _LEARNED.items()}
    return {
        "BucketPrefix": settings.bucket_prefix,
        "GlueDatabaseName": settings.glue_database,
        "WithCrawler": "true" if settings.glue_crawler else "false",
        "RequireTls": "false" if plain else "true",
        **{name: _LEARNED[name][1] if value == FORGET else value for name, value in learned.items()},
    }


def environment(settings: Settings, outputs: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """What the machines of the platform need to know of the stack: variables that something reads, and no others.

    `given` are the stack's parameters: what was learned of Snowflake and of people is for the next deployment.
    """
    queues = {
        pipeline: outputs[f"{pipeline.capitalize()}Queue"]
        for pipeline in dict.fromkeys(bucket.pipeline for bucket in data_buckets() if bucket.watched)
        if pipeline in pipelines()  # the stack is ready for those to come, the platform is not
    }
    found = {
        "PIPELINE_PROFILE": "aws",
        "PIPELINE_AWS_REGION": settings.aws_region,
        "PIPELINE_STACK_NAME": settings.stack_name,
        "PIPELINE_BUCKET_PREFIX": settings.bucket_prefix,
        "PIPELINE_ARTIFACTS_BUCKET": outputs["ArtifactsBucket"],
        "PIPELINE_GLUE_JOB": outputs["GlueJob"],
        "PIPELINE_GLUE_DATABASE": outputs["GlueDatabase"],
        "PIPELINE_GLUE_CRAWLER": outputs.get("Crawler", ""),
        "PIPELINE_QUEUES": json.dumps(queues),
        "PIPELINE_ALERTS_TOPIC_ARN": outputs["AlertsTopicArn"],
        "PIPELINE_SECRET_ID": outputs["SecretId"],
        "PIPELINE_SNOWFLAKE_STORAGE_ROLE_ARN": outputs["SnowflakeRoleArn"],
        "DAGSTER_COMPUTE_LOGS_BUCKET": outputs["ArtifactsBucket"],
        "DAGSTER_COMPUTE_LOGS_PREFIX": COMPUTE_LOGS,
        **{
            f"PIPELINE_{setting.upper()}": value
            for name, (setting, default) in _LEARNED.items()
            if (value := given.get(name, default)) != default
        },
    }
    return {name: value for name, value in found.items() if value}


def _check_names(settings: Settings) -> None:
    longest = max((*(bucket.name for bucket in data_buckets()), ARTIFACTS), key=len)
    if len(settings.bucket_prefix + longest) > _LONGEST_BUCKET:
        raise ConfigurationError(
            f"PIPELINE_BUCKET_PREFIX makes {settings.bucket_prefix}{longest} longer than the 63 characters of S3.",
            remedy=f"Use at most {_LONGEST_BUCKET - len(longest)} characters.",
        )
    if settings.glue_crawler and settings.glue_crawler != settings.stack_name:
        raise ConfigurationError(
            "The stack's crawler is named after the stack.", remedy=f"PIPELINE_GLUE_CRAWLER={settings.stack_name}"
        )
    if bool(settings.snowflake_storage_user_arn) != bool(settings.snowflake_storage_external_id):
        raise ConfigurationError(
            "Only one of the two values of DESC INTEGRATION is set.",
            remedy="Set PIPELINE_SNOWFLAKE_STORAGE_USER_ARN and PIPELINE_SNOWFLAKE_STORAGE_EXTERNAL_ID, or neither.",
        )


def _remove_if_empty(client: Any, bucket: str, say: Say) -> None:
    doing, remedy = f"removing the bucket {bucket}", "Let whoever deploys list and delete buckets."
    with aws_errors(doing, "s3:ListBucketVersions", expected=("NoSuchBucket",), remedy=remedy) as missing:
        found = client.list_object_versions(Bucket=bucket, MaxKeys=1)
    if missing:
        return
    if found.get("Versions") or found.get("DeleteMarkers"):
        say(f"# {bucket} holds objects (or old versions of some) and stays; the next deployment takes it over")
        return
    # S3 itself refuses a bucket that was written to meanwhile.
    with aws_errors(doing, "s3:DeleteBucket", expected=("NoSuchBucket", "BucketNotEmpty"), remedy=remedy):
        client.delete_bucket(Bucket=bucket)


def _stack(settings: Settings, say: Say) -> Stack:
    aws = Aws(settings.aws_region, settings.aws_endpoint_url)
    return Stack(aws, settings.stack_name, lambda line: say(f"# {line}"))


def _s3(settings: Settings) -> Aws:
    return Aws(settings.aws_region, settings.s3_endpoint_url)
