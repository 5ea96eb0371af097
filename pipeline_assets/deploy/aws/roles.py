"""The roles of infra/template.yaml: what the table of permissions says, and who may take each of them.

Snowflake's role exists before Snowflake is known: a storage integration needs its ARN to be made, and only then says
which user and external id will come. Until the next deployment it trusts nobody but this account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_assets.deploy.aws.permissions import PLACES, ROLES, Role, granted


def sub(text: str) -> dict[str, str]:
    """Text with the template's parameters and references in it."""
    return {"Fn::Sub": text}


def bucket_arn(name: str) -> dict[str, str]:
    """By its name and not by reference: what a bucket waits for may not wait for the bucket."""
    return sub(f"arn:${{AWS::Partition}}:s3:::${{BucketPrefix}}{name}")


def camel(name: str) -> str:
    """A logical id made of a name."""
    return "".join(part.capitalize() for part in re.split(r"[^a-z0-9]", name.lower()))


def role_resource(role: Role, names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The role as a resource of the template; `names` are what stands for each `{place}` of an ARN, in turn."""
    statements = [
        {
            "Sid": camel(on.replace(" ", "-")),
            "Effect": "Allow",
            "Action": actions,
            "Resource": [sub(filled) for arn in PLACES[on] for filled in _filled(arn, names)],
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


def _filled(arn: str, names: Mapping[str, Sequence[str]]) -> list[str]:
    """An ARN for each of the names that its place stands for."""
    place = re.search(r"(?<!\$)\{(\w+)\}", arn)
    return [arn.replace(place[0], name) for name in names[place[1]]] if place else [arn]


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
    # Glue sends no account along when it takes a job's role.
    "glue_job": {"Effect": "Allow", "Principal": {"Service": "glue.amazonaws.com"}, "Action": "sts:AssumeRole"},
    "crawler": {"Effect": "Allow", "Principal": {"Service": "glue.amazonaws.com"}, "Action": "sts:AssumeRole"},
    # Firehose names the account that it acts for as the external id: nobody in another has it write to ours.
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

# A machine of EC2 takes no role but by one of these.
INSTANCE_PROFILE: dict[str, Any] = {
    "PipelineInstanceProfile": {
        "Type": "AWS::IAM::InstanceProfile",
        "Condition": "IsTakenByMachines",
        "Properties": {"Roles": [{"Ref": "PipelineRole"}]},
    }
}
