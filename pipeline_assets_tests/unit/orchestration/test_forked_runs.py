"""A code location forks its runs from a process that has imported libraries, but nothing of this package."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing import forkserver
from pathlib import Path

import dagster as dg
import pytest
from dagster._grpc import server

from pipeline_assets import definitions
from pipeline_assets.orchestration.forked_runs import LIBRARIES, fork_runs


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a code server does with its location, which this process forgets."""
    context = multiprocessing.get_context("spawn")
    monkeypatch.setattr(context, "Process", context.Process, raising=False)
    monkeypatch.setattr(forkserver._forkserver, "_preload_modules", ["__main__"])
    monkeypatch.setattr(definitions, "build_definitions", lambda settings: dg.Definitions())
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path))
    definitions.defs()


@pytest.mark.usefixtures("loaded")
def test_the_code_server_of_a_location_starts_its_runs_from_the_libraries() -> None:
    context = multiprocessing.get_context("spawn")  # as DagsterApiServer does, before it loads the location
    assert context.Process is multiprocessing.get_context("forkserver").Process
    assert forkserver._forkserver._preload_modules == list(LIBRARIES)
    assert not [name for name in LIBRARIES if name.startswith("pipeline_assets")], "a run would execute old code"


def test_pinned_dagster_starts_runs_by_that_context() -> None:
    source = Path(server.__file__).read_text(encoding="utf-8")
    assert 'self._mp_ctx = multiprocessing.get_context("spawn")' in source
    assert "execution_process = self._mp_ctx.Process(" in source


def test_elsewhere_than_on_linux_runs_are_interpreters_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("spawn")
    monkeypatch.setattr(context, "Process", before := object(), raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    fork_runs()
    assert context.Process is before
