"""Tables of a source through whole runs: first load, changes, strategies, drift, files of others, failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.batch import separate_batches
from pipeline_assets.errors import FailedTablesError, LakeError, WarehouseError
from pipeline_assets.lake import LocalLake
from pipeline_assets_tests.support.reviews_lake import ReviewsLake, manifests, parquet, ran

BOOKS = {"name": "books", "key": "id", "cursor": "changed"}
CREATE = "CREATE TABLE books (id INTEGER PRIMARY KEY, title VARCHAR(20), price DECIMAL(8,2), changed DATETIME)"
FIRST = (
    CREATE,
    "INSERT INTO books VALUES (1, 'One', 1.5, '2024-01-01 00:00:00'), (2, '', NULL, '2024-01-02 00:00:00')",
)


def books(home: Path) -> ReviewsLake:
    return ReviewsLake.at(home, BOOKS)


def loaded_books(home: Path, **changes: Any) -> ReviewsLake:
    """The rows of FIRST are loaded."""
    return ReviewsLake.extracted(home, BOOKS | changes, FIRST)


def test_a_first_run_loads_all_rows_and_the_next_one_nothing(tmp_path: Path) -> None:
    lake = books(tmp_path)
    lake.sql(*FIRST)
    report = ran(lake.extract(), "books")
    assert report.rows == {"read": 2, "loaded": 2, "superseded": 0, "quarantined": 0}
    assert [tuple(map(str, row)) for row in lake.table("BOOKS", "ID, TITLE, PRICE, CHANGED")] == [
        ("1", "One", "1.50", "2024-01-01 00:00:00"),
        ("2", "", "None", "2024-01-02 00:00:00"),
    ]
    assert lake.extract() == {"books": None}
    assert len(lake.landed("books")) == 2, "a file and its manifest"


def test_a_run_loads_what_changed_and_moves_the_watermark(tmp_path: Path) -> None:
    lake = loaded_books(tmp_path)
    assert lake.state("books").watermark.position == ("2024-01-02 00:00:00", "2")  # type: ignore[union-attr]
    lake.sql(
        "UPDATE books SET title = 'New', changed = '2024-01-03 00:00:00' WHERE id = 1",
        "INSERT INTO books VALUES (3, 'Three', 3, '2024-01-03 00:00:00')",
    )
    report = ran(lake.extract(), "books")
    assert report.rows["read"] == 2
    assert lake.table("BOOKS", "ID, TITLE") == [(1, "New"), (2, ""), (3, "Three")]
    assert lake.state("books").watermark.position == ("2024-01-03 00:00:00", "3")  # type: ignore[union-attr]
    assert manifests(lake, "books")[-1]["since"]["position"] == ["2024-01-02 00:00:00", "2"]


@pytest.mark.parametrize("changes", [{}, {"strategy": "full_refresh"}], ids=["no cursor", "full refresh"])
def test_a_table_that_is_extracted_whole_lands_only_when_it_changed(tmp_path: Path, changes: dict[str, Any]) -> None:
    lake = ReviewsLake.at(tmp_path, {"name": "books", "key": "id"} | changes)
    lake.sql(*FIRST)
    lake.extract()
    assert lake.extract() == {"books": None}
    assert len(lake.landed("books")) == 2, "a file and its manifest"
    for title in ("New", "One"):  # the second time to what it was at first
        lake.sql(f"UPDATE books SET title = '{title}' WHERE id = 1")
        assert ran(lake.extract(), "books").rows["loaded"] == 2
        assert lake.table("BOOKS", "ID, TITLE") == [(1, title), (2, "")]


def test_reprocessing_gives_the_same_rows_and_never_moves_the_watermark_back(tmp_path: Path) -> None:
    lake = loaded_books(tmp_path)
    lake.sql("UPDATE books SET title = 'New', changed = '2024-01-03 00:00:00' WHERE id = 1")
    lake.extract()
    before = lake.table("BOOKS", "ID, TITLE, PRICE, CHANGED"), lake.state("books")
    report = ran(lake.run(reprocess=True), "books")
    assert report.rows["read"] == 3
    assert (lake.table("BOOKS", "ID, TITLE, PRICE, CHANGED"), lake.state("books")) == before


def test_a_new_column_is_added_with_nulls_before(tmp_path: Path) -> None:
    lake = loaded_books(tmp_path)
    lake.sql("ALTER TABLE books ADD COLUMN pages INTEGER", "INSERT INTO books VALUES (3, 'C', 1, '2024-02-01', 120)")
    lake.extract()
    assert lake.table("BOOKS", "ID, PAGES") == [(1, None), (2, None), (3, 120)]


def retyped(lake: ReviewsLake, columns: str, values: str) -> None:
    """Replace the source's table by one with other columns and one row."""
    lake.sql("DROP TABLE books", f"CREATE TABLE books ({columns})", f"INSERT INTO books VALUES ({values})")


def test_a_wider_type_is_followed(tmp_path: Path) -> None:
    lake = loaded_books(tmp_path)
    wide = "id INTEGER PRIMARY KEY, title VARCHAR(40), price DECIMAL(12,2), changed DATETIME"
    title = "A title of more than twenty letters"
    retyped(lake, wide, f"3, '{title}', 1234567890.25, '2024-02-01 00:00:00'")
    lake.extract()
    assert (3, title, "1234567890.25") in [
        (key, name, str(price)) for key, name, price in lake.table("BOOKS", "ID, TITLE, PRICE")
    ]


DRIFTS = {
    "narrowed": (
        "id INTEGER PRIMARY KEY, title VARCHAR(20), price DECIMAL(6,2), changed DATETIME",
        "3, 'C', 1, '2024-02-01 00:00:00'",
        "PRICE: expected NUMBER(8,2), actual NUMBER(6,2)",
    ),
    "another scale": (
        "id INTEGER PRIMARY KEY, title VARCHAR(20), price DECIMAL(8,4), changed DATETIME",
        "3, 'C', 1, '2024-02-01 00:00:00'",
        "PRICE: expected NUMBER(8,2), actual NUMBER(8,4)",
    ),
    "renamed": (
        "id INTEGER PRIMARY KEY, name VARCHAR(20), price DECIMAL(8,2), changed DATETIME",
        "3, 'C', 1, '2024-02-01 00:00:00'",
        "TITLE: expected VARCHAR, actual none; NAME: expected none, actual VARCHAR",
    ),
}


@pytest.mark.parametrize(("columns", "values", "difference"), DRIFTS.values(), ids=DRIFTS)
def test_a_drift_rejects_the_extract_with_a_diff_and_its_remedy_works(
    columns: str, values: str, difference: str, tmp_path: Path
) -> None:
    lake = loaded_books(tmp_path)
    before = lake.table("BOOKS", "ID, TITLE"), lake.state("books")
    retyped(lake, columns, values)
    report = ran(lake.extract(), "books")
    assert (report.loaded, report.rejected) == (0, 1)
    ((code, reason),) = lake.rejections()
    assert code == "schema_drift"
    assert difference in reason
    assert "rename or drop REVIEWS.BOOKS" in reason
    assert (lake.table("BOOKS", "ID, TITLE"), lake.state("books")) == before, "the rows wait for the next extract"
    with lake.platform.warehouse.autocommit() as session:
        session.execute("ALTER TABLE REVIEWS.BOOKS RENAME TO REVIEWS.OLD_BOOKS")
    lake.extract()
    assert lake.table("BOOKS", "ID") == [(3,)]


def test_an_undone_drift_loads_by_the_next_extract(tmp_path: Path) -> None:
    lake = loaded_books(tmp_path)
    lake.sql("ALTER TABLE books RENAME COLUMN title TO name", "INSERT INTO books VALUES (3, 'C', 1, '2024-02-01')")
    lake.extract()
    lake.sql("ALTER TABLE books RENAME COLUMN name TO title")
    lake.extract()
    assert lake.table("BOOKS", "ID, TITLE") == [(1, "One"), (2, ""), (3, "C")]


def test_freeze_rejects_a_new_column(tmp_path: Path) -> None:
    lake = loaded_books(tmp_path, schema="freeze")
    lake.sql("ALTER TABLE books ADD COLUMN pages INTEGER", "INSERT INTO books VALUES (3, 'C', 1, '2024-02-01', 120)")
    lake.extract()
    ((code, reason),) = lake.rejections()
    assert code == "schema_drift"
    assert "PAGES: expected none, actual NUMBER" in reason
    assert len(lake.table("BOOKS")) == 2


def test_a_dropped_column_becomes_null_and_a_warning(tmp_path: Path) -> None:
    lake = loaded_books(tmp_path)
    lake.sql("ALTER TABLE books DROP COLUMN price", "UPDATE books SET changed = '2024-02-01 00:00:00' WHERE id = 1")
    report = ran(lake.extract(), "books")
    assert list(report.missing_columns.values()) == [["PRICE"]]
    assert lake.table("BOOKS", "ID, PRICE")[0] == (1, None)
    rule = next(rule for rule in lake.pipeline.tables[0].contract.quality if rule.name == "dropped_columns")
    assert lake.rows(rule.query) == [(1,)]
    assert lake.rows(rule.failing_rows) == [("PRICE",)]


def test_files_of_others_load_beside_extracts(tmp_path: Path) -> None:
    lake = loaded_books(tmp_path)
    later = datetime.now(UTC) + timedelta(hours=1)
    lake.land(
        "books",
        "20240101/export.parquet",
        parquet({"id": [2, 5], "title": ["two", "five"], "price": [None, 2.5]}),
        later,
    )
    lake.land("books", "part.csv", "ID,Title\n6,six\n", later)
    report = ran(lake.run(), "books")
    assert (report.loaded, report.rows["read"]) == (2, 3)
    assert lake.table("BOOKS", "ID, TITLE") == [(1, "One"), (2, "two"), (5, "five"), (6, "six")]
    assert lake.state("books").watermark.position == ("2024-01-02 00:00:00", "2")  # type: ignore[union-attr]


def test_event_tables_are_loaded_from_files_alone(tmp_path: Path) -> None:
    lake = ReviewsLake.at(tmp_path, {"name": "prices", "key": "id", "trigger": {"event": True}})
    lake.land("prices", "a.csv", "id,price\n1,10\n2,20\n")
    report = ran(lake.extract(), "prices")
    assert report.loaded == 1
    assert lake.table("PRICES", "ID, PRICE") == [("1", "10"), ("2", "20")]
    lake.land("prices", "b.csv", "id,price\n2,21\n", datetime.now(UTC) + timedelta(hours=1))
    lake.run()
    assert lake.table("PRICES", "ID, PRICE") == [("1", "10"), ("2", "21")]


def test_a_broken_file_is_rejected_and_the_others_load(tmp_path: Path) -> None:
    lake = ReviewsLake.at(tmp_path, {"name": "prices", "key": "id", "trigger": {"event": True}})
    lake.land("prices", "broken.parquet", b"PAR1 is not enough")
    report = ran(lake.run(), "prices")
    assert report.rejected == 1
    lake.land("prices", "a.csv", "id,price\n1,10\n")
    lake.run()
    assert lake.table("PRICES", "ID") == [("1",)]
    assert [code for code, _ in lake.rejections()] == ["unreadable_object"]


def test_an_extract_without_manifest_waits_and_the_next_extract_deletes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = books(tmp_path)
    lake.sql(*FIRST)
    publish = LocalLake.publish

    def fail(self: LocalLake, source: Path, bucket: str, key: str) -> str:
        if key.endswith(".json"):
            raise LakeError("The disk is gone.")
        return publish(self, source, bucket, key)

    monkeypatch.setattr(LocalLake, "publish", fail)
    with pytest.raises(FailedTablesError, match="books: The disk is gone"):
        lake.extract()
    monkeypatch.undo()
    (data,) = lake.landed("books")
    assert lake.run() == {"books": None}
    assert lake.extract()["books"]
    assert lake.table("BOOKS", "ID") == [(1,), (2,)]
    assert data not in lake.landed("books")


def test_an_extract_with_other_bytes_than_its_manifest_states_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = books(tmp_path)
    lake.sql(*FIRST)

    def fail(*_: object) -> None:
        raise WarehouseError("The warehouse is gone.")

    monkeypatch.setattr(separate_batches, "run_batch", fail)
    with pytest.raises(FailedTablesError, match="books: The warehouse is gone"):
        lake.extract()
    monkeypatch.undo()
    data, _ = lake.landed("books")
    data.write_bytes(data.read_bytes() + b"\0")
    lake.run()
    ((code, reason),) = lake.rejections()
    assert code == "manifest_mismatch"
    assert "bytes, not" in reason
    assert lake.state("books").watermark is None
    lake.extract()
    assert lake.table("BOOKS", "ID") == [(1,), (2,)]
