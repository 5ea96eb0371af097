"""Wrong settings of events stop a command in one line, before anything runs."""

from __future__ import annotations

import builtins
import importlib.util
from pathlib import Path

import pytest

from pipeline_assets.definitions import build_definitions
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.settings import describe, load_settings


def test_a_file_and_a_collector_at_once_are_refused(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, openlineage_url="http://c", openlineage_file=tmp_path / "e")
    with pytest.raises(ConfigurationError, match=r"_URL and PIPELINE_OPENLINEAGE_FILE are both set\. Unset one"):
        build_definitions(settings)


def test_without_the_client_the_error_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "pipeline_assets.openlineage.sender.find_spec", lambda name: None if name == "openlineage" else find(name)
    )
    with pytest.raises(ConfigurationError, match=r"pip install 'pipeline-assets\[openlineage\]'"):
        build_definitions(load_settings(home=tmp_path, openlineage_file=tmp_path / "e"))


@pytest.mark.parametrize("url", ["c:5000", "ftp://c", "http://", "http://me:s3cret@c", "http://c/#s3cret"])
def test_a_wrong_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"PIPELINE_OPENLINEAGE_URL: http.s.://host") as refused:
        load_settings(openlineage_url=url)
    assert "s3cret" not in str(refused.value)
    assert "PIPELINE_OPENLINEAGE_API_KEY" in str(refused.value)


def test_the_key_is_not_shown() -> None:
    settings = load_settings(openlineage_url="http://c", openlineage_api_key="s3cret")
    assert "s3cret" not in str(describe(settings)) + repr(settings)


def test_definitions_are_built_without_importing_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importing = builtins.__import__

    def refuse(name: str, *arguments: object, **more: object) -> object:
        assert not name.startswith("openlineage"), name
        return importing(name, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    definitions = build_definitions(load_settings(home=tmp_path, openlineage_file=tmp_path / "e"))
    assert "openlineage" in (definitions.resources or {})
