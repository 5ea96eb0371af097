"""What S3 means when it refuses: bucket, permission, region and the remedy, in one line.

S3 answers a HEAD without a body, so there only the status tells; and a bucket of another region is a redirect without
a place to go to.
"""

from __future__ import annotations

import re

from pipeline_assets.aws import RENEW, UNUSABLE_CREDENTIALS
from pipeline_assets.errors import ArchivedObjectError, ConfigurationError, PipelineError

_EXPIRED = ("ExpiredToken", "TokenRefreshRequired")
_UNKNOWN = ("InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "InvalidSecurity")
_REGION = (
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "IllegalLocationConstraint",
    "redirect without LOCATION",
)


def refused(doing: str, bucket: str, action: str, region: str, error: Exception, said: str) -> PipelineError | None:
    """Our error for a refusal that only a person can clear; None for any other.

    Args:
        action: the permission that the request needs, when S3 does not name one itself.
        said: what the store said, on one line.
    """
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    failed = f"Failed {doing}: "
    if "NoSuchBucket" in said:
        return ConfigurationError(
            f"{failed}there is no bucket {bucket} (NoSuchBucket).",
            remedy="Create it (`pipeline-assets deploy aws`), or mend PIPELINE_BUCKET_PREFIX.",
        )
    if "InvalidObjectState" in said:
        return ArchivedObjectError(doing)  # a 403 that no permission clears
    if provider := re.search(r"credential provider: (\w+): (.*)", said):
        # obstore calls whatever goes wrong there "unauthenticated", a lost connection too.
        if provider[1] not in UNUSABLE_CREDENTIALS:
            return None
        return ConfigurationError(f"{failed}there are no usable AWS credentials: {provider[2]}.", remedy=RENEW)
    if any(word in said for word in _EXPIRED):
        return ConfigurationError(
            f"{failed}the AWS credentials have expired (ExpiredToken).",
            remedy="Renew them and run again: the state is intact.",
        )
    if any(word in said for word in _UNKNOWN):
        return ConfigurationError(
            f"{failed}AWS does not accept the credentials.",
            remedy="Mend AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile or role that gives them.",
        )
    if "RequestTimeTooSkewed" in said:
        return ConfigurationError(f"{failed}this machine's clock is wrong.", remedy="Set it by a time server.")
    if any(word in said for word in _REGION):
        there = re.search(r"expecting '([a-z0-9-]+)'", said)
        where = f" but in {there.group(1)}" if there else ""
        return ConfigurationError(
            f"{failed}the bucket {bucket} is not in the region {region}{where}.",
            remedy=f"Set PIPELINE_AWS_REGION{f' to {there.group(1)}' if there else ''}.",
        )
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or "AccessDenied" in said:
        named = re.search(r"perform: (\w+:\w+)", said)
        missing = named.group(1) if named else action
        # Who may not list a bucket is told "forbidden" of an object that is not there.
        listing = " and s3:ListBucket" if "HEAD" in said and not named else ""
        return ConfigurationError(
            f"{failed}the permission {missing} on the bucket {bucket} is missing (AccessDenied).",
            remedy=f"Grant {missing}{listing} to the pipeline's role.",
        )
    if "HEAD" in said and "400 Bad Request" in said:
        return ConfigurationError(
            f"{failed}S3 refused and does not say why.",
            remedy=f"Renew the AWS credentials, and see whether the bucket {bucket} is in the region {region}.",
        )
    return None
