"""Deleted rows and late ones: what a comparison of keys finds in SQLite and MariaDB, through whole runs."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.batch import separate_batches
from pipeline_assets.errors import ConfigurationError, FailedTablesError, WarehouseError
from pipeline_assets.orchestration.check_steps import evaluations
from pipeline_assets.reviews import reconcile
from pipeline_assets.reviews.sqlite import SqliteSource
from pipeline_assets_tests.support.mariadb import Database
from pipeline_assets_tests.support.reviews_lake import ReviewsLake, manifests, parquet, ran

NOTES = {"name": "notes", "key": "id", "cursor": "changed", "deletes": "soft"}
RULE = "refused_deletes"
CREATE = "CREATE TABLE notes (id INTEGER PRIMARY KEY, text VARCHAR(40), changed DATETIME)"
ALIVE = "SELECT ID, TEXT FROM REVIEWS.NOTES WHERE NOT COALESCE(IS_DELETED, FALSE) ORDER BY ID"


def row(key: int, text: str = "a", day: str = "2024-01-01") -> str:
    return f"INSERT INTO notes VALUES ({key}, '{text}', '{day} 00:00:00')"


def notes(home: Path, *rows: str, hours: float = 0, **options: Any) -> ReviewsLake:
    """A table with these rows in its source, loaded once."""
    return ReviewsLake.extracted(home, NOTES | options, (CREATE, *rows), reviews_reconcile_hours=hours)


def states(lake: ReviewsLake) -> list[tuple]:
    return lake.table("NOTES", "ID, TEXT, IS_DELETED")


def corrections(lake: ReviewsLake, table: str = "notes") -> list[tuple[int, int]]:
    """(rows, deleted rows) of each extract of what a comparison has found."""
    found = [manifest for manifest in manifests(lake, table) if manifest["kind"] == "corrections"]
    return [(manifest["rows"], manifest["deleted"]) for manifest in found]


def refused_deletes(lake: ReviewsLake) -> dict[str, int]:
    """What the check `refused_deletes` finds, by asset."""
    results = {e.asset_key.path[-1]: e for e in evaluations(lake.pipeline, lake.platform, 24) if e.check_name == RULE}
    assert results
    return {name: int(found.metadata["found"].value) for name, found in results.items() if not found.passed}


def marks(lake: ReviewsLake) -> dict[str, tuple[str, bool]]:
    """Text and mark of each row, by what its key stands for."""
    return {CASES[key]: (text, is_deleted) for key, text, is_deleted in states(lake)}


CASES = {
    1: "stays",
    2: "gone",
    3: "gone and new again",
    4: "gone and late again",
    5: "new",
    6: "late",
    7: "of others alone",
    8: "of others as well",
}


def test_deleted_rows_are_marked_until_they_are_back_and_late_ones_are_found(tmp_path: Path) -> None:
    """Keys are compared once in the hours of the setting; of rows that a file of others brought as well."""
    lake = notes(tmp_path, *(row(key) for key in (1, 2, 3, 4, 8)), hours=24)
    assert marks(lake) == {CASES[key]: ("a", False) for key in (1, 2, 3, 4, 8)}
    lake.sql("DELETE FROM notes WHERE id IN (2, 3, 4)")
    lake.land("notes", "theirs.parquet", parquet({"id": [7, 8], "text": ["y", "x"]}))
    assert ran(lake.extract(), "notes").rows["read"] == 2, "a first extract has every key"
    assert lake.state("notes").reconciled_at
    assert not corrections(lake)

    lake = ReviewsLake.at(tmp_path, NOTES, reviews_reconcile_hours=0)
    lake.sql(row(5, "new", "2024-02-01"), row(6, "late", "2001-01-01"))
    report = ran(lake.extract(), "notes")
    assert corrections(lake) == [(5, 4)], "the late row and the deleted ones, without the new one"
    assert report.rows["read"] == 6, "the new row is extracted once"
    gone = {"gone": ("a", True), "gone and new again": ("a", True), "gone and late again": ("a", True)}
    others = {
        "stays": ("a", False),
        "new": ("new", False),
        "late": ("late", False),
        "of others alone": ("y", True),
        "of others as well": ("x", None),
    }
    assert marks(lake) == gone | others
    assert lake.rows(ALIVE) == [(1, "a"), (5, "new"), (6, "late"), (8, "x")]

    lake.sql(row(3, "again", "2024-03-01"), row(4, "late", "2023-01-01"))
    lake.extract()
    again = {"gone and new again": ("again", False), "gone and late again": ("late", False)}
    assert marks(lake) == gone | others | again
    landed = lake.landed("notes")
    lake.extract()
    assert lake.landed("notes") == landed, "a deleted row is extracted once"

    lake = ReviewsLake.at(tmp_path, NOTES | {"deletes": "ignore"})
    lake.run(reprocess=True)
    assert {code for code, _ in lake.rejections()} == {"schema_drift"}, "an extract with marks where there are none"
    assert marks(lake)["gone"] == ("a", True)


def test_without_soft_deletes_no_column_is_added_and_nothing_is_marked_until_they_are_switched_on(
    tmp_path: Path,
) -> None:
    lake = notes(tmp_path, row(1, day="2024-01-02"), row(2), deletes="ignore")
    before = lake.state("notes").watermark
    lake.sql("DELETE FROM notes WHERE id = 2", row(3, "late", "2001-01-01"))
    lake.extract()
    assert "IS_DELETED" not in str(lake.rows("SELECT OBJECT_CONSTRUCT(*) FROM REVIEWS.NOTES"))
    assert lake.table("NOTES", "ID, TEXT") == [(1, "a"), (2, "a"), (3, "late")]
    assert "1 rows are no longer in the source" in str(manifests(lake, "notes"))
    assert lake.state("notes").watermark == before, "a late row does not move it"
    assert lake.state("notes").reconciled_at > before.snapshot_at  # type: ignore[union-attr]
    lake = ReviewsLake.at(tmp_path, NOTES, reviews_reconcile_hours=0)
    lake.extract()
    assert states(lake) == [(1, "a", None), (2, "a", True), (3, "late", None)]


def test_a_table_without_a_cursor_has_its_late_rows_in_each_extract_and_its_deletions_marked(tmp_path: Path) -> None:
    lake = notes(tmp_path, row(1), row(2), cursor=[])
    lake.sql("DELETE FROM notes WHERE id = 2", row(3, "late", "2001-01-01"))
    lake.extract()
    assert states(lake) == [(1, "a", False), (2, "a", True), (3, "late", False)]
    assert corrections(lake) == [(1, 1)], "the late row is in the full extract alone"


def fail_to_publish(lake: ReviewsLake) -> None:
    """Extract without a warehouse to publish to; the state of the table is as before."""

    def fail(*_: object) -> None:
        raise WarehouseError("The warehouse is gone.")

    before = lake.state("notes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separate_batches, "run_batch", fail)
        with pytest.raises(FailedTablesError, match="notes: The warehouse is gone"):
            lake.extract()
    assert lake.state("notes") == before


def test_a_history_ends_with_a_deletion_and_begins_again(tmp_path: Path) -> None:
    lake = notes(tmp_path, row(1), row(2), row(3), strategy="scd2")
    lake.sql("DELETE FROM notes WHERE id = 2")
    fail_to_publish(lake)
    lake.run()
    assert lake.table("NOTES", "ID, TEXT, IS_CURRENT") == [(1, "a", True), (2, "a", False), (3, "a", True)]
    lake.extract()
    assert len(lake.table("NOTES_OBSERVATIONS")) == 4, "a deleted row is observed once"
    lake.sql(row(2, "late", "2001-01-01"), row(4, "late", "2001-01-01"))
    fail_to_publish(lake)
    lake.run()
    assert lake.table("NOTES", "ID, TEXT, IS_CURRENT") == [
        (1, "a", True),
        (2, "a", False),
        (2, "late", True),
        (3, "a", True),
        (4, "late", True),
    ]
    before = lake.table("NOTES", "ID, TEXT, VALID_FROM, VALID_TO")
    lake.run(reprocess=True)
    assert lake.table("NOTES", "ID, TEXT, VALID_FROM, VALID_TO") == before


@pytest.mark.parametrize(("key", "form"), [(["a"], "csv"), (["a", "b"], "parquet")], ids=["text", "composite"])
def test_keys_of_any_kind_are_compared_whole(key: list[str], form: str, tmp_path: Path) -> None:
    table = {"name": "notes", "key": key, "cursor": "changed", "deletes": "soft", "format": form}
    lake = ReviewsLake.at(tmp_path, table, reviews_reconcile_hours=0)
    texts = ["x", " x ", "it''s", 'a "quote"', "back\\slash", "%s %", "ä€", "1"]
    values = [f"('{text}', {number}, 1.5, '2024-01-02')" for number, text in enumerate(texts)]
    late = [f"('{text}~', {number}, 1.5, '2001-01-01')" for number, text in enumerate(texts)]
    lake.sql("CREATE TABLE notes (a TEXT, b INTEGER, c REAL, changed DATE)")
    lake.sql(f"INSERT INTO notes VALUES {', '.join(values)}")
    lake.extract()
    before = lake.table("NOTES", "A, B, C, CHANGED")
    lake.sql("DELETE FROM notes", f"INSERT INTO notes VALUES {', '.join([values[0], *late])}")
    lake.extract()
    assert corrections(lake) == [(2 * len(values) - 1, len(values) - 1)], "without the key that is equal"
    rows = lake.table("NOTES", "A, IS_DELETED")
    assert {text for text, is_deleted in rows if not is_deleted} == {"x"} | {
        text.replace("''", "'") + "~" for text in texts
    }
    assert [values for values in lake.table("NOTES", "A, B, C, CHANGED") if not values[0].endswith("~")] == before


def test_values_that_are_no_key_are_neither_late_nor_the_reason_for_a_deletion(tmp_path: Path) -> None:
    lake = ReviewsLake.at(tmp_path, NOTES, reviews_reconcile_hours=0)
    lake.sql("CREATE TABLE notes (id INTEGER, text TEXT, changed DATETIME)", row(1))
    lake.extract()
    for bad in ("NULL", "'word'", "1.5", "X'00'"):
        lake.sql(f"INSERT INTO notes VALUES ({bad}, 'b', '2001-01-01')")
    lake.extract()
    assert states(lake) == [(1, "a", False)]
    assert len(manifests(lake, "notes")) == 1


def test_an_empty_source_marks_nothing_until_a_setting_allows_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lake = notes(tmp_path, *(row(number) for number in range(30)))
    lake.sql("DELETE FROM notes")
    with caplog.at_level(logging.WARNING, "pipeline_assets"):
        report = ran(lake.extract(), "notes")
    refusal = "The source lacks 30 of the 30 rows of notes"
    assert refusal in caplog.text
    assert [note for note in report.notes if note.startswith(refusal)]
    assert refused_deletes(lake) == {"notes": 30}
    assert len(lake.rows(ALIVE)) == 30
    lake = ReviewsLake.at(tmp_path, NOTES, reviews_reconcile_hours=0, reviews_delete_share=1)
    assert not any(note.startswith(refusal) for note in ran(lake.extract(), "notes").notes)
    assert lake.rows(ALIVE) == []
    assert refused_deletes(lake) == {}


def test_an_empty_source_of_a_full_refresh_is_noted_until_it_has_rows(tmp_path: Path) -> None:
    lake = notes(tmp_path, row(1), row(2), strategy="full_refresh", deletes="ignore", cursor=[])
    lake.sql("DELETE FROM notes")
    for _ in range(2):
        report = ran(lake.extract(), "notes")
        assert [note for note in report.notes if note.startswith("The source of notes is empty: the 2 rows")]
        assert refused_deletes(lake) == {"notes": 2}
        assert len(lake.table("NOTES")) == 2
    lake.sql(row(1), row(2))
    lake.extract()
    assert refused_deletes(lake) == {}
    assert lake.extract() == {"notes": None}


def test_late_rows_are_loaded_though_nothing_may_be_marked(tmp_path: Path) -> None:
    lake = notes(tmp_path, *(row(number) for number in range(30)))
    lake.sql("DELETE FROM notes", row(99, "late", "2001-01-01"))
    lake.extract()
    assert len(lake.rows(ALIVE)) == 31


def test_a_column_of_that_name_in_the_source_is_refused(tmp_path: Path) -> None:
    lake = ReviewsLake.at(tmp_path, NOTES)
    lake.sql("CREATE TABLE notes (id INTEGER, changed DATE, is_deleted INTEGER)", "INSERT INTO notes VALUES (1, 2, 3)")
    with pytest.raises(ConfigurationError, match="has a column is_deleted, in which deletes: soft marks"):
        lake.extract()
    assert not lake.landed("notes")


def test_a_key_of_that_name_is_refused_by_the_list(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'is_deleted' is reserved"):
        _ = ReviewsLake.at(tmp_path, NOTES | {"key": "is_deleted"}).pipeline


def test_what_landed_before_a_failed_publication_is_loaded_by_the_next_run(tmp_path: Path) -> None:
    lake = notes(tmp_path, row(1), row(2))
    lake.sql("DELETE FROM notes WHERE id = 2", row(4, "late", "2001-01-01"))
    fail_to_publish(lake)
    lake.sql(row(2, "again", "2001-01-01"))
    lake.run()
    lake.extract()
    assert lake.rows(ALIVE) == [(1, "a"), (2, "again"), (4, "late")]


MARIA_NOTES = (
    "CREATE TABLE notes (id BIGINT UNSIGNED PRIMARY KEY, text VARCHAR(40), changed DATETIME(6), KEY (changed))"
)


def maria_notes(home: Path, database: Database, *statements: str, **options: Any) -> ReviewsLake:
    lake = ReviewsLake.at(home, NOTES | options, reviews_source_url=database.url, reviews_reconcile_hours=0)
    database.run(*statements)
    lake.extract()
    return lake


def test_mariadb_compares_ranges_and_reads_only_those_that_differ(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "INSERT INTO notes SELECT seq * 100, 'a', '2024-01-01' FROM seq_1_to_5000"
    top = f"INSERT INTO notes VALUES ({2**64 - 1}, 'top', '2024-01-01')"
    lake = maria_notes(tmp_path, database, MARIA_NOTES, rows)
    read: list[str] = []
    published = reconcile.within

    def within(key: str, ranges: list[tuple[int, int]]) -> str:
        read.append(f"{ranges}")
        return published(key, ranges)

    monkeypatch.setattr(reconcile, "within", within)
    lake.extract()
    assert not read, "equal ranges are not read"
    database.run("DELETE FROM notes WHERE id = 100", "INSERT INTO notes VALUES (101, 'late', '2001-01-01')", top)
    lake.extract()
    assert set(read) != set()
    assert (100, "a", True) in states(lake)
    assert {(101, "late"), (2**64 - 1, "top")} <= set(lake.rows(ALIVE))
    assert len(lake.rows(ALIVE)) == 5_001
    read.clear()
    lake.extract()
    assert not read
    database.run(f"DELETE FROM notes WHERE id = {2**64 - 1}")
    lake.extract()
    assert (2**64 - 1, "top", True) in states(lake)


# A type, and its values: the first stays, the second is deleted, and the third comes late.
KEYS = {
    "binary": ("BINARY(4)", ["X'00ff0a5c'", "X'27000000'", "X'00000001'"]),
    "decimal": ("DECIMAL(20,4)", ["-1.5000", "12345678901234.0001", "0.0001"]),
    "long decimal": ("DECIMAL(40,0)", ["1", "-9999999999999999999999999999999999999999", "-1"]),
    "datetime": ("DATETIME(6)", ["'2024-01-01 00:00:00'", "'1999-12-31 23:59:59.000001'", "'1999-12-31 23:59:59'"]),
    "date": ("DATE", ["'2024-01-01'", "'1999-12-31'", "'2000-02-29'"]),
    "text": ("VARCHAR(20)", ["'O''Neil \\\\ %s'", "' ß '", "'\"'' \\\\'"]),
    "enum": ("ENUM('a','b','c')", ["'a'", "'b'", "'c'"]),
    "uuid": ("UUID", [f"'123e4567-e89b-12d3-a456-42665544000{digit}'" for digit in range(3)]),
    "time": ("TIME(6)", ["'-01:30:00'", "'100:00:00.5'", "'00:00:00'"]),
    "double": ("DOUBLE", ["0.1", "-1e300", "5e-300"]),
    "negative": ("BIGINT", ["-9223372036854775808", "-1", "-2"]),
}
# Alone, by ranges, as texts and as long decimals; all types in one composite key.
KEYED = {"by_ranges": ["negative"], "texts": ["text"], "decimals": ["long decimal"], "composite": list(KEYS)}


def test_keys_of_every_type_of_mariadb_are_compared(database: Database, tmp_path: Path) -> None:
    tables, first, late = [], [], []
    for table, kinds in KEYED.items():
        names = [f"k{number}" for number, _ in enumerate(kinds)]
        columns = ", ".join(f"{name} {KEYS[kind][0]} NOT NULL" for name, kind in zip(names, kinds, strict=True))
        first.append(f"CREATE TABLE {table} ({columns}, n INT, changed DATETIME, PRIMARY KEY ({', '.join(names)}))")
        values = [", ".join(KEYS[kind][1][n] for kind in kinds) for n in (0, 1, 2)]
        rows = [f"INSERT INTO {table} VALUES ({texts}, {n}, '2001-01-01')" for n, texts in enumerate(values)]
        first += rows[:2]
        late.append(rows[2])
        tables.append(NOTES | {"name": table, "key": names})
    lake = ReviewsLake.at(tmp_path, *tables, reviews_source_url=database.url, reviews_reconcile_hours=0)
    database.run(*first)
    lake.extract()
    database.run(*(f"DELETE FROM {table} WHERE n = 1" for table in KEYED), *late)
    lake.extract()
    found = {table: corrections(lake, table) for table in KEYED}
    assert found == {table: [(2, 1)] for table in KEYED}, "without the key that is equal"
    marked = {table: lake.table(table.upper(), "N, IS_DELETED") for table in KEYED}
    assert marked == {table: [(0, False), (1, True), (2, False)] for table in KEYED}


def test_a_row_that_is_inserted_while_keys_are_compared_is_never_deleted(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = maria_notes(tmp_path, database, MARIA_NOTES, "INSERT INTO notes VALUES (1, 'a', '2024-01-01')")
    stop, keys = threading.Event(), [1]

    def write() -> None:
        with database.connect() as connection, connection.cursor() as cursor:
            while not stop.wait(0.001):  # else it takes all of a processor
                key = keys[0] + 1
                day = "2001-01-01" if key % 2 else "2024-02-01"
                cursor.execute("INSERT INTO notes VALUES (%s, 'new', %s)", (key, day))
                cursor.execute("DELETE FROM notes WHERE id = %s AND id %% 10 = 0", (key - 50,))
                keys[0] = key

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            lake.extract()
            marked = {key for (key,) in lake.rows("SELECT ID FROM REVIEWS.NOTES WHERE IS_DELETED")}
            assert all(key % 10 == 0 for key in marked), "only these are ever deleted"
    finally:
        stop.set()
        writer.join()
    lake.extract()
    assert lake.rows(ALIVE) == database.rows("SELECT id, text FROM notes ORDER BY id")
    assert lake.rows("SELECT COUNT(*) FROM REVIEWS.NOTES WHERE IS_DELETED") > [(0,)]


def test_a_row_that_is_published_between_the_reads_of_a_comparison_is_never_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Around each of its reads a row is inserted into the source and published at once, as by another run."""
    lake = notes(tmp_path, row(1), row(2))
    lake.sql("DELETE FROM notes WHERE id = 2")
    published = [2]

    def publish() -> None:
        published.append(published[-1] + 1)
        lake.sql(row(published[-1], "b", "2001-01-01"))
        with lake.platform.warehouse.autocommit() as session:
            session.execute(f"INSERT INTO REVIEWS.NOTES (ID, TEXT) VALUES ({published[-1]}, 'b')")

    def around(name: str) -> None:
        method = getattr(SqliteSource, name)

        def replaced(self: SqliteSource, *arguments: Any) -> Any:
            publish()
            result = method(self, *arguments)
            result = (batch for batch in list(result)) if name == "read" else result
            publish()
            return result

        monkeypatch.setattr(SqliteSource, name, replaced)

    for name in ("rows", "times", "read"):
        around(name)
    lake.extract()
    monkeypatch.undo()
    assert len(published) > 10
    assert [key for key, _, is_deleted in states(lake) if is_deleted] == [2]
    lake.extract()
    assert [key for key, _ in lake.rows(ALIVE)] == [1, *published[1:]]
