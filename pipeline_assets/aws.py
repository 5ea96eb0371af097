"""Clients of AWS services other than the object store, and their errors as ours.

boto3 finds the credentials (environment, profile, role); they are not read or kept here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_assets.errors import ConfigurationError, LakeError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# "403": the response to a HEAD of S3 has no body with a code.
_DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "403"}
_NO_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "InvalidAccessKeyId",
    "InvalidToken",
}
_WRONG_TIME = {"RequestExpired", "RequestTimeTooSkewed"}
# Errors of botocore, by name as not every version has them all: credentials are configured but unusable until a person
# signs in again or corrects them.
UNUSABLE_CREDENTIALS = {
    "SSOTokenLoadError",
    "UnauthorizedSSOTokenError",
    "TokenRetrievalError",
    "CredentialRetrievalError",
    "PartialCredentialsError",
    "LoginRefreshRequired",
}
RENEW = "Sign in again (`aws sso login`), or correct the profile, role or variables that provide the credentials."
ATTEMPTS = 8  # with exponential backoff and jitter between them: about half a minute


@dataclass(frozen=True)
class Aws:
    """A region of AWS, or of a compatible service at `endpoint_url`."""

    region: str
    endpoint_url: str | None = None

    def client(self, service: str, *, attempts: int = ATTEMPTS, timeout: float = 60, session: Any = None) -> Any:
        """A client of one service; opens no connection yet. `timeout` is in seconds, of one attempt.

        A caller that makes many clients passes one `session`, as each new session takes a fifth of a second.
        """
        import boto3
        from botocore.config import Config

        retries = {"mode": "standard", "total_max_attempts": attempts}
        config = Config(retries=retries, connect_timeout=min(10, timeout), read_timeout=timeout)
        # Not the default session: that keeps the credentials of the start of the process.
        session = session or boto3.session.Session()
        return session.client(service, region_name=self.region, endpoint_url=self.endpoint_url, config=config)


@contextmanager
def aws_errors(doing: str, action: str, *, expected: tuple[str, ...] = (), remedy: str = "") -> Iterator[list[str]]:
    """Turn errors of a call into ours. An `expected` code raises nothing and is added to the yielded list.

    Args:
        doing: the operation in the message, e.g. "registering partitions of orders".
        action: the permission that the call needs, e.g. "glue:GetTable".
        remedy: what to do if it is missing; by default, to grant it to the pipeline's role.

    Raises:
        ConfigurationError: a permission or the credentials are missing.
        LakeError: the call failed for another reason; a retry may clear it.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    codes: list[str] = []
    try:
        yield codes
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in expected:
            codes.append(code)
            return
        raise _as_pipeline_error(doing, action, code, error, remedy) from None
    except NoCredentialsError:
        raise ConfigurationError(
            f"Failed {doing}: there are no AWS credentials.",
            remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role.",
        ) from None
    except BotoCoreError as error:
        if type(error).__name__ in UNUSABLE_CREDENTIALS:
            raise ConfigurationError(
                f"Failed {doing}: there are no usable AWS credentials: {str(error).rstrip('.')}.", remedy=RENEW
            ) from None
        raise LakeError(
            f"Failed {doing}: {str(error).rstrip('.')}.", remedy="The state is intact; run again."
        ) from None


def slices(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """The values in slices of at most `size`, for calls with a limit."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _as_pipeline_error(doing: str, action: str, code: str, error: ClientError, remedy: str) -> Exception:
    message = error.response.get("Error", {}).get("Message", "")
    if code in _DENIED:
        return ConfigurationError(
            f"Failed {doing}: the permission {action} is missing.",
            remedy=remedy or f"Grant {action} to the pipeline's role.",
        )
    if code in _NO_CREDENTIALS:
        return ConfigurationError(
            f"Failed {doing}: AWS does not accept the credentials ({code}).", remedy="Renew them and run again."
        )
    if code in _WRONG_TIME:
        return ConfigurationError(
            f"Failed {doing}: AWS rejects the request's time ({code}).",
            remedy="Set this machine's clock by a time server and run again.",
        )
    return LakeError(f"Failed {doing}: {code}: {message}", remedy="The state is intact; run again.")
