"""Any order of writes to the source, extracts, loads, killed runs, files of others and new columns ends in its rows.

The model is a plain dictionary of each table. `--hypothesis-seed` draws other orders, and EXAMPLES more of them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from pipeline_assets_tests.support.killed_runs import run_in_child
from pipeline_assets_tests.support.reviews_lake import ReviewsLake

TABLES = (
    {"name": "books", "key": "id", "cursor": "changed"},
    {"name": "events", "cursor": "changed", "strategy": "append_distinct"},
    {"name": "people", "key": "id", "cursor": "changed", "strategy": "scd2"},
    {"name": "prices", "strategy": "full_refresh"},
)
NAMES = [table["name"] for table in TABLES]
KEYED = ["books", "people", "prices"]
START = datetime.now(UTC) + timedelta(days=1)  # of files of others
Row = dict[str, Any]

ids = st.sets(st.integers(1, 5), min_size=1, max_size=3)
texts = st.sampled_from(["", "a", " b ", 'c"\n,', "é😀"])
cursors = st.sampled_from(["later", "later", "equal", "none"])


class Reviews(RuleBasedStateMachine):
    """`source` has the rows of each table by key; `held` every row that a key ever had."""

    def __init__(self, prepared: Path) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="reviews-"))
        shutil.copytree(prepared, self.folder / "home")
        self.lake = ReviewsLake.at(self.folder / "home")
        self.source: dict[str, dict[int, Row]] = {name: {0: {"ID": 0, "CHANGED": 0}} for name in KEYED}
        self.held = {name: {0: [rows[0]]} for name, rows in self.source.items()}
        self.events: list[Row] = [{"ID": 0, "CHANGED": 0}]
        self.others: dict[int, tuple[datetime, str]] = {}
        self.columns: Counter[str] = Counter()
        self.time = self.greatest = self.files = 0

    def _row(self, table: str, key: int, text: str, changed: int | None) -> Row:
        """Write a row to the source, all of its columns."""
        row = {"ID": key, "TEXT": text, "CHANGED": changed}
        row |= {f"EXTRA{number}": f"{text}{number}" for number in range(self.columns[table])}
        names, values = ", ".join(row), list(row.values())
        self.lake.sql(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({', '.join(map(_literal, values))})")
        return {name: value for name, value in row.items() if value is not None}

    def _keep(self, table: str, row: Row) -> None:
        self.source[table][row["ID"]] = row
        self.held[table].setdefault(row["ID"], []).append(row)

    @rule(table=st.sampled_from(KEYED), keys=ids, text=texts, cursor=cursors)
    def write(self, table: str, keys: set[int], text: str, cursor: str) -> None:
        """Insert and update rows. Equal cursors are those of new rows with greater keys."""
        self.time += cursor == "later"
        for key in keys:
            self.greatest += 1
            new = self.greatest + 10 if cursor == "equal" else key
            self._keep(table, self._row(table, new, text, None if cursor == "none" else self.time))

    @rule(count=st.integers(1, 3), key=st.integers(1, 2), text=texts, cursor=st.sampled_from(["later", "none"]))
    def append(self, count: int, key: int, text: str, cursor: str) -> None:
        """Add equal rows."""
        self.time += 1
        changed = None if cursor == "none" else self.time
        self.events += [self._row("events", key, text, changed) for _ in range(count)]

    @rule(table=st.sampled_from(KEYED), key=st.integers(0, 5))
    def delete(self, table: str, key: int) -> None:
        self.lake.sql(f"DELETE FROM {table} WHERE id = {key}")
        self.source[table].pop(key, None)

    @precondition(lambda self: self.columns.total() < 3)
    @rule(table=st.sampled_from(NAMES))
    def add_column(self, table: str) -> None:
        self.lake.sql(f"ALTER TABLE {table} ADD COLUMN extra{self.columns[table]} TEXT")
        self.columns[table] += 1

    @rule(key=st.integers(101, 103), text=texts, age=st.integers(0, 9))
    def land(self, key: int, text: str, age: int) -> None:
        """Others land a file, maybe one that is older than what they have landed."""
        self.files += 1
        modified = START + timedelta(hours=age, seconds=self.files)
        escaped = text.replace('"', '""')
        self.lake.land("books", f"others-{self.files}.csv", f'id,text\n{key},"{escaped}"\n', modified)
        self.others[key] = max(self.others.get(key, (START, "")), (modified, text))

    @rule(extract=st.booleans())
    def run(self, extract: bool) -> None:
        self.lake.run(extract=extract)
        self._watermarks_are_not_ahead()

    @rule(boundary=st.integers(1, 110), extract=st.sampled_from([True, True, False]))
    def run_and_be_killed(self, boundary: int, extract: bool) -> None:
        """A run that has fewer boundaries ends by itself."""
        run_in_child(self.lake, kill_at=boundary, extract=extract)
        self._watermarks_are_not_ahead()

    def _loaded(self, table: str, condition: str = "") -> list[Row]:
        """The rows of a table without NULLs."""
        with self.lake.platform.warehouse.read_only() as transaction:
            names, rows = transaction.described(f"SELECT * FROM REVIEWS.{table.upper()} {condition}")
        named = [dict(zip(names, row, strict=True)) for row in rows]
        return [
            {name: value for name, value in row.items() if value is not None and _is_business(name)} for row in named
        ]

    def _watermarks_are_not_ahead(self) -> None:
        """Rows at the watermark and before it are in the table."""
        for table in ("books", "people"):
            watermark = self.lake.state(table).watermark
            position = tuple(map(int, watermark.position)) if watermark else ()
            loaded = self._loaded(table)
            for key, row in self.source[table].items():
                if "CHANGED" in row and (row["CHANGED"], key) <= position:
                    assert row in loaded, (table, position)

    def teardown(self) -> None:
        try:
            self.lake.run(extract=True)
            self._watermarks_are_not_ahead()
            self._require_rows_of_the_source()
            self.lake.run(reprocess=True)
            self._require_rows_of_the_source()
        finally:
            shutil.rmtree(self.folder)

    def _require_rows_of_the_source(self) -> None:
        for table, condition in (("books", ""), ("people", "WHERE IS_CURRENT")):
            loaded = self._loaded(table, condition)
            by_key = {row["ID"]: row for row in loaded}
            assert len(by_key) == len(loaded), table
            if table == "books":
                landed = {key: by_key.pop(key).get("TEXT", "") for key in self.others}
                assert landed == {key: text for key, (_, text) in self.others.items()}
            for key, row in by_key.items():
                assert row == self.source[table][key] if key in self.source[table] else row in self.held[table][key]
            assert self.source[table].keys() <= by_key.keys(), table
        assert _counted(self._loaded("events")) == _counted(self.events)
        if self.source["prices"]:  # an empty extract never empties a table
            prices = {row["ID"]: row for row in self._loaded("prices")}
            assert prices == self.source["prices"]


def _literal(value: object) -> str:
    return "NULL" if value is None else str(value) if isinstance(value, int) else "'" + str(value) + "'"


def _counted(rows: list[Row]) -> Counter[frozenset[tuple[str, Any]]]:
    return Counter(frozenset(row.items()) for row in rows)


def _is_business(name: str) -> bool:
    return not name.startswith("_") and name not in ("PEOPLE_SK", "VALID_FROM", "VALID_TO", "IS_CURRENT")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose tables have one row each, loaded."""
    lake = ReviewsLake.at(tmp_path_factory.mktemp("prepared"), *TABLES)
    for name in NAMES:
        key = "PRIMARY KEY" if name in KEYED else ""
        lake.sql(
            f"CREATE TABLE {name} (id INTEGER {key}, text TEXT, changed INTEGER)",
            f"INSERT INTO {name} VALUES (0, NULL, 0)",
        )
    lake.extract()
    return lake.home


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_any_order_of_writes_and_runs_ends_in_the_rows_of_the_source(prepared: Path) -> None:
    machine: Callable[[], Reviews] = lambda: Reviews(prepared)  # noqa: E731 - hypothesis wants a factory
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(os.environ.get("EXAMPLES", "3")),
            stateful_step_count=15,
            deadline=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
