"""What the probes of `permission_probes` share: clients with short timeouts, the signed-in role, and the resources.

Each call is made with the row of the permission that it needs, so that an error names the permission, its purpose and
the role to grant it to. Whether a bucket exists, is in our region and may be listed is checked once, as all probes of
its objects depend on it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from pipeline_assets.aws import Aws, aws_errors
from pipeline_assets.deploy.aws.permissions import Permission
from pipeline_assets.deploy.aws.template import ARTIFACTS, COMPUTE_LOGS
from pipeline_assets.deploy.inventory import data_buckets
from pipeline_assets.doctor.installation import CheckResult, CheckSkippedError
from pipeline_assets.errors import ConfigurationError, LakeError, PipelineError

if TYPE_CHECKING:
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings

_ATTEMPTS, _SECONDS = 2, 10.0
MISSING = "EntityNotFoundException"  # Glue's code


class ProbeResponse(NamedTuple):
    """The result of a call: `code` and `message` of an expected error, or the `result`."""

    code: str = ""
    message: str = ""
    result: Mapping[str, Any] = {}


@dataclass
class ProbeContext:
    """The state of all probes. `principal` is the signed-in role; `unused_name` is a name that no resource has.

    `clients` are kept by service.
    """

    settings: Settings
    pipelines: Sequence[ResolvedPipeline]
    principal: str = "the pipelines' role"
    partition: str = "aws"
    account: str = ""
    unused_name: str = field(default_factory=lambda: f"doctor-{uuid.uuid4().hex}")
    clients: dict[str, Any] = field(default_factory=dict)
    _listing_errors: dict[str, PipelineError | None] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        if service not in self.clients:
            url = self.settings.s3_endpoint_url if service == "s3" else self.settings.aws_endpoint_url
            aws = Aws(self.settings.aws_region, url)
            self.clients[service] = aws.client(service, attempts=_ATTEMPTS, timeout=_SECONDS, session=self._session)
        return self.clients[service]

    @cached_property
    def _session(self) -> Any:
        import boto3

        return boto3.session.Session()

    def ask(self, row: Permission, resource: str, call: Callable[[], Any], *expected: str) -> ProbeResponse:
        """Make a call that needs the permission; an `expected` error code proves that AWS allowed the call."""
        from botocore.exceptions import ClientError

        remedy = (
            f"With it the pipelines' role {row.purpose} ({row.used_by}). Grant it to {self.principal}; the role that "
            "`pipeline-assets deploy aws` creates has it."
        )
        with aws_errors(f"trying {row.action} on {resource}", row.action, remedy=remedy):
            try:
                response = ProbeResponse(result=call() or {})
            except ClientError as error:
                details = error.response.get("Error", {})
                if details.get("Code") == "ValidationException" and "ValidationException" not in expected:
                    raise CheckSkippedError("AWS rejected the call's arguments, whether it is allowed or not") from None
                if details.get("Code") not in expected:
                    raise
                response = ProbeResponse(details["Code"], details.get("Message", ""))
        return response

    def arn(self, service: str, resource: str) -> str:
        return f"arn:{self.partition}:{service}:{self.settings.aws_region}:{self.account}:{resource}"

    # --- buckets -------------------------------------------------------------------------------------------

    @cached_property
    def data_buckets(self) -> list[str]:
        """The buckets of the installed pipelines; the stack may have more."""
        names = {pipeline.name for pipeline in self.pipelines}
        return [self.settings.bucket_prefix + bucket.name for bucket in data_buckets() if bucket.pipeline in names]

    def bucket_prefixes(self, on: str) -> list[tuple[str, str]]:
        """(bucket, prefix) of the resources `on`."""
        if on.startswith("data "):
            return [(bucket, "staging/") for bucket in self.data_buckets]
        if not self.settings.artifacts_bucket:
            raise CheckSkippedError(f"PIPELINE_ARTIFACTS_BUCKET is not set: no {ARTIFACTS}, no Glue job")
        prefix = {"glue runs": "runs/", "compute logs": f"{COMPUTE_LOGS}/"}.get(on, "")
        return [(self.settings.artifacts_bucket, prefix)]

    def listing(self, row: Permission, bucket: str) -> PipelineError | None:
        """The error of listing a bucket, or None; it is listed once."""
        if bucket not in self._listing_errors:
            try:
                self._list(row, bucket)
            except PipelineError as error:
                self._listing_errors[bucket] = error
            else:
                self._listing_errors[bucket] = None
        return self._listing_errors[bucket]

    def _list(self, row: Permission, bucket: str) -> None:
        s3, arn = self.client("s3"), f"arn:{self.partition}:s3:::{bucket}"
        response = self.ask(row, arn, lambda: s3.list_objects_v2(Bucket=bucket, MaxKeys=1), "NoSuchBucket")
        if response.code:
            raise MissingError(
                f"There is no bucket {bucket}.",
                remedy="`pipeline-assets deploy aws` creates it; or correct PIPELINE_BUCKET_PREFIX.",
            )
        # boto3 follows the redirect to another region, obstore does not.
        headers = response.result.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = headers.get("x-amz-bucket-region", self.settings.aws_region)
        if region != self.settings.aws_region:
            raise MissingError(
                f"The bucket {bucket} is in the region {region} and not in {self.settings.aws_region}.",
                remedy="Correct PIPELINE_AWS_REGION, or PIPELINE_BUCKET_PREFIX.",
            )

    # --- the job and the catalog ---------------------------------------------------------------------------

    @cached_property
    def job(self) -> str:
        if not self.settings.glue_job:
            raise CheckSkippedError("PIPELINE_GLUE_JOB is not set: large batches are taken by the embedded engine")
        return self.settings.glue_job

    @property
    def job_arn(self) -> str:
        return self.arn("glue", f"job/{self.job}")

    def table_arn(self, table: str) -> str:
        return self.arn("glue", f"table/{self.settings.glue_database}/{table}")

    @cached_property
    def lake_tables(self) -> list[str]:
        return [table.contract.name for pipeline in self.pipelines for table in pipeline.lake_tables]

    def get_catalog_table(self, row: Permission, table: str) -> ProbeResponse:
        glue, database = self.client("glue"), self.settings.glue_database
        return self.ask(row, self.table_arn(table), lambda: glue.get_table(DatabaseName=database, Name=table), MISSING)


class MissingError(ConfigurationError):
    """Something that the settings name does not exist, so the permission cannot be checked."""


def identity(context: ProbeContext) -> CheckResult:
    """Check the credentials, which needs no permission. Some machines cannot reach STS but all that they need."""
    settings = context.settings
    try:
        with aws_errors("signing in to AWS", "sts:GetCallerIdentity"):
            caller = context.client("sts").get_caller_identity()
    except LakeError as error:
        import boto3

        session = boto3.session.Session()
        regions = [name for p in session.get_available_partitions() for name in session.get_available_regions("sts", p)]
        if not settings.aws_endpoint_url and settings.aws_region not in regions:
            return CheckResult("AWS", False, f"there is no region {settings.aws_region}. Correct PIPELINE_AWS_REGION.")
        return CheckResult("AWS", None, f"the signed-in role is unknown: {error.message}")
    except PipelineError as error:
        return CheckResult("AWS", False, str(error))
    context.account, context.principal = caller["Account"], caller["Arn"]
    context.partition = caller["Arn"].split(":")[1]
    return CheckResult("AWS", True, f"{context.principal} in account {context.account}, region {settings.aws_region}")


def other_accounts_and_regions(context: ProbeContext) -> Iterator[CheckResult]:
    """Resources in the settings that are in another account or region than the credentials."""
    settings = context.settings
    resources: list[tuple[str, str, str | None]] = []
    if settings.alerts_topic_arn:
        parts = [*settings.alerts_topic_arn.split(":"), "", "", "", ""]
        resources.append(("PIPELINE_ALERTS_TOPIC_ARN", parts[4], parts[3]))
    for pipeline, url in settings.queues.items():
        host = re.match(r"(?:sqs\.)?([a-z0-9-]+)\.(?:queue\.)?amazonaws\.com", urlsplit(url).hostname or "")
        resources.append((f"PIPELINE_QUEUES, {pipeline},", urlsplit(url).path.split("/")[1:2][0], host and host[1]))
    for setting, account, region in resources:
        if context.account and account != context.account:
            remedy = f"Use the credentials of {account}, or correct the setting."
            detail = f"{setting} names account {account}, the credentials are of account {context.account}. {remedy}"
            yield CheckResult("account", False, detail)
        if region and region != settings.aws_region:
            detail = f"{setting} names region {region}, PIPELINE_AWS_REGION {settings.aws_region}. Correct one."
            yield CheckResult("region", False, detail)
