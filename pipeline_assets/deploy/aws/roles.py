"""The roles of infra/template.yaml: their permissions from the table, and who may assume each.

Snowflake's role is created before the storage integration, which needs its ARN and only then has the user and external
id that will assume it. Until the next deployment the role trusts only this account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_assets.deploy.aws.permissions import CONDITIONS, RESOURCES, ROLES, Role, granted


def sub(text: str) -> dict[str, str]:
    """Text with the template's parameters and references in it."""
    return {"Fn::Sub": text}


def bucket_arn(name: str) -> dict[str, str]:
    """The ARN by name, not by reference: a resource that a bucket depends on must not depend on the bucket."""
    return sub(f"arn:${{AWS::Partition}}:s3:::${{BucketPrefix}}{name}")


def camel(name: str) -> str:
    """A logical id from a name."""
    return "".join(part.capitalize() for part in re.split(r"[^a-z0-9]", name.lower()))


def role_resource(role: Role, names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The role as a resource of the template; `names` are the values for each `{placeholder}` of an ARN."""
    statements = [
        {
            "Sid": camel(on.replace(" ", "-")),
            "Effect": "Allow",
            "Action": actions,
            "Resource": [_text(filled) for arn in RESOURCES[on] for filled in _filled(arn, names)],
            **_condition(on),
        }
        for on, actions in granted(role).items()
    ]
    name = f"{camel(role)}Role"
    resource: dict[str, Any] = {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "Description": f"{ROLES[role]}.",
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [_TRUST[role]]},
            "Policies": [
                {"PolicyName": "needed", "PolicyDocument": {"Version": "2012-10-17", "Statement": statements}}
            ],
        },
    }
    if role == "crawler":
        resource["Condition"] = "HasCrawler"
    return {name: resource}


def _text(text: str) -> str | dict[str, str]:
    return sub(text) if "${" in text else text


def _condition(on: str) -> dict[str, Any]:
    condition = CONDITIONS.get(on, {})
    tests = {test: {key: _text(value) for key, value in values.items()} for test, values in condition.items()}
    return {"Condition": tests} if tests else {}


def _filled(arn: str, names: Mapping[str, Sequence[str]]) -> list[str]:
    """An ARN for each value of its placeholder."""
    placeholder = re.search(r"(?<!\$)\{(\w+)\}", arn)
    return [arn.replace(placeholder[0], name) for name in names[placeholder[1]]] if placeholder else [arn]


_THIS_ACCOUNT = sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")
_TRUST: dict[Role, dict[str, Any]] = {
    "pipeline": {
        "Effect": "Allow",
        "Principal": {
            "Fn::If": [
                "HasHostPrincipal",
                {"AWS": {"Ref": "HostPrincipalArn"}},
                {"AWS": _THIS_ACCOUNT, "Service": ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]},
            ]
        },
        "Action": "sts:AssumeRole",
    },
    # A producer runs beside the files: on EC2, on ECS, or where the account lets somebody assume the role.
    "producer": {
        "Effect": "Allow",
        "Principal": {"AWS": _THIS_ACCOUNT, "Service": ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]},
        "Action": "sts:AssumeRole",
    },
    # Glue does not send its account when it assumes a job's role.
    "glue_job": {"Effect": "Allow", "Principal": {"Service": "glue.amazonaws.com"}, "Action": "sts:AssumeRole"},
    "crawler": {"Effect": "Allow", "Principal": {"Service": "glue.amazonaws.com"}, "Action": "sts:AssumeRole"},
    # Firehose sends its customer's account as the external id, so no other account can make it write to ours.
    "firehose": {
        "Effect": "Allow",
        "Principal": {"Service": "firehose.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": {"Ref": "AWS::AccountId"}}},
    },
    "snowflake": {
        "Effect": "Allow",
        "Principal": {"AWS": {"Fn::If": ["HasSnowflake", {"Ref": "SnowflakePrincipalArn"}, _THIS_ACCOUNT]}},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": {"Ref": "SnowflakeExternalId"}}},
    },
}

# A machine of EC2 can assume a role only through an instance profile.
INSTANCE_PROFILES: dict[str, Any] = {
    "ProducerInstanceProfile": {
        "Type": "AWS::IAM::InstanceProfile",
        "Properties": {"Roles": [{"Ref": "ProducerRole"}]},
    },
    "PipelineInstanceProfile": {
        "Type": "AWS::IAM::InstanceProfile",
        "Condition": "IsTakenByMachines",
        "Properties": {"Roles": [{"Ref": "PipelineRole"}]},
    },
}
