"""What several commands share: the registered pipelines, the settings, and running a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from pipeline_assets.batch.platform import Platform
    from pipeline_assets.batch.report import Request
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings


def require_pipeline(pipeline: str) -> None:
    """Refuse a name that no registered pipeline has.

    Raises:
        ConfigurationError: it lists the names.
    """
    if pipeline not in registered_pipelines():
        raise ConfigurationError(
            f"There is no pipeline {pipeline!r}.", remedy=f"The pipelines are {', '.join(registered_pipelines())}."
        )


def registered_pipelines() -> dict[str, ResolvedPipeline]:
    """The pipelines of this installation by name.

    Raises:
        ConfigurationError: a setting or a list of tables is wrong.
    """
    from pipeline_assets.pipelines import pipelines
    from pipeline_assets.settings import load_settings

    return pipelines(load_settings(secret=False))


def prepared_settings() -> Settings:
    """The settings, after the folders of PIPELINE_HOME were created."""
    from pipeline_assets.settings import load_settings, prepare_home

    settings = load_settings()
    prepare_home(settings)
    return settings


def open_platform(settings: Settings) -> Platform:
    from pipeline_assets.batch.build_platform import build_platform

    return build_platform(settings)


def run_now(settings: Settings, pipeline: str, request: Request, verbose: bool, *, command: str) -> dict[str, Any]:
    """Run a pipeline in this process for a command, which the list of runs shows as a tag; see `run_pipeline`."""
    from pipeline_assets.definitions import build_definitions
    from pipeline_assets.orchestration.execution import run_pipeline

    tags = {"started_by": f"pipeline-assets {command}"}
    definitions = build_definitions(settings)
    return run_pipeline(definitions, settings.dagster_home, pipeline, request, verbose=verbose, tags=tags)
