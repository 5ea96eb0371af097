"""Settings from Secrets Manager: what the environment does not set, read when settings are loaded, never shown."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from pipeline_assets.errors import ConfigurationError, LakeError
from pipeline_assets.settings import describe, load_settings
from pipeline_assets_tests.support.moto_aws import moto_server

REGION, SECRET, HIDDEN = "eu-west-1", "team/pipeline", "-----BEGIN hidden-----\nhidden\n"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def manager(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an account that holds the secret without a value, and the environment of a process there."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "not-used",
        "PIPELINE_AWS_REGION": REGION,
        "PIPELINE_AWS_ENDPOINT_URL": url,
        "PIPELINE_SECRET_ID": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("secretsmanager", endpoint_url=url, region_name=REGION)
    client.create_secret(Name=SECRET)
    yield client
    client.delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)


def put(manager: Any, **variables: object) -> None:
    manager.put_secret_value(SecretId=SECRET, SecretString=json.dumps(variables))


def test_what_the_environment_does_not_set_comes_from_the_secret(manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SNOWFLAKE_USER", "OF_THE_ENVIRONMENT")
    monkeypatch.setenv("PIPELINE_SNOWFLAKE_ACCOUNT", "")  # empty counts as unset
    put(
        manager,
        PIPELINE_SNOWFLAKE_PRIVATE_KEY=HIDDEN,
        PIPELINE_SNOWFLAKE_USER="OF_THE_SECRET",
        PIPELINE_SNOWFLAKE_ACCOUNT="acme",
        PIPELINE_SNOWFLAKE_PORT="444",
        PIPELINE_DATABASE="of_the_secret",
        PIPELINE_SNOWFLAKE_ROLE="",
        DAGSTER_POSTGRES_PASSWORD="of another process",
    )

    settings = load_settings(database="given")

    assert settings.snowflake_private_key is not None
    assert settings.snowflake_private_key.get_secret_value() == HIDDEN
    assert (settings.snowflake_user, settings.snowflake_account) == ("OF_THE_ENVIRONMENT", "acme")
    assert (settings.snowflake_port, settings.database) == (444, "GIVEN")
    assert settings.snowflake_role == "PIPELINE_LOADER"
    assert settings.from_secret == {"snowflake_private_key", "snowflake_account", "snowflake_port"}


def test_it_is_shown_what_came_from_the_secret_and_no_value_of_it(manager: Any) -> None:
    put(manager, PIPELINE_SNOWFLAKE_PRIVATE_KEY=HIDDEN, PIPELINE_SNOWFLAKE_ACCOUNT="hidden")

    settings = load_settings()

    shown = {name: value for name, value, _ in describe(settings)}
    assert shown["PIPELINE_SNOWFLAKE_PRIVATE_KEY"] == "******** (from team/pipeline)"
    assert shown["PIPELINE_SNOWFLAKE_ACCOUNT"] == "******** (from team/pipeline)"
    assert shown["PIPELINE_SNOWFLAKE_USER"] == ""
    assert "hidden" not in str(describe(settings))


def test_it_is_read_once_and_a_new_value_is_for_a_new_reading(manager: Any) -> None:
    put(manager, PIPELINE_SNOWFLAKE_USER="FIRST")
    settings = load_settings()
    put(manager, PIPELINE_SNOWFLAKE_USER="SECOND")
    assert settings.snowflake_user == "FIRST"
    assert load_settings().snowflake_user == "SECOND"


def test_a_secret_that_nobody_has_filled_yet_counts_as_empty(manager: Any) -> None:
    """The stack makes it without a value, and the commands up to filling it have to work."""
    assert load_settings().from_secret == frozenset()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("hidden", "is not a JSON object"),
        ('["hidden"]', "is not a JSON object"),
        ("[" * 100_000, "is not a JSON object"),
        ('{"PIPELINE_SNOWFLAKE_PRIVATE_KEI": "hidden"}', "not settings.*: PIPELINE_SNOWFLAKE_PRIVATE_KEI"),
        ('{"-----BEGIN hidden-----": ""}', "1 keys that are not variables"),
        ('{"PIPELINE_SNOWFLAKE_PORT": 443}', "a value that is not text in PIPELINE_SNOWFLAKE_PORT"),
        ('{"PIPELINE_SECRET_ID": "hidden"}', "settings that may not come from it: PIPELINE_SECRET_ID"),
        ('{"PIPELINE_AWS_REGION": "hidden"}', "settings that may not come from it: PIPELINE_AWS_REGION"),
        ('{"PIPELINE_SNOWFLAKE_PORT": "hidden"}', "PIPELINE_SNOWFLAKE_PORT: .*integer"),
    ],
)
def test_what_is_wrong_in_it_is_reported_in_one_line_without_a_value(manager: Any, text: str, wrong: str) -> None:
    manager.put_secret_value(SecretId=SECRET, SecretString=text)

    with pytest.raises(ConfigurationError, match=wrong) as refused:
        load_settings()

    said = str(refused.value)
    assert SECRET in said
    assert "hidden" not in said
    assert "\n" not in said
    assert load_settings(secret=False).secret_id == SECRET  # for whoever must work all the same


def test_bytes_are_refused(manager: Any) -> None:
    manager.put_secret_value(SecretId=SECRET, SecretBinary=b"hidden")
    with pytest.raises(ConfigurationError, match=r"team/pipeline .* holds bytes and not text"):
        load_settings()


def test_a_secret_that_is_not_there_is_named_with_the_region(manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SECRET_ID", "team/other")
    with pytest.raises(ConfigurationError, match=r"the secret team/other .*there is no such secret in eu-west-1"):
        load_settings()


def test_an_unreachable_manager_is_reported_as_something_that_may_clear(manager: Any) -> None:
    with pytest.raises(LakeError, match="reading the secret team/pipeline") as refused:
        load_settings(aws_endpoint_url="http://127.0.0.1:1")
    assert refused.value.transient


def test_without_a_secret_the_client_of_aws_is_not_even_imported() -> None:
    code = (
        "import sys; from pipeline_assets.settings import load_settings as load; load(); print('boto3' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={})
    assert done.stdout == "False\n"
