"""Every knob: what is wrong is named before anything starts, and no value that may be secret is repeated."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.settings import PROJECT_ROOT, Settings, describe, load_settings, prepare_home

WRONG = {
    "PROFILE": ["production", "AWS"],
    "HOME": ["~nobody-of-that-name/home"],
    "DATABASE": ["1st", "a-b", "x; drop table y", '"quoted"'],
    "REJECT_SHARE": ["-0.1", "1.1", "half", "nan"],
    "REJECT_MINIMUM_ROWS": ["0", "-1", "2.5", "many"],
    "WAREHOUSE_PATIENCE": ["0", "-1", "nan", "long"],
    "MEMORY_LIMIT": ["4", "4 giga", "-1GB", "80%"],
    "ENGINE_THREADS": ["-1", "two"],
    "SENSOR_INTERVAL": ["4", "often"],
    "SCHEDULE": ["daily", "15 6 * *", "61 5 * * *", "* * * * * *", "a b c d e"],
    "FRESHNESS_HOURS": ["0", "-1", "inf", "1e12"],
    "DAGSTER_PORT": ["0", "65536", "http"],
    "S3_ENDPOINT_URL": ["minio:9000", "ftp://minio", "http://user:hidden@minio", "http://user:hidden", "https://"],
    "BUCKET_PREFIX": ["team/", "Team-", "../"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"PIPELINE_{name}", value)

    with pytest.raises(ConfigurationError, match=f"PIPELINE_{name}: ") as refused:
        load_settings()

    said = str(refused.value).partition("PIPELINE_")[2].partition(": ")[2]
    assert "doctor" in refused.value.remedy
    assert "\n" not in said
    assert "hidden" not in said
    if len(value) > 3:
        assert value not in said


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_REJECT_SHARE", "2")
    monkeypatch.setenv("PIPELINE_DAGSTER_PORT", "0")

    with pytest.raises(ConfigurationError, match=r"PIPELINE_REJECT_SHARE: .*PIPELINE_DAGSTER_PORT: "):
        load_settings()


def test_an_empty_environment_is_a_whole_configuration() -> None:
    settings = load_settings()

    assert settings.profile == "local"
    assert settings.home == PROJECT_ROOT / ".pipeline"
    assert settings.database == "ANALYTICS"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files and CI systems set variables to nothing."""
    for name in Settings.model_fields:
        monkeypatch.setenv(f"PIPELINE_{name.upper()}", "")

    assert load_settings() == load_settings(home=PROJECT_ROOT / ".pipeline")


@pytest.mark.parametrize("home", ["relative", "./relative", "other/../relative"])
def test_a_relative_home_is_one_place_whatever_its_spelling(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_HOME", home)

    assert load_settings().home == tmp_path / "relative"


def test_settings_do_not_change_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().profile = "aws"  # type: ignore[misc]


# --- the home ----------------------------------------------------------------------------------------------


def test_the_home_is_made_with_its_folders(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "deep" / "home")

    prepare_home(settings)
    prepare_home(settings)

    assert sorted(path.name for path in settings.home.iterdir()) == ["dagster", "lake", "scratch", "warehouse"]
    assert [path for path in settings.home.rglob("*") if path.is_file()] == []


def test_a_home_that_cannot_be_written_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")

    with pytest.raises(ConfigurationError, match=f"PIPELINE_HOME={tmp_path}/home cannot be used: ") as refused:
        prepare_home(load_settings(home=tmp_path / "home"))
    assert "PIPELINE_HOME=" in refused.value.remedy


def test_a_folder_of_the_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "warehouse").write_text("a file")

    with pytest.raises(ConfigurationError, match="cannot be used: File exists"):
        prepare_home(load_settings(home=tmp_path))


# --- what people see ---------------------------------------------------------------------------------------


def test_secrets_show_only_that_they_are_set() -> None:
    settings = load_settings(snowflake_private_key="very-secret", snowflake_private_key_password="very-secret")

    shown = {name: value for name, value, _ in describe(settings)}

    assert shown["PIPELINE_SNOWFLAKE_PRIVATE_KEY"] == shown["PIPELINE_SNOWFLAKE_PRIVATE_KEY_PASSWORD"] == "********"
    assert "very-secret" not in f"{settings!r} {settings} {settings.model_dump()}"
    assert {name: value for name, value, _ in describe(load_settings())}["PIPELINE_SNOWFLAKE_PRIVATE_KEY"] == ""


def test_what_sounds_like_a_secret_is_one() -> None:
    for name, field in Settings.model_fields.items():
        if re.search("key|password|secret|token", name) and name != "secret_id":  # which one, not what is in it
            assert "SecretStr" in str(field.annotation), name
    assert isinstance(load_settings(snowflake_private_key="x").snowflake_private_key, SecretStr)


def test_every_knob_is_described() -> None:
    described = describe(load_settings())

    assert len(described) == len(Settings.model_fields)
    for name, _, description in described:
        assert name.startswith("PIPELINE_")
        assert description.endswith("."), name


@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_REGION", "Not A Region!"), ("AWS_REGION", "EU-WEST-1"), ("BUCKET_PREFIX", ".-"), ("BUCKET_PREFIX", "A_")],
)
def test_what_cannot_be_a_region_or_begin_a_bucket_name_is_refused_before_aws_is_asked(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"PIPELINE_{name}", value)
    with pytest.raises(ConfigurationError, match=f"PIPELINE_{name}: String should match"):
        load_settings()


class TestEnvironment:
    """Runs set DAGSTER_HOME, also for the processes that they start."""

    def test_a_run_sets_a_variable(self) -> None:
        os.environ["DAGSTER_HOME"] = "/nowhere"
        os.environ["PIPELINE_DATABASE"] = "ELSEWHERE"
        assert load_settings().database == "ELSEWHERE"


@pytest.fixture(scope="class")
def found() -> Settings:
    """Made before the fixtures of any test."""
    assert "DAGSTER_HOME" not in os.environ
    return load_settings()


class TestEnvironmentAfterwards:
    """The suite passes in any order of its files."""

    def test_what_one_test_leaves_in_the_environment_reaches_no_fixture_of_another(self, found: Settings) -> None:
        assert found.database == "ANALYTICS"
