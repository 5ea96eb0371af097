"""All settings, read once from the environment or, if not set there, from a secret in Secrets Manager.

Each setting has a description; `pipeline-assets doctor` prints them all. Nothing else in the package reads the
environment. `load_settings` reads it, never an import, so that a wrong variable cannot stop an import. AWS is called
only if PIPELINE_SECRET_ID is set.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipeline_assets.aws import Aws
from pipeline_assets.cron import is_cron
from pipeline_assets.errors import ConfigurationError, masked
from pipeline_assets.secret import read_secret
from pipeline_assets.setting_values import absolute_home, endpoint, path_of_each_stream, queue_of_each_pipeline
from pipeline_assets.spelling import resembling

PROJECT_ROOT = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """The configuration of one installation; immutable once read."""

    model_config = SettingsConfigDict(env_prefix="PIPELINE_", frozen=True, extra="ignore", env_ignore_empty=True)

    profile: Literal["local", "aws"] = Field("local", description="`local` (embedded) or `aws`.")
    home: Path = Field(
        PROJECT_ROOT / ".pipeline",
        description="Folder for everything local: lake/, warehouse/, dagster/.",
    )
    database: str = Field(
        "ANALYTICS", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Warehouse database of all schemas."
    )
    reject_share: float = Field(0.5, ge=0, le=1, description="Share of bad rows above which a whole file is rejected.")
    reject_minimum_rows: int = Field(
        20,
        ge=1,
        description="Files with fewer rows than this are never rejected for their share of bad rows.",
    )
    warehouse_patience: float = Field(
        600, gt=0, description="Seconds to wait for another process that uses the embedded warehouse."
    )
    memory_limit: str = Field(
        "4GB",
        pattern=r"^[0-9]+(\.[0-9]+)?\s*([KMGT]i?)?B$",
        description="Memory of the embedded engine; beyond it, it spills to disk.",
    )
    engine_threads: int = Field(0, ge=0, description="Threads of the embedded engine; 0 means every core.")
    engine: Literal["auto", "duckdb", "spark", "glue"] = Field(
        "auto",
        description="Engine that reads and joins files; `auto` is duckdb, for large batches Glue or a Spark cluster.",
    )
    engine_threshold_mib: int = Field(
        20_480, ge=0, description="MiB of landed files from which `auto` uses Glue or a cluster, if configured."
    )
    spark_master: str = Field("local[*]", description="Spark's master, e.g. `local[*]` or `spark://host:7077`.")
    lake_file_mib: int = Field(128, ge=1, le=5000, description="MiB after which a lake table starts a new file.")
    archive_max_entries: int = Field(10_000, ge=1, description="Entries above which a zip archive is refused.")
    archive_max_bytes: int = Field(
        10 * 1024**3, ge=1, description="Inflated bytes of all files above which a zip archive is refused."
    )
    archive_max_ratio: float = Field(
        200,
        ge=1,
        description="Ratio of inflated to packed bytes, of a file or of all, above which an archive is refused.",
    )
    retries: int = Field(2, ge=0, description="Number of retries of a step after a transient error.")
    retry_seconds: float = Field(15, gt=0, description="Seconds before the first retry, doubled for each next one.")
    sensor_interval: int = Field(30, ge=5, description="Seconds between two polls of a landing zone.")
    schedule: str = Field("15 5 * * *", description="Cron (UTC) of the daily run, for changes that the sensors missed.")
    scheduled_extracts: tuple[str, ...] = Field(
        (),
        description='Pipelines whose daily run also extracts, as JSON: `["movies"]`. Their source must be configured.',
    )
    first_landing_day: date = Field(
        date(2024, 1, 1), description="First landing day that backfills offer, of pipelines whose keys contain the day."
    )
    freshness_hours: float = Field(26, gt=0, le=8784, description="Hours until a table is stale, a source late.")
    dagster_port: int = Field(3000, ge=1, le=65535, description="Port of `pipeline-assets dev` on 127.0.0.1.")

    catalog_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s#@]+$",
        description="Address of the catalog that assets link to; empty means none, but for the one that `dev` serves.",
    )

    secret_id: str | None = Field(
        None, description="Secret with a JSON object of variables that are not set here; an output of the stack."
    )
    s3_endpoint_url: str | None = Field(None, description="S3-compatible endpoint; empty means AWS itself.")
    aws_region: str = Field("eu-west-1", pattern=r"^[a-z]+(-[a-z0-9]+)+$", description="Region of the buckets.")
    aws_endpoint_url: str | None = Field(
        None, description="Endpoint of AWS services other than S3; empty means AWS itself."
    )
    glue_database: str = Field(
        "pipeline_assets", pattern=r"^[a-z0-9_]+$", description="Database of the lake's tables in the Glue catalog."
    )
    glue_crawler: str | None = Field(None, description="Crawler to start after partitions were registered; optional.")
    stack_name: str = Field(
        "pipeline-assets",
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,50}$",
        description="CloudFormation stack of `deploy aws`; its queues, streams and job are named after it.",
    )
    glue_job: str | None = Field(None, description="Glue job that runs Spark; an output of the stack in infra/.")
    glue_timeout_minutes: float = Field(120, gt=0, le=10_080, description="Minutes after which a Glue run is stopped.")
    artifacts_bucket: str | None = Field(
        None, description="Full name of the bucket of scripts and Glue runs; an output of the stack in infra/."
    )
    host_principal_arn: str | None = Field(
        None,
        description="Principal that may assume the pipelines' role; empty means EC2, ECS and what the account allows.",
    )
    alerts_email: str | None = Field(
        None,
        description="Mail address that `deploy aws` subscribes to the alerts; the stack keeps it, `none` removes it.",
    )
    alerts_topic_arn: str | None = Field(None, description="SNS topic of the alerts; empty means log and file only.")
    cloudwatch_metrics: bool = Field(
        False,
        description="Whether runs in the profile `aws` put metrics into CloudWatch; the namespace is the stack's name.",
    )
    bucket_prefix: str = Field(
        "", pattern=r"^([a-z0-9][a-z0-9.-]*)?$", description="Prefix of every bucket name, as S3 names are global."
    )
    s3_patience: float = Field(
        120, gt=0, lt=300, description="Seconds for which a throttled request to S3 or Firehose is repeated."
    )
    queues: Annotated[dict[str, str], NoDecode] = Field(
        {},
        description='SQS queues of S3 events by pipeline, as JSON: {"bookings": "https://sqs…"}; others list zones.',
    )

    openlineage_url: str | None = Field(
        None, description="Collector of OpenLineage events, e.g. http://localhost:5000; see docs/openlineage.md."
    )
    openlineage_api_key: SecretStr | None = Field(None, description="Bearer token of that collector.")
    openlineage_file: Path | None = Field(
        None, description="File that OpenLineage events are appended to, one in each line, in place of a collector."
    )
    openlineage_namespace: str = Field(
        "pipeline-assets", min_length=1, description="Namespace of the jobs in OpenLineage events."
    )

    commerce_watch: Annotated[dict[str, str], NoDecode] = Field(
        {},
        description='Files that `stream` delivers, as JSON by stream: {"customers": "/var/log/shop/customers*.csv"}; '
        "by default customers*.csv and orders*.csv in $PIPELINE_HOME/sources/commerce, in the profile local only.",
    )
    stream_buffer_seconds: float = Field(
        10, ge=0, le=900, description="Age in seconds at which a local stream delivers its buffer; Firehose's is 300."
    )
    stream_buffer_mib: float = Field(
        5, gt=0, le=128, description="MiB at which a local stream delivers its buffer, as Firehose's hint."
    )

    movies_source_url: str | None = Field(
        None,
        repr=False,  # it may contain a password
        description="Database of movies as a SQLAlchemy URL, or a file as `file:///…` (json, csv, parquet).",
    )
    movies_select: str | None = Field(
        None,
        description="SELECT that names the 26 columns of a movie, or the path of a file with one; see docs/movies.md.",
    )
    movies_api_url: str | None = Field(None, description="HTTP API of movies: OMDb, or one of the same shape.")
    movies_api_key: SecretStr | None = Field(None, description="Key of the API of movies.")
    movies_api_ids: str | None = Field(
        None,
        description="IMDb ids or titles to request, separated by commas, or the path of a file with one in each line; "
        "by default one request for everything.",
    )
    movies_api_rate: float = Field(5, gt=0, description="Most requests a second to the API of movies.")
    movies_api_timeout: float = Field(30, gt=0, description="Seconds to wait for one answer of the API of movies.")
    movies_api_patience: float = Field(
        120, gt=0, description="Seconds for which a request to the API of movies is repeated after transient errors."
    )

    reviews_source_url: str | None = Field(
        None,
        repr=False,  # it may contain a password
        description="Database of the tables of reviews as a SQLAlchemy URL: mysql+pymysql://… or sqlite:///….",
    )
    reviews_tables: Path | None = Field(
        None, description="YAML file that lists the tables of reviews, see docs/reviews.md; empty means the example."
    )
    reviews_lag_seconds: float = Field(
        300,
        ge=0,
        le=86_400,
        description="Seconds before the last extract whose rows are extracted again, for long transactions.",
    )
    reviews_reconcile_hours: float = Field(
        24,
        ge=0,
        le=8_760,
        description="Hours after which an extract compares the keys of source and table again; 0: in every extract.",
    )
    reviews_delete_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Largest share of a table, if it has 20 rows or more, that one comparison may mark as deleted.",
    )

    snowflake_account: str | None = Field(None, description="Snowflake account identifier.")
    snowflake_user: str | None = Field(None, description="Snowflake service user.")
    snowflake_private_key: SecretStr | None = Field(None, description="PEM private key of that user.")
    snowflake_private_key_password: SecretStr | None = Field(None, description="Passphrase of the key.")
    snowflake_warehouse: str = Field("PIPELINE_WH", description="Snowflake virtual warehouse.")
    snowflake_role: str = Field("PIPELINE_LOADER", description="Snowflake role of the pipelines.")
    snowflake_host: str | None = Field(
        None, description="Host of the account; empty means <account>.snowflakecomputing.com."
    )
    snowflake_port: int = Field(443, ge=1, le=65535, description="Port of that host.")
    snowflake_protocol: Literal["https", "http"] = Field("https", description="`http` is for emulators only.")
    snowflake_login_timeout: int = Field(60, ge=1, description="Seconds to wait for the sign-in to Snowflake.")
    snowflake_network_timeout: int = Field(
        300, ge=1, description="Seconds for which a request without a response is repeated; statements may take longer."
    )
    snowflake_load: Literal["copy", "snowpipe"] = Field(
        "copy", description="How staged files are loaded: by COPY on the warehouse, or by pipes."
    )
    snowflake_pipe_patience: float = Field(600, gt=0, description="Seconds to wait for a pipe to load a batch.")
    snowflake_admin_user: str | None = Field(None, description="User who runs `deploy snowflake`; not used otherwise.")
    snowflake_admin_private_key: SecretStr | None = Field(
        None, description="PEM private key of that user; empty means sign-in with the browser."
    )
    snowflake_admin_private_key_password: SecretStr | None = Field(None, description="Passphrase of that key.")
    snowflake_admin_role: str = Field("PIPELINE_ADMIN", description="Snowflake role that owns schemas and tables.")
    snowflake_analyst_role: str = Field(
        "PIPELINE_ANALYST", description="Snowflake role that reads the tables, with personal data masked."
    )
    snowflake_storage_role_arn: str | None = Field(
        None, description="AWS role that Snowflake assumes to read the staged files; an output of the stack in infra/."
    )
    snowflake_storage_user_arn: str | None = Field(
        None, description="AWS user of Snowflake's storage integration (DESC INTEGRATION); for `deploy aws`."
    )
    snowflake_storage_external_id: str | None = Field(
        None, description="External id of that integration (DESC INTEGRATION); for `deploy aws`."
    )
    snowflake_change_capture: bool = Field(
        False, description="Whether `deploy snowflake` plans a stream and a task that maintain each history."
    )
    snowflake_monthly_credits: int = Field(100, ge=1, description="Credits a month at which the warehouse stops.")

    _from_secret: frozenset[str] = PrivateAttr(default=frozenset())

    _home = field_validator("home")(absolute_home)
    _queues = field_validator("queues", mode="before")(queue_of_each_pipeline)
    _watch = field_validator("commerce_watch", mode="before")(path_of_each_stream)
    _endpoint = field_validator("s3_endpoint_url", "aws_endpoint_url", "movies_api_url", "openlineage_url")(endpoint)

    @field_validator("database")
    @classmethod
    def _upper(cls, database: str) -> str:
        return database.upper()

    @field_validator("schedule")
    @classmethod
    def _cron(cls, schedule: str) -> str:
        if schedule == cls.model_fields["schedule"].default or is_cron(schedule):
            return schedule  # importing dagster takes half a second, which not every command needs
        raise ValueError("a cron expression has five fields, e.g. `15 5 * * *`")

    @property
    def from_secret(self) -> frozenset[str]:
        """The names of the settings that came from the secret."""
        return self._from_secret

    @property
    def lake_root(self) -> Path:
        return self.home / "lake"

    @property
    def producer_folder(self) -> Path:
        """The checkpoint of the producer, and what it keeps beside it."""
        return self.home / "sources" / "commerce" / "producer"

    @property
    def watched_files(self) -> dict[str, str]:
        """The path that is watched for each stream, with wildcards in its last part."""
        if self.commerce_watch or self.profile == "aws":
            return self.commerce_watch
        folder = self.producer_folder.parent
        return {stream: str(folder / f"{stream}*.csv") for stream in ("customers", "orders")}

    @property
    def movies_folder(self) -> Path:
        """The sample database of movies, and the answers of an API that have not landed yet."""
        return self.home / "sources" / "movies"

    @property
    def reviews_folder(self) -> Path:
        """The sample database of reviews."""
        return self.home / "sources" / "reviews"

    @property
    def warehouse_root(self) -> Path:
        return self.home / "warehouse"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def scratch_root(self) -> Path:
        return self.home / "scratch"


def load_settings(*, secret: bool = True, **overrides: object) -> Settings:
    """Read the environment; `overrides` take precedence (for tests and the command line).

    Args:
        secret: whether to read missing settings from the secret in PIPELINE_SECRET_ID.

    Raises:
        ConfigurationError: a variable is wrong or misspelt, or the secret cannot be used. The message names each wrong
            variable and what was expected, but not the value, which may be a secret.
        LakeError: Secrets Manager cannot be reached.
    """
    if misspelt := [f"{name} is not a setting; {meant} is" for name, meant in unknown_variables().items() if meant]:
        raise ConfigurationError(f"Wrong setting. {'; '.join(misspelt)}.", remedy="Correct the name, or unset it.")
    settings = _validated(overrides, "Wrong setting")
    return with_secret(settings) if secret else settings


def with_secret(settings: Settings) -> Settings:
    """The settings with missing ones from the secret in PIPELINE_SECRET_ID, if set.

    Raises:
        ConfigurationError, LakeError: as `load_settings`.
    """
    if not settings.secret_id:
        return settings
    names = {f"PIPELINE_{name.upper()}": name for name in Settings.model_fields if name not in _NEEDED_FOR_THE_SECRET}
    variables = read_secret(Aws(settings.aws_region, settings.aws_endpoint_url), settings.secret_id, names)
    given = {name: getattr(settings, name) for name in settings.model_fields_set - settings.from_secret}
    taken = {names[name]: value for name, value in variables.items() if names[name] not in given}
    filled = _validated(given | taken, f"Wrong setting, here or in the secret {settings.secret_id}")
    filled._from_secret = frozenset(taken)
    return filled


# Settings that are needed before the secret is read.
_NEEDED_FOR_THE_SECRET = {"secret_id", "aws_region", "aws_endpoint_url", "reviews_tables"}


def _validated(values: Mapping[str, object], message: str) -> Settings:
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = "; ".join(
            f"PIPELINE_{'_'.join(str(part) for part in problem['loc']).upper()}: "
            + problem["msg"].removeprefix("Value error, ")
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(
            f"{message}. {problems}.", remedy="`pipeline-assets doctor` lists every setting."
        ) from None


def prepare_home(settings: Settings) -> None:
    """Create the folders of PIPELINE_HOME and check that they are writable.

    Raises:
        ConfigurationError: a folder cannot be created or written.
    """
    folders = (settings.lake_root, settings.warehouse_root, settings.dagster_home, settings.scratch_root)
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        raise ConfigurationError(
            f"PIPELINE_HOME={settings.home} cannot be used: {os.strerror(error.errno or 0)}.",
            remedy="Choose a folder that you may write, e.g. PIPELINE_HOME=$HOME/.pipeline.",
        ) from None


def unknown_variables() -> dict[str, str | None]:
    """The PIPELINE_ variables that are not settings, each with the setting that it resembles, or None.

    Build systems set such variables, for example PIPELINE_ID.
    """
    prefix = str(Settings.model_config["env_prefix"])
    unknown: dict[str, str | None] = {}
    for variable, value in sorted(os.environ.items()):
        name = variable.upper().removeprefix(prefix)
        if value and variable.upper().startswith(prefix) and name.lower() not in Settings.model_fields:
            meant = resembling(name, Settings.model_fields)
            unknown[variable] = f"PIPELINE_{meant.upper()}" if meant else None
    return unknown


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """(variable, value, description) of every setting; values that are secret or from the secret are masked."""
    described = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if name in settings.from_secret:
            text = f"******** (from {settings.secret_id})"
        elif isinstance(value, SecretStr):
            text = "********" if value.get_secret_value() else ""
        else:
            values = {key: masked(each) for key, each in value.items()} if isinstance(value, dict) else None
            text = json.dumps(values) if values is not None else "" if value is None else masked(str(value))
        described.append((f"PIPELINE_{name.upper()}", text, field.description or ""))
    return described
