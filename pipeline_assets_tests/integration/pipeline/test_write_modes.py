"""What becomes of published rows: append, full_refresh, versions that a column orders, and children loaded early."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from pipeline_assets.pipeline import LandedFiles, Mart, Pipeline, Table
from pipeline_assets.pipeline.resolve import derive
from pipeline_assets_tests.support.small_pipelines import SmallLake, contract, lake_of, pipeline_of, temporary

EVENTS = ["EVENT_ID text key", "KIND text", "AMOUNT number", "CHANGED_ON date"]
RAW = ["EVENT_ID text", "KIND text", "AMOUNT number"]


def event(key: object, kind: str = "a", amount: object = 1, changed: str = "2026-01-01") -> dict:
    return {"EVENT_ID": key, "KIND": kind, "AMOUNT": amount, "CHANGED_ON": changed}


@cache
def appending() -> type[SmallLake]:
    """Every record in EVENTS_RAW, the newest version in EVENTS, and a mart over the raw records."""
    value = pipeline_of(
        temporary(),
        {
            "events": ("table", EVENTS),
            "events_raw": ("table", RAW),
            "by_kind": ("table", ["KIND text", "RECORDS integer", "AMOUNT number"]),
        },
        {
            "events_raw": "SELECT EVENTS.EVENT_ID, EVENTS.KIND, EVENTS.AMOUNT FROM EVENTS",
            "by_kind": "SELECT R.KIND, COUNT(*) AS RECORDS, SUM(R.AMOUNT) AS AMOUNT "
            "FROM SHOP.EVENTS_RAW AS R GROUP BY R.KIND",
        },
        sources=[LandedFiles("events", "in/*.csv")],
        tables=[Table("events"), Table("events_raw", write="append"), Mart("by_kind", refresh_by="KIND")],
    )
    return lake_of(value)


@pytest.fixture
def events(tmp_path: Path) -> SmallLake:
    return appending().with_tables(tmp_path / "home")


def raw(lake: SmallLake) -> list[tuple[str, ...]]:
    return lake.cells()["events_raw"]


def test_append_keeps_every_record_superseded_ones_too(events: SmallLake) -> None:
    events.csv("1", event("x", amount=1), event("x", amount=2), event("y"), at=1)
    report = events.run()
    assert report.rows == {"read": 3, "loaded": 2, "superseded": 1, "quarantined": 0}
    events.csv("2", event("x", amount=3), at=2)
    events.csv("0", event("x", amount=4), at=0)
    events.run()
    assert [row[2] for row in raw(events)] == ["1.0000", "2.0000", "3.0000", "4.0000", "1.0000"]
    assert [row[:3] for row in events.cells()["events"]] == [("x", "a", "3.0000"), ("y", "a", "1.0000")]
    assert events.cells()["by_kind"] == [("a", "5", "11.0000")]


def test_an_object_that_is_processed_again_replaces_its_own_records_only(events: SmallLake) -> None:
    events.csv("1", event("x"), event("y"), at=1)
    events.csv("2", event("x", kind="b"), at=2)
    events.run()
    before = events.cells()
    events.run(reprocess=True)
    events.run(reprocess=True)
    assert events.cells() == before
    assert before["by_kind"] == [("a", "2", "2.0000"), ("b", "1", "1.0000")]


def test_new_bytes_under_a_name_are_another_object_and_both_are_kept(events: SmallLake) -> None:
    events.csv("1", event("x", amount=1), at=1)
    events.run()
    events.csv("1", event("x", amount=2), at=2)
    events.run()
    assert [row[2] for row in raw(events)] == ["1.0000", "2.0000"]


@cache
def observing() -> type[SmallLake]:
    """The last record of each key and object in EVENT_VERSIONS, and a mart over them."""
    value = pipeline_of(
        temporary(),
        {
            "events": ("table", EVENTS),
            "event_versions": ("table", EVENTS),
            "by_kind": ("table", ["KIND text", "RECORDS integer"]),
        },
        {
            "event_versions": "SELECT EVENTS.EVENT_ID, EVENTS.KIND, EVENTS.AMOUNT, EVENTS.CHANGED_ON FROM EVENTS",
            "by_kind": "SELECT V.KIND, COUNT(*) AS RECORDS FROM SHOP.EVENT_VERSIONS AS V GROUP BY V.KIND",
        },
        sources=[LandedFiles("events", "in/*.csv")],
        tables=[Table("events"), Table("event_versions", write="append"), Mart("by_kind", refresh_by="KIND")],
    )
    return lake_of(value)


@pytest.fixture
def observed(tmp_path: Path) -> SmallLake:
    return observing().with_tables(tmp_path / "home")


def versions(lake: SmallLake) -> list[tuple[str, ...]]:
    return [row[:3] for row in lake.cells()["event_versions"]]


def test_append_with_a_key_keeps_the_last_record_of_each_key_and_object(observed: SmallLake) -> None:
    observed.csv("1", event("x", "c"), event("x", "a"), event("x", "b"), event("y"), at=1)
    report = observed.run()
    assert report.rows == {"read": 4, "loaded": 2, "superseded": 2, "quarantined": 0}
    assert versions(observed) == [("x", "b", "1.0000"), ("y", "a", "1.0000")]
    observed.csv("2", event("x", "d"), at=2)
    observed.csv("0", event("x", "e"), event("x", "f"), at=0)
    observed.run()
    expected = [("x", "b", "1.0000"), ("x", "d", "1.0000"), ("x", "f", "1.0000"), ("y", "a", "1.0000")]
    assert versions(observed) == expected
    observed.run(reprocess=True)
    assert versions(observed) == expected
    assert observed.cells()["by_kind"] == [("a", "1"), ("b", "1"), ("d", "1"), ("f", "1")]


def test_a_replayed_record_replaces_the_one_of_its_key_and_object(observed: SmallLake) -> None:
    observed.csv("1", event("x", "a"), event("x", "b", changed="nonsense"), event("y", "a"), at=1)
    observed.csv("2", event("x", "c"), at=2)
    observed.run()
    assert versions(observed) == [("x", "a", "1.0000"), ("x", "c", "1.0000"), ("y", "a", "1.0000")]
    accept_everything(observed)
    assert observed.run(replay=True).released == 1
    assert versions(observed) == [("x", "b", "1.0000"), ("x", "c", "1.0000"), ("y", "a", "1.0000")]
    assert observed.cells()["by_kind"] == [("a", "1"), ("b", "1"), ("c", "1")]


def test_a_mart_over_appended_rows_has_replayed_records_too(events: SmallLake) -> None:
    events.csv("1", event("x"), event("y", changed="nonsense"), at=1)
    events.run()
    accept_everything(events)
    assert events.run(replay=True).released == 1
    assert events.cells()["by_kind"] == [("a", "2", "2.0000")]


def accept_everything(lake: SmallLake) -> None:
    """Correct the quarantined records in the way a corrected contract would: their dates become readable."""
    with lake.platform.warehouse.transaction() as transaction:
        transaction.execute("UPDATE OPS.QUARANTINE SET RAW_RECORD = REPLACE(RAW_RECORD, 'nonsense', '2026-01-01')")


@cache
def distinct() -> type[SmallLake]:
    """Events whose key is not unique, and a mart over them."""
    value = pipeline_of(
        temporary(),
        {"events": ("table", EVENTS), "by_kind": ("table", ["KIND text", "RECORDS integer"])},
        {"by_kind": "SELECT E.KIND, COUNT(*) AS RECORDS FROM SHOP.EVENTS AS E GROUP BY E.KIND"},
        sources=[LandedFiles("events", "in/*.csv")],
        tables=[Table("events", write="append_distinct"), Mart("by_kind", refresh_by="KIND")],
    )
    return lake_of(value)


def test_append_distinct_compares_whole_rows_and_adds_those_that_the_table_lacks(tmp_path: Path) -> None:
    lake = distinct().with_tables(tmp_path / "home")
    lake.csv("1", event("x"), event("x"), event("x", amount=2), event("y"), at=1)
    report = lake.run()
    assert (report.rows["read"], report.rows["quarantined"]) == (4, 0)
    rows = [row[:3] for row in lake.cells()["events"]]
    assert rows == [("x", "a", "1.0000"), ("x", "a", "1.0000"), ("x", "a", "2.0000"), ("y", "a", "1.0000")]
    assert lake.cells()["by_kind"] == [("a", "4")]
    lake.csv("2", event("x"), event("y"), event("y"), at=2)
    lake.csv("0", event("y"), event("z", "b"), at=0)
    lake.run()
    added = sorted([*rows, ("y", "a", "1.0000"), ("z", "b", "1.0000")])
    assert [row[:3] for row in lake.cells()["events"]] == added
    assert lake.cells()["by_kind"] == [("a", "5"), ("b", "1")]
    before = lake.rows("SELECT * FROM SHOP.EVENTS ORDER BY _ROW_HASH, _OCCURRENCE")
    lake.run(reprocess=True)
    assert lake.rows("SELECT * FROM SHOP.EVENTS ORDER BY _ROW_HASH, _OCCURRENCE") == before
    assert lake.cells()["by_kind"] == [("a", "5"), ("b", "1")]


def test_a_replayed_record_that_equals_a_loaded_row_of_its_object_is_added_when_the_object_is_processed_again(
    tmp_path: Path,
) -> None:
    def loading(*formats: str) -> type[SmallLake]:
        events = contract("events", "KIND text", "CHANGED_ON date")
        kind, day = events.columns
        events = replace(events, columns=(kind, replace(day, input_formats=formats)))
        source, table = LandedFiles("events", "in/*.csv"), Table("events", write="append_distinct")
        value = Pipeline("shop", "shop-bucket", sources=[source], tables=[table], contracts={"events": events})
        return lake_of(derive(value))

    lake = loading("YYYY-MM-DD").with_tables(tmp_path / "home")
    lake.csv("1", {"KIND": "a", "CHANGED_ON": "2026-01-02"}, {"KIND": "a", "CHANGED_ON": "02-01-2026"})
    lake.run()
    corrected = loading("YYYY-MM-DD", "DD-MM-YYYY")(lake.home, lake.platform)
    assert corrected.run(replay=True).released == 1
    assert corrected.cells()["events"] == [("a", "2026-01-02")]
    corrected.run(reprocess=True)
    assert corrected.cells()["events"] == [("a", "2026-01-02")] * 2


@cache
def refreshing() -> type[SmallLake]:
    value = pipeline_of(
        temporary(),
        {"prices": ("table", ["ITEM text key", "PRICE number"]), "dearest": ("table", ["PRICE number"])},
        {"dearest": "SELECT MAX(P.PRICE) AS PRICE FROM SHOP.PRICES AS P"},
        sources=[LandedFiles("prices", "in/*.csv")],
        tables=[Table("prices", write="full_refresh"), Mart("dearest", refresh="full")],
    )
    return lake_of(value)


@pytest.fixture
def prices(tmp_path: Path) -> SmallLake:
    return refreshing().with_tables(tmp_path / "home")


def price(item: str, amount: object) -> dict:
    return {"ITEM": item, "PRICE": amount}


def test_full_refresh_shows_the_newest_object_only(prices: SmallLake) -> None:
    prices.csv("1", price("x", 1), price("y", 2), at=1)
    prices.csv("2", price("x", 3), price("x", 4), at=2)
    report = prices.run()
    assert prices.cells() == {"prices": [("x", "4.0000")], "dearest": [("4.0000",)]}
    assert report.rows == {"read": 4, "loaded": 1, "superseded": 3, "quarantined": 0}


def test_an_older_object_that_comes_late_changes_nothing(prices: SmallLake) -> None:
    prices.csv("2", price("x", 3), at=2)
    prices.run()
    prices.csv("1", price("x", 1), price("y", 2), at=1)
    assert prices.run().rows["superseded"] == 2
    assert prices.cells()["prices"] == [("x", "3.0000")]
    prices.run(reprocess=True)
    assert prices.cells()["prices"] == [("x", "3.0000")]


@pytest.mark.parametrize("content", ["", "ITEM,PRICE\n"])
def test_an_object_without_rows_does_not_empty_the_table(prices: SmallLake, content: str) -> None:
    prices.csv("1", price("x", 1), at=1)
    prices.run()
    prices.write("2.csv", content)
    prices.run()
    assert prices.cells()["prices"] == [("x", "1.0000")]


def test_a_rejected_object_does_not_touch_the_table(prices: SmallLake) -> None:
    prices.csv("1", price("x", 1), at=1)
    prices.run()
    prices.csv("2", {"NAME": "x"}, at=2)
    assert prices.run().rejected == 1
    assert prices.cells()["prices"] == [("x", "1.0000")]


@cache
def versioned() -> type[SmallLake]:
    value = pipeline_of(
        temporary(),
        {"events": ("table", EVENTS)},
        {},
        sources=[LandedFiles("events", "in/*.csv", version="CHANGED_ON")],
        tables=[Table("events")],
    )
    return lake_of(value)


def test_a_declared_column_orders_versions_whatever_the_files_times_say(tmp_path: Path) -> None:
    lake = versioned().with_tables(tmp_path / "home")
    lake.csv("1", event("x", "new", changed="2026-02-02"), event("y", "old", changed="2026-01-01"), at=1)
    lake.run()
    lake.csv("2", event("x", "old", changed="2026-01-01"), event("y", "new", changed="2026-02-02"), at=2)
    lake.run()
    assert [row[:2] for row in lake.cells()["events"]] == [("x", "new"), ("y", "new")]
