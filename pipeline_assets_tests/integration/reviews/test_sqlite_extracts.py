"""Extracts of a SQLite file: values as texts by their declared types, and the rows behind a position."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from pipeline_assets.errors import ConfigurationError, SourceError
from pipeline_assets.reviews.connect import open_source
from pipeline_assets_tests.support.reviews_extracts import extract, listed, read_extract


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop %3f 1.db"


def run(file: Path, *statements: str, rows: list[tuple] | None = None) -> None:
    """Statements, the last of them once for each row if there are rows; committed together."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements[:-1] if rows else statements:
            connection.execute(statement)
        if rows:
            connection.executemany(statements[-1], rows)


def url(file: Path) -> str:
    return URL.create("sqlite", database=str(file)).render_as_string()


def test_each_declared_type_has_its_mapping_and_values_are_texts(file: Path, tmp_path: Path) -> None:
    declared = {
        "INTEGER": (2**63 - 1, "9223372036854775807", "NUMBER(19,0)"),
        "TINYINT UNSIGNED": ("not a number", "not a number", "NUMBER(19,0)"),
        "BOOLEAN": (True, "1", "NUMBER(1,0)"),
        "DECIMAL(10,2)": ("12.34", "12.34", "NUMBER(10,2)"),
        "NUMERIC": (0.1, "0.1", "FLOAT"),
        "REAL": (1e300, "1e+300", "FLOAT"),
        "VARCHAR(3)": ("longer ", "longer ", "VARCHAR"),
        "TEXT": ("", "", "VARCHAR"),
        "BLOB": (b"\x00\xab", "00AB", "VARCHAR"),
        "": (7, "7", "VARCHAR"),
        "DATE": ("2024-01-31", "2024-01-31", "DATE"),
        "DATETIME": ("2024-01-31T10:00:00.5", "2024-01-31T10:00:00.5", "TIMESTAMP_NTZ(6)"),
        "JSON": ('{"a": 1}', '{"a": 1}', "VARCHAR"),
    }
    columns = ", ".join(f'"c{number}" {kind}' for number, kind in enumerate(declared))
    marks = ", ".join("?" * len(declared))
    run(file, f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})", "INSERT INTO t (id) VALUES (2)")
    run(file, f"INSERT INTO t VALUES (1, {marks})", rows=[tuple(value for value, *_ in declared.values())])
    read = read_extract(url(file), listed("t"), tmp_path)
    assert list(read.types.values())[1:] == [physical for *_, physical in declared.values()]
    first, second = sorted(read.rows, key=lambda row: row["id"])
    assert list(first.values())[1:] == [text for _, text, _ in declared.values()]
    assert set(list(second.values())[1:]) == {None}


def test_a_row_is_extracted_again_only_if_it_changed(file: Path, tmp_path: Path) -> None:
    run(
        file,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, version INTEGER)",
        "INSERT INTO t VALUES (?, ?)",
        rows=[(9, 9), (10, 10), (11, None)],
    )
    table = listed("t", cursor=("version",))
    first = read_extract(url(file), table, tmp_path)
    assert first.until.position == ("10", "10")
    run(file, "UPDATE t SET version = 100 WHERE id = 9")
    second = read_extract(url(file), table, tmp_path, first.until)
    assert second.values("id") == ["11", "9"]
    assert second.until.position == ("100", "9")


def test_a_time_within_the_lag_is_extracted_again(file: Path, tmp_path: Path) -> None:
    run(file, "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME)", "INSERT INTO t VALUES (5, CURRENT_TIMESTAMP)")
    table = listed("t", cursor=("at",))
    first = read_extract(url(file), table, tmp_path)
    run(file, "INSERT INTO t VALUES (1, datetime('now', '-1 minute')), (2, datetime('now', '-1 day'))")
    assert read_extract(url(file), table, tmp_path, first.until).values("id") == ["1", "5"]


def test_names_and_texts_are_only_that(file: Path, tmp_path: Path) -> None:
    name = 'x"; drop table y'
    quoted = '"' + name.replace('"', '""') + '"'
    run(file, "CREATE TABLE y (id)", f'CREATE TABLE {quoted} ("i\'d" TEXT PRIMARY KEY, "a""b" TEXT)')
    run(file, f"INSERT INTO {quoted} VALUES (?, ?)", rows=[("a'b", "it''s \0 é"), ("ü", "it''s \0 é")])
    table = listed(name, "i'd", cursor=('a"b',))
    first = read_extract(url(file), table, tmp_path)
    assert first.until.position == ("it''s \0 é", "ü")
    assert extract(url(file), table, tmp_path, first.until) is None


def test_a_writer_during_an_extract_does_not_reach_it(file: Path, tmp_path: Path) -> None:
    run(file, "PRAGMA journal_mode = WAL", "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    run(file, "INSERT INTO t VALUES (?)", rows=[(number,) for number in range(10_000)])
    with open_source(url(file)) as source:
        batches = source.read("t", source.columns("t"), "", tmp_path, Counter())
        rows = next(batches).num_rows
        run(file, "DELETE FROM t WHERE id >= 5000")
        assert rows + sum(batch.num_rows for batch in batches) == 10_000


@pytest.mark.parametrize(
    ("address", "table", "message"),
    [
        ("sqlite:///{folder}/absent.db", "t", "absent.db of PIPELINE_REVIEWS_SOURCE_URL does not exist"),
        ("sqlite:///not/absolute.db", "t", r"not/absolute.db of .+ does not exist.+four slashes"),
        ("sqlite://", "t", "it names no database"),
        ("sqlite:///{folder}/text.db", "t", "file is not a database"),
        (
            "{file}",
            "items",
            "sqlite:shop %3f 1.db has no table items that its user may read; did you mean item",
        ),
    ],
)
def test_what_is_wrong_is_permanent(file: Path, tmp_path: Path, address: str, table: str, message: str) -> None:
    run(file, "CREATE TABLE item (id INTEGER PRIMARY KEY)")
    (tmp_path / "text.db").write_text("not a database" * 100)
    with pytest.raises(ConfigurationError, match=message) as raised:
        extract(address.format(folder=tmp_path, file=url(file)), listed(table), tmp_path)
    assert raised.value.remedy


def test_a_locked_file_is_transient(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_assets.reviews.sqlite._LOCK_SECONDS", 0)
    run(file, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceError, match="database is locked"):
            extract(url(file), listed("t"), tmp_path)
