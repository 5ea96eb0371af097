"""What an incremental extract of MySQL has, while others write, and what it lands when something fails."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.reviews.connect import open_source
from pipeline_assets.reviews.extract import land_extract
from pipeline_assets.reviews.manifest import Watermark, read_manifest
from pipeline_assets.reviews.metadata import ListedTable
from pipeline_assets.reviews.position import Ordered, literal, rows_behind
from pipeline_assets_tests.support.mariadb import (
    Database,
    mariadb_database,
    shared_server,
)
from pipeline_assets_tests.support.reviews_extracts import Read, extract, listed, read_extract
from pipeline_assets_tests.support.servers import requires_server

ITEMS = "CREATE TABLE items (id BIGINT UNSIGNED PRIMARY KEY, changed DATETIME(6), name VARCHAR(40), KEY (changed))"
TABLE = listed("items", cursor=("changed",))


def without_lag(watermark: Watermark) -> Watermark:
    """A watermark behind whose time there are no rows."""
    return Watermark(watermark.position, watermark.snapshot_at, "9999-01-01 00:00:00.000000")


def read_each(
    database: Database, tables: Mapping[str, ListedTable], folder: Path, since: Mapping[str, Watermark] | None = None
) -> dict[str, Read]:
    """An extract of each table, by name."""
    since = since or {}
    return {name: read_extract(database.url, table, folder, since.get(name)) for name, table in tables.items()}


def test_a_row_is_extracted_again_only_if_it_changed(database: Database, tmp_path: Path) -> None:
    database.run(ITEMS)
    database.insert("items", [(1, "2024-01-01", "a"), (2, "2024-01-02 00:00:00.000001", "b"), (3, "2024-01-02", "c")])
    first = read_extract(database.url, TABLE, tmp_path)
    assert (first.manifest.kind, first.manifest.since) == ("full", None)
    assert first.until.position == ("2024-01-02 00:00:00.000001", "2")
    assert extract(database.url, TABLE, tmp_path, first.until) is None
    database.run("UPDATE items SET changed = '2024-01-02 00:00:00.000002', name = 'A' WHERE id = 1")
    second = read_extract(database.url, TABLE, tmp_path, first.until)
    assert second.values("id") == [1]
    assert (second.manifest.kind, second.manifest.since) == ("changes", first.until)
    assert second.until.position == ("2024-01-02 00:00:00.000002", "1")


def test_a_row_of_an_equal_cursor_and_a_greater_key_is_found(database: Database, tmp_path: Path) -> None:
    database.run(ITEMS)
    database.insert("items", [(2**64 - 2, "2024-01-01", "a"), (5, "2024-01-01", "b")])
    first = read_extract(database.url, TABLE, tmp_path)
    assert first.until.position[1] == str(2**64 - 2)
    database.insert("items", [(2**64 - 1, "2024-01-01", "c")])
    assert read_extract(database.url, TABLE, tmp_path, first.until).values("id") == [2**64 - 1]


def test_a_writer_during_an_extract_changes_nothing_in_it_and_its_rows_are_in_the_next(
    database: Database, tmp_path: Path
) -> None:
    """10,000 rows of one timestamp across the edges of batches, each exactly once."""
    database.run(ITEMS, "INSERT INTO items SELECT seq * 2, '2024-01-01', REPEAT('x', 40) FROM seq_1_to_10000")
    started, stop, written = threading.Event(), threading.Event(), [0]

    def write() -> None:
        with database.connect() as connection, connection.cursor() as cursor:
            number = 1
            while not stop.is_set():
                cursor.execute("INSERT INTO items VALUES (%s, NOW(6), 'new')", (20_001 + number,))
                cursor.execute("DELETE FROM items WHERE id = %s", (number * 2,))
                started.set()
                written[0], number = number, number + 1

    writer = threading.Thread(target=write)
    writer.start()
    started.wait()
    try:
        first = read_extract(database.url, TABLE, tmp_path)
    finally:
        stop.set()
        writer.join()
    kept = [row["id"] for row in first.rows if row["id"] <= 20_000]
    added = [row["id"] - 20_001 for row in first.rows if row["id"] > 20_000]
    # A prefix of what was written: one snapshot.
    assert sorted(added) == list(range(1, len(added) + 1))
    assert len(kept) == len(set(kept))
    assert len(kept) in (10_000 - len(added), 10_000 - len(added) + 1)
    rest = read_extract(database.url, TABLE, tmp_path, without_lag(first.until))
    assert sorted(added + [row["id"] - 20_001 for row in rest.rows]) == list(range(1, written[0] + 1))


def test_an_old_time_that_commits_after_an_extract_is_found_within_the_lag(database: Database, tmp_path: Path) -> None:
    database.run(ITEMS, "INSERT INTO items VALUES (1, UTC_TIMESTAMP(6), 'a')")
    with database.connect(autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO items VALUES (2, UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE, 'late')")
        first = read_extract(database.url, TABLE, tmp_path)
        connection.commit()
    assert first.values("id") == [1]
    second = read_extract(database.url, TABLE, tmp_path, first.until)
    assert second.values("id") == [1, 2]
    assert second.until.position == first.until.position
    # Without the lag it is not.
    assert extract(database.url, TABLE, tmp_path, first.until, lag=0) is None


def test_a_position_never_moves_back(database: Database, tmp_path: Path) -> None:
    database.run(ITEMS, "INSERT INTO items VALUES (1, UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE, 'a')")
    database.run("INSERT INTO items VALUES (2, UTC_TIMESTAMP(6), 'b')")
    first = read_extract(database.url, TABLE, tmp_path)
    database.run("DELETE FROM items WHERE id = 2")
    second = read_extract(database.url, TABLE, tmp_path, first.until)
    assert second.values("id") == [1]
    assert second.until.position == first.until.position


TIMES = {"datetimes": "DATETIME(6)", "timestamps": "TIMESTAMP(6)", "dates": "DATE"}
TIMED = {name: listed(name, cursor=("changed",)) for name in TIMES}


def create_timed(database: Database) -> None:
    database.run(*(f"CREATE TABLE {name} (id INT PRIMARY KEY, changed {kind} NULL)" for name, kind in TIMES.items()))


@pytest.mark.parametrize("zone", ["-11:00", "+13:00"])
def test_the_lag_holds_in_each_time_zone_of_the_server(tmp_path: Path, zone: str) -> None:
    requires_server("mariadb")
    with mariadb_database() as database, shared_server().connect() as root, root.cursor() as admin:
        admin.execute(f"SET GLOBAL time_zone = '{zone}'")
        try:
            create_timed(database)
            database.run(*(f"INSERT INTO {name} VALUES (1, NOW(6))" for name in TIMES))
            first = read_each(database, TIMED, tmp_path)
            database.run(*(f"INSERT INTO {name} VALUES (0, NOW(6) - INTERVAL 2 MINUTE)" for name in TIMES))
            second = read_each(database, TIMED, tmp_path, {name: read.until for name, read in first.items()})
            assert [name for name, read in second.items() if 0 not in read.values("id")] == []
        finally:
            admin.execute("SET GLOBAL time_zone = 'SYSTEM'")


def test_rows_without_cursor_are_in_each_extract_and_move_no_position(database: Database, tmp_path: Path) -> None:
    create_timed(database)
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = '', time_zone = '+00:00'")
        for name in TIMES:
            cursor.execute(f"INSERT INTO {name} VALUES (1, NULL), (2, '2024-01-01'), (9, '0000-00-00')")
    first = read_each(database, TIMED, tmp_path)
    assert {name: read.values("id") for name, read in first.items()} == {name: [1, 2, 9] for name in TIMES}
    midnight = "2024-01-01 00:00:00.000000"
    assert {name: read.until.position for name, read in first.items()} == {
        "datetimes": (midnight, "2"),
        "timestamps": (midnight, "2"),
        "dates": ("2024-01-01", "2"),
    }
    again = read_each(database, TIMED, tmp_path, {name: without_lag(read.until) for name, read in first.items()})
    assert {name: read.values("id") for name, read in again.items()} == {name: [1, 9] for name in TIMES}


@pytest.mark.parametrize("kind", ["DATETIME(6) NULL", "TIMESTAMP(6) NULL", "DATE NOT NULL", "BIGINT NOT NULL"])
def test_an_index_on_the_cursor_is_read_by_range(database: Database, kind: str) -> None:
    is_time = "INT" not in kind
    database.run(f"CREATE TABLE items (id INT PRIMARY KEY, changed {kind}, name VARCHAR(40), KEY (changed))")
    value = "'2024-01-01' + INTERVAL seq HOUR" if is_time else "seq"
    database.run(f"INSERT INTO items SELECT seq, {value}, 'x' FROM seq_1_to_20000", "ANALYZE TABLE items")
    with open_source(database.url) as source:
        key, changed, _ = source.columns("items")
    day = "2026-04-12" if "DATE " in kind else "2026-04-12 00:00:00"
    position, start = ([day, "5"], day) if is_time else (["19990", "5"], None)
    condition = rows_behind("mysql", Ordered((changed, key), 1), position, start)
    ((*_, access, _, used, _, _, rows, _),) = database.rows(f"EXPLAIN SELECT * FROM items WHERE {condition}")
    assert (access, used) == ("range", "changed")
    assert int(rows) < 200


def test_only_rows_without_cursor_give_no_position(database: Database, tmp_path: Path) -> None:
    database.run(ITEMS, "INSERT INTO items VALUES (1, NULL, 'a')")
    first = read_extract(database.url, TABLE, tmp_path)
    assert first.until.position == ()
    assert read_extract(database.url, TABLE, tmp_path, first.until).manifest.kind == "full"


POSITIONS = {
    "DECIMAL(38,20)": ["0." + "0" * 19 + "1", "0." + "0" * 19 + "2", "123456789012345678.00000000000000000001"],
    "DECIMAL(65,30)": ["9." + "0" * 29 + "1", "10", "1" * 35 + ".5"],
    "DECIMAL(10,2)": ["-1.50", "9.99", "10.00"],
    "DOUBLE": ["0.1", "0.30000000000000004", "1e300"],
    "FLOAT": ["0.1", "0.2", "16777216"],
    "BIGINT UNSIGNED": ["9", "10", str(2**64 - 1)],
    "BIGINT": [str(-(2**63)), "-9", "2"],
    "YEAR": ["1999", "2000", "2024"],
    "BIT(64)": ["9", "10", str(2**63)],
    "DATETIME(6)": ["2024-01-01 00:00:00.999999", "2024-01-01 00:00:01", "2024-01-01 00:00:01.000001"],
    "VARCHAR(40)": ["a'b\\", 'b"` -- ', "c😀"],
    "VARCHAR(40) CHARACTER SET latin1": ["a", "b", "é"],
    "VARCHAR(40) COLLATE utf8mb4_bin": ["B", "a", "é"],
    "VARBINARY(20)": ["a", "b", "é"],
    "BINARY(3)": ["", "a", "abc"],
}


def test_positions_are_exact(database: Database, tmp_path: Path) -> None:
    """The values are in ascending order: behind each, exactly those after it."""
    tables = {kind: listed(f"t{number}", cursor=("cur",)) for number, kind in enumerate(POSITIONS)}
    rows = {kind: _literals(kind, values) for kind, values in POSITIONS.items()}
    database.run(*(f"CREATE TABLE {t.name} (id INT PRIMARY KEY, cur {kind} NOT NULL)" for kind, t in tables.items()))
    database.run(*(f"INSERT INTO {table.name} VALUES {rows[kind][0]}" for kind, table in tables.items()))
    first = read_each(database, tables, tmp_path)
    database.run(*(f"INSERT INTO {table.name} VALUES {', '.join(rows[kind][1:])}" for kind, table in tables.items()))
    second = read_each(database, tables, tmp_path, {kind: without_lag(read.until) for kind, read in first.items()})
    assert {kind: read.values("id") for kind, read in second.items()} == {kind: [1, 2] for kind in POSITIONS}
    third = {
        kind: extract(database.url, table, tmp_path, without_lag(second[kind].until)) for kind, table in tables.items()
    }
    assert third == dict.fromkeys(POSITIONS)


def _literals(kind: str, values: list[str]) -> list[str]:
    literals = values if kind.startswith("BIT") else map(_text_literal, values)
    return [f"({number}, {value})" for number, value in enumerate(literals)]


def _text_literal(value: str) -> str:
    return f"CONVERT(X'{value.encode().hex()}' USING utf8mb4)" if value else "''"


def test_keys_of_several_columns_and_types_are_compared_in_order(database: Database, tmp_path: Path) -> None:
    database.run(
        "CREATE TABLE t (a INT, b VARCHAR(9), c VARBINARY(9), d ENUM('x', 'y'), v INT NOT NULL, "
        "PRIMARY KEY (a, b, c, d))"
    )
    table = listed("t", "a", "b", "c", "d", cursor=("v",))
    database.insert("t", [(1, "a", b"\x00", "x", 1), (1, "a", b"\x01", "x", 1), (1, "B", b"", "y", 0)])
    first = read_extract(database.url, table, tmp_path)
    assert first.until.position == ("1", "1", "a", "01", "x")
    database.insert(
        "t", [(1, "a", b"\x01", "y", 1), (1, "b", b"", "x", 1), (2, "", b"", "x", 1), (0, "z", b"z", "y", 1)]
    )
    found = read_extract(database.url, table, tmp_path, first.until)
    assert sorted((row["a"], row["b"], row["c"], row["d"]) for row in found.rows) == [
        (1, "a", "01", "y"),
        (1, "b", "", "x"),
        (2, "", "", "x"),
    ]


def test_cursors_of_several_columns_are_compared_in_order(database: Database, tmp_path: Path) -> None:
    database.run("CREATE TABLE t (id INT PRIMARY KEY, day INT, part INT)")
    database.insert("t", [(1, 1, 9), (2, 2, 1), (3, 1, None), (4, None, 5)])
    table = listed("t", cursor=("day", "part"))
    first = read_extract(database.url, table, tmp_path)
    assert first.until.position == ("2", "1", "2")
    database.insert("t", [(5, 2, 2), (6, 2, None), (7, 1, 99), (8, 3, 0)])
    # NULL comes last: behind each value of the same day.
    assert read_extract(database.url, table, tmp_path, first.until).values("id") == [4, 5, 6, 8]


def test_a_table_without_cursor_and_a_full_refresh_are_extracted_whole(database: Database, tmp_path: Path) -> None:
    database.run(ITEMS)
    database.insert("items", [(1, "2024-01-01", "a"), (2, "2024-01-02", "b")])
    for table in (listed("items"), listed("items", cursor=("changed",), strategy="full_refresh")):
        first = read_extract(database.url, table, tmp_path)
        assert (first.until.position, first.until.source_time) == ((), "")
        again = read_extract(database.url, table, tmp_path, first.until)
        assert (again.manifest.kind, again.values("id")) == ("full", [1, 2])


def test_the_times_of_an_extract_are_before_its_rows(database: Database, tmp_path: Path) -> None:
    ((before,),) = database.rows("SELECT UTC_TIMESTAMP(6)")
    database.run(ITEMS, "INSERT INTO items VALUES (1, NULL, 'a')")
    until = read_extract(database.url, TABLE, tmp_path).until
    ((after,),) = database.rows("SELECT UTC_TIMESTAMP(6)")
    assert before <= datetime.fromisoformat(until.snapshot_at) <= after
    assert datetime.fromisoformat(until.source_time) <= after + timedelta(hours=14)


def test_names_are_only_names(database: Database, tmp_path: Path) -> None:
    database.run("CREATE TABLE y (id INT PRIMARY KEY)", "INSERT INTO y VALUES (1)")
    database.run(
        "CREATE TABLE `x; drop table y` (`i``d` INT PRIMARY KEY, `a'b\"c; --` DATETIME, `%s {0} \\ é` INT)",
        "INSERT INTO `x; drop table y` VALUES (1, '2024-01-01', 2), (2, '2024-01-02', 3)",
    )
    table = listed("x; drop table y", "i`d", cursor=("a'b\"c; --",))
    first = read_extract(database.url, table, tmp_path)
    assert list(first.rows[0]) == ["i`d", "a'b\"c; --", "%s {0} \\ é"]
    assert extract(database.url, table, tmp_path, without_lag(first.until)) is None
    assert database.rows("SELECT id FROM y") == [(1,)]


def test_the_server_reads_the_literal_of_a_text_as_the_text(database: Database) -> None:
    with database.connect() as connection, connection.cursor() as cursor:

        @given(st.lists(st.text(st.characters(blacklist_categories=("Cs",))), min_size=1))
        def read_back(texts: list[str]) -> None:
            cursor.execute(f"SELECT {', '.join(literal('mysql', 'text', text) for text in texts)}")
            assert list(cursor.fetchone()) == texts

        read_back()


def test_csv_keeps_null_and_empty_text_apart(database: Database, tmp_path: Path) -> None:
    database.run("CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20), b DECIMAL(20,12), c DATETIME(6))")
    database.insert(
        "t", [(1, "", "0.000000000001", "2024-01-01 00:00:00.5"), (2, None, None, None), (3, 'q"\n, ', 1, None)]
    )
    read = read_extract(database.url, listed("t", format="csv"), tmp_path)
    assert read.manifest.files[0].name.endswith("-t-batch0-1.csv")
    lines = sorted(read.path.read_text(encoding="utf-8").split("\n", 1)[1].replace("\n, ", "\\n, ").splitlines())
    assert lines == [
        '1,"","0.000000000001",2024-01-01 00:00:00.500000',
        "2,,,",
        '3,"q""\\n, ","1.000000000000",',
    ]


def test_two_extracts_at_once_have_the_same_rows(database: Database, tmp_path: Path) -> None:
    database.run(ITEMS, "INSERT INTO items SELECT seq, '2024-01-01', 'x' FROM seq_1_to_20000")
    found: list[list[int]] = []

    def extract_all(name: str) -> None:
        found.append(read_extract(database.url, TABLE, tmp_path / name).values("id"))

    threads = [threading.Thread(target=extract_all, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(1, 20_001))] * 2


def test_an_extract_lands_its_file_first_and_its_manifest_last(database: Database, tmp_path: Path) -> None:
    from pipeline_assets.lake.local import LocalLake

    database.run(ITEMS, "INSERT INTO items VALUES (1, '2024-01-01', 'a')")
    landed: list[str] = []

    class WatchedLake(LocalLake):
        def publish(self, source: Path, bucket: str, key: str) -> str:
            landed.append(key)
            return super().publish(source, bucket, key)

    lake = WatchedLake(tmp_path / "lake")
    extracted = extract(database.url, TABLE, tmp_path)
    assert extracted is not None
    uris = land_extract(lake, "lz-snowflake", "Snowflake/shop/items/", extracted)
    day = datetime.fromisoformat(extracted.manifest.until.snapshot_at).strftime("%Y%m%d")
    folder = f"Snowflake/shop/items/{day}/{day}-items-batch0"
    assert landed == [f"{folder}-1.parquet", f"{folder}.json"]
    assert [uri.rpartition("lz-snowflake/")[2] for uri in uris] == landed
    manifest = (tmp_path / "lake" / "lz-snowflake" / landed[1]).read_bytes()
    assert read_manifest(manifest, uris[1]) == extracted.manifest
    file = (tmp_path / "lake" / "lz-snowflake" / landed[0]).read_bytes()
    assert len(file) == extracted.manifest.files[0].bytes


def test_decimals_are_exact_in_the_file(database: Database, tmp_path: Path) -> None:
    database.run("CREATE TABLE t (id INT PRIMARY KEY, a DECIMAL(28,10), b DECIMAL(30,12))")
    database.insert("t", [(1, "999999999999999999.9999999999", "-999999999999999999.999999999999")])
    (row,) = read_extract(database.url, listed("t"), tmp_path).rows
    assert row["a"] == Decimal("999999999999999999.9999999999")
    assert row["b"] == Decimal("-999999999999999999.999999999999")
