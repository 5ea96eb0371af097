"""Snowflake's connection settings: what is wrong is named, what is secret is not (FAULTS 30)."""

from __future__ import annotations

from types import SimpleNamespace

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from snowflake.connector.util_text import construct_hostname

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.settings import load_settings
from pipeline_assets.warehouse import SnowflakeWarehouse
from pipeline_assets.warehouse.keys import host
from pipeline_assets.warehouse.snowpipe import Snowpipe

PASSPHRASE = "right-passphrase"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey, passphrase: str | None = None) -> str:
    encryption = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


def warehouse(**given: str) -> SnowflakeWarehouse:
    settings = {f"snowflake_{name}": value for name, value in given.items()}
    return SnowflakeWarehouse(load_settings(profile="aws", **settings))


def refused(warehouse: SnowflakeWarehouse) -> str:
    with pytest.raises(ConfigurationError) as error, warehouse.transaction():
        pass
    return str(error.value)


def test_every_missing_setting_is_named() -> None:
    said = refused(warehouse(user="loader"))

    assert "PIPELINE_SNOWFLAKE_ACCOUNT, PIPELINE_SNOWFLAKE_PRIVATE_KEY missing" in said
    assert "loader" not in said


def test_a_key_that_is_none_is_named_and_not_shown() -> None:
    said = refused(warehouse(account="a", user="u", private_key="this-is-secret"))

    assert "PIPELINE_SNOWFLAKE_PRIVATE_KEY" in said
    assert "this-is-secret" not in said


@pytest.mark.parametrize("passphrase", [None, "wrong-passphrase"])
def test_a_passphrase_that_does_not_open_the_key_is_named_and_not_shown(
    key: rsa.RSAPrivateKey, passphrase: str | None
) -> None:
    given = {"private_key_password": passphrase} if passphrase else {}

    said = refused(warehouse(account="a", user="u", private_key=pem(key, PASSPHRASE), **given))

    assert "PIPELINE_SNOWFLAKE_PRIVATE_KEY_PASSWORD" in said
    assert "wrong-passphrase" not in said
    assert "BEGIN" not in said


def test_the_connection_gets_the_key_opened_and_the_session_it_needs(
    key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snowflake says no, on several lines; people get one, without the key."""
    from snowflake.connector.errors import DatabaseError

    asked: dict = {}

    def refuse(**options: object) -> None:
        asked.update(options)
        raise DatabaseError("250001 (08001): JWT token is invalid.\nincident 123\nstack dump")

    monkeypatch.setattr("snowflake.connector.connect", refuse)
    given = {"account": "acme", "user": "LOADER", "private_key": pem(key, PASSPHRASE)}

    with pytest.raises(ConfigurationError) as error, warehouse(**given, private_key_password=PASSPHRASE).transaction():
        pass

    assert str(error.value).startswith("Snowflake does not accept the key of user LOADER, or there is no such user")
    assert "\n" not in str(error.value)
    assert PASSPHRASE not in str(error.value)
    assert {name: asked[name] for name in ("account", "user", "database", "warehouse", "role", "autocommit")} == {
        "account": "acme",
        "user": "LOADER",
        "database": "ANALYTICS",
        "warehouse": "PIPELINE_WH",
        "role": "PIPELINE_LOADER",
        "autocommit": True,
    }
    assert asked["private_key"] == key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ("myorg-my_account", "myorg-my-account.snowflakecomputing.com"),
        ("myorg-myaccount", "myorg-myaccount.snowflakecomputing.com"),
        ("ab12345.eu-west-1", "ab12345.eu-west-1.snowflakecomputing.com"),
        ("ab12345.cn-northwest-1", "ab12345.cn-northwest-1.snowflakecomputing.cn"),
    ],
)
def test_pipes_are_asked_where_the_driver_connects(account: str, expected: str) -> None:
    settings = load_settings(profile="aws", snowflake_account=account)

    assert host(settings) == expected
    assert Snowpipe.of(settings).endpoint.url == f"https://{expected}"
    assert construct_hostname(None, account.replace("_", "-")) == expected


def test_a_token_keeps_the_underscore_that_a_host_cannot_have(key: rsa.RSAPrivateKey) -> None:
    given = {"snowflake_account": "myorg-my_account", "snowflake_user": "LOADER", "snowflake_private_key": pem(key)}
    token = Snowpipe.of(load_settings(profile="aws", **given)).endpoint.token()

    assert jwt.decode(token, key.public_key(), algorithms=["RS256"])["sub"] == "MYORG-MY_ACCOUNT.LOADER"


class Connection:
    """A connection that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.rest = SimpleNamespace(fetch=None)

    def cursor(self) -> Connection:
        return self

    def execute(self, sql: str) -> Connection:
        self.told.append(sql)
        return self

    def close(self) -> None:
        self.told.append("close")


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    connection = Connection()
    monkeypatch.setattr("snowflake.connector.connect", lambda **_: connection)
    return connection


def test_a_unit_is_committed_and_its_connection_closed(key: rsa.RSAPrivateKey, connection: Connection) -> None:
    with warehouse(account="a", user="u", private_key=pem(key)).transaction(["a-bucket"]):
        assert connection.told == ["BEGIN"]

    assert connection.told == ["BEGIN", "COMMIT", "close"]


def test_a_unit_that_raises_is_rolled_back_and_its_connection_closed(
    key: rsa.RSAPrivateKey, connection: Connection
) -> None:
    """dagster_snowflake (0.29.27) would leave the transaction and the connection open."""
    with pytest.raises(KeyboardInterrupt), warehouse(account="a", user="u", private_key=pem(key)).transaction():
        raise KeyboardInterrupt

    assert connection.told == ["BEGIN", "ROLLBACK", "close"]
