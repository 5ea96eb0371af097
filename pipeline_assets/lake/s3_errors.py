"""Errors of S3 as one line: what is wrong with the bucket, permission or region, and the remedy.

The response to a HEAD has no body, so only its status says what is wrong. For a bucket in another region S3 sends a
redirect without a target.
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


def permanent_error(
    doing: str, bucket: str, action: str, region: str, error: Exception, message: str
) -> PipelineError | None:
    """The error to raise if only a person can clear it; None for any other.

    Args:
        action: the permission that the request needs, when S3 does not name one itself.
        message: the message of the store, on one line.
    """
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    failed = f"Failed {doing}: "
    if "NoSuchBucket" in message:
        return ConfigurationError(
            f"{failed}there is no bucket {bucket} (NoSuchBucket).",
            remedy="Create it (`pipeline-assets deploy aws`), or correct PIPELINE_BUCKET_PREFIX.",
        )
    if "InvalidObjectState" in message:
        return ArchivedObjectError(doing)  # a 403 that no permission clears
    if provider := re.search(r"credential provider: (\w+): (.*)", message):
        # obstore reports any failure of the provider as "unauthenticated", also a lost connection.
        if provider[1] not in UNUSABLE_CREDENTIALS:
            return None
        return ConfigurationError(f"{failed}there are no usable AWS credentials: {provider[2]}.", remedy=RENEW)
    if any(word in message for word in _EXPIRED):
        return ConfigurationError(
            f"{failed}the AWS credentials have expired (ExpiredToken).",
            remedy="Renew them and run again: the state is intact.",
        )
    if any(word in message for word in _UNKNOWN):
        return ConfigurationError(
            f"{failed}AWS does not accept the credentials.",
            remedy="Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile or role that provides them.",
        )
    if "RequestTimeTooSkewed" in message:
        return ConfigurationError(f"{failed}this machine's clock is wrong.", remedy="Set it by a time server.")
    if any(word in message for word in _REGION):
        other_region = re.search(r"expecting '([a-z0-9-]+)'", message)
        location = f" but in {other_region.group(1)}" if other_region else ""
        return ConfigurationError(
            f"{failed}the bucket {bucket} is not in the region {region}{location}.",
            remedy=f"Set PIPELINE_AWS_REGION{f' to {other_region.group(1)}' if other_region else ''}.",
        )
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or "AccessDenied" in message:
        named_action = re.search(r"perform: (\w+:\w+)", message)
        missing = named_action.group(1) if named_action else action
        # Without the permission to list a bucket, S3 answers "forbidden" for an object that does not exist.
        listing = " and s3:ListBucket" if "HEAD" in message and not named_action else ""
        return ConfigurationError(
            f"{failed}the permission {missing} on the bucket {bucket} is missing (AccessDenied).",
            remedy=f"Grant {missing}{listing} to the pipeline's role.",
        )
    if "HEAD" in message and "400 Bad Request" in message:
        return ConfigurationError(
            f"{failed}S3 refused without a reason.",
            remedy=f"Renew the AWS credentials, and check whether the bucket {bucket} is in the region {region}.",
        )
    return None
