"""Generate infra/template.yaml from the registry of pipelines and the table of permissions.

    python -m pipeline_assets.deploy.aws.template

The file is committed, so that reviewers and cfn-lint see what is deployed; a test compares it with its sources. Nothing
here connects to AWS. S3 sends a test event to a queue when a bucket's notification is set, so a bucket depends on its
queue's policy; the policy therefore refers to the bucket by name and not by reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline_assets.deploy.aws.permissions import ROLES
from pipeline_assets.deploy.aws.queues import queues
from pipeline_assets.deploy.aws.roles import INSTANCE_PROFILES, bucket_arn, camel, role_resource, sub
from pipeline_assets.deploy.inventory import (
    StackBucket,
    StackStream,
    data_buckets,
    delivery_streams,
    lake_prefixes,
)
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline import Pipeline
from pipeline_assets.pipelines import PIPELINES

ARTIFACTS = "pipeline-artifacts"
JOB_SCRIPT, JOB_PACKAGE = "glue/spark_job.py", "glue/pipeline_assets.zip"
COMPUTE_LOGS = "compute-logs"
# Imports of the script that Glue 5.0 lacks; a test compares the versions with constraints.txt.
JOB_MODULES = ("duckdb==2.0.0", "dagster-pipes==1.13.27")
_ALARMS = "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:${AWS::StackName}-*"

_HEADER = """\
# Made by `python -m pipeline_assets.deploy.aws.template` from the pipelines of
# pipeline_assets/pipelines.py and pipeline_assets/deploy/aws/permissions.py. Change those, not this file.
"""


def infra_root() -> Path:
    """The folder infra/: next to the package in a checkout, inside it in a wheel."""
    for folder in (Path(__file__).resolve().parents[3] / "infra", Path(__file__).resolve().parent / "infra"):
        if folder.is_dir():
            return folder
    raise ConfigurationError("The folder infra/ is missing.", remedy="Reinstall the package or run from a checkout.")


def template(pipelines: Sequence[Pipeline] = PIPELINES) -> dict[str, Any]:
    """The CloudFormation template for some pipelines."""
    buckets, streams = data_buckets(pipelines), delivery_streams(pipelines)
    queued = list(dict.fromkeys(str(bucket.pipeline) for bucket in buckets if bucket.watched))
    resources: dict[str, Any] = {}
    for bucket in (*buckets, StackBucket(ARTIFACTS)):
        resources |= _bucket(bucket)
    for pipeline in queued:
        resources |= queues(pipeline, [b.name for b in buckets if b.pipeline == pipeline and b.watched])
    resources |= _delivery_streams(streams) | _glue(lake_prefixes(pipelines)) | _alerts_and_secret()
    values = {
        "bucket": [bucket.name for bucket in buckets],
        "lake_bucket": list(dict.fromkeys(bucket for bucket, _ in lake_prefixes(pipelines))),
        "lake_prefix": [f"{bucket}/{prefix}" for bucket, prefix in lake_prefixes(pipelines)],
        "stream": [stream.name for stream in streams],
        "stream_bucket": list(dict.fromkeys(stream.bucket for stream in streams)),
        "stream_prefix": list(dict.fromkeys(f"{s.bucket}/{s.prefix.partition('/')[0]}/" for s in streams)),
    }
    for role in ROLES:
        resources |= role_resource(role, values)
    resources |= INSTANCE_PROFILES
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Buckets, queues, streams, Spark job, catalog, alerts and roles of pipeline_assets.",
        "Parameters": _PARAMETERS,
        "Conditions": _CONDITIONS,
        "Resources": resources,
        "Outputs": _outputs(queued, streams),
    }


def rendered(pipelines: Sequence[Pipeline] = PIPELINES) -> str:
    """The text of infra/template.yaml."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return _HEADER + yaml.dump(template(pipelines), Dumper=Plain, sort_keys=False, width=116)


_PARAMETERS: dict[str, Any] = {
    "BucketPrefix": {
        "Type": "String",
        "Default": "",
        "AllowedPattern": "[a-z0-9.-]*",
        "Description": "Put before every bucket name, as S3 names are global (PIPELINE_BUCKET_PREFIX).",
    },
    "GlueDatabaseName": {
        "Type": "String",
        "Default": "pipeline_assets",
        "AllowedPattern": "[a-z0-9_]+",
        "Description": "Database of the lake's tables in the Glue catalog (PIPELINE_GLUE_DATABASE).",
    },
    "WithCrawler": {
        "Type": "String",
        "Default": "false",
        "AllowedValues": ["true", "false"],
        "Description": "Make a crawler of the lake tables; partitions are registered without one.",
    },
    "AlertsEmail": {
        "Type": "String",
        "Default": "",
        "Description": "Mail address that gets the alerts; empty means none.",
    },
    "HostPrincipalArn": {
        "Type": "String",
        "Default": "",
        "Description": "Who may take the pipelines' role; empty means EC2, ECS and whom this account allows to.",
    },
    "SnowflakePrincipalArn": {
        "Type": "String",
        "Default": "",
        "Description": "STORAGE_AWS_IAM_USER_ARN of the storage integration; empty until it was made.",
    },
    "SnowflakeExternalId": {
        "Type": "String",
        "Default": "not-known-yet",
        "Description": "STORAGE_AWS_EXTERNAL_ID of the storage integration.",
    },
    "RequireTls": {
        "Type": "String",
        "Default": "true",
        "AllowedValues": ["true", "false"],
        "Description": "Refuse plain HTTP; false is for emulators only.",
    },
}
_CONDITIONS: dict[str, Any] = {
    "IsTlsRequired": {"Fn::Equals": [{"Ref": "RequireTls"}, "true"]},
    "HasCrawler": {"Fn::Equals": [{"Ref": "WithCrawler"}, "true"]},
    "HasEmail": {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlertsEmail"}, ""]}]},
    "HasHostPrincipal": {"Fn::Not": [{"Fn::Equals": [{"Ref": "HostPrincipalArn"}, ""]}]},
    # EC2 may assume the role only if no other principal is set.
    "IsTakenByMachines": {"Fn::Equals": [{"Ref": "HostPrincipalArn"}, ""]},
    "HasSnowflake": {"Fn::Not": [{"Fn::Equals": [{"Ref": "SnowflakePrincipalArn"}, ""]}]},
}


def _bucket(bucket: StackBucket) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "BucketName": sub(f"${{BucketPrefix}}{bucket.name}"),
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
        "PublicAccessBlockConfiguration": dict.fromkeys(
            ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
        ),
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "VersioningConfiguration": {"Status": "Enabled"},
        "LifecycleConfiguration": {"Rules": _lifecycle(bucket)},
    }
    resource: dict[str, Any] = {
        "Type": "AWS::S3::Bucket",
        # Landed objects must outlive the stack; an empty bucket of a failed first deployment is deleted.
        "DeletionPolicy": "RetainExceptOnCreate",
        "UpdateReplacePolicy": "Retain",
        "Properties": properties,
    }
    if bucket.watched:
        queue = f"{camel(str(bucket.pipeline))}Queue"
        resource["DependsOn"] = [f"{queue}Policy"]
        properties["NotificationConfiguration"] = {
            "QueueConfigurations": [
                {
                    "Event": "s3:ObjectCreated:*",
                    "Queue": {"Fn::GetAtt": [queue, "Arn"]},
                    "Filter": {"S3Key": {"Rules": [{"Name": "prefix", "Value": prefix}]}},
                }
                for prefix in bucket.watched
            ]
        }
    policy = {
        "Type": "AWS::S3::BucketPolicy",
        "Condition": "IsTlsRequired",
        "Properties": {
            "Bucket": {"Ref": bucket.logical_id},
            "PolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "RefusePlainHttp",
                        "Effect": "Deny",
                        "Principal": "*",
                        "Action": "s3:*",
                        "Resource": [
                            {"Fn::GetAtt": [bucket.logical_id, "Arn"]},
                            sub(f"${{{bucket.logical_id}.Arn}}/*"),
                        ],
                        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                    }
                ],
            },
        },
    }
    return {bucket.logical_id: resource, f"{bucket.logical_id}Policy": policy}


def _lifecycle(bucket: StackBucket) -> list[dict[str, Any]]:
    def expire(prefix: str, days: int) -> dict[str, Any]:
        name = f"expire-{prefix.rstrip('/')}"
        return {"Id": name, "Status": "Enabled", "Prefix": prefix, "ExpirationInDays": days}

    rules: list[dict[str, Any]] = [
        {
            "Id": "incomplete-uploads",
            "Status": "Enabled",
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
        },
        # Versions protect against a mistaken deletion; old versions of moved files must not cost money for ever.
        {
            "Id": "old-versions",
            "Status": "Enabled",
            "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
            "ExpiredObjectDeleteMarker": True,
        },
    ]
    if bucket.name == ARTIFACTS:
        return [*rules, expire("runs/", 7), expire(f"{COMPUTE_LOGS}/", 90)]
    rules.append(expire("staging/", 7))
    # A run rewrites its lease every few seconds.
    old = {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}}
    rules.append({"Id": "old-leases", "Status": "Enabled", "Prefix": "locks/", **old})
    if bucket.archive_after_days is not None:
        transition = {"StorageClass": "GLACIER", "TransitionInDays": bucket.archive_after_days}
        for number, prefix in enumerate(bucket.archived):
            rule = {"Id": f"archive-{number}" if number else "archive", "Status": "Enabled"}
            rules.append({**rule, **({"Prefix": prefix} if prefix else {}), "Transitions": [transition]})
    return rules


def _delivery_streams(streams: Sequence[StackStream]) -> dict[str, Any]:
    group = sub("/aws/kinesisfirehose/${AWS::StackName}")
    resources: dict[str, Any] = {
        "DeliveryLogs": {
            "Type": "AWS::Logs::LogGroup",
            "Properties": {"LogGroupName": group, "RetentionInDays": 30},
        }
    }
    hour = "!{timestamp:yyyy/MM/dd/HH}/"
    for stream in streams:
        logical_id = f"{camel(stream.name)}Stream"
        resources[f"{logical_id}Log"] = {
            "Type": "AWS::Logs::LogStream",
            "Properties": {"LogGroupName": {"Ref": "DeliveryLogs"}, "LogStreamName": stream.name},
        }
        resources[logical_id] = {
            "Type": "AWS::KinesisFirehose::DeliveryStream",
            "Properties": {
                "DeliveryStreamName": sub(f"${{AWS::StackName}}-{stream.name}"),
                "DeliveryStreamType": "DirectPut",
                "DeliveryStreamEncryptionConfigurationInput": {"KeyType": "AWS_OWNED_CMK"},
                "ExtendedS3DestinationConfiguration": {
                    "BucketARN": bucket_arn(stream.bucket),
                    "RoleARN": {"Fn::GetAtt": ["FirehoseRole", "Arn"]},
                    "Prefix": f"{stream.prefix}{hour}",
                    "ErrorOutputPrefix": f"{stream.errors_prefix}!{{firehose:error-output-type}}/{hour}",
                    "BufferingHints": {"IntervalInSeconds": 300, "SizeInMBs": 64},
                    "CompressionFormat": "UNCOMPRESSED",
                    "CloudWatchLoggingOptions": {
                        "Enabled": True,
                        "LogGroupName": {"Ref": "DeliveryLogs"},
                        "LogStreamName": {"Ref": f"{logical_id}Log"},
                    },
                },
            },
            "DependsOn": [StackBucket(stream.bucket).logical_id],
        }
    return resources


def _glue(prefixes: Sequence[tuple[str, str]]) -> dict[str, Any]:
    lake = [{"Path": sub(f"s3://${{BucketPrefix}}{bucket}/{prefix}")} for bucket, prefix in prefixes]
    return {
        "GlueDatabase": {
            "Type": "AWS::Glue::Database",
            "Properties": {
                "CatalogId": {"Ref": "AWS::AccountId"},
                "DatabaseInput": {
                    "Name": {"Ref": "GlueDatabaseName"},
                    "Description": "Lake tables of pipeline_assets, registered as they are written.",
                },
            },
        },
        "GlueJob": {
            "Type": "AWS::Glue::Job",
            "Properties": {
                "Name": {"Ref": "AWS::StackName"},
                "Description": "Runs the steps of a plan on Spark; --plan and --response of each run name the files.",
                "Role": {"Fn::GetAtt": ["GlueJobRole", "Arn"]},
                # Glue 5.0 is Spark 3.5, Python 3.11, Java 17.
                "GlueVersion": "5.0",
                "Command": {
                    "Name": "glueetl",
                    "PythonVersion": "3",
                    "ScriptLocation": sub(f"s3://${{PipelineArtifactsBucket}}/{JOB_SCRIPT}"),
                },
                "DefaultArguments": {
                    "--job-language": "python",
                    "--extra-py-files": sub(f"s3://${{PipelineArtifactsBucket}}/{JOB_PACKAGE}"),
                    "--additional-python-modules": ",".join(JOB_MODULES),
                    "--TempDir": sub("s3://${PipelineArtifactsBucket}/runs/temporary/"),
                    "--enable-auto-scaling": "true",
                },
                "WorkerType": "G.1X",
                "NumberOfWorkers": 10,  # at most, as Glue scales
                "ExecutionProperty": {"MaxConcurrentRuns": 10},
                "MaxRetries": 0,  # the platform retries, and checks for a run in progress first
                "Timeout": 240,
            },
        },
        "Crawler": {
            "Type": "AWS::Glue::Crawler",
            "Condition": "HasCrawler",
            "Properties": {
                "Name": {"Ref": "AWS::StackName"},
                "Role": {"Fn::GetAtt": ["CrawlerRole", "Arn"]},
                "DatabaseName": {"Ref": "GlueDatabase"},
                "Targets": {"S3Targets": lake},
                "SchemaChangePolicy": {"UpdateBehavior": "LOG", "DeleteBehavior": "LOG"},
                "RecrawlPolicy": {"RecrawlBehavior": "CRAWL_NEW_FOLDERS_ONLY"},
            },
        },
    }


def _alerts_and_secret() -> dict[str, Any]:
    return {
        "AlertsTopic": {
            "Type": "AWS::SNS::Topic",
            # Not encrypted by KMS: with Amazon's own key CloudWatch could not publish, and no alert has personal data.
            "Properties": {"TopicName": sub("${AWS::StackName}-alerts")},
        },
        # Replaces the default policy of a topic, which lets the whole account publish.
        "AlertsTopicPolicy": {
            "Type": "AWS::SNS::TopicPolicy",
            "Properties": {
                "Topics": [{"Ref": "AlertsTopic"}],
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Sid": "AlarmsOfThisStack",
                            "Effect": "Allow",
                            "Principal": {"Service": "cloudwatch.amazonaws.com"},
                            "Action": "sns:Publish",
                            "Resource": {"Ref": "AlertsTopic"},
                            "Condition": {
                                "ArnLike": {"aws:SourceArn": sub(_ALARMS)},
                                "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
                            },
                        }
                    ],
                },
            },
        },
        "AlertsByMail": {
            "Type": "AWS::SNS::Subscription",
            "Condition": "HasEmail",
            "Properties": {
                "TopicArn": {"Ref": "AlertsTopic"},
                "Protocol": "email",
                "Endpoint": {"Ref": "AlertsEmail"},
            },
        },
        # Without a value: people put it in, never a template.
        "PipelineSecret": {
            "Type": "AWS::SecretsManager::Secret",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "Name": sub("${AWS::StackName}/pipeline"),
                "Description": "One JSON object of PIPELINE_* variables that are secret.",
            },
        },
    }


def _outputs(pipelines: Sequence[str], streams: Sequence[StackStream]) -> dict[str, Any]:
    outputs: dict[str, Any] = {
        "ArtifactsBucket": {"Value": {"Ref": "PipelineArtifactsBucket"}},
        "GlueJob": {"Value": {"Ref": "GlueJob"}},
        "GlueDatabase": {"Value": {"Ref": "GlueDatabase"}},
        "Crawler": {"Condition": "HasCrawler", "Value": {"Ref": "Crawler"}},
        "AlertsTopicArn": {"Value": {"Ref": "AlertsTopic"}},
        "SecretId": {"Value": {"Ref": "PipelineSecret"}},
        "PipelineRoleArn": {"Value": {"Fn::GetAtt": ["PipelineRole", "Arn"]}},
        "ProducerRoleArn": {"Value": {"Fn::GetAtt": ["ProducerRole", "Arn"]}},
        "ProducerInstanceProfile": {"Value": {"Ref": "ProducerInstanceProfile"}},
        "InstanceProfile": {"Condition": "IsTakenByMachines", "Value": {"Ref": "PipelineInstanceProfile"}},
        "SnowflakeRoleArn": {"Value": {"Fn::GetAtt": ["SnowflakeRole", "Arn"]}},
    }
    for stream in streams:
        outputs[f"{camel(stream.name)}Stream"] = {"Value": {"Ref": f"{camel(stream.name)}Stream"}}
    for pipeline in pipelines:
        outputs[f"{camel(pipeline)}Queue"] = {"Value": {"Ref": f"{camel(pipeline)}Queue"}}
    return outputs


if __name__ == "__main__":
    (infra_root() / "template.yaml").write_text(rendered(), encoding="utf-8")
