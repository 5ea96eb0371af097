"""Every knob, read once from the environment.

What a knob does stands in its description; `pipeline-assets doctor` prints them all. Nothing else in the
package reads the environment. Reading happens in `load_settings`, never at import, so that a missing
variable cannot stop a code location from loading.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline_assets.errors import ConfigurationError

PROJECT_ROOT = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """The configuration of one installation; immutable once read."""

    model_config = SettingsConfigDict(env_prefix="PIPELINE_", frozen=True, extra="ignore", env_ignore_empty=True)

    profile: Literal["local", "aws"] = Field("local", description="`local` (embedded) or `aws`.")
    home: Path = Field(
        PROJECT_ROOT / ".pipeline",
        description="Folder for everything local: lake/, warehouse/, dagster/, sources/.",
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
        600, gt=0, description="Seconds to wait for another process that holds the embedded warehouse."
    )
    memory_limit: str = Field(
        "4GB",
        pattern=r"^[0-9]+(\.[0-9]+)?\s*([KMGT]i?)?B$",
        description="Memory of the embedded engine; beyond it, it spills to disk.",
    )
    engine_threads: int = Field(0, ge=0, description="Threads of the embedded engine; 0 means every core.")
    lake_file_mib: int = Field(128, ge=1, le=5000, description="MiB at which a new file of a lake table is begun.")
    sensor_interval: int = Field(30, ge=5, description="Seconds between two looks at a landing zone.")
    schedule: str = Field("15 5 * * *", description="Cron (UTC) of the daily run that backs the sensors up.")
    freshness_hours: float = Field(26, gt=0, le=8784, description="Hours after which a table counts as stale.")
    dagster_port: int = Field(3000, ge=1, le=65535, description="Port of `pipeline-assets dev` on 127.0.0.1.")

    s3_endpoint_url: str | None = Field(None, description="S3-compatible endpoint; empty means AWS itself.")
    aws_region: str = Field("eu-west-1", description="Region of the buckets.")
    aws_endpoint_url: str | None = Field(
        None, description="Endpoint of AWS services other than S3; empty means AWS itself."
    )
    glue_database: str = Field(
        "pipeline_assets", pattern=r"^[a-z0-9_]+$", description="Database of the lake's tables in the Glue catalog."
    )
    glue_crawler: str | None = Field(None, description="Crawler to start after partitions were registered; optional.")
    alerts_topic_arn: str | None = Field(None, description="SNS topic of the alerts; empty means log and file only.")
    bucket_prefix: str = Field(
        "", pattern=r"^[a-z0-9.-]*$", description="Put before every bucket name, as S3 names are global."
    )

    snowflake_account: str | None = Field(None, description="Snowflake account identifier.")
    snowflake_user: str | None = Field(None, description="Snowflake service user.")
    snowflake_private_key: SecretStr | None = Field(None, description="PEM private key of that user.")
    snowflake_private_key_password: SecretStr | None = Field(None, description="Passphrase of the key.")
    snowflake_warehouse: str = Field("PIPELINE_WH", description="Snowflake virtual warehouse.")
    snowflake_role: str = Field("PIPELINE_LOADER", description="Snowflake role of the pipelines.")

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        if "'" in str(home):
            raise ValueError("the embedded warehouse cannot open a path with an apostrophe in it")
        try:
            return Path(os.path.abspath(home.expanduser()))
        except RuntimeError:
            raise ValueError("that user has no home folder") from None

    @field_validator("database")
    @classmethod
    def _upper(cls, database: str) -> str:
        return database.upper()

    @field_validator("schedule")
    @classmethod
    def _cron(cls, schedule: str) -> str:
        # Importing dagster takes long, but only a schedule that somebody set comes here.
        import dagster as dg

        try:
            if len(schedule.split()) == 5:
                dg.ScheduleDefinition(name="tried", job_name="tried", cron_schedule=schedule)
                return schedule
        except dg.DagsterInvalidDefinitionError:
            pass
        raise ValueError("a cron expression has five fields, e.g. `15 5 * * *`")

    @field_validator("s3_endpoint_url", "aws_endpoint_url")
    @classmethod
    def _endpoint(cls, url: str | None) -> str | None:
        try:
            parts = urlsplit(url or "https://aws")
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
        except ValueError:  # its message would repeat what may be a password
            sound = False
        if not sound:
            raise ValueError("http(s)://host[:port] is expected; credentials go to AWS_ACCESS_KEY_ID and so on")
        return url

    @property
    def lake_root(self) -> Path:
        return self.home / "lake"

    @property
    def warehouse_root(self) -> Path:
        return self.home / "warehouse"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def scratch_root(self) -> Path:
        return self.home / "scratch"


def load_settings(**overrides: object) -> Settings:
    """Read the environment; `overrides` win (tests and the command line use them).

    Raises:
        ConfigurationError: naming each wrong variable, what was expected and how to set it. The value
            itself is not repeated, as it may be a secret.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = "; ".join(
            f"PIPELINE_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(
            f"Wrong setting. {wrong}.", remedy="`pipeline-assets doctor` lists every setting."
        ) from None


def prepare_home(settings: Settings) -> None:
    """Create the folders of the home and prove that they can be written.

    Raises:
        ConfigurationError: when a folder cannot be created or written.
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


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """(variable, value, description) of every setting; a secret shows only whether it is set."""
    described = []
    for name, knob in Settings.model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            shown = "********" if value.get_secret_value() else ""
        else:
            shown = "" if value is None else str(value)
        described.append((f"PIPELINE_{name.upper()}", shown, knob.description or ""))
    return described
