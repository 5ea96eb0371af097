"""The daily run of a pipeline extracts if the settings ask for it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.definitions import build_definitions
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.settings import load_settings, prepare_home


def test_the_daily_run_extracts_from_the_sources_that_the_settings_name(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, scheduled_extracts=("movies",))
    prepare_home(settings)
    definitions = build_definitions(settings)

    def config(name: str) -> dict:
        (request,) = (
            definitions.get_schedule_def(f"{name}_daily").evaluate_tick(dg.build_schedule_context()).run_requests
        )
        return dict(request.run_config)

    assert config("movies") == {"ops": {"movies_batch": {"config": {"extract": True}}}}
    assert config("orders") == {}


def test_an_unknown_pipeline_is_refused(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, scheduled_extracts=("movie",))
    with pytest.raises(ConfigurationError, match="PIPELINE_SCHEDULED_EXTRACTS names unknown pipelines: movie"):
        build_definitions(settings)
