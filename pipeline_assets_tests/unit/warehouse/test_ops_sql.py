"""The statements in sql/ops/: each runs on the tables of the contracts, and selects what its function says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline_assets import warehouse as room
from pipeline_assets.sqlfiles import sql_files
from pipeline_assets.warehouse import EmbeddedWarehouse, ledger
from pipeline_assets.warehouse.catalog import lake_tables
from pipeline_assets.warehouse.quarantine import (
    WaitingRecord,
    discard_records,
    purge_closed_records,
    rejected_objects,
    rejection_reasons,
    unknown_ids,
    waiting_reasons,
    waiting_records,
    waiting_totals,
)
from pipeline_assets.warehouse.schema import ops_sql
from pipeline_assets.warehouse.transaction import Transaction
from pipeline_assets_tests.support.shop_warehouse import NOON

NAMES = [name.removeprefix("ops/") for name in sql_files() if name.startswith("ops/")]
NOT_TEXT = {
    "at": NOON,
    "registered": "[]",
    "before": NOON,
    "planned_on": 0,
    "limit": 1,
    "batch_ids": ["x"],
    "partitions": "[]",
    "uris": "[]",
    "digests": "[]",
    "engine_seconds": 1,
    "warehouse_seconds": 1,
} | dict.fromkeys(("every_code", "every_id", "every_pipeline", "every_state", "every_uri"), True)


def test_a_statement_runs_on_the_tables_of_the_contracts(warehouse: EmbeddedWarehouse) -> None:
    assert NAMES
    with warehouse.read_only() as transaction:
        for sql in map(ops_sql, NAMES):
            transaction.execute(sql, {key: NOT_TEXT.get(key, "x") for key in re.findall(r"%\((\w+)\)s", sql)})
            assert transaction.statements[-1:] == [sql]


def test_every_statement_is_run_by_a_function_of_the_warehouse() -> None:
    modules = [path.read_text(encoding="utf-8") for path in Path(room.__file__).parent.glob("*.py")]

    assert sorted(name for text in modules for name in re.findall(r'ops_sql\("(\w+)"\)', text)) == NAMES


OBJECT = {
    "PIPELINE": "shop",
    "DATASET": "sales",
    "URI": "lake://b/1",
    "ETAG": "1",
    "SIZE_BYTES": 9,
    "LAST_MODIFIED": NOON,
    "STATUS": "loaded",
    "ROWS_READ": 5,
    "ROWS_LOADED": 3,
    "ROWS_SUPERSEDED": 1,
    "ROWS_QUARANTINED": 1,
    "BATCH_ID": "b",
    "RUN_ID": "r",
    "LOADED_AT": NOON,
}
RECORD = {
    "PIPELINE": "shop",
    "DATASET": "sales",
    "SOURCE_URI": "lake://b/1",
    "SOURCE_ETAG": "1",
    "SOURCE_MODIFIED_AT": NOON,
    "SOURCE_COLUMNS": "[]",
    "LINE_NUMBER": 1,
    "REASON_CODE": "too_long",
    "REASON": "why",
    "RAW_RECORD": "raw",
    "RUN_ID": "r",
    "QUARANTINED_AT": NOON,
}
WHOLE = {"LINE_NUMBER": None}
REPLAYED = {"REPLAYED_AT": NOON, "REPLAY_RUN_ID": "earlier"}
REPLACED = {"CLOSED_AT": NOON, "CLOSED_AS": "replaced"}
DISCARDED = {"CLOSED_AT": NOON, "CLOSED_AS": "discarded", "CLOSED_BECAUSE": "nobody knows"}


def insert(transaction: Transaction, table: str, values: dict[str, object]) -> None:
    marks = ", ".join(f"%({name})s" for name in values)
    transaction.execute(f"INSERT INTO OPS.{table} ({', '.join(values)}) VALUES ({marks})", values)


def take(transaction: Transaction, **given: object) -> None:
    """An object in the ledger."""
    insert(transaction, "FILE_LEDGER", OBJECT | given)


def put_aside(transaction: Transaction, key: str, **given: object) -> None:
    """A record in quarantine, or an object (`WHOLE`)."""
    insert(transaction, "QUARANTINE", RECORD | {"QUARANTINE_ID": key} | given)


def left(transaction: Transaction, where: str = "TRUE") -> list[str]:
    """The ids in quarantine."""
    rows = transaction.rows(f"SELECT QUARANTINE_ID FROM OPS.QUARANTINE WHERE {where} ORDER BY QUARANTINE_ID")
    return [key for (key,) in rows]


def test_the_counter_of_a_pipeline_is_inserted_once(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        for _ in range(2):
            ledger.register_pipeline(transaction, "second")
        assert transaction.rows("SELECT * FROM OPS.PIPELINES ORDER BY 1") == [("second", 0), ("shop", 0)]


def test_a_publication_is_claimed_once_and_of_one_pipeline(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        ledger.register_pipeline(transaction, "second")

        assert [ledger.claim_publication(transaction, "shop", 0) for _ in range(2)] == [True, False]
        assert not ledger.claim_publication(transaction, "shop", 2)
        assert [ledger.published_batches(transaction, name) for name in ("shop", "second", "third")] == [1, 0, 0]


def test_totals_are_of_the_given_pipelines(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        take(transaction, LOADED_AT=datetime.fromisoformat("2025-01-01T00:00:00"))
        take(transaction, URI="lake://b/2", ROWS_READ=6, ROWS_LOADED=0, ROWS_SUPERSEDED=2, ROWS_QUARANTINED=4)
        take(transaction, URI="lake://b/3", STATUS="rejected")
        take(transaction, PIPELINE="other")

        assert ledger.totals(transaction, ["shop"]) == [("shop", 2, 1, 16, 6, 4, 6, NOON)]
        assert [row[0] for row in ledger.totals(transaction, ("shop", "other", "third"))] == ["other", "shop"]
        assert ledger.totals(transaction, []) == []
        take(transaction, URI="lake://b/4", REPLACED_AT=NOON)
        assert [ledger.rows_read(transaction, name) for name in ("shop", "third")] == [16, 0]


def test_an_object_is_unbalanced_if_a_row_was_neither_loaded_nor_superseded_nor_quarantined(
    warehouse: EmbeddedWarehouse,
) -> None:
    with warehouse.read_only() as transaction:
        take(transaction)
        take(transaction, PIPELINE="other", ROWS_READ=6)
        assert ledger.unbalanced_objects(transaction, "shop") == []

        for number in reversed(range(21)):
            take(transaction, URI=f"lake://b/{number:02}", ROWS_READ=4 + number % 2 * 2)

        assert ledger.unbalanced_objects(transaction, "shop") == [f"lake://b/{number:02}" for number in range(20)]


def test_an_object_that_is_processed_again_loses_its_own_row_and_no_other(warehouse: EmbeddedWarehouse) -> None:
    others = [{"PIPELINE": "x"}, {"DATASET": "x"}, {"URI": "x"}, {"ETAG": "x"}, {"SIZE_BYTES": 8}]
    with warehouse.read_only() as transaction:
        for given in ({}, *others):
            take(transaction, **given)
        insert(transaction, "STAGE_FILE_LEDGER", OBJECT)

        assert transaction.execute(ops_sql("delete_ledger_rows")) == 1
        found = "SELECT PIPELINE, DATASET, URI, ETAG, SIZE_BYTES FROM OPS.FILE_LEDGER"
        names = ("PIPELINE", "DATASET", "URI", "ETAG", "SIZE_BYTES")
        expected = {tuple((OBJECT | given)[name] for name in names) for given in others}
        assert set(transaction.rows(found)) == expected


def test_an_object_that_is_processed_again_keeps_its_arrival_and_gets_that_of_no_other(
    warehouse: EmbeddedWarehouse,
) -> None:
    first, now = (datetime.fromisoformat(f"2026-01-0{day}T00:00:00") for day in (1, 3))
    others = [{"PIPELINE": "x"}, {"DATASET": "x"}, {"URI": "x"}, {"ETAG": "x"}, {"SIZE_BYTES": 8}]
    put_back, older, never = {"ETAG": "put back"}, {"ETAG": "older"}, {"ETAG": "never"}
    with warehouse.read_only() as transaction:
        take(transaction, ARRIVED_AT=first)
        take(transaction, ARRIVED_AT=first, REPLACED_AT=NOON, **put_back)
        take(transaction, **older)  # by a version of the platform that kept LOADED_AT only
        for given in others:
            take(transaction, ARRIVED_AT=now, **{"ETAG": "never"} | given)
        for given in ({}, put_back, older, never):
            insert(transaction, "STAGE_FILE_LEDGER", OBJECT | {"LOADED_AT": now, "ARRIVED_AT": now} | given)

        transaction.execute(ops_sql("keep_arrivals"))

        found = transaction.rows("SELECT ETAG, ARRIVED_AT, LOADED_AT FROM OPS.STAGE_FILE_LEDGER ORDER BY ETAG")
        assert found == [("1", first, now), ("never", now, now), ("older", NOON, now), ("put back", now, now)]


@pytest.mark.parametrize(
    ("rows", "arrived"),
    [
        ([], None),
        ([{"LOADED_AT": "2026-01-02"}], "2026-01-02"),
        ([{"LOADED_AT": "2026-01-09", "ARRIVED_AT": "2026-01-02"}], "2026-01-02"),
        ([{"LOADED_AT": "2026-01-09", "ARRIVED_AT": "2026-01-02"}, {"LOADED_AT": "2026-01-03"}], "2026-01-03"),
        ([{"LOADED_AT": "2026-01-02", "STATUS": "rejected"}], "2026-01-02"),
        ([{"LOADED_AT": "2026-01-02"}, {"LOADED_AT": "2026-01-09", "PIPELINE": "x"}], "2026-01-02"),
        ([{"LOADED_AT": "2026-01-02"}, {"LOADED_AT": "2026-01-09", "DATASET": "x"}], "2026-01-02"),
    ],
)
def test_the_last_arrival_is_when_a_version_was_first_taken_or_loaded_if_that_is_unknown(
    warehouse: EmbeddedWarehouse, rows: list[dict[str, str]], arrived: str | None
) -> None:
    with warehouse.read_only() as transaction:
        for number, given in enumerate(rows):
            take(transaction, URI=f"lake://b/{number}", **given)

        expected = (datetime.fromisoformat(arrived), NOON) if arrived else (None, None)
        assert ledger.last_arrival(transaction, "shop", "sales") == expected


def test_an_object_that_is_processed_again_loses_what_waits_of_it_and_nothing_else(
    warehouse: EmbeddedWarehouse,
) -> None:
    others = [{"PIPELINE": "x"}, {"DATASET": "x"}, {"SOURCE_URI": "x"}, {"SOURCE_ETAG": "x"}, REPLAYED, DISCARDED]
    with warehouse.read_only() as transaction:
        put_aside(transaction, "record")
        put_aside(transaction, "replaced", **REPLACED)  # its bytes were put back
        put_aside(transaction, "whole", **WHOLE)
        for number, given in enumerate(others):
            put_aside(transaction, str(number), **given)
        insert(transaction, "STAGE_FILE_LEDGER", OBJECT)

        transaction.execute(ops_sql("delete_waiting"))

        assert left(transaction) == [str(number) for number, _ in enumerate(others)]


def test_a_record_that_is_quarantined_again_keeps_a_single_row(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        for key in ("1", "2"):
            put_aside(transaction, key, **REPLAYED)
        insert(transaction, "STAGE_QUARANTINE", RECORD | {"QUARANTINE_ID": "1"})

        transaction.execute(ops_sql("delete_quarantined_again"))

        assert left(transaction) == ["2"]


@pytest.mark.parametrize(("status", "closed"), [("loaded", ["etag", "whole"]), ("rejected", [])])
def test_a_rejection_ends_when_any_version_of_its_object_is_loaded(
    warehouse: EmbeddedWarehouse, status: str, closed: list[str]
) -> None:
    others = [{"PIPELINE": "x"}, {"DATASET": "x"}, {"SOURCE_URI": "x"}, {"LINE_NUMBER": 1}, REPLAYED]
    with warehouse.read_only() as transaction:
        put_aside(transaction, "whole", **WHOLE)
        put_aside(transaction, "etag", **WHOLE, SOURCE_ETAG="2")
        for number, given in enumerate(others):
            put_aside(transaction, str(number), **WHOLE | given)
        insert(transaction, "STAGE_FILE_LEDGER", OBJECT | {"STATUS": status})

        transaction.execute(ops_sql("close_loaded_rejections"), {"at": NOON, "run_id": "now"})

        assert left(transaction, "REPLAY_RUN_ID = 'now' AND REPLAYED_AT IS NOT NULL") == closed


def test_a_record_that_is_loaded_is_closed_once(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        put_aside(transaction, "1")
        put_aside(transaction, "2")
        put_aside(transaction, "3", **REPLAYED)
        for key in ("1", "3"):
            insert(transaction, "STAGE_RELEASED", {"QUARANTINE_ID": key})

        transaction.execute(ops_sql("close_loaded_records"), {"at": NOON, "run_id": "now"})

        assert left(transaction, "REPLAY_RUN_ID = 'now' AND REPLAYED_AT IS NOT NULL") == ["1"]
        assert left(transaction, "REPLAYED_AT IS NULL") == ["2"]


def test_only_what_was_not_replayed_waits(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        put_aside(transaction, "1")
        put_aside(transaction, "2", REASON_CODE="not_a_number")
        put_aside(transaction, "3", REASON_CODE="not_a_number")
        put_aside(transaction, "4", SOURCE_URI="lake://b/2", REASON_CODE="too_many_rejected", **WHOLE)
        put_aside(transaction, "5", **REPLAYED)
        put_aside(transaction, "6", **WHOLE, **REPLAYED)
        put_aside(transaction, "7", PIPELINE="other")
        put_aside(transaction, "8", PIPELINE="other", **WHOLE)

        assert waiting_totals(transaction) == {"shop": 4, "other": 2}
        assert list(waiting_reasons(transaction, "shop").items()) == [("not_a_number", 2), ("too_long", 1)]
        assert rejection_reasons(transaction, "shop") == [("lake://b/2", "too_many_rejected")]
        assert rejected_objects(transaction, "shop") == {("lake://b/2", "1")}
        assert unknown_ids(transaction, "shop", ["1", "4", "5", "7", "nobody's"]) == ["5", "7", "nobody's"]


def test_a_record_is_validated_again_if_it_waits_and_is_not_malformed(warehouse: EmbeddedWarehouse) -> None:
    """In the order of objects, their versions and lines."""
    with warehouse.read_only() as transaction:
        put_aside(transaction, "fifth", SOURCE_URI="lake://b/2")
        put_aside(transaction, "fourth", SOURCE_ETAG="2", LINE_NUMBER=1)
        put_aside(transaction, "third", LINE_NUMBER=10)
        put_aside(transaction, "second", LINE_NUMBER=9, REASON_CODE="not_a_number")
        put_aside(transaction, "first", LINE_NUMBER=1)
        others = [{"PIPELINE": "x"}, {"DATASET": "x"}, WHOLE, REPLAYED, {"REASON_CODE": "malformed_record"}]
        for number, given in enumerate(others):
            put_aside(transaction, str(number), **given)

        def ids(**narrowed: list[str]) -> list[str]:
            return [record.quarantine_id for record in waiting_records(transaction, "shop", "sales", **narrowed)]

        record = waiting_records(transaction, "shop", "sales")[0]
        assert record == WaitingRecord("first", "lake://b/1", "1", NOON, 1, "too_long", "raw", ())
        assert ids() == ["first", "second", "third", "fourth", "fifth"]
        assert ids(codes=["not_a_number", "malformed_record"]) == ["second"]
        assert ids(codes=["too_long"], ids=["third", "second", "first", "0"]) == ["first", "third"]


@pytest.mark.parametrize("key", ["it's", 'a\\"b', "%s", "%(ids)s", "ä, 🦆", "x','1"])
def test_ids_are_compared_as_they_are(warehouse: EmbeddedWarehouse, key: str) -> None:
    with warehouse.read_only() as transaction:
        put_aside(transaction, "1")
        put_aside(transaction, key, LINE_NUMBER=2)
        put_aside(transaction, f"{key} whole", SOURCE_URI="lake://b/2", **WHOLE)

        assert [record.line for record in waiting_records(transaction, "shop", "sales", ids=[key])] == [2]
        assert [record.line for record in waiting_records(transaction, "shop", "sales", ids=[key, "1"])] == [1, 2]
        assert rejected_objects(transaction, "shop", ids=[key, f"{key} whole"]) == {("lake://b/2", "1")}
        assert rejected_objects(transaction, "shop", ids=[key]) == set()
        assert unknown_ids(transaction, "shop", [key, "nobody's"]) == ["nobody's"]


def test_no_id_is_no_record_and_no_object(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        put_aside(transaction, "1")
        put_aside(transaction, "2", **WHOLE)

        assert waiting_records(transaction, "shop", "sales", ids=[]) == []
        assert waiting_records(transaction, "shop", "sales", codes=[]) == []
        assert rejected_objects(transaction, "shop", ids=[]) == set()
        assert unknown_ids(transaction, "shop", []) == []


def test_at_most_twenty_rejected_objects_are_shown(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        for number in reversed(range(21)):
            put_aside(transaction, str(number), SOURCE_URI=f"lake://b/{number:02}", **WHOLE)

        assert [uri for uri, _ in rejection_reasons(transaction, "shop")] == [f"lake://b/{n:02}" for n in range(20)]


def test_a_watermark_is_replaced_and_others_stay(warehouse: EmbeddedWarehouse) -> None:
    keys = [("shop", "mark"), ("shop", "other"), ("other", "mark")]
    with warehouse.read_only() as transaction:
        for pipeline, name in keys:
            values = {"pipeline": pipeline, "name": name, "value": f"of {name}", "batch_id": "b", "at": NOON}
            transaction.execute(ops_sql("insert_watermark"), values)
        assert transaction.rows("SELECT * FROM OPS.WATERMARKS WHERE NAME = 'other'") == [
            ("shop", "other", "of other", "b", NOON)
        ]

        transaction.execute(ops_sql("delete_watermark"), {"pipeline": "shop", "name": "mark"})

        assert [ledger.watermark(transaction, *key) for key in keys] == [None, "of other", "of mark"]


def test_a_digest_is_replaced_and_others_stay(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        for table in ("A", "B"):
            transaction.execute(ops_sql("insert_mart_digest"), {"table_name": table, "digest": f"of {table}"})
        transaction.execute(ops_sql("delete_mart_digest"), {"table_name": "A"})

        assert transaction.rows(ops_sql("mart_digests")) == [("B", "of B")]


def test_a_batch_is_recorded_with_its_run(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        values = {"batch_id": "b", "pipeline": "shop", "run_id": "r", "at": NOON}
        seconds = {"engine_seconds": 1.25, "warehouse_seconds": 0.5}
        transaction.execute(ops_sql("record_batch"), values | seconds)
        assert [ledger.is_published(transaction, batch_id) for batch_id in ("b", "c")] == [True, False]

        found = transaction.rows("SELECT * FROM OPS.BATCHES")
        assert [(*row[:4], *map(float, row[4:])) for row in found] == [("b", "shop", "r", NOON, 1.25, 0.5)]


def test_a_lake_table_is_listed_once_and_its_partitions_are_its_own(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        for table, day in (("SHOP.B", "1"), ("SHOP.A", "1"), ("SHOP.B", "2"), ("SHOP.B", "3")):
            values = {"TABLE_NAME": table, "PARTITION_VALUE": day, "LOCATION": "lake://b/", "FILES": 1}
            insert(transaction, "LAKE_PARTITIONS", values | {"SIZE_BYTES": 1, "REGISTERED_AT": NOON})

        def counts() -> list[int]:
            tables = ("SHOP.A", "SHOP.B")
            return [transaction.scalar(ops_sql("count_lake_partitions"), {"table_name": name}) for name in tables]

        assert lake_tables(transaction) == ["SHOP.A", "SHOP.B"]
        assert counts() == [1, 3]
        transaction.execute(ops_sql("delete_lake_partitions"), {"table_name": "SHOP.B", "partitions": '["1", "4"]'})
        assert counts() == [1, 2]
        transaction.execute(ops_sql("delete_lake_partitions"), {"table_name": "SHOP.B", "partitions": "[]"})
        assert counts() == [1, 2]


# --- records that nobody waits for any more ------------------------------------------------------------------


def test_a_discarded_record_stays_closed_when_it_is_read_again(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        for key, given in (("discarded", DISCARDED), ("replaced", REPLACED), ("waiting", {})):
            put_aside(transaction, key, **given)
            insert(transaction, "STAGE_QUARANTINE", RECORD | {"QUARANTINE_ID": key})

        transaction.execute(ops_sql("keep_discarded"))

        staged = transaction.rows("SELECT QUARANTINE_ID FROM OPS.STAGE_QUARANTINE ORDER BY 1")
        assert staged == [("replaced",), ("waiting",)]


@pytest.mark.parametrize(("status", "closed"), [("loaded", ["record", "whole"]), ("rejected", [])])
def test_records_of_another_version_of_a_loaded_object_are_closed(
    warehouse: EmbeddedWarehouse, status: str, closed: list[str]
) -> None:
    others = [{"PIPELINE": "x"}, {"DATASET": "x"}, {"SOURCE_URI": "x"}, {"SOURCE_ETAG": "1"}, REPLAYED, DISCARDED]
    later = datetime.fromisoformat("2026-01-02T00:00:00")
    with warehouse.read_only() as transaction:
        put_aside(transaction, "record", SOURCE_ETAG="2")
        put_aside(transaction, "whole", **WHOLE, SOURCE_ETAG="2")
        for number, given in enumerate(others):
            put_aside(transaction, str(number), **{"SOURCE_ETAG": "2"} | given)
        insert(transaction, "STAGE_FILE_LEDGER", OBJECT | {"STATUS": status})

        transaction.execute(ops_sql("close_replaced_records"), {"at": later})

        assert left(transaction, f"CLOSED_AT = '{later}' AND CLOSED_AS = 'replaced'") == closed


def test_a_version_is_replaced_once_and_by_its_own_object(warehouse: EmbeddedWarehouse) -> None:
    later = datetime.fromisoformat("2026-01-02T00:00:00")
    others = [{"PIPELINE": "x"}, {"DATASET": "x"}, {"URI": "x"}, {"REPLACED_AT": NOON}]
    with warehouse.read_only() as transaction:
        for number, given in enumerate(({}, *others)):
            take(transaction, **{"ETAG": str(number)} | given)
        insert(transaction, "STAGE_FILE_LEDGER", OBJECT | {"ETAG": "new"})

        transaction.execute(ops_sql("mark_replaced_versions"), {"at": later})

        assert transaction.rows("SELECT ETAG, REPLACED_AT FROM OPS.FILE_LEDGER ORDER BY ETAG") == [
            ("0", later),
            *((str(number), None) for number in (1, 2, 3)),
            ("4", NOON),
        ]


def test_the_newest_time_of_an_object_counts_in_whatever_version(warehouse: EmbeddedWarehouse) -> None:
    times = [datetime(2026, 1, number, tzinfo=UTC) for number in (1, 2, 3)]
    odd = 'lake://b/it\'s \\ 100 %s "ü".csv'
    with warehouse.read_only() as transaction:
        for number in (0, 2, 1):
            modified = times[number].replace(tzinfo=None)
            take(transaction, URI=odd, ETAG=str(number), LAST_MODIFIED=modified, REPLACED_AT=NOON)
        take(transaction, URI=odd, PIPELINE="other")
        take(transaction, URI="lake://b/else")

        assert ledger.last_modified(transaction, "shop", [odd, "lake://b/new"]) == {("sales", odd): times[2]}


def test_waiting_records_are_discarded_all_or_by_id(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        for key, given in (("1", {}), ("2", WHOLE), ("3", REPLAYED), ("4", REPLACED), ("5", {"PIPELINE": "x"})):
            put_aside(transaction, key, **given)

        assert discard_records(transaction, "shop", ["1", "3", "5"], "too old", NOON) == 1
        assert left(transaction, "CLOSED_AS = 'discarded' AND CLOSED_BECAUSE = 'too old'") == ["1"]
        assert discard_records(transaction, "shop", None, "it's over", NOON) == 1
        assert left(transaction, "CLOSED_AS = 'discarded'") == ["1", "2"]
        assert unknown_ids(transaction, "shop", ["1", "2"]) == ["1", "2"]


def test_only_closed_records_are_purged_and_only_older_ones(warehouse: EmbeddedWarehouse) -> None:
    after = datetime.fromisoformat("2026-01-01T12:00:01")
    with warehouse.read_only() as transaction:
        for key, given in (("1", {}), ("2", DISCARDED), ("3", REPLAYED), ("4", REPLACED)):
            put_aside(transaction, key, **given)
        put_aside(transaction, "5", **DISCARDED, PIPELINE="other")

        assert purge_closed_records(transaction, None, NOON) == 0
        assert purge_closed_records(transaction, "shop", after) == 3
        assert left(transaction) == ["1", "5"]
        assert purge_closed_records(transaction, None, after) == 1
