"""The host of a Snowflake account and the private key of its user, for the driver and for the REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from pydantic import SecretStr

    from pipeline_assets.settings import Settings


def host(settings: Settings) -> str:
    """The host name of the account.

    It follows the driver's `construct_hostname`, also for regions in China, but replaces `_` by `-`: host names may
    not have `_`, and Snowflake treats both alike. Tokens keep the account's name unchanged.
    """
    if settings.snowflake_host:
        return settings.snowflake_host
    account = str(settings.snowflake_account)
    _, _, region = account.partition(".")
    top_level_domain = "cn" if region.lower().startswith("cn-") else "com"
    return f"{account.replace('_', '-')}.snowflakecomputing.{top_level_domain}"


def load_private_key(key: SecretStr, password: SecretStr | None, whose: str = "") -> PrivateKeyTypes:
    """Read a PEM private key; `whose` is part of the name of its setting (`ADMIN_`).

    Raises:
        ConfigurationError: it is not a key, or the passphrase is wrong; the message has neither.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(
            key.get_secret_value().encode(), password.get_secret_value().encode() if password else None
        )
    except (ValueError, TypeError):
        raise ConfigurationError(
            f"PIPELINE_SNOWFLAKE_{whose}PRIVATE_KEY is not a PEM key, or "
            f"PIPELINE_SNOWFLAKE_{whose}PRIVATE_KEY_PASSWORD does not open it."
        ) from None
