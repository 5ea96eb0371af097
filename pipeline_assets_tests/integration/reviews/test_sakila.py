"""The whole Sakila dump through runs: every value in the warehouse is that of the source, before and after changes.

Deleted rows stay in the warehouse, marked.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.orchestration.check_steps import evaluations
from pipeline_assets_tests.support.mariadb import Database, load_sakila, mariadb_database
from pipeline_assets_tests.support.reviews_extracts import listed, read_extract
from pipeline_assets_tests.support.reviews_lake import ReviewsLake
from pipeline_assets_tests.support.servers import requires_server

CHANGES = 1_000
CHANGED = ("address", "film", "film_category", "language", "rental", "staff")
Rows = dict[tuple[Any, ...], tuple[Any, ...]]


@dataclass(frozen=True)
class SourceTable:
    """A base table of Sakila. `columns` are its columns and their types; those of the key come first."""

    name: str
    columns: Mapping[str, str]
    key: tuple[str, ...]

    @property
    def is_incremental(self) -> bool:
        return "last_update" in self.columns

    @property
    def entry(self) -> dict[str, Any]:
        """Its entry in the list of tables."""
        cursor = {"cursor": "last_update"} if self.is_incremental else {}
        return {"name": self.name, "key": list(self.key), "deletes": "soft"} | cursor

    def rows(self, database: Database) -> Rows:
        """Its rows by key as PyMySQL reads them, mapped as docs/reviews.md says."""
        selected = [f"ST_AsText({name})" if kind == "geometry" else name for name, kind in self.columns.items()]
        found = database.rows(f"SELECT {', '.join(selected)} FROM {self.name}", init_command="SET time_zone = '+00:00'")
        mapped = [tuple(map(as_mapped, self.columns.values(), row)) for row in found]
        return {row[: len(self.key)]: row for row in mapped}

    def loaded(self, lake: ReviewsLake) -> Rows:
        """Its rows in the warehouse that are not marked as deleted."""
        columns = ", ".join(self.columns)
        rows = lake.rows(f"SELECT {columns} FROM REVIEWS.{self.name.upper()} WHERE NOT COALESCE(IS_DELETED, FALSE)")
        by_key = {row[: len(self.key)]: row for row in rows}
        assert len(by_key) == len(rows)
        return by_key


def as_mapped(kind: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex().upper()
    if isinstance(value, set):
        return ",".join(sorted(value))
    return Decimal(value) if kind == "decimal" and value is not None else value


def tables_of(database: Database) -> list[SourceTable]:
    found: dict[str, list[tuple[str, str, str]]] = {}
    for table, *column in database.rows(
        "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_KEY FROM information_schema.COLUMNS JOIN "
        "information_schema.TABLES USING (TABLE_SCHEMA, TABLE_NAME) WHERE TABLE_SCHEMA = DATABASE() AND "
        "TABLE_TYPE = 'BASE TABLE' ORDER BY TABLE_NAME, COLUMN_KEY <> 'PRI', ORDINAL_POSITION"
    ):
        found.setdefault(table, []).append(tuple(column))
    return [
        SourceTable(
            table,
            {name: kind for name, kind, _ in columns},
            tuple(name for name, _, keyed in columns if keyed == "PRI"),
        )
        for table, columns in found.items()
    ]


@pytest.fixture(scope="module")
def sakila(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    requires_server("mariadb")
    with mariadb_database() as database:
        load_sakila(database, shared_data / "reviews", tmp_path_factory.mktemp("sakila"))
        yield database


def change(
    database: Database, tables: list[SourceTable], before: Mapping[str, Rows], seed: int
) -> dict[str, set[tuple[Any, ...]]]:
    """Insert, update and delete rows at random, as an application does; the keys of the rows that it wrote, by table.

    A new row has the values of another one, and an updated row a value of another one.
    """
    chance = random.Random(seed)
    keys = {table.name: sorted(before[table.name]) for table in tables}
    written: dict[str, set[tuple[Any, ...]]] = {table.name: set() for table in tables}
    done = 0
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        while done < CHANGES:
            table = chance.choice(tables)
            key, other = chance.choice(keys[table.name]), chance.choice(keys[table.name])
            match chance.choice(("insert", "update", "delete")):
                case "insert":
                    new = (max(keys[table.name])[0] + 1, *key[1:])
                    values = [name for name in table.columns if name not in (*table.key, "last_update")]
                    count = cursor.execute(
                        f"INSERT IGNORE INTO {table.name} ({', '.join((*table.key, *values))}) "
                        f"SELECT {', '.join(['%s'] * len(new) + values)} FROM {table.name} WHERE {_is(table)}",
                        (*new, *key),
                    )
                    if count:
                        keys[table.name].append(new)
                        written[table.name].add(new)
                case "update":
                    column = chance.choice([name for name in table.columns if name not in table.key])
                    value = f"(SELECT * FROM (SELECT {column} FROM {table.name} WHERE {_is(table)}) AS found)"
                    change = "" if column == "last_update" else f", {column} = {value}"
                    count = cursor.execute(
                        f"UPDATE IGNORE {table.name} SET last_update = CURRENT_TIMESTAMP{change} WHERE {_is(table)}",
                        (*(other if change else ()), *key),
                    )
                    written[table.name] |= {key} if count else set()
                case "delete":
                    count = 0
                    if len(keys[table.name]) > 2:
                        count = cursor.execute(f"DELETE FROM {table.name} WHERE {_is(table)}", key)
                        keys[table.name].remove(key)
                        written[table.name].discard(key)
            done += bool(count)
    return written


def _is(table: SourceTable) -> str:
    return " AND ".join(f"{name} = %s" for name in table.key)


def types_and_keys(tables: list[SourceTable]) -> set[str | int]:
    """The types of all columns, and the numbers of columns of the keys."""
    return {kind for table in tables for kind in (*table.columns.values(), len(table.key))}


def test_awkward_types_of_sakila_are_among_them(sakila: Database, tmp_path: Path) -> None:
    film = read_extract(sakila.url, listed("film", "film_id"), tmp_path)
    assert film.types["release_year"] == "NUMBER(4,0)"
    assert {row["special_features"] for row in film.rows} > {"Trailers", "Trailers,Deleted Scenes"}
    address = read_extract(sakila.url, listed("address", "address_id"), tmp_path)
    assert all(re.fullmatch(r"POINT\(-?[\d.]+ -?[\d.]+\)", row["location"]) for row in address.rows)
    assert {row["address2"] for row in address.rows} == {None, ""}
    staff = read_extract(sakila.url, listed("staff", "staff_id"), tmp_path)
    assert [row["picture"][:16] if row["picture"] else None for row in staff.rows] == ["89504E470D0A1A0A", None]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_value_of_sakila_is_loaded_and_a_thousand_changes_move_only_their_rows(
    sakila: Database, tmp_path: Path
) -> None:
    tables = tables_of(sakila)
    assert len(tables) == 16
    lake = ReviewsLake.at(
        tmp_path, *(table.entry for table in tables), reviews_source_url=sakila.url, reviews_reconcile_hours=0
    )
    before = {table.name: table.rows(sakila) for table in tables}
    loaded = {name: ran.rows["loaded"] for name, ran in lake.extract().items() if ran}
    assert loaded == {name: len(rows) for name, rows in before.items()}
    assert sum(loaded.values()) > 47_000
    checks = evaluations(lake.pipeline, lake.platform, 24)
    assert {check.asset_key.path[-1] for check in checks} >= before.keys()
    assert not [check for check in checks if not check.passed]
    for table in tables:
        assert table.loaded(lake) == before[table.name], table.name

    incremental = [table for table in tables if table.is_incremental]
    changing = [table for table in incremental if table.name in CHANGED]
    assert types_and_keys(changing) == types_and_keys(incremental), "a batch for each of the others shows nothing more"
    written = change(sakila, changing, before, seed=15)
    after = {table.name: table.rows(sakila) for table in tables if table in changing or not table.is_incremental}
    reports = lake.extract()
    for table in incremental:
        report = reports[table.name]
        deleted = before[table.name].keys() - after.get(table.name, before[table.name]).keys()
        moved = len(written.get(table.name, ())) + len(deleted)
        assert (report.rows["read"] if report else 0) == moved, table.name
    for table in tables:
        if table.name in after:  # no row of the others moved
            assert table.loaded(lake) == after[table.name], table.name
