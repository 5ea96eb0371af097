"""The secret in Secrets Manager: one JSON object of variables that a process does not have in its environment.

Read by the settings when they are loaded, which is once in a process; a process that shall know a new value is
started anew. Nothing here keeps, logs or shows a value, and no error repeats one, nor a piece of what cannot be read.

The surprising part: a secret that has no value yet counts as an empty one. The stack makes it so, and the commands
between its first deployment and the day when somebody fills it must work all the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from pipeline_assets.aws import Aws, aws_errors
from pipeline_assets.errors import ConfigurationError

ACTION = "secretsmanager:GetSecretValue"
# Variables of Dagster's own processes may lie beside ours; their start script takes them from there.
OTHERS = ("DAGSTER_", "PG")
_ATTEMPTS, _SECONDS = 4, 10.0  # a process that starts should not wait for minutes


def read_secret(aws: Aws, secret_id: str, known: Collection[str]) -> dict[str, str]:
    """The variables of a secret that are among `known`, without those that are empty.

    Raises:
        ConfigurationError: there is no such secret, it may not be read, or it is not what it should be.
        LakeError: Secrets Manager cannot be reached or refuses for another reason.
    """
    text = _value(aws, secret_id)
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _wrong(secret_id, "is no JSON object")
    if unknown := sorted(name for name in found if name not in known and not name.startswith(OTHERS)):
        # A key that is none may be a value that was put in its place.
        ours = [name for name in unknown if name.startswith("PIPELINE_") and len(name) < 60 and name.isidentifier()]
        named = ", ".join(ours) if len(ours) == len(unknown) else f"{len(unknown)} keys that are no variables"
        raise _wrong(secret_id, f"has what no setting is called or none may come from it: {named}")
    if odd := sorted(name for name, value in found.items() if not isinstance(value, str)):
        raise _wrong(secret_id, f"has something else than text in {', '.join(odd)}")
    return {name: value for name, value in found.items() if name in known and value}


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
            answer = client.get_secret_value(SecretId=secret_id)
        except ClientError as error:
            said = error.response.get("Error", {})
            if said.get("Code") != missing:
                raise
            if "staging label" in said.get("Message", ""):
                return None
            raise ConfigurationError(
                f"Failed {doing}: there is no such secret in {aws.region}.",
                remedy="`pipeline-assets deploy aws` makes it and prints its id; or check PIPELINE_AWS_REGION.",
            ) from None
    if "SecretString" not in answer:
        raise _wrong(secret_id, "holds bytes and no text")
    return answer["SecretString"]


def _wrong(secret_id: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The secret {secret_id} (PIPELINE_SECRET_ID) {what}.",
        remedy='Put one JSON object of variables and texts into it: {"PIPELINE_SNOWFLAKE_PRIVATE_KEY": "…"}.',
    )
