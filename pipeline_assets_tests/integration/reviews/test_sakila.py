"""The whole Sakila dump: an extract of each table has the values that PyMySQL reads, by the documented mapping."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets_tests.support.mariadb import Database, load_sakila, mariadb_database
from pipeline_assets_tests.support.reviews_extracts import listed, read_extract
from pipeline_assets_tests.support.servers import requires_server

TABLES = 16


@pytest.fixture(scope="module")
def sakila(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    requires_server("mariadb")
    folder = tmp_path_factory.mktemp("sakila")
    with mariadb_database() as database:
        load_sakila(database, shared_data / "reviews", folder)
        yield database


def as_mapped(kind: str, value: Any) -> Any:
    """The value that PyMySQL reads, as docs/reviews.md says."""
    if isinstance(value, bytes):
        return value.hex().upper()
    if isinstance(value, set):
        return ",".join(sorted(value))
    return Decimal(value) if kind == "decimal" and value is not None else value


def test_each_value_of_each_table_is_extracted(sakila: Database, tmp_path: Path) -> None:
    tables = sakila.rows(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE'"
    )
    assert len(tables) == TABLES
    total = 0
    for (table,) in tables:
        columns = sakila.rows(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_KEY FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() "
            f"AND TABLE_NAME = '{table}' ORDER BY ORDINAL_POSITION"
        )
        key = [name for name, _, keyed in columns if keyed == "PRI"]
        cursor = ("last_update",) if "last_update" in {name for name, *_ in columns} else ()
        selected = ", ".join(f"ST_AsText({name})" if kind == "geometry" else name for name, kind, _ in columns)
        expected = sakila.rows(
            f"SELECT {selected} FROM {table} ORDER BY {', '.join(key)}", init_command="SET time_zone = '+00:00'"
        )
        read = read_extract(sakila.url, listed(table, *key, cursor=cursor), tmp_path)
        found = sorted(read.rows, key=lambda row: tuple(row[name] for name in key))
        assert [tuple(row.values()) for row in found] == [
            tuple(as_mapped(kind, value) for (_, kind, _), value in zip(columns, row, strict=True)) for row in expected
        ], table
        assert len(read.rows) == read.manifest.rows == read.manifest.files[0].rows
        total += len(read.rows)
    assert total > 47_000


def test_awkward_types_of_sakila_are_among_them(sakila: Database, tmp_path: Path) -> None:
    film = read_extract(sakila.url, listed("film", "film_id"), tmp_path)
    assert film.types["release_year"] == "NUMBER(4,0)"
    assert {row["special_features"] for row in film.rows} > {"Trailers", "Trailers,Deleted Scenes"}
    address = read_extract(sakila.url, listed("address", "address_id"), tmp_path)
    assert all(re.fullmatch(r"POINT\(-?[\d.]+ -?[\d.]+\)", row["location"]) for row in address.rows)
    assert {row["address2"] for row in address.rows} == {None, ""}
    staff = read_extract(sakila.url, listed("staff", "staff_id"), tmp_path)
    assert [row["picture"][:16] if row["picture"] else None for row in staff.rows] == ["89504E470D0A1A0A", None]
