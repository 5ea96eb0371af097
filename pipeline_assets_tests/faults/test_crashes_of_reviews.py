"""kill -9 at every boundary and at random moments of a run of `reviews`, its extracts included, and SIGTERM.

Each table has its old rows and its old watermark or both new ones, and the next run finishes without help.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets_tests.support.crashes import digests, killed_at_random, terminate
from pipeline_assets_tests.support.killed_runs import COMMIT, run_in_child, worth_a_kill
from pipeline_assets_tests.support.pipeline_lake import copy_home
from pipeline_assets_tests.support.reviews_lake import ReviewsLake, manifests

TABLES = (
    {"name": "books", "key": "id", "cursor": "changed"},
    {"name": "events", "key": [], "cursor": "changed", "strategy": "append_distinct"},
    {"name": "people", "key": "id", "cursor": "changed", "strategy": "scd2"},
    {"name": "prices", "key": [], "strategy": "full_refresh"},
)
# Versions and the times of intervals are those of the extract, and differ from run to run.
COLUMNS = {
    "books": ("BOOKS", "*"),
    "events": ("EVENTS", "*"),
    "people": ("PEOPLE", "ID, TEXT, VALID_TO IS NULL"),
    "prices": ("PRICES", "*"),
}
CREATE = [
    f"CREATE TABLE {table} (id INTEGER, text TEXT, changed DATE)" for table in ("books", "events", "people", "prices")
]


def insert(table: str, *rows: str) -> list[str]:
    return [f"INSERT INTO {table} VALUES ({row})" for row in rows]


def state(lake: ReviewsLake) -> dict[str, Any]:
    """Rows and watermark of each table, read at one time; without NULLs, as a new column is there before its rows."""
    found = {}
    with lake.platform.warehouse.read_only() as transaction:
        marks = dict(transaction.rows("SELECT NAME, PARSE_JSON(VALUE):position::VARCHAR FROM OPS.WATERMARKS"))
        for name, (table, columns) in COLUMNS.items():
            names, rows = transaction.described(f"SELECT {columns} FROM REVIEWS.{table}")
            cells = [
                {column: value for column, value in zip(names, row, strict=True) if value is not None} for row in rows
            ]
            found[name] = sorted(str({k: v for k, v in row.items() if k[0] != "_"}) for row in cells), marks.get(name)
    return found


@dataclass(frozen=True)
class Prepared:
    """A home with a first run behind it and changes before it, and what a run without a crash makes of it."""

    home: Path
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    trace: list[str]
    copies: Path

    def copy(self, target: Path) -> ReviewsLake:
        return ReviewsLake.at(copy_home(self.home, target, ReviewsLake.landing))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("crashes")
    (folder / "home").mkdir()
    lake = ReviewsLake.at(folder / "home", *TABLES)
    first = [row for name in COLUMNS for row in insert(name, "1, 'a', '2024-01-01'", "2, 'b', '2024-01-01'")]
    lake.sql(*CREATE, *first, *insert("events", "1, 'a', '2024-01-01'"))
    lake.extract()
    before = state(lake)
    for name in COLUMNS:
        lake.sql(
            f"UPDATE {name} SET text = 'A', changed = '2024-01-02' WHERE id = 1",
            *insert(name, *["3, 'c', '2024-01-03'"] * (1 + (name == "events")), "4, 'bad', 'yesterday'"),
        )
    lake.sql("DELETE FROM prices WHERE id = 2", "ALTER TABLE books ADD COLUMN stars INTEGER")
    lake.land("books", "others.csv", "id,text\n9,z\n", datetime.now(UTC) + timedelta(hours=1))
    whole = ReviewsLake.at(copy_home(lake.home, folder / "whole", ReviewsLake.landing))
    (folder / "copies").mkdir()
    survived = run_in_child(whole, copies=folder / "copies", extract=True)
    return Prepared(lake.home, before, state(whole), survived.trace, folder / "copies")


def test_the_run_that_is_killed_changes_every_table(prepared: Prepared) -> None:
    """Otherwise the crashes below would prove little."""
    for name, before in prepared.before.items():
        assert prepared.after[name] != before, name
    assert len([entry for entry in prepared.trace if entry == "publish"]) >= 2 * len(TABLES)
    assert len([entry for entry in prepared.trace if entry == COMMIT]) >= len(TABLES)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_leaves_each_table_with_its_watermark_and_the_next_run_finishes(
    prepared: Prepared, tmp_path: Path
) -> None:
    """The home of one run is copied before its boundaries; once at a COMMIT, a run is really killed (see `crashes`).

    Tables are extracted and staged alike: of those behind the first one, the states with a manifest landed, before and
    after the COMMIT and at the end are enough.
    """
    chosen = worth_a_kill(prepared.trace)
    copies = {number: prepared.copies / str(number) for number, _ in chosen}
    first, end = next(number for number, name in chosen if name == COMMIT), chosen[-1][0]
    distinct = {
        tuple(digests(copies[number]).items()): (number, name)
        for number, name in chosen
        if number <= first + 3 or name.startswith("run_statement") or number == end
    }
    commits = [number for number, name in distinct.values() if name == COMMIT]
    assert len(commits) == len(TABLES)
    for number, name in distinct.values():
        lake = ReviewsLake.at(copies[number])
        if number == commits[-1]:
            lake = prepared.copy(tmp_path / "killed")
            assert run_in_child(lake, kill_at=number, extract=True).code == -signal.SIGKILL, name

        for table, seen in state(lake).items():
            assert seen in (prepared.before[table], prepared.after[table]), (table, number, name)

        lake.extract()
        assert state(lake) == prepared.after, (number, name)
        _assert_finished(lake, (number, name))
        shutil.rmtree(lake.home)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_at_random_moments_of_the_real_command(prepared: Prepared, tmp_path: Path) -> None:
    lake = prepared.copy(tmp_path / "home")
    for _ in killed_at_random(lake, "--extract", **source_of(lake)):
        for table, seen in state(lake).items():
            assert seen in (prepared.before[table], prepared.after[table]), table
    assert state(lake) == prepared.after
    _assert_finished(lake, "random kills")


@pytest.mark.slow
def test_sigterm_during_an_extract_leaves_nothing_of_it(prepared: Prepared, tmp_path: Path) -> None:
    lake = prepared.copy(tmp_path / "home")
    landed = lake.landed("books")
    lake.sql(
        "INSERT INTO books WITH RECURSIVE n (i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) "
        "SELECT i, 'many', '2024-01-04', 1 FROM n"
    )
    terminate(lake, "reviews-books/extract.*", "--extract", **source_of(lake))
    assert state(lake) == prepared.before
    assert lake.landed("books") == landed
    lake.sql("DELETE FROM books WHERE id >= 1000")
    lake.extract()
    assert state(lake) == prepared.after
    _assert_finished(lake, "SIGTERM")


def source_of(lake: ReviewsLake) -> dict[str, object]:
    """The settings of a lake that commands need."""
    return {"reviews_tables": lake.settings.reviews_tables, "reviews_source_url": lake.settings.reviews_source_url}


def _assert_finished(lake: ReviewsLake, where: object) -> None:
    """Every file is loaded, every extract has its files and its manifest, and nothing is left of the killed run."""
    loaded = {uri.rpartition("/")[2] for (uri,) in lake.rows("SELECT URI FROM OPS.FILE_LEDGER WHERE STATUS = 'loaded'")}
    for table in COLUMNS:
        described = {file["name"] for manifest in manifests(lake, table) for file in manifest["files"]}
        landed = {path.name for path in lake.landed(table) if path.suffix != ".json"}
        assert landed - {"others.csv"} == described, where
        assert landed <= loaded, where
    assert not [path for path in (lake.home / "scratch").rglob("*") if path.is_file()], where
    assert not [path for path in (lake.home / "lake").rglob("staging/**/*") if path.is_file()], where
