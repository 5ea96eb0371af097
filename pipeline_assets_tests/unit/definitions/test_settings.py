"""Every knob: what is wrong is named before anything starts, and no value that may be secret is repeated."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from pydantic import SecretStr

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.settings import PROJECT_ROOT, Settings, describe, load_settings, prepare_home, unknown_variables

WRONG = {
    "PROFILE": ["production", "AWS"],
    "HOME": [
        "~nobody-of-that-name/home",
        *(f"/tmp/odd{part}home" for part in ("'", "\\", "?", "%41", "*", "[x]", "/$X", "\n", "\x7f", "\udcff")),
    ],
    "DATABASE": ["1st", "a-b", "x; drop table y", '"quoted"'],
    "REJECT_SHARE": ["-0.1", "1.1", "half", "nan"],
    "REJECT_MINIMUM_ROWS": ["0", "-1", "2.5", "many"],
    "WAREHOUSE_PATIENCE": ["0", "-1", "nan", "long"],
    "MEMORY_LIMIT": ["4", "4 giga", "-1GB", "80%"],
    "ENGINE_THREADS": ["-1", "two"],
    "ARCHIVE_MAX_ENTRIES": ["0", "-1", "1.5", "many"],
    "ARCHIVE_MAX_BYTES": ["0", "10GB"],
    "ARCHIVE_MAX_RATIO": ["0.5", "nan", "1000:1"],
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


# --- names ---------------------------------------------------------------------------------------------------

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
NAMES = sorted(name.upper() for name in Settings.model_fields)


@hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(st.sampled_from(NAMES), st.integers(0, 40), st.sampled_from(LETTERS), st.sampled_from(range(5)))
def test_one_slip_in_a_name_is_an_error_that_names_a_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, at: int, letter: str, slip: int
) -> None:
    at %= len(name)
    before, found, after = name[:at], name[at], name[at + 1 :]
    misspelt = {
        0: before + after,
        1: before + letter + found + after,
        2: before + letter + after,
        3: before + after[:1] + found + after[1:],
        4: name.replace("_", ""),
    }[slip]
    hypothesis.assume(misspelt.upper() not in NAMES)
    with monkeypatch.context() as patch:
        patch.setenv(f"PIPELINE_{misspelt}", "hidden")
        with pytest.raises(ConfigurationError) as refused:
            load_settings()
    assert refused.value.message.startswith(f"Wrong setting. PIPELINE_{misspelt} is not a setting; PIPELINE_")
    assert "hidden" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_name_in_the_error_is_the_one_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    for misspelt, meant in {"REJECTSHARE": "REJECT_SHARE", "Reject_Shrae": "REJECT_SHARE", "QUEUE": "QUEUES"}.items():
        with monkeypatch.context() as patch:
            patch.setenv(f"PIPELINE_{misspelt}", "0.1")
            with pytest.raises(ConfigurationError, match=f"PIPELINE_{misspelt} is not a setting; PIPELINE_{meant} is"):
                load_settings()


OF_BUILD_SYSTEMS = """
ID NUMBER NAME URL TYPE SOURCE JOB_ID RUN_ID UUID STAGE STAGE_NAME NODE VERSION WORKSPACE BUILD_ID MODE TRIGGER BRANCH
COMMIT ENV STATUS TIMEOUT PROJECT SCHEDULE_ID TOKEN USER ROLE HOST IMAGE SERVICE
"""


@pytest.mark.parametrize("name", OF_BUILD_SYSTEMS.split())
def test_what_build_systems_set_is_no_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"PIPELINE_{name}", "17")
    assert load_settings().profile == "local"
    assert unknown_variables() == {f"PIPELINE_{name}": None}


def test_an_empty_misspelt_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_REJECTSHARE", "")
    assert load_settings().reject_share == 0.5


# --- secrets -------------------------------------------------------------------------------------------------

PASSWORD = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=6)
TEXTS = [
    name
    for name, field in Settings.model_fields.items()
    if field.annotation in (str, str | None) and not any(getattr(rule, "pattern", None) for rule in field.metadata)
]


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.example("000000", "@00000", "spark_master")
@hypothesis.example("00?000", "000000", "spark_master")
@hypothesis.given(
    PASSWORD,
    PASSWORD,
    st.sampled_from([name for name in TEXTS if not name.endswith(("endpoint_url", "api_url", "openlineage_url"))]),
)
def test_no_password_or_token_is_shown_wherever_it_stands(password: str, token: str, name: str) -> None:
    url = f"https://queue:{password}@sqs.example.org/123/queue?X-Token={token}"
    hypothesis.assume(
        not any(secret in f"PIPELINE_{url.partition(password)[0]}********" for secret in (password, token))
    )
    given: dict[str, object] = {"schedule": "15 5 * * *", name: url} if name != "schedule" else {}
    configured = Settings(
        **given,  # type: ignore[arg-type]
        snowflake_private_key=SecretStr(password),
        snowflake_admin_private_key_password=SecretStr(token),
    )
    shown = [value for _, value, _ in describe(configured)]
    assert not [value for value in shown if password in value or token in value]


@pytest.mark.parametrize(
    "url",
    [
        *("https://user:s3cret@host/", "https://host/?apikey=s3cret", "https://host/?plot=full&ApiKey=s3cret"),
        *("https://host/#s3cret", "https://[s3cret/", "ftp://host/s3cret", "s3cret", "https://host:0/s3cret"),
    ],
)
def test_the_url_of_an_api_has_no_key_and_no_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PIPELINE_MOVIES_API_URL", url)
    with pytest.raises(ConfigurationError, match="credentials go to PIPELINE_MOVIES_API_KEY") as raised:
        load_settings()
    assert "s3cret" not in str(raised.value)


def test_the_source_and_the_key_of_movies_are_not_in_the_text_of_the_settings() -> None:
    configured = load_settings(movies_source_url="mysql://ann:s3cret@host/db", movies_api_key="s3cret")
    shown = {name: value for name, value, _ in describe(configured)}
    assert shown["PIPELINE_MOVIES_SOURCE_URL"] == "mysql://********@host/db"
    assert shown["PIPELINE_MOVIES_API_KEY"] == "********"
    assert "s3cret" not in repr(configured) + str(configured)


def test_the_rest_of_a_url_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    queues = {"bookings": "https://me:hidden@sqs.example.org/1/q?token=hidden", "orders": "http://token@host/o#hidden"}
    monkeypatch.setenv("PIPELINE_QUEUES", json.dumps(queues))
    shown = {name: value for name, value, _ in describe(load_settings())}["PIPELINE_QUEUES"]
    assert json.loads(shown) == {
        "bookings": "https://********@sqs.example.org/1/q?********",
        "orders": "http://********@host/o#********",
    }
