"""A damaged file of a Dagster instance is one line that names it and the remedy, before anything is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.orchestration.execution import dagster_instance, prepare_dagster_home

BROKEN = {
    "open list": b"telemetry: [1",
    "tab": b"telemetry:\n\t- b",
    "a list": b"- telemetry",
    "a text": b"telemetry",
    "no text": b"telemetry: \xff\xfe",
    "a control character": b"telemetry: \x00",
    "no module": b"run_launcher: {module: nowhere, class: Launcher}",
    "no class": b"run_launcher: {module: dagster, class: Launcher}",
    "another class": b"run_launcher: {module: dagster, class: AssetKey}",
}
REFUSED_BY_DAGSTER = {
    "an unknown name": b"launcher: 1",
    "a wrong value": b"telemetry: {enabled: sometimes}",
    "a variable that is not set": b"storage: {sqlite: {base_dir: {env: NO_SUCH_VARIABLE}}}",
    "a database without address": b"storage: {postgres: {postgres_url: nonsense}}",
}


def refused(home: Path) -> str:
    with pytest.raises(ConfigurationError) as error:
        dagster_instance(home)
    assert "\n" not in str(error.value)
    assert error.value.remedy
    return str(error.value)


@pytest.mark.parametrize("content", (BROKEN | REFUSED_BY_DAGSTER).values(), ids=(BROKEN | REFUSED_BY_DAGSTER).keys())
def test_a_broken_configuration_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dagster.yaml").write_bytes(content)
    assert f"{tmp_path}/dagster.yaml cannot be used" in refused(tmp_path)


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_the_ui_does_not_start_on_one_either(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dagster.yaml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"dagster\.yaml cannot be used"):
        prepare_dagster_home(tmp_path)


def test_a_folder_or_a_link_to_nothing_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder" / "dagster.yaml").mkdir(parents=True)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "dagster.yaml").symlink_to("/nowhere/dagster.yaml")
    for home in (tmp_path / "folder", tmp_path / "link"):
        assert f"{home}/dagster.yaml cannot be used" in refused(home)


@pytest.mark.parametrize("name", ["history/runs.db", "history/runs/index.db", "schedules/schedules.db"])
def test_a_damaged_database_is_named_and_moving_it_away_helps(tmp_path: Path, name: str) -> None:
    with dagster_instance(tmp_path) as instance:
        assert instance.get_runs_count() == 0
    path = tmp_path / name
    whole = path.read_bytes()
    for damaged in (b"garbage" * 1000, whole[:5000], whole[:100] + b"\xff" * 5000):
        path.write_bytes(damaged)
        assert f"{path} cannot be used" in refused(tmp_path)
    path.unlink()
    with dagster_instance(tmp_path) as instance:
        assert instance.get_runs_count() == 0


def test_a_sound_configuration_of_ones_own_is_used(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(
        "telemetry: {enabled: false}\nrun_launcher: {module: dagster, class: DefaultRunLauncher}\n"
    )
    with dagster_instance(tmp_path) as instance:
        assert instance.get_settings("telemetry") == {"enabled": False}
