"""Settings of the buckets: compare those in the template with those in S3, and correct the differences.

CloudFormation imports a bucket without changing it, and a later deployment compares only templates. A bucket of an
earlier system would stay without versions, expiry and notifications. Therefore each deployment reads the settings of
every bucket, puts those that differ, and prints the previous value, as that is recorded nowhere else. S3 returns more
than it was given (encryption keys, ids of notifications, a filter instead of a prefix), so both sides are normalized.
Policies are not compared: a bucket with its own is rejected before, as CloudFormation would roll back over it.
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
    "Let the user who deploys read and put the settings of the stack's buckets; if a bucket is another account's, "
    "choose another PIPELINE_BUCKET_PREFIX."
)


@dataclass(frozen=True)
class Setting:
    """One kind of setting; `operation` and `action` are named without Get and Put.

    `argument` is the argument of the Put call; if `is_nested`, the response of the Get call has the setting under the
    same name. `wanted` makes the argument from a bucket's properties in the template, None if they have none; `form`
    normalizes either side for the comparison.
    """

    name: str
    operation: str
    action: str
    argument: str
    is_nested: bool
    absent: str  # the error code if the bucket has no such setting
    wanted: Callable[[Mapping[str, Any]], Any]
    form: Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Drift:
    """A setting that differs: `was` is its value in S3, `wanted` that of the template."""

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
    """The settings that differ, for the buckets of a template that exist.

    Args:
        template: the body that is deployed, with the names of the buckets as literals.
        stack: the name that the template's queues begin with.
        queues: the ARN of the queues without the name.
    """
    resources = json.loads(template)["Resources"]
    names = {
        logical_id: resource["Properties"]["QueueName"]["Fn::Sub"].replace("${AWS::StackName}", stack)
        for logical_id, resource in resources.items()
        if resource["Type"] == "AWS::SQS::Queue"
    }
    arns = {logical_id: f"{queues}:{name}" for logical_id, name in names.items()}
    buckets = [
        _with_queues(resource["Properties"], arns)
        for resource in resources.values()
        if resource["Type"] == "AWS::S3::Bucket"
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        drifts = pool.map(lambda properties: _drifts_of_bucket(client, properties), buckets)
        return [drift for drifts_of_bucket in drifts for drift in drifts_of_bucket]


def refuse_policies(client: Any, buckets: Sequence[str]) -> None:
    """Require that no bucket that would be imported has a policy.

    Raises:
        ConfigurationError: a bucket has one; the stack creates its own, and CloudFormation would roll back.
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


def _drifts_of_bucket(client: Any, properties: Mapping[str, Any]) -> list[Drift]:
    bucket, drifts = properties["BucketName"], []
    for setting in SETTINGS:
        wanted = setting.wanted(properties)
        if wanted is None:
            continue
        doing, was = f"reading {setting.name} of {bucket}", {}
        expected = ("NoSuchBucket", setting.absent)
        with aws_errors(doing, f"s3:Get{setting.action}", expected=expected, remedy=_REMEDY) as codes:
            was = getattr(client, f"get_{setting.operation}")(Bucket=bucket)
            was = was[setting.argument] if setting.is_nested else was
        if "NoSuchBucket" in codes:
            return []
        was = {name: value for name, value in was.items() if name != "ResponseMetadata"}
        if setting.form(was) != setting.form(wanted):
            drifts.append(Drift(bucket, setting, was, wanted))
    return drifts


# --- the template's settings as arguments of S3 ------------------------------------------------------------------


def _encryption(properties: Mapping[str, Any]) -> dict[str, Any]:
    (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]}]}


def _lifecycle(properties: Mapping[str, Any]) -> dict[str, Any]:
    """CloudFormation has the expiry in members of the rule, S3 in a member `Expiration`."""
    expiry = {"ExpirationInDays": "Days", "ExpiredObjectDeleteMarker": "ExpiredObjectDeleteMarker"}
    rules = []
    for given in properties["LifecycleConfiguration"]["Rules"]:
        rule: dict[str, Any] = {"ID": given["Id"], "Status": given["Status"]}
        rule["Filter"] = {"Prefix": given.get("Prefix", "")}
        if expiration := {target: given[source] for source, target in expiry.items() if source in given}:
            rule["Expiration"] = expiration
        if "Transitions" in given:
            rule["Transitions"] = [
                {"StorageClass": to["StorageClass"], "Days": to["TransitionInDays"]} for to in given["Transitions"]
            ]
        for name in ("AbortIncompleteMultipartUpload", "NoncurrentVersionExpiration"):
            if name in given:
                rule[name] = given[name]
        rules.append(rule)
    return {"Rules": rules}


def _notification(properties: Mapping[str, Any]) -> dict[str, Any] | None:
    """None for a bucket without notifications in the template: those of others stay as they are."""
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


# --- normalized forms of both sides ------------------------------------------------------


def _rules(lifecycle: Mapping[str, Any]) -> list[Any]:
    """Rules with the prefix in the filter: S3 adds ids, and a prefix is in the rule, in its filter, or missing."""
    rules = []
    for rule in lifecycle.get("Rules", ()):
        rest = {name: value for name, value in rule.items() if name not in ("Prefix", "Filter")}
        condition = {"Prefix": rule.get("Prefix", ""), **rule.get("Filter", {})}
        rules.append({**rest, "Filter": {name: value for name, value in condition.items() if value}})
    return sorted(rules, key=lambda rule: rule.get("ID", ""))


def _queue_notifications(notification: Mapping[str, Any]) -> Any:
    """Queues by name, as the account is unknown before the first deployment; S3 adds ids and writes `Prefix`."""
    queues = [
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
    return sorted(queues), {name: value for name, value in notification.items() if name != "QueueConfigurations"}


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
