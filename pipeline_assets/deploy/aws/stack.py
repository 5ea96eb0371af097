"""`pipeline-assets deploy aws`: the CloudFormation stack in infra/, and the code of its Glue job.

    plan -> change -> settings of buckets -> upload script and package -> print the environment

Lines that are not settings start with `#`, so the output is a file for the shell: `pipeline-assets deploy aws >
aws.env`. The deployed template has the bucket names as literals, as CloudFormation imports a bucket only by a literal
name: a deployment after `--delete`, or over the buckets of an earlier system, imports them with their objects.
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
_BUCKET_NAME_LIMIT = 63
FORGET = "none"  # removes a kept value from the stack, as an empty variable counts as unset
# Parameters whose value in the stack is kept if the setting is not set: (setting, default of the template).
_KEPT = {
    "AlertsEmail": ("alerts_email", ""),
    "HostPrincipalArn": ("host_principal_arn", ""),
    "SnowflakePrincipalArn": ("snowflake_storage_user_arn", ""),
    "SnowflakeExternalId": ("snowflake_storage_external_id", "not-known-yet"),
}


def deploy(settings: Settings, *, dry_run: bool, say: Say) -> None:
    """Create or change the stack and upload the code of its job; repeatable, prints "no change" if nothing differs.

    Raises:
        ConfigurationError: a setting is wrong, or a permission or the credentials are missing.
        DeploymentError: CloudFormation rejected the changes or rolled back; names the resource and the reason.
    """
    stack, s3 = _stack(settings, say), _s3(settings)
    _check_names(settings)
    bucket = settings.bucket_prefix + ARTIFACTS
    body, sent, client = template_body(settings.bucket_prefix), parameters(settings), s3.client("s3")

    def check_imports(imports: Sequence[Change]) -> None:
        if sent["RequireTls"] == "true":  # only then the stack creates policies
            bucket_settings.refuse_policies(client, bucket_names(body, imports))

    changes = stack.apply(body, sent, dry_run=dry_run, before_import=check_imports)
    for change in changes:
        say(f"# {change}")
    drifts = bucket_settings.find_drift(client, body, stack=settings.stack_name, queues=stack.arn("sqs"))
    for drift in drifts:
        say(f"# {drift}")
    files = glue_artifacts.job_files()
    keys = glue_artifacts.keys_to_upload(s3, bucket, files)
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
    say(f"# producers assume the role {outputs['ProducerRoleArn']} (on EC2 {outputs['ProducerInstanceProfile']})")
    if "InstanceProfile" in outputs:
        say(f"# EC2 machines need the instance profile {outputs['InstanceProfile']}")
    say(f"# the machines that run the pipelines assume the role {outputs['PipelineRoleArn']}")


def remove(settings: Settings, *, say: Say) -> None:
    """Delete the stack and those of its buckets that are empty; report the buckets that stay.

    Landed objects cannot be restored from this repository, so no option deletes them: people empty a bucket themselves.
    Rejecting the whole deletion while buckets hold data, which is always, would keep streams and queues that cost
    money. The buckets that stay belong to no stack; the next deployment imports them. The files that `deploy` uploaded
    are deleted.
    """
    stack, s3 = _stack(settings, say), _s3(settings)
    existed = stack.delete()
    glue_artifacts.delete_uploads(s3, settings.bucket_prefix + ARTIFACTS)
    client = s3.client("s3")
    for name in (*(bucket.name for bucket in data_buckets()), ARTIFACTS):
        _remove_if_empty(client, settings.bucket_prefix + name, say)
    say(f"# {settings.stack_name}: {'deleted' if existed else 'there is no such stack'}")


def template_body(prefix: str) -> str:
    """The template as deployed: compact, and with the names of the buckets instead of `Fn::Sub`."""
    body: dict[str, Any] = json.loads(json.dumps(template()))
    for resource in body["Resources"].values():
        if resource["Type"] == "AWS::S3::Bucket":
            formula = resource["Properties"]["BucketName"]["Fn::Sub"]
            resource["Properties"]["BucketName"] = formula.replace("${BucketPrefix}", prefix)
    text = json.dumps(body, separators=(",", ":"))
    if len(text) > _BODY_LIMIT:
        raise ConfigurationError(f"The template is longer than the {_BODY_LIMIT:,} bytes that a call takes.")
    return text


def bucket_names(body: str, changes: Sequence[Change]) -> list[str]:
    """The names of the buckets among the changes."""
    resources = json.loads(body)["Resources"]
    ids = [change.logical_id for change in changes if change.resource_type == "AWS::S3::Bucket"]
    return [resources[logical_id]["Properties"]["BucketName"] for logical_id in ids]


def parameters(settings: Settings) -> dict[str, str | None]:
    """The template's parameters from the settings; None keeps the value in the stack, or takes the default.

    A value that was set once must survive a deployment from a shell without its variable: without Snowflake's user, for
    example, the role would trust nobody and every COPY would fail.
    """
    endpoints = (settings.aws_endpoint_url, settings.s3_endpoint_url)
    is_plain_http = any((url or "").startswith("http://") for url in endpoints)
    kept = {name: getattr(settings, setting) for name, (setting, _) in _KEPT.items()}
    return {
        "BucketPrefix": settings.bucket_prefix,
        "GlueDatabaseName": settings.glue_database,
        "WithCrawler": "true" if settings.glue_crawler else "false",
        "RequireTls": "false" if is_plain_http else "true",
        **{name: _KEPT[name][1] if value == FORGET else value for name, value in kept.items()},
    }


def environment(settings: Settings, outputs: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that the platform reads of the stack.

    `given` are the stack's parameters: values of Snowflake and of people, kept for the next deployment.
    """
    queues = {
        pipeline: outputs[f"{pipeline.capitalize()}Queue"]
        for pipeline in dict.fromkeys(bucket.pipeline for bucket in data_buckets() if bucket.watched)
        if pipeline in pipelines()  # a pipeline without sources has buckets only
    }
    variables = {
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
            for name, (setting, default) in _KEPT.items()
            if (value := given.get(name, default)) != default
        },
    }
    return {name: value for name, value in variables.items() if value}


def _check_names(settings: Settings) -> None:
    longest = max((*(bucket.name for bucket in data_buckets()), ARTIFACTS), key=len)
    if len(settings.bucket_prefix + longest) > _BUCKET_NAME_LIMIT:
        raise ConfigurationError(
            f"PIPELINE_BUCKET_PREFIX makes {settings.bucket_prefix}{longest} longer than the 63 characters of S3.",
            remedy=f"Use at most {_BUCKET_NAME_LIMIT - len(longest)} characters.",
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
    doing, remedy = f"removing the bucket {bucket}", "Let the user who deploys list and delete buckets."
    with aws_errors(doing, "s3:ListBucketVersions", expected=("NoSuchBucket",), remedy=remedy) as missing:
        versions = client.list_object_versions(Bucket=bucket, MaxKeys=1)
    if missing:
        return
    if versions.get("Versions") or versions.get("DeleteMarkers"):
        say(f"# {bucket} holds objects (or old versions of some) and stays; the next deployment imports it")
        return
    # S3 rejects the deletion if the bucket was written to meanwhile.
    with aws_errors(doing, "s3:DeleteBucket", expected=("NoSuchBucket", "BucketNotEmpty"), remedy=remedy):
        client.delete_bucket(Bucket=bucket)


def _stack(settings: Settings, say: Say) -> Stack:
    aws = Aws(settings.aws_region, settings.aws_endpoint_url)
    return Stack(aws, settings.stack_name, lambda line: say(f"# {line}"))


def _s3(settings: Settings) -> Aws:
    return Aws(settings.aws_region, settings.s3_endpoint_url)
