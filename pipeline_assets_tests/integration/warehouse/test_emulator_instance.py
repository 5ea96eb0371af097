"""A process keeps the emulator in memory between transactions; the database file belongs to nobody in between."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import fakesnow.macros
import pytest

from pipeline_assets.errors import WarehouseError
from pipeline_assets.warehouse import emulator_instance
from pipeline_assets.warehouse.embedded import EmbeddedWarehouse
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer

WRITE = """
import sys
from pathlib import Path
from pipeline_assets.warehouse.embedded import EmbeddedWarehouse
warehouse = EmbeddedWarehouse(Path(sys.argv[1]), "WAREHOUSE", 10, str)
with warehouse.transaction() as transaction:
    transaction.execute("INSERT INTO OPS.NOTES (TEXT) VALUES (%s)", (sys.argv[2],))
"""


def warehouse_at(folder: Path) -> EmbeddedWarehouse:
    folder.mkdir(exist_ok=True)
    warehouse = EmbeddedWarehouse(folder, "WAREHOUSE", 10, lambda bucket: f"file://{folder}/{bucket}/")
    with warehouse.autocommit() as session:
        session.execute("CREATE TABLE IF NOT EXISTS OPS.NOTES (TEXT VARCHAR(20))")
    return warehouse


def notes(warehouse: EmbeddedWarehouse) -> list[str]:
    with warehouse.read_only() as transaction:
        return [text for (text,) in transaction.rows("SELECT TEXT FROM OPS.NOTES ORDER BY TEXT")]


def write(warehouse: EmbeddedWarehouse, text: str) -> None:
    with warehouse.transaction() as transaction:
        transaction.execute("INSERT INTO OPS.NOTES (TEXT) VALUES (%s)", (text,))


def in_another_process(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WRITE, str(folder), text]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)


def test_what_another_process_writes_in_between_is_seen(tmp_path: Path) -> None:
    warehouse = warehouse_at(tmp_path / "home")
    write(warehouse, "a")
    in_another_process(tmp_path / "home", "b")
    write(warehouse, "c")

    assert notes(warehouse) == ["a", "b", "c"]


def test_nothing_is_printed_when_the_process_ends(tmp_path: Path) -> None:
    """DuckDB complains on stderr of connections that the interpreter's end finds open."""
    warehouse_at(tmp_path / "home")

    ended = in_another_process(tmp_path / "home", "a")

    assert (ended.stdout, ended.stderr) == ("", "")


def test_a_database_that_was_removed_is_created_again(tmp_path: Path) -> None:
    write(warehouse_at(tmp_path / "home"), "a")
    shutil.rmtree(tmp_path / "home")

    assert notes(warehouse_at(tmp_path / "home")) == []


def test_a_schema_that_somebody_dropped_can_be_created_again(tmp_path: Path) -> None:
    warehouse = warehouse_at(tmp_path / "home")
    with duckdb.connect(str(tmp_path / "home" / "WAREHOUSE.db")) as connection:
        connection.execute("DROP SCHEMA OPS CASCADE")
    with warehouse.autocommit() as session:
        session.execute("CREATE SCHEMA OPS")

    assert notes(warehouse_at(tmp_path / "home")) == []


def test_two_homes_in_one_process_are_two_databases(tmp_path: Path) -> None:
    one, other = warehouse_at(tmp_path / "one"), warehouse_at(tmp_path / "other")
    for number in range(3):
        write(one, f"one {number}")
        write(other, f"other {number}")

    assert notes(one) == ["one 0", "one 1", "one 2"]
    assert notes(other) == ["other 0", "other 1", "other 2"]


def test_one_instance_of_the_emulator_serves_every_home_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To set one up takes longer than most transactions."""
    new_instance, made = emulator_instance._new_instance, []
    monkeypatch.setattr(emulator_instance, "_new_instance", lambda: made.append(new_instance()) or made[-1])
    for number in range(3):
        write(warehouse_at(tmp_path / f"home {number}"), "a")

    assert len(made) <= 1


def test_a_forked_process_uses_the_warehouse_and_ends_as_any_other(tmp_path: Path) -> None:
    warehouse = warehouse_at(tmp_path / "home")
    code = """
import os, sys
from pathlib import Path
from pipeline_assets.warehouse.embedded import EmbeddedWarehouse

def write(text):
    with EmbeddedWarehouse(Path(sys.argv[1]), "WAREHOUSE", 10, str).transaction() as transaction:
        transaction.execute("INSERT INTO OPS.NOTES (TEXT) VALUES (%s)", (text,))

write("parent")
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
else:
    write("child")
"""
    command = [sys.executable, "-c", code, str(warehouse.root)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert notes(warehouse) == ["child", "parent"]


@pytest.mark.parametrize("same_version", [True, False])
def test_a_new_process_sets_a_database_up_again_only_for_another_version_of_the_emulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_version: bool
) -> None:
    """Its views and macros are in the file; to create them takes longer than most transactions."""
    creation_sql, created = fakesnow.macros.creation_sql, []

    def counted(database: str) -> str:
        created.extend([database] * (sys._getframe(1).f_code.co_name == "__init__"))  # and not for the digest
        return creation_sql(database) + ("" if same_version else "-- another version")

    write(warehouse_at(tmp_path / "home"), "a")
    monkeypatch.setattr(emulator_instance, "_set_up", set())  # as in a new process
    monkeypatch.setattr(fakesnow.macros, "creation_sql", counted)

    assert notes(warehouse_at(tmp_path / "home")) == ["a"]
    assert created == ([] if same_version else ["WAREHOUSE"])


def test_a_batch_opens_the_warehouse_as_often_however_many_files_it_has(
    lake: BookingsLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To prepare it, to discover, for records that waited, and to publish; then also for times and published rows."""
    connect, opened = EmbeddedWarehouse.connect, []
    monkeypatch.setattr(EmbeddedWarehouse, "connect", lambda *given: opened.append(1) or connect(*given))
    for files, expected in ((1, 4), (1, 6), (5, 6)):
        opened.clear()
        for number in range(files):
            lake.customers(str(number), customer(1, f"Ada {files} {number}"), customer(number))
            lake.bookings(str(number), booking(number, number))
        lake.run()
        assert len(opened) == expected


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_next_transaction_finds_what_was_committed(
    error: type[BaseException], tmp_path: Path
) -> None:
    warehouse = warehouse_at(tmp_path / "home")
    write(warehouse, "a")

    def fails() -> None:
        with warehouse.transaction() as transaction:
            transaction.execute("INSERT INTO OPS.NOTES (TEXT) VALUES ('b')")
            raise error

    with pytest.raises(error):
        fails()
    write(warehouse, "c")
    assert notes(warehouse) == ["a", "c"]


def test_a_file_that_cannot_be_attached_any_more_is_an_error_of_ours(tmp_path: Path) -> None:
    warehouse = warehouse_at(tmp_path / "home")
    write(warehouse, "a")
    (tmp_path / "home" / "WAREHOUSE.db").write_bytes(b"not a database" * 1000)

    with pytest.raises(WarehouseError, match="No connection to the warehouse"):
        notes(warehouse)


def test_a_transaction_knows_no_stage_of_the_one_before(tmp_path: Path) -> None:
    """As it would be in another process: the emulator keeps stages in memory, and a home may move."""
    warehouse = warehouse_at(tmp_path / "home")
    stages = "SELECT COUNT(*) FROM _fs_global._fs_information_schema._fs_stages"
    with warehouse.connect(["bucket"]) as connection:
        assert connection._duck_conn.execute(stages).fetchall() == [(1,)]
    with warehouse.connect() as connection:
        assert connection._duck_conn.execute(stages).fetchall() == [(0,)]


def test_one_statement_in_two_databases_reads_each(tmp_path: Path) -> None:
    """The transformation of a statement is kept; the database that it is for is part of what it is kept under."""
    first = EmbeddedWarehouse(tmp_path, "FIRST", 10, str)
    second = EmbeddedWarehouse(tmp_path, "SECOND", 10, str)
    for warehouse, text in ((first, "first"), (second, "second")):
        with warehouse.autocommit() as session:
            session.execute("CREATE TABLE OPS.NOTES (TEXT VARCHAR(20))")
        write(warehouse, text)

    assert [notes(first), notes(second), notes(first)] == [["first"], ["second"], ["first"]]


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN",
        "INSERT INTO OPS.NOTES (TEXT) VALUES ('b'), ('c')",
        "UPDATE OPS.NOTES SET TEXT = 'd'",
        "DELETE FROM OPS.NOTES",
    ],
)
def test_a_statement_without_rows_has_the_answer_that_duckdb_would_give(tmp_path: Path, sql: str) -> None:
    warehouse = warehouse_at(tmp_path / "home")
    write(warehouse, "a")

    with warehouse.connect() as connection:
        cursor = connection.cursor().execute(sql)
        answer = cursor._arrow_table

        assert answer.equals(connection._duck_conn._connection.execute(str(cursor._last_sql)).to_arrow_table())
        assert [column.name for column in cursor.description] == answer.column_names


def test_what_is_not_in_the_file_is_gone_with_the_connection(tmp_path: Path) -> None:
    """A stage, the comment of a table: a new process does not find them either."""
    warehouse = warehouse_at(tmp_path / "home")
    with warehouse.connect(["bucket"]) as connection:
        connection.cursor().execute("COMMENT ON TABLE OPS.NOTES IS 'of this connection'")
        connection.cursor().execute("CREATE FILE FORMAT OPS.SEMICOLONS TYPE = CSV FIELD_DELIMITER = ';'")

    with warehouse.connect() as connection:
        for table in ("_fs_stages", "_fs_tables_ext", "_fs_columns_ext", "_fs_file_formats"):
            kept = connection._duck_conn.execute(f"SELECT * FROM _fs_global._fs_information_schema.{table}").fetchall()
            assert kept == [], table
