"""Clients of AWS services other than the object store: made when they are needed, their errors in our words.

Credentials come from where boto3 finds them (environment, profile, role); nothing here reads or keeps one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_assets.errors import ConfigurationError, LakeError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# "403": the answer to a HEAD of S3 has no body to say more.
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
# Errors of botocore, by name as not every version has them all: credentials are set up, and give none until a person
# has signed in again or patched_emulator them.
UNUSABLE_CREDENTIALS = {
    "SSOTokenLoadError",
    "UnauthorizedSSOTokenError",
    "TokenRetrievalError",
    "CredentialRetrievalError",
    "PartialCredentialsError",
    "LoginRefreshRequired",
}
RENEW = "Sign in again (`aws sso login`), or mend the profile, role or variables that the credentials come from."
ATTEMPTS = 8  # with exponential backoff and jitter between them: about half a minute


@dataclass(frozen=True)
class Aws:
    """Which AWS: `endpoint_url` is set for anything that speaks its protocols elsewhere."""

    region: str
    endpoint_url: str | None = None

    def client(self, service: str, *, attempts: int = ATTEMPTS, timeout: float = 60, session: Any = None) -> Any:
        """A client of one service; opens no connection yet. `timeout` is in seconds, of one attempt.

        `session` is for whoever makes many at once: each of its own takes a fifth of a second.
        """
        import boto3
        from botocore.config import Config

        retries = {"mode": "standard", "total_max_attempts": attempts}
        config = Config(retries=retries, connect_timeout=min(10, timeout), read_timeout=timeout)
        # A session of its own: the default one keeps the credentials that the process started with.
        session = session or boto3.session.Session()
        return session.client(service, region_name=self.region, endpoint_url=self.endpoint_url, config=config)


@contextmanager
def aws_errors(doing: str, action: str, *, expected: tuple[str, ...] = (), remedy: str = "") -> Iterator[list[str]]:
    """Turn errors of a call into ours; yields a list that gets the code of an `expected` one instead.

    Args:
        doing: what failed, for people, e.g. "registering partitions of orders".
        action: the permission that the call needs, e.g. "glue:GetTable".
        remedy: what to do when it is missing; otherwise to grant it to the pipeline's role.

    Raises:
        ConfigurationError: a permission or the credentials are missing; granting them clears it.
        LakeError: the service refused for another reason or cannot be reached; a retry may clear it.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    found: list[str] = []
    try:
        yield found
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in expected:
            found.append(code)
            return
        raise _refused(doing, action, code, error, remedy) from None
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
    """As many of some values at a time as a call takes."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _refused(doing: str, action: str, code: str, error: ClientError, remedy: str) -> Exception:
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
            f"Failed {doing}: AWS finds the request's time wrong ({code}).",
            remedy="Set this machine's clock by a time server and run again.",
        )
    return LakeError(f"Failed {doing}: {code}: {message}", remedy="The state is intact; run again.")
