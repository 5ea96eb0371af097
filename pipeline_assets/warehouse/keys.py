"""Where the account of Snowflake answers, and the key that opens it; for the driver and for its REST API alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from pydantic import SecretStr

    from pipeline_assets.settings import Settings


def host(settings: Settings) -> str:
    """Where the account answers.

    As the driver's `construct_hostname` has it, regions in China included; and with `-` for the `_` of an account's
    name, which host names may not have and Snowflake takes for the same. Tokens keep the name as it is.
    """
    if settings.snowflake_host:
        return settings.snowflake_host
    account = str(settings.snowflake_account)
    _, _, region = account.partition(".")
    top = "cn" if region.lower().startswith("cn-") else "com"
    return f"{account.replace('_', '-')}.snowflakecomputing.{top}"


def load_private_key(key: SecretStr, password: SecretStr | None, whose: str = "") -> PrivateKeyTypes:
    """Read a PEM private key; `whose` is part of the setting's name.

    Raises:
        ConfigurationError: it is none, or the passphrase does not open it; neither is repeated.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(
            key.get_secret_value().encode(), password.get_secret_value().encode() if password else None
        )
    except (ValueError, TypeError):
        raise ConfigurationError(
            f"PIPELINE_SNOWFLAKE_{whose}PRIVATE_KEY is no PEM key, or PIPELINE_SNOWFLAKE_{whose}PRIVATE_KEY_PASSWORD "
            "does not open it."
        ) from None
