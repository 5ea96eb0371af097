"""The secret in Secrets Manager: a JSON object of variables that are not set in the environment.

The settings read it once in a process; a new value needs a restart. No value is kept, logged or shown, and no error
repeats a value or a part of an unreadable secret. A secret without a value counts as empty: the stack creates it so,
and commands must work before somebody fills it.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from pipeline_assets.aws import Aws, aws_errors
from pipeline_assets.errors import ConfigurationError

ACTION = "secretsmanager:GetSecretValue"
# The secret may also have variables of Dagster's processes, which their start script reads.
OTHERS = ("DAGSTER_", "PG")
_ATTEMPTS, _SECONDS = 4, 10.0  # a process that starts should not wait for minutes


def read_secret(aws: Aws, secret_id: str, allowed: Collection[str]) -> dict[str, str]:
    """The variables of a secret that are in `allowed` and not empty.

    Raises:
        ConfigurationError: the secret does not exist, may not be read, or has the wrong form.
        LakeError: Secrets Manager cannot be reached, or the call failed for another reason.
    """
    text = _value(aws, secret_id)
    try:
        variables = json.loads(text or "{}")
    except (ValueError, RecursionError):
        variables = None
    if not isinstance(variables, dict):
        raise _wrong(secret_id, "is not a JSON object")
    if unknown := sorted(name for name in variables if name not in allowed and not name.startswith(OTHERS)):
        # An invalid name may be a secret value in the place of a name, so it is not shown.
        ours = [name for name in unknown if name.startswith("PIPELINE_") and len(name) < 60 and name.isidentifier()]
        names = ", ".join(ours) if len(ours) == len(unknown) else f"{len(unknown)} keys that are not variables"
        raise _wrong(secret_id, f"has names that are not settings, or settings that may not come from it: {names}")
    if odd := sorted(name for name, value in variables.items() if not isinstance(value, str)):
        raise _wrong(secret_id, f"has a value that is not text in {', '.join(odd)}")
    return {name: value for name, value in variables.items() if name in allowed and value}


def _value(aws: Aws, secret_id: str) -> str | None:
    from botocore.exceptions import ClientError

    doing = f"reading the secret {secret_id} (PIPELINE_SECRET_ID)"
    missing = "ResourceNotFoundException"
    remedy = (
        f"Grant {ACTION} on it to the pipeline's role, or unset PIPELINE_SECRET_ID and set the variables themselves."
    )
    with aws_errors(doing, ACTION, remedy=remedy):
        try:
            client = aws.client("secretsmanager", attempts=_ATTEMPTS, timeout=_SECONDS)
            response = client.get_secret_value(SecretId=secret_id)
        except ClientError as error:
            details = error.response.get("Error", {})
            if details.get("Code") != missing:
                raise
            if "staging label" in details.get("Message", ""):
                return None
            raise ConfigurationError(
                f"Failed {doing}: there is no such secret in {aws.region}.",
                remedy="`pipeline-assets deploy aws` creates it and prints its id; or check PIPELINE_AWS_REGION.",
            ) from None
    if "SecretString" not in response:
        raise _wrong(secret_id, "holds bytes and not text")
    return response["SecretString"]


def _wrong(secret_id: str, fault: str) -> ConfigurationError:
    return ConfigurationError(
        f"The secret {secret_id} (PIPELINE_SECRET_ID) {fault}.",
        remedy='Put a JSON object of variables and texts into it: {"PIPELINE_SNOWFLAKE_PRIVATE_KEY": "…"}.',
    )
