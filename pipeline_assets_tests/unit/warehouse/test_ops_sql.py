"""The statements in sql/ops/: each runs on the tables of the contracts, and selects what its function says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline_assets import warehouse as room
from pipeline_assets.sqlfiles import sql_files
from pipeline_assets.warehouse import EmbeddedWarehouse, ledger
from pipeline_assets.warehouse.catalog import lake_tables
from pipeline_assets.warehouse.quarantine import (
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
NOT_TEXT = {"at": NOON, "before": NOON, "planned_on": 0} | dict.fromkeys(
    ("every_code", "every_id", "every_pipeline"), True
)


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_runs_on_the_tables_of_the_contracts(warehouse: EmbeddedWarehouse, name: str) -> None:
    sql = ops_sql(name)
    values = {key: NOT_TEXT.get(key, "x") for key in re.findall(r"%\((\w+)\)s", sql)}

    with warehouse.read_only() as transaction:
        transaction.execute(sql, values)
        assert transaction.statements == [sql]


def test_every_statement_is_run_by_a_function_of_the_warehouse() -> None:
    modules = [path.read_text(encoding="utf-8") for path in Path(room.__file__).parent.glob("*.py")]

    assert sorted(name for text in modules for name in re.findall(r'ops_sql\("(\w+)"\)', text)) == NAMES


def take(transaction: Transaction, uri: str, pipeline: str = "shop", read: int = 3, loaded: int = 3) -> None:
    """An object with one superseded and one quarantined row."""
    transaction.execute(
        "INSERT INTO OPS.FILE_LEDGER (PIPELINE, DATASET, URI, ETAG, SIZE_BYTES, LAST_MODIFIED, STATUS, ROWS_READ, "
        "ROWS_LOADED, ROWS_SUPERSEDED, ROWS_QUARANTINED, BATCH_ID, RUN_ID, LOADED_AT) "
        "VALUES (%s, 'sales', %s, '1', 9, %s, 'loaded', %s, %s, 1, 1, 'b', 'r', %s)",
        (pipeline, uri, NOON, read, loaded, NOON),
    )


def put_aside(
    transaction: Transaction,
    key: str,
    pipeline: str = "shop",
    uri: str = "lake://b/1",
    line: int | None = 1,
    code: str = "too_long",
    replayed: bool = False,
) -> None:
    """A record in quarantine, or an object (without a line)."""
    transaction.execute(
        "INSERT INTO OPS.QUARANTINE (QUARANTINE_ID, PIPELINE, DATASET, SOURCE_URI, SOURCE_ETAG, SOURCE_MODIFIED_AT, "
        "LINE_NUMBER, REASON_CODE, REASON, RAW_RECORD, SOURCE_COLUMNS, RUN_ID, QUARANTINED_AT, REPLAYED_AT) "
        "VALUES (%s, %s, 'sales', %s, '1', %s, %s, %s, 'why', 'raw', '[]', 'r', %s, %s)",
        (key, pipeline, uri, NOON, line, code, NOON, NOON if replayed else None),
    )


def test_totals_are_of_the_given_pipelines(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        take(transaction, "lake://b/1", read=5)
        take(transaction, "lake://b/2", read=5)
        take(transaction, "lake://b/1", "other", read=5)

        assert ledger.totals(transaction, ["shop"]) == [("shop", 2, 0, 10, 6, 2, 2, NOON)]
        assert [row[0] for row in ledger.totals(transaction, ("shop", "other", "third"))] == ["other", "shop"]
        assert ledger.totals(transaction, []) == []
        assert [ledger.rows_read(transaction, name) for name in ("shop", "third")] == [10, 0]


def test_an_object_is_unbalanced_if_a_row_was_neither_loaded_nor_superseded_nor_quarantined(
    warehouse: EmbeddedWarehouse,
) -> None:
    with warehouse.read_only() as transaction:
        take(transaction, "lake://b/balanced", read=5)
        take(transaction, "lake://b/other", "other", read=6)
        assert ledger.unbalanced_objects(transaction, "shop") == []

        for number in reversed(range(21)):
            take(transaction, f"lake://b/{number:02}", read=4 + number % 2 * 2)

        assert ledger.unbalanced_objects(transaction, "shop") == [f"lake://b/{number:02}" for number in range(20)]


def test_only_what_was_not_replayed_waits(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        put_aside(transaction, "1")
        put_aside(transaction, "2", code="not_a_number")
        put_aside(transaction, "3", code="not_a_number", line=2)
        put_aside(transaction, "4", uri="lake://b/2", line=None, code="too_many_rejected")
        put_aside(transaction, "5", replayed=True)
        put_aside(transaction, "6", line=None, replayed=True)
        put_aside(transaction, "7", "other")
        put_aside(transaction, "8", "other", line=None)

        assert waiting_totals(transaction) == {"shop": 4, "other": 2}
        assert list(waiting_reasons(transaction, "shop").items()) == [("not_a_number", 2), ("too_long", 1)]
        assert rejection_reasons(transaction, "shop") == [("lake://b/2", "too_many_rejected")]
        assert unknown_ids(transaction, "shop", ["1", "4", "5", "7", "nobody's"]) == ["5", "7", "nobody's"]


@pytest.mark.parametrize("key", ["it's", 'a\\"b', "%s", "%(ids)s", "ä, 🦆", "x','1"])
def test_ids_are_compared_as_they_are(warehouse: EmbeddedWarehouse, key: str) -> None:
    with warehouse.read_only() as transaction:
        put_aside(transaction, "1")
        put_aside(transaction, key, line=2)
        put_aside(transaction, f"{key} whole", uri="lake://b/2", line=None)

        assert [record.line for record in waiting_records(transaction, "shop", "sales", ids=[key])] == [2]
        assert [record.line for record in waiting_records(transaction, "shop", "sales", ids=[key, "1"])] == [1, 2]
        assert rejected_objects(transaction, "shop", ids=[key, f"{key} whole"]) == {("lake://b/2", "1")}
        assert rejected_objects(transaction, "shop", ids=[key]) == set()
        assert unknown_ids(transaction, "shop", [key, "nobody's"]) == ["nobody's"]


def test_no_id_is_no_record_and_no_object(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        put_aside(transaction, "1")
        put_aside(transaction, "2", line=None)

        assert waiting_records(transaction, "shop", "sales", ids=[]) == []
        assert waiting_records(transaction, "shop", "sales", codes=[]) == []
        assert rejected_objects(transaction, "shop", ids=[]) == set()
        assert unknown_ids(transaction, "shop", []) == []


def test_at_most_twenty_rejected_objects_are_shown(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        for number in reversed(range(21)):
            put_aside(transaction, str(number), uri=f"lake://b/{number:02}", line=None)

        assert [uri for uri, _ in rejection_reasons(transaction, "shop")] == [f"lake://b/{n:02}" for n in range(20)]


def test_a_lake_table_is_listed_once(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        for table, day in (("SHOP.B", "1"), ("SHOP.A", "1"), ("SHOP.B", "2")):
            transaction.execute(
                "INSERT INTO OPS.LAKE_PARTITIONS (TABLE_NAME, PARTITION_VALUE, LOCATION, FILES, SIZE_BYTES, "
                "REGISTERED_AT) VALUES (%s, %s, 'lake://b/', 1, 1, %s)",
                (table, day, NOON),
            )

        assert lake_tables(transaction) == ["SHOP.A", "SHOP.B"]
