"""Runs over MariaDB while it is written to, killed and altered, and two runs at once: the tables are the source's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.errors import TransientFailedTablesError
from pipeline_assets_tests.support.command_line import environment, process
from pipeline_assets_tests.support.mariadb import (
    Database,
    MariaDbServer,
    install_data,
    running_server,
)
from pipeline_assets_tests.support.reviews_lake import ReviewsLake, manifests, ran
from pipeline_assets_tests.support.servers import requires_server

ITEMS = (
    "CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR(20), price DECIMAL(8,2), changed DATETIME(6), KEY (changed))"
)
LISTED = {"name": "items", "key": "id", "cursor": "changed"}
FIRST = "INSERT INTO items SELECT seq, CONCAT('n', seq), 1.5, '2024-01-01' FROM seq_1_to_{}"


def of(database: Database, home: Path, *tables: dict[str, Any]) -> ReviewsLake:
    return ReviewsLake.at(home, *(tables or (LISTED,)), reviews_source_url=database.url)


def same(lake: ReviewsLake, database: Database, table: str = "items") -> bool:
    """Whether a table of the warehouse has the rows of the source; its columns are those of the source."""
    columns = [name for (name, *_) in database.rows(f"SHOW COLUMNS FROM {table}")]
    expected = database.rows(f"SELECT {', '.join(columns)} FROM {table}")
    found = lake.rows(f"SELECT {', '.join(columns)} FROM REVIEWS.{table.upper()}")
    return sorted(map(repr_of, found)) == sorted(map(repr_of, expected))


def repr_of(row: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(map(str, row))


def test_changes_of_a_server_are_loaded_and_a_narrower_column_is_rejected(database: Database, tmp_path: Path) -> None:
    lake = ReviewsLake.at(tmp_path, LISTED, reviews_source_url=database.url, reviews_lag_seconds=0)
    database.run(
        "CREATE TABLE items (id BIGINT UNSIGNED PRIMARY KEY, name VARCHAR(20), price DECIMAL(8,2), ratio DOUBLE, "
        "changed DATETIME(6), KEY (changed))"
    )
    database.insert(
        "items", [(2**64 - 1, " a ", "1.50", 1e-300, "2024-01-01 00:00:00.000001"), (1, "", None, None, None)]
    )
    assert ran(lake.extract(), "items").rows["loaded"] == 2
    moment = datetime.fromisoformat("2024-01-01 00:00:00.000001")
    assert lake.table("ITEMS", "ID, NAME, PRICE, RATIO, CHANGED") == [
        (1, "", None, None, None),
        (2**64 - 1, " a ", Decimal("1.50"), 1e-300, moment),
    ]
    database.run("UPDATE items SET name = 'b', changed = '2024-01-02' WHERE id = 1")
    assert ran(lake.extract(), "items").rows["read"] == 1
    database.run("ALTER TABLE items MODIFY name VARCHAR(10), ADD COLUMN pages INT", "UPDATE items SET changed = NOW(6)")
    assert ran(lake.extract(), "items").rejected == 1
    ((code, reason),) = lake.rejections()
    assert code == "schema_drift"
    assert "NAME: expected VARCHAR(20), actual VARCHAR(10)" in reason
    database.run("ALTER TABLE items MODIFY name VARCHAR(40)")
    lake.extract()
    assert lake.table("ITEMS", "NAME, PAGES") == [(" a ", None), ("b", None)]
    assert {c.name: c.physical_type for c in lake.state("items").shape.columns}["name"] == "VARCHAR(40)"


def test_ten_thousand_rows_of_one_time_and_a_writer_during_the_runs(database: Database, tmp_path: Path) -> None:
    """The writer keeps transactions open over snapshots, and commits times that are before those of the extracts."""
    database.run(ITEMS, FIRST.format(10_000))
    lake, stop, committed = of(database, tmp_path), threading.Event(), [0]

    def write() -> None:
        with database.connect(autocommit=False) as connection, connection.cursor() as cursor:
            number = 0
            while not stop.is_set():
                cursor.execute("INSERT INTO items VALUES (%s, 'new', 1, NOW(6))", (20_000 + number,))
                cursor.execute("UPDATE items SET name = 'written', changed = NOW(6) WHERE id = %s", (1 + number,))
                stop.wait(0.02)
                connection.commit()
                number = committed[0] = number + 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        first = ran(lake.extract(), "items")
        assert first.rows["read"] >= 10_000
        during = committed[0]
        second = ran(lake.extract(), "items")
        assert 0 < during < committed[0]
        assert 0 < second.rows["read"] <= 2 * committed[0] + 2, "the rows of the first time are not extracted again"
    finally:
        stop.set()
        writer.join()
    lake.extract()
    assert same(lake, database)


@contextmanager
def durable_server(data: Path) -> Iterator[MariaDbServer]:
    """A server that has on disk what it has committed."""
    folder = data.parent
    with running_server(data, folder, innodb_flush_log_at_trx_commit="1") as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"strategy": "full_refresh", "cursor": []}], ids=["upsert", "full_refresh"])
def test_a_server_that_is_killed_during_an_extract_changes_nothing_and_the_next_run_finishes(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    requires_server("mariadb")
    (folder := tmp_path / "server").mkdir()
    (home := tmp_path / "home").mkdir()
    install_data(folder / "data")
    listed = {key: value for key, value in (LISTED | {"name": "listed"} | changes).items() if value != []}
    view = "CREATE OR REPLACE VIEW listed AS SELECT id, name, price, changed, {} AS pause FROM items"
    with durable_server(folder / "data") as server:
        database = Database(server, "shop")
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE shop CHARACTER SET utf8mb4")
        database.run(ITEMS, FIRST.format(40_000), view.format("0"))
        lake = of(database, home, listed)
        lake.extract()
        before = lake.table("LISTED", "ID, NAME"), lake.state("listed"), lake.landed("listed")
        database.run("UPDATE items SET name = 'changed', changed = NOW(6)", view.format("IF(id = 40000, SLEEP(60), 0)"))
        killer = threading.Thread(target=_kill_while_it_reads, args=(server,))
        killer.start()
        with pytest.raises(TransientFailedTablesError, match=r"listed: .*failed"):
            lake.extract()
        killer.join()
        assert (lake.table("LISTED", "ID, NAME"), lake.state("listed"), lake.landed("listed")) == before
    with durable_server(folder / "data") as server:
        database = Database(server, "shop")
        database.run(view.format("0"))
        lake = of(database, home, listed)
        lake.extract()
        assert same(lake, database, "listed")
        assert not [path for path in (home / "scratch").rglob("*") if path.is_file()]


def _kill_while_it_reads(server: MariaDbServer) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        deadline = time.monotonic() + 60
        while True:
            cursor.execute("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'")
            if cursor.fetchone() == (1,):
                break
            assert time.monotonic() < deadline
            time.sleep(0.02)
    server.kill()


def insert(number: int, columns: str = "name, price") -> str:
    return f"INSERT INTO items (id, {columns}, changed) VALUES ({number}, 'new', 2, NOW(6))"


FOLLOWED = {
    "added": ("ALTER TABLE items ADD COLUMN stars INT, ADD COLUMN place POINT AFTER name", insert(9)),
    "widened": (
        "ALTER TABLE items MODIFY name VARCHAR(40), MODIFY price DECIMAL(12,2), MODIFY id BIGINT",
        "INSERT INTO items (id, name, price, changed) VALUES (9876543210, REPEAT('x', 40), 1234567890.25, NOW(6))",
    ),
    "in another order": ("ALTER TABLE items MODIFY name VARCHAR(40) AFTER changed", insert(10)),
}


def test_columns_that_are_added_widened_or_moved_are_followed(database: Database, tmp_path: Path) -> None:
    database.run(ITEMS, FIRST.format(3))
    lake = ReviewsLake.at(tmp_path, LISTED, reviews_source_url=database.url, reviews_lag_seconds=0)
    lake.extract()
    for change, statements in FOLLOWED.items():
        database.run(*statements)
        assert ran(lake.extract(), "items").rows["loaded"] == 1, change
        assert same(lake, database), change


def test_a_dropped_column_is_null_in_newer_rows(database: Database, tmp_path: Path) -> None:
    database.run(ITEMS, FIRST.format(2))
    lake = of(database, tmp_path)
    lake.extract()
    database.run("ALTER TABLE items DROP COLUMN name", insert(9, "price").replace("'new', ", ""))
    report = ran(lake.extract(), "items")
    assert list(report.missing_columns.values()) == [["NAME"]]
    assert lake.table("ITEMS", "ID, NAME") == [(1, "n1"), (2, "n2"), (9, None)]


REFUSED = {
    "narrowed": ("MODIFY name VARCHAR(10)", "name, price", "MODIFY name VARCHAR(20)", "NAME: expected VARCHAR(20)"),
    "renamed": (
        "CHANGE name title VARCHAR(20)",
        "title, price",
        "CHANGE title name VARCHAR(20)",
        "TITLE: expected none",
    ),
    "retyped": ("MODIFY price VARCHAR(20)", "name, price", "MODIFY price DECIMAL(8,2)", "PRICE: expected NUMBER(8,2)"),
}


def test_columns_that_are_narrowed_renamed_or_retyped_are_refused_until_that_is_undone(
    database: Database, tmp_path: Path
) -> None:
    database.run(ITEMS, FIRST.format(3))
    lake = of(database, tmp_path)
    lake.extract()
    for number, (change, columns, undo, difference) in enumerate(REFUSED.values(), 1):
        before = lake.table("ITEMS", "ID, NAME"), lake.state("items")
        database.run(f"ALTER TABLE items {change}", insert(10 + number, columns))
        assert ran(lake.extract(), "items").rejected == 1, change
        rejections = lake.rejections()
        assert len(rejections) == number
        code, reason = rejections[-1]
        assert code == "schema_drift"
        assert difference in reason
        assert (lake.table("ITEMS", "ID, NAME"), lake.state("items")) == before
        database.run(f"ALTER TABLE items {undo}")
    lake.extract()
    assert same(lake, database)


@pytest.mark.slow
def test_two_runs_with_extracts_at_once_end_in_the_rows_of_the_source(database: Database, tmp_path: Path) -> None:
    database.run(ITEMS, FIRST.format(5_000), "CREATE TABLE events (id INT, text VARCHAR(20))")
    database.run("INSERT INTO events SELECT MOD(seq, 7), 'equal' FROM seq_1_to_2000")
    events = {"name": "events", "cursor": "id", "strategy": "append_distinct"}
    lake = of(database, tmp_path, LISTED, events)
    settings = {
        "PIPELINE_REVIEWS_TABLES": str(lake.settings.reviews_tables),
        "PIPELINE_REVIEWS_SOURCE_URL": database.url,
    }
    command = partial(process, tmp_path, "run", "reviews", "--extract", env=environment(tmp_path, **settings))
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(command) for _ in range(2)]
    assert [run.result().returncode for run in runs] == [0, 0], [run.result() for run in runs]
    assert same(lake, database)
    assert same(lake, database, "events")
    for table in ("items", "events"):
        assert {manifest["kind"] for manifest in manifests(lake, table)} == {"full"}
    assert lake.extract() == {"items": None, "events": None}


def test_values_that_became_null_are_noted_by_the_run_that_loads_them(database: Database, tmp_path: Path) -> None:
    lake = of(database, tmp_path, {"name": "days", "key": "id"})
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute("CREATE TABLE days (id INT PRIMARY KEY, day DATE)")
        cursor.execute("INSERT INTO days VALUES (1, '0000-00-00'), (2, '2024-01-01'), (3, '0000-00-00')")
    assert ran(lake.extract(), "days").notes == ["days: 2 invalid values of day are NULL"]
    assert lake.extract() == {"days": None}
    assert ran(lake.run(reprocess=True), "days").notes == ["days: 2 invalid values of day are NULL"]
