"""A run of separate batches: a table that fails does not stop the others, and the run says which failed and why."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_assets import cli
from pipeline_assets.batch.build_platform import build_platform
from pipeline_assets.batch.platform import Platform
from pipeline_assets.batch.report import Request
from pipeline_assets.batch.run import required_tables
from pipeline_assets.batch.separate_batches import run_separate_batches
from pipeline_assets.errors import (
    ConfigurationError,
    FailedTablesError,
    LakeError,
    SourceError,
    TransientFailedTablesError,
    WarehouseError,
)
from pipeline_assets.orchestration.automation import pipeline_definitions
from pipeline_assets.orchestration.execution import dagster_instance, run_pipeline
from pipeline_assets.pipeline import History, LandedFiles, Pipeline, SeparateBatch, Table
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.settings import load_settings, prepare_home
from pipeline_assets_tests.support.small_pipelines import contract

KEY, NAME = "ID integer key", "NAME text"
INTERVAL = (
    "SK text key history:surrogate_key",
    "VALID_FROM timestamp history:valid_from",
    "VALID_TO timestamp history:valid_to",
    "IS_CURRENT boolean history:is_current",
)
TABLES = {
    "city": [Table("city")],
    "film": [Table("film")],
    "actor": [Table("actor", write="append"), History("actor_history", of="actor")],
}
DOES: dict[str, Callable[[], Any]] = {}
REQUESTS: list[tuple[str, Request]] = []


def part(*names: str, is_open: bool = False) -> Pipeline:
    """The value with the tables of some names; open contracts have the key alone."""
    known = () if is_open else (NAME,)
    made = {name: contract(name, KEY, *known, is_open=is_open) for name in names}
    if "actor" in names:
        versions = () if is_open else ("NAME text history:version",)
        made["actor_history"] = contract("actor_history", "ID integer", *versions, *INTERVAL, is_open=is_open)
    return Pipeline(
        "shop",
        "shop-bucket",
        sources=[LandedFiles(name, f"in/{name}/*.csv") for name in names],
        tables=[table for name in names for table in TABLES[name]],
        contracts=made,
        batches=split if is_open else None,
    )


def split(platform: Platform, run_id: str, request: Request) -> Iterator[SeparateBatch]:
    def prepare(name: str) -> Pipeline | int:
        REQUESTS.append((name, request))
        return DOES.get(name, partial(part, name))()

    for name in TABLES:
        yield SeparateBatch(name, partial(prepare, name))


def raises(error: BaseException) -> Callable[[], Any]:
    def prepare() -> None:
        raise error

    return prepare


@cache
def open_pipeline() -> ResolvedPipeline:
    return resolve(part(*TABLES, is_open=True))


class Home:
    def __init__(self, folder: Path, **settings: Any) -> None:
        self.settings = load_settings(home=folder, retry_seconds=0.01, **settings)
        prepare_home(self.settings)
        self.platform = build_platform(self.settings)
        self.pipeline = open_pipeline()
        self.definitions = dg.Definitions.merge(
            pipeline_definitions(self.pipeline, self.settings),
            dg.Definitions(resources={"platform": self.platform}, executor=dg.in_process_executor),
        )

    def land(self, table: str, key: int, name: str) -> None:
        path = self.settings.home / "lake" / "shop-bucket" / "in" / table / f"{key}-{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"ID,NAME\n{key},{name}\n")

    def run(self, **request: Any) -> dict[str, Any]:
        return run_pipeline(self.definitions, self.settings.dagster_home, "shop", Request(**request))

    def batches(self) -> int:
        """Run the batches without Dagster; the number of objects that they rejected."""
        finished = run_separate_batches(self.platform, self.pipeline, "run", Request())
        return sum(batch.report.rejected for batch in finished if batch.report)

    def names(self, table: str) -> list[str]:
        with self.platform.warehouse.read_only() as transaction:
            return [name for (name,) in transaction.rows(f"SELECT NAME FROM SHOP.{table.upper()} ORDER BY NAME")]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with its empty ledger and Dagster instance, which take longer to make than to copy."""
    home = Home(tmp_path_factory.mktemp("empty") / "home")
    home.platform.warehouse.prepare(required_tables(home.pipeline))
    with dagster_instance(home.settings.dagster_home):
        return home.settings.home


@pytest.fixture
def home(empty: Path, tmp_path: Path) -> Home:
    DOES.clear()
    REQUESTS.clear()
    shutil.copytree(empty, tmp_path / "home")
    home = Home(tmp_path / "home")
    for number, table in enumerate(TABLES, 1):
        home.land(table, number, f"{table}-a")
    return home


def statuses(summary: dict[str, Any]) -> dict[str, str]:
    return {asset["key"].removeprefix("shop/"): asset["status"] for asset in summary["assets"]}


def test_each_table_is_published_by_itself_and_the_summary_adds_them_up(home: Home) -> None:
    summary = home.run(extract=True)
    assert summary["success"], summary.get("error")
    assert set(statuses(summary).values()) == {"materialized"}
    assert summary["objects"] == {"new": 3, "known": 0, "loaded": 3, "rejected": 0}
    assert summary["rows"] == {"read": 3, "loaded": 3, "superseded": 0, "quarantined": 0}
    assert {name: home.names(name) for name in TABLES} == {name: [f"{name}-a"] for name in TABLES}
    assert [request.extract for _, request in REQUESTS] == [True] * 3
    with home.platform.warehouse.read_only() as transaction:
        batches = "SELECT DATASET, COUNT(DISTINCT BATCH_ID) FROM OPS.FILE_LEDGER GROUP BY ALL ORDER BY 1"
        assert transaction.rows(batches) == [("actor", 1), ("city", 1), ("film", 1)]
        assert transaction.rows("SELECT COUNT(*) FROM OPS.BATCHES") == [(3,)]
    assert {check["name"] for check in summary["checks"] if not check["passed"]} == set()
    again = home.run()
    assert set(statuses(again).values()) == {"unchanged"}
    assert again["objects"] == {"new": 0, "known": 3, "loaded": 0, "rejected": 0}


def test_a_table_that_fails_does_not_stop_the_others_and_the_run_names_it(home: Home) -> None:
    DOES["city"] = raises(WarehouseError("The column NAME was renamed.", remedy="Rename it back."))
    DOES["film"] = raises(ValueError("a personal value"))
    summary = home.run()
    assert not summary["success"]
    assert summary["error"].split("\n") == [
        "city: The column NAME was renamed. Rename it back.",
        "film: ValueError; the log of the run shows where.",
    ]
    assert statuses(summary) == {
        "city": "failed",
        "film": "failed",
        "actor": "materialized",
        "actor_history": "materialized",
    }
    assert (home.names("actor"), home.names("actor_history")) == (["actor-a"], ["actor-a"])
    DOES.clear()
    summary = home.run()
    assert summary["success"]
    assert statuses(summary)["city"] == "materialized"
    assert statuses(summary)["actor"] == "unchanged"


def test_a_transient_failure_of_one_table_is_retried_without_the_others(home: Home) -> None:
    answers = iter([raises(SourceError("The server is away.")), partial(part, "city")])
    DOES["city"] = lambda: next(answers)()
    DOES["film"] = lambda: 0
    summary = home.run()
    assert summary["success"], summary.get("error")
    assert [name for name, _ in REQUESTS] == [*TABLES, "city"]
    assert statuses(summary) == {
        "city": "materialized",
        "film": "unchanged",
        "actor": "materialized",
        "actor_history": "materialized",
    }
    assert (home.names("city"), home.names("actor")) == (["city-a"], ["actor-a"])


def test_the_error_of_a_run_is_worth_a_retry_if_one_of_its_tables_is(home: Home) -> None:
    cases: dict[type, tuple[Exception, Exception]] = {
        TransientFailedTablesError: (ConfigurationError("a"), LakeError("b")),
        ConfigurationError: (ConfigurationError("a"), ConfigurationError("b")),
        FailedTablesError: (ConfigurationError("a"), WarehouseError("b")),
    }
    for number, (kind, (of_city, of_film)) in enumerate(cases.items()):
        home.land("actor", 10 + number, kind.__name__)
        DOES.update(city=raises(of_city), film=raises(of_film))
        with pytest.raises(kind, match=r"^city: a\nfilm: b$") as raised:
            home.batches()
        assert type(raised.value) is kind
        assert kind.__name__ in home.names("actor"), "the other table is loaded"


def test_an_interrupt_stops_all_tables(home: Home) -> None:
    import duckdb

    for interrupt in (KeyboardInterrupt(), duckdb.InterruptException("INTERRUPT Error: Query interrupted")):
        DOES["city"] = raises(interrupt)
        with pytest.raises(type(interrupt)):
            home.batches()
    assert {name for name, _ in REQUESTS} == {"city"}


def test_a_run_of_some_tables_runs_only_those(home: Home) -> None:
    summary = home.run(tables=("film", "actor_history"))
    assert [name for name, _ in REQUESTS] == ["film", "actor"]
    assert statuses(summary) == dict.fromkeys(("film", "actor", "actor_history"), "materialized")
    DOES["city"] = raises(WarehouseError("No."))
    assert statuses(home.run(tables=("city",))) == {"city": "failed"}


def test_assets_that_are_selected_in_the_ui_run_only_their_tables(home: Home) -> None:
    job, of_actor = home.definitions.resolve_implicit_global_asset_job_def(), {"actor", "actor_history"}
    for selected, of_batch in {"film": {"film"}, "actor_history": of_actor}.items():
        REQUESTS.clear()
        with dagster_instance(home.settings.dagster_home) as instance:
            key = dg.AssetKey(["shop", selected])
            result = job.execute_in_process(instance=instance, asset_selection=[key])
        assert result.success, selected
        made = {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}
        assert made == of_batch == home.pipeline.tables_of_batch(selected), selected
        assert {name for name, _ in REQUESTS} == of_batch & set(TABLES), selected


def test_tables_that_a_pipeline_lacks_are_refused_with_the_list(home: Home) -> None:
    with pytest.raises(ConfigurationError, match=r"shop has no table 'movie'\. Its tables are city, film, actor"):
        list(run_separate_batches(home.platform, home.pipeline, "run", Request(tables=("film", "movie"))))
    assert REQUESTS == []


@pytest.mark.parametrize("table", ["daily_spend", "movies"])
def test_tables_of_a_pipeline_that_publishes_them_together_are_refused(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["pipeline-assets", "run", "bookings", "--table", table])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    expected = "error: The tables of bookings are published together. Leave --table out: a run loads them all.\n"
    assert (stop.value.code, capsys.readouterr().err) == (2, expected)
    assert not (tmp_path / "home").exists()


def test_a_run_without_anything_to_do_evaluates_the_checks_before_tables_exist(home: Home) -> None:
    DOES.update(dict.fromkeys(TABLES, lambda: 0))
    summary = home.run()
    assert summary["success"], summary.get("error")
    assert set(statuses(summary).values()) == {"unchanged"}
    described = {c["description"] for c in summary["checks"] if c["name"] == "unique_key"}
    assert len([text for text in described if "does not exist yet" in text]) == 4


def test_a_foreign_object_of_another_table_stays_reported(home: Home) -> None:
    """Each batch lists the zones of its own table; what it does not list is not gone."""
    zone = home.settings.home / "lake" / "shop-bucket" / "in" / "city"
    (zone / "link.csv").symlink_to("nothing")
    assert home.batches() == 1
    home.batches()
    with home.platform.warehouse.read_only() as transaction:
        assert transaction.rows("SELECT DATASET, CLOSED_AS FROM OPS.QUARANTINE") == [("city", None)]
    (zone / "link.csv").unlink()
    home.batches()
    with home.platform.warehouse.read_only() as transaction:
        assert transaction.rows("SELECT DATASET, CLOSED_AS FROM OPS.QUARANTINE") == [("city", "gone")]


def test_a_published_batch_that_was_killed_is_reported_by_its_own_table(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch of the next run recovers it, whatever its table is."""
    DOES["city"] = DOES["film"] = lambda: 0
    with monkeypatch.context() as patch:
        patch.setattr("pipeline_assets.batch.run.promote", raises_always)
        with pytest.raises(FailedTablesError, match=r"^actor: The machine was switched off\.$"):
            home.batches()
    DOES.clear()
    summary = home.run()
    assert statuses(summary) == dict.fromkeys(("city", "film", "actor", "actor_history"), "materialized")
    assert json.dumps(summary)


def raises_always(*_: object) -> list[str]:
    raise WarehouseError("The machine was switched off.")
