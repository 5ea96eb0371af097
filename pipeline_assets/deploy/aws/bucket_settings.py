"""Settings of the buckets: what the template says against what S3 has, and putting it right.

CloudFormation takes a bucket over as it is: an import records it and changes nothing, and a later deployment compares
template with template and finds no change. A bucket of an earlier system would so stay without versions, expiry and
notifications for ever. Each deployment therefore reads the settings of every bucket and puts those that differ. It
prints in full what a setting was before, as that is recorded nowhere else. S3 gives back more than it was given (keys
of encryption, ids of notifications, a filter in place of a prefix), so settings are normalized before they are compared. Policies are not compared: a bucket that has
one of its own is refused before, as CloudFormation would roll back over it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipeline_assets.aws import aws_errors
from pipeline_assets.errors import ConfigurationError

_AT_ONCE = 8
_REMEDY = (
    "Let whoever deploys read and put the settings of the stack's buckets; if a bucket is another account's, choose "
    "another PIPELINE_BUCKET_PREFIX."
)


@dataclass(frozen=True)
class Setting:
    """One kind of setting; `operation` and `action` are without Get and Put.

    `argument` is what S3 is given, and what its answer has it in where `is_nested`. `wanted` makes that of a bucket's
    properties in the template, None where they say nothing; `form` brings either side to what can be compared.
    """

    name: str
    operation: str
    action: str
    argument: str
    is_nested: bool
    absent: str  # the code that says that there is none
    wanted: Callable[[Mapping[str, Any]], Any]
    form: Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Drift:
    """A setting that differs; `was` is what S3 has, `wanted` what it is to be given."""

    bucket: str
    setting: Setting
    was: Mapping[str, Any]
    wanted: Mapping[str, Any]

    def __str__(self) -> str:
        was = json.dumps(self.was, default=str) if self.was else "not set"
        return f"setting {self.bucket}: {self.setting.name}, was {was}"

    def put(self, client: Any) -> None:
        put = getattr(client, f"put_{self.setting.operation}")
        doing = f"putting {self.setting.name} on {self.bucket}"
        with aws_errors(doing, f"s3:Put{self.setting.action}", remedy=_REMEDY):
            put(Bucket=self.bucket, **{self.setting.argument: self.wanted})


def find_drift(client: Any, template: str, *, stack: str, queues: str) -> list[Drift]:
    """What differs on the buckets of a template; one that is not there yet is left out.

    Args:
        template: as it is sent, with the names of the buckets in it.
        stack: the name that the template's queues begin with.
        queues: the ARN of a queue up to its name.
    """
    made = json.loads(template)["Resources"]
    names = {
        logical_id: resource["Properties"]["QueueName"]["Fn::Sub"].replace("${AWS::StackName}", stack)
        for logical_id, resource in made.items()
        if resource["Type"] == "AWS::SQS::Queue"
    }
    arns = {logical_id: f"{queues}:{name}" for logical_id, name in names.items()}
    buckets = [
        _with_queues(resource["Properties"], arns)
        for resource in made.values()
        if resource["Type"] == "AWS::S3::Bucket"
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda properties: _of_bucket(client, properties), buckets)
        return [correction for some in found for correction in some]


def refuse_policies(client: Any, buckets: Sequence[str]) -> None:
    """See that none of the buckets that would be taken over has a policy.

    Raises:
        ConfigurationError: some have one; the stack makes its own, and CloudFormation would roll back over theirs.
    """
    with_policy = [bucket for bucket in buckets if _has_policy(client, bucket)]
    if with_policy:
        raise ConfigurationError(
            f"A bucket policy is in the way of taking over {', '.join(with_policy)}: the stack puts its own, which "
            "refuses plain HTTP.",
            remedy="Save each (`aws s3api get-bucket-policy`), delete it (`aws s3api delete-bucket-policy`), deploy, "
            "and add to the stack's policy what others still need.",
        )


def _has_policy(client: Any, bucket: str) -> bool:
    doing = f"looking for a policy of {bucket}"
    with aws_errors(doing, "s3:GetBucketPolicy", expected=("NoSuchBucketPolicy",), remedy=_REMEDY):
        client.get_bucket_policy(Bucket=bucket)
        return True
    return False


def _of_bucket(client: Any, properties: Mapping[str, Any]) -> list[Drift]:
    bucket, found = properties["BucketName"], []
    for setting in SETTINGS:
        wanted = setting.wanted(properties)
        if wanted is None:
            continue
        doing, was = f"reading {setting.name} of {bucket}", {}
        expected = ("NoSuchBucket", setting.absent)
        with aws_errors(doing, f"s3:Get{setting.action}", expected=expected, remedy=_REMEDY) as refused:
            was = getattr(client, f"get_{setting.operation}")(Bucket=bucket)
            was = was[setting.argument] if setting.is_nested else was
        if "NoSuchBucket" in refused:
            return []
        was = {name: value for name, value in was.items() if name != "ResponseMetadata"}
        if setting.form(was) != setting.form(wanted):
            found.append(Drift(bucket, setting, was, wanted))
    return found


# --- what the template says, as S3 takes it ------------------------------------------------------------------


def _encryption(properties: Mapping[str, Any]) -> dict[str, Any]:
    (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]}]}


def _lifecycle(properties: Mapping[str, Any]) -> dict[str, Any]:
    """CloudFormation has an expiry in members of the rule, S3 in one of its own."""
    expiry = {"ExpirationInDays": "Days", "ExpiredObjectDeleteMarker": "ExpiredObjectDeleteMarker"}
    rules = []
    for given in properties["LifecycleConfiguration"]["Rules"]:
        rule: dict[str, Any] = {"ID": given["Id"], "Status": given["Status"]}
        rule["Filter"] = {"Prefix": given.get("Prefix", "")}
        if expiration := {theirs: given[ours] for ours, theirs in expiry.items() if ours in given}:
            rule["Expiration"] = expiration
        if "Transitions" in given:
            rule["Transitions"] = [
                {"StorageClass": to["StorageClass"], "Days": to["TransitionInDays"]} for to in given["Transitions"]
            ]
        for same in ("AbortIncompleteMultipartUpload", "NoncurrentVersionExpiration"):
            if same in given:
                rule[same] = given[same]
        rules.append(rule)
    return {"Rules": rules}


def _notification(properties: Mapping[str, Any]) -> dict[str, Any] | None:
    """None for a bucket that no queue hears of: who else does is not ours to end."""
    given = properties.get("NotificationConfiguration")
    return given and {
        "QueueConfigurations": [
            {
                "QueueArn": entry["Queue"],
                "Events": [entry["Event"]],
                "Filter": {"Key": {"FilterRules": entry["Filter"]["S3Key"]["Rules"]}},
            }
            for entry in given["QueueConfigurations"]
        ]
    }


def _with_queues(properties: Mapping[str, Any], arns: Mapping[str, str]) -> dict[str, Any]:
    """The properties with ARNs in place of the references to queues."""

    def resolved(value: Any) -> Any:
        if isinstance(value, dict):
            if list(value) == ["Fn::GetAtt"]:
                return arns[value["Fn::GetAtt"][0]]
            return {name: resolved(member) for name, member in value.items()}
        return [resolved(member) for member in value] if isinstance(value, list) else value

    return resolved(properties)


# --- one form for what was given and what is given back ------------------------------------------------------


def _rules(lifecycle: Mapping[str, Any]) -> list[Any]:
    """A rule without an id gets one from S3; a prefix stands in the rule, in its filter, or nowhere."""
    found = []
    for rule in lifecycle.get("Rules", ()):
        rest = {name: value for name, value in rule.items() if name not in ("Prefix", "Filter")}
        condition = {"Prefix": rule.get("Prefix", ""), **rule.get("Filter", {})}
        found.append({**rest, "Filter": {name: value for name, value in condition.items() if value}})
    return sorted(found, key=lambda rule: rule.get("ID", ""))


def _queue_notifications(notification: Mapping[str, Any]) -> Any:
    """Queues by their names, as their account is not known before there is a stack. S3 chooses ids, writes Prefix."""
    bells = [
        (
            entry["QueueArn"].rpartition(":")[2],
            sorted(entry["Events"]),
            sorted(
                (rule["Name"].lower(), rule["Value"])
                for rule in entry.get("Filter", {}).get("Key", {}).get("FilterRules", ())
            ),
        )
        for entry in notification.get("QueueConfigurations", ())
    ]
    return sorted(bells), {name: value for name, value in notification.items() if name != "QueueConfigurations"}


def _algorithms(encryption: Mapping[str, Any]) -> list[Any]:
    return [
        rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm") for rule in encryption.get("Rules", ())
    ]


SETTINGS = (
    Setting(
        "versioning",
        "bucket_versioning",
        "BucketVersioning",
        "VersioningConfiguration",
        is_nested=False,
        absent="",
        wanted=lambda properties: properties["VersioningConfiguration"],
        form=lambda versioning: versioning.get("Status"),
    ),
    Setting(
        "encryption",
        "bucket_encryption",
        "EncryptionConfiguration",
        "ServerSideEncryptionConfiguration",
        is_nested=True,
        absent="ServerSideEncryptionConfigurationNotFoundError",
        wanted=_encryption,
        form=_algorithms,
    ),
    Setting(
        "public access block",
        "public_access_block",
        "BucketPublicAccessBlock",
        "PublicAccessBlockConfiguration",
        is_nested=True,
        absent="NoSuchPublicAccessBlockConfiguration",
        wanted=lambda properties: properties["PublicAccessBlockConfiguration"],
        form=dict,
    ),
    Setting(
        "ownership",
        "bucket_ownership_controls",
        "BucketOwnershipControls",
        "OwnershipControls",
        is_nested=True,
        absent="OwnershipControlsNotFoundError",
        wanted=lambda properties: properties["OwnershipControls"],
        form=lambda controls: [rule["ObjectOwnership"] for rule in controls.get("Rules", ())],
    ),
    Setting(
        "lifecycle",
        "bucket_lifecycle_configuration",
        "LifecycleConfiguration",
        "LifecycleConfiguration",
        is_nested=False,
        absent="NoSuchLifecycleConfiguration",
        wanted=_lifecycle,
        form=_rules,
    ),
    Setting(
        "notification",
        "bucket_notification_configuration",
        "BucketNotification",
        "NotificationConfiguration",
        is_nested=False,
        absent="",
        wanted=_notification,
        form=_queue_notifications,
    ),
)
