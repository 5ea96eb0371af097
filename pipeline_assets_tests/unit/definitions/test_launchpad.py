"""What a person who starts a run in the UI reads: fields, schedules and sensors say what they do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_assets.definitions import build_definitions
from pipeline_assets.orchestration.keys import batch_step
from pipeline_assets.settings import load_settings, prepare_home


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    settings = load_settings(home=tmp_path_factory.mktemp("home"))
    prepare_home(settings)
    return build_definitions(settings)


def jobs(definitions: dg.Definitions) -> list[dg.JobDefinition]:
    return [job for job in definitions.get_repository_def().get_all_jobs() if not job.name.startswith("__")]


def fields(config_type: Any, path: str = "") -> Iterator[tuple[str, str | None]]:
    """The path and the description of every field below a type."""
    for name, field in (getattr(config_type, "fields", None) or {}).items():
        yield f"{path}/{name}", field.description
        yield from fields(field.config_type, f"{path}/{name}")


def test_every_field_of_ours_in_the_launchpad_has_a_description(definitions: dg.Definitions) -> None:
    for job in jobs(definitions):
        top = job.run_config_schema.config_type.fields
        of_batch = dict(fields(top["ops"].config_type.fields[batch_step(job.name)].config_type))
        assert "/config/engine" in of_batch
        assert [path for path, text in of_batch.items() if path != "/config" and not text] == []
        resources = dict(fields(top["resources"].config_type))
        assert [path for path, text in resources.items() if not text and "/io_manager" not in path] == []


@pytest.mark.parametrize(("engine", "is_accepted"), [("duckdb", True), ("spark", True), (None, True), ("hive", False)])
def test_an_unknown_engine_is_refused_before_a_run_starts(
    definitions: dg.Definitions, engine: str | None, is_accepted: bool
) -> None:
    for job in jobs(definitions):
        config = {"ops": {batch_step(job.name): {"config": {"engine": engine}}}}
        if is_accepted:
            dg.validate_run_config(job, config)
        else:
            with pytest.raises(dg.DagsterInvalidConfigError, match="engine"):
                dg.validate_run_config(job, config)


def test_every_schedule_sensor_and_job_says_what_it_does(definitions: dg.Definitions, tmp_path: Path) -> None:
    repository = definitions.get_repository_def()
    described = [*repository.schedule_defs, *repository.sensor_defs, *jobs(definitions)]
    assert len(described) > 10
    assert [each.name for each in described if not each.description] == []
