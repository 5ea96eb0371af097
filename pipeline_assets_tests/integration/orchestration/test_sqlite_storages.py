"""Dagster's SQLite storages keep migrations and engines; what is at the path of a database is read anew."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from sqlalchemy.engine.default import DefaultDialect

from pipeline_assets import definitions
from pipeline_assets.batch.report import Request
from pipeline_assets.orchestration import sqlite_storages
from pipeline_assets.orchestration.execution import dagster_instance, run_pipeline
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.bookings_lake import BookingsLake


@dg.op
def nothing() -> None:
    """Does nothing."""


@dg.job
def job() -> None:
    nothing()


def run(home: Path) -> str:
    with dagster_instance(home) as instance:
        return job.execute_in_process(instance=instance).run_id


def runs(home: Path) -> set[str]:
    with dagster_instance(home) as instance:
        return {run.run_id for run in instance.get_runs() if instance.all_logs(run.run_id)}


def test_a_run_parses_no_migration_again_and_makes_one_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is that of its own database."""
    run(tmp_path)
    made = sqlite_storages._engine.cache_info().misses
    monkeypatch.setattr(ScriptDirectory, "_load_revisions", pytest.fail)

    run(tmp_path)

    assert sqlite_storages._engine.cache_info().misses == made + 1


def test_a_code_location_keeps_them_for_its_ticks_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster opens the instance there, without our commands."""
    kept: list[bool] = []
    monkeypatch.setattr(definitions, "keep_migrations_and_engines", lambda: kept.append(True))
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path))

    definitions.defs()

    assert kept == [True]


def test_pinned_dagster_makes_an_engine_for_each_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def create_engine(url: str, **options: object) -> sqlalchemy.Engine:
        made.append(url)
        return sqlalchemy.create_engine(url, **options)

    monkeypatch.setattr(sqlite_event_log, "create_engine", create_engine)
    with dagster_instance(tmp_path) as instance:
        result = job.execute_in_process(instance=instance)
        assert len(made) > len(instance.all_logs(result.run_id)) > 5


def test_another_home_at_the_same_path_is_read_anew(tmp_path: Path) -> None:
    home, moved = tmp_path / "home", tmp_path / "moved"
    first = run(home)
    home.rename(moved)
    second = run(home)

    assert (runs(home), runs(moved)) == ({second}, {first})


def test_a_command_opens_each_database_few_times_and_closes_all_in_the_end(
    lake: BookingsLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(name: str) -> None:
        call = getattr(DefaultDialect, name)
        counting = lambda *args, **named: (calls.append(name), call(*args, **named))[1]  # noqa: E731
        monkeypatch.setattr(DefaultDialect, name, counting)

    counted("connect")
    counted("do_close")
    home, of_bookings = lake.home / "dagster", definitions.build_definitions(load_settings(home=lake.home))

    answer = run_pipeline(of_bookings, home, "bookings", Request())

    assert calls.count("connect") == calls.count("do_close") < 20
    with dagster_instance(home) as instance:
        assert len(instance.all_logs(answer["run_id"])) > 20
    assert not list(home.rglob("*-wal"))
