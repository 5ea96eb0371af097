"""`run --extract` shows on stderr what its source delivers, and starts no run for a wrong source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline_assets_tests.support.command_line import environment, process
from pipeline_assets_tests.support.commerce_lake import CommerceLake, customer


def test_the_progress_of_an_extract_is_on_stderr_and_the_result_on_stdout(tmp_path: Path) -> None:
    lake = CommerceLake.with_tables(tmp_path / "home")
    folder = lake.home / "sources" / "commerce"
    folder.mkdir(parents=True)
    (folder / "customers.csv").write_text(f"{customer(1)}\n{customer(2)}\n")
    done = process(lake.home, "run", "commerce", "--extract", "--json")
    assert "2 records of customers were delivered." in done.stderr.splitlines()
    assert json.loads(done.stdout)["rows"]["read"] == 2


@pytest.mark.parametrize(
    ("pipeline", "settings", "message"),
    [
        ("movies", {}, "No source of movies is configured."),
        (
            "movies",
            {"SOURCE_URL": "file:///nowhere/movies.json"},
            "The file /nowhere/movies.json of PIPELINE_MOVIES_SOURCE_URL",
        ),
        (
            "movies",
            {"SOURCE_URL": "sqlite:////nowhere.db"},
            "The SQLite file /nowhere.db of PIPELINE_MOVIES_SOURCE_URL",
        ),
        ("movies", {"SOURCE_URL": "oracel://user:secret@host/films"}, "PIPELINE_MOVIES_SOURCE_URL cannot be used"),
        ("movies", {"API_URL": "http://127.0.0.1:9", "API_IDS": "/nowhere"}, "The file of PIPELINE_MOVIES_API_IDS"),
        ("movies", {"SOURCE_URL": "sqlite://", "SELECT": "/nowhere.sql"}, "The file of PIPELINE_MOVIES_SELECT"),
        ("reviews", {}, "No source of the listed tables is configured."),
        ("reviews", {"SOURCE_URL": "mysql:shop"}, "PIPELINE_REVIEWS_SOURCE_URL cannot be used: it is not a SQLAlchemy"),
        ("reviews", {"SOURCE_URL": "mysql://user:secret@host"}, "PIPELINE_REVIEWS_SOURCE_URL cannot be used: it names"),
        ("reviews", {"SOURCE_URL": "postgresql://user:secret@host/shop"}, "PIPELINE_REVIEWS_SOURCE_URL cannot be used"),
        (
            "reviews",
            {"SOURCE_URL": "sqlite:////nowhere.db"},
            "The SQLite file /nowhere.db of PIPELINE_REVIEWS_SOURCE_URL",
        ),
    ],
)
def test_a_wrong_source_is_a_usage_error_and_starts_no_run(
    tmp_path: Path, pipeline: str, settings: dict[str, str], message: str
) -> None:
    variables = {f"PIPELINE_{pipeline.upper()}_{name}": value for name, value in settings.items()}
    done = process(tmp_path, "run", pipeline, "--extract", env=environment(tmp_path, **variables))
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {message}")
    assert "secret" not in line
    assert done.returncode == 2
    assert not (tmp_path / "dagster" / "history").exists()
    assert not (tmp_path / "alerts.jsonl").exists()
