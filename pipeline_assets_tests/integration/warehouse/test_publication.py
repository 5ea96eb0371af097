"""A batch is published whole, once, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline_assets.contracts.ddl import Table, staging_table
from pipeline_assets.errors import PublicationConflictError, RowAccountingError, WarehouseError
from pipeline_assets.lake import LocalLake
from pipeline_assets.warehouse import EmbeddedWarehouse, ledger
from pipeline_assets.warehouse.connection import Loading
from pipeline_assets.warehouse.publication import Publication, publish
from pipeline_assets.warehouse.quarantine import quarantine_id, rejected_objects, waiting_records
from pipeline_assets.warehouse.schema import ops_table
from pipeline_assets.warehouse.transaction import Transaction
from pipeline_assets_tests.support.lost_connections import LossyWarehouse
from pipeline_assets_tests.support.shop_warehouse import BUCKET, NOON, SALES, Batch, load_of

STATE = {
    "SALES": "SELECT SALE_ID, SHOP, AMOUNT, _BATCH_ID FROM SHOP.SALES ORDER BY SALE_ID",
    "TOTALS": "SELECT SHOP, TOTAL FROM SHOP.TOTALS ORDER BY SHOP",
    "BATCHES": "SELECT BATCH_ID FROM OPS.BATCHES ORDER BY BATCH_ID",
    "PUBLISHED": "SELECT PUBLISHED_BATCHES FROM OPS.PIPELINES WHERE PIPELINE = 'shop'",
    "LEDGER": "SELECT URI, ETAG, ROWS_READ, BATCH_ID FROM OPS.FILE_LEDGER ORDER BY URI",
    "QUARANTINE": "SELECT QUARANTINE_ID FROM OPS.QUARANTINE ORDER BY QUARANTINE_ID",
    "STAGED": "SELECT COUNT(*) FROM OPS.STAGE_SHOP_SALES",
}


def state(warehouse: EmbeddedWarehouse) -> dict[str, list[tuple]]:
    """Everything that a publication writes."""
    with warehouse.read_only() as transaction:
        return {name: transaction.rows(sql) for name, sql in STATE.items()}


@pytest.fixture
def batch(shop_lake: LocalLake, tmp_path: Path) -> Callable[..., Batch]:
    """A batch planned after so many publications."""
    return lambda batch_id, planned_on=0: Batch(shop_lake, tmp_path, batch_id, planned_on)


@pytest.fixture
def first(warehouse: EmbeddedWarehouse, batch: Callable[..., Batch]) -> Publication:
    """A batch that is published already: two sales of two shops."""
    publication = batch("b1").publication(("1", "north", "10.0001"), ("2", "south", "5"))
    publish(warehouse, publication, NOON)
    return publication


def test_a_batch_writes_everything_at_once(warehouse: EmbeddedWarehouse, batch: Callable[..., Batch]) -> None:
    publication = batch("b1").publication(("1", "north", "10.0001"), ("2", "south", "5"), ("3", "north", "0.0002"))

    published = publish(warehouse, publication, NOON)

    assert published.table_rows == {"SHOP.SALES": 3, "SHOP.TOTALS": 2}
    assert state(warehouse) == {
        "SALES": [
            ("1", "north", Decimal("10.0001"), "b1"),
            ("2", "south", Decimal("5.0000"), "b1"),
            ("3", "north", Decimal("0.0002"), "b1"),
        ],
        "TOTALS": [("north", Decimal("10.0003")), ("south", Decimal("5.0000"))],
        "BATCHES": [("b1",)],
        "PUBLISHED": [(1,)],
        "LEDGER": [("lake://b/b1", "1", 3, "b1")],
        "QUARANTINE": [],
        "STAGED": [(0,)],
    }
    with warehouse.read_only() as transaction:
        assert transaction.rows("SELECT URI, ETAG, SIZE_BYTES FROM OPS.FILE_LEDGER") == [("lake://b/b1", "1", 10)]
        assert ledger.is_published(transaction, "b1")
        assert not ledger.is_published(transaction, "b2")


def test_what_came_as_json_and_is_none_is_published_as_text(
    warehouse: EmbeddedWarehouse, batch: Callable[..., Batch]
) -> None:
    """One such record would otherwise fail its batch in every run, as the next run takes the same objects."""
    given = [None, '{"a": 1}', "null", '{"a": 1', "plain", '"text"']
    rows = [{"SALE_ID": str(n), "SHOP": "north", "_RESCUED": text} for n, text in enumerate(given)]
    staging = batch("b1")
    publication = staging.publication()
    load = load_of(staging.stage(staging_table(SALES), rows))

    published = publish(warehouse, replace(publication, loads=[load]), NOON)

    with warehouse.read_only() as transaction:
        found = [row[0] for row in transaction.rows("SELECT _RESCUED FROM SHOP.SALES ORDER BY SALE_ID")]
    assert [text and json.loads(text) for text in found] == [None, {"a": 1}, None, '{"a": 1', "plain", "text"]
    assert (found[0], found[2]) == (None, "null"), "nothing was rescued, and a null was"
    # Snowflake's own refusals, of a key that an object has twice, the emulator does not have.
    (merge,) = (sql for sql in published.statements if sql.startswith("INSERT INTO SHOP.SALES"))
    assert "TRY_PARSE_JSON(_RESCUED, 'd')" in merge
    assert "PARSE_JSON(" not in merge.replace("TRY_PARSE_JSON(", "")


@pytest.mark.usefixtures("first")
def test_a_newer_row_replaces_its_key_and_only_its_totals(
    warehouse: EmbeddedWarehouse, batch: Callable[..., Batch]
) -> None:
    """Sale 1 moves from one shop to another: both totals follow."""
    publish(warehouse, batch("b2", 1).publication(("1", "west", "7")), NOON)

    found = state(warehouse)
    assert found["SALES"] == [("1", "west", Decimal(7), "b2"), ("2", "south", Decimal(5), "b1")]
    assert found["TOTALS"] == [("south", Decimal(5)), ("west", Decimal(7))]


def test_a_batch_planned_on_an_older_state_publishes_nothing(
    warehouse: EmbeddedWarehouse, batch: Callable[..., Batch], first: Publication
) -> None:
    """FAULTS 19: the later of two runs plans again over the first one's result."""
    before = state(warehouse)

    with pytest.raises(PublicationConflictError, match="published first") as conflict:
        publish(warehouse, batch("b2", first.planned_on).publication(("1", "west", "7")), NOON)

    assert conflict.value.transient
    assert state(warehouse) == before


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("claimed", [1, 3])
def test_a_staged_file_with_other_rows_than_were_written_publishes_nothing(
    warehouse: EmbeddedWarehouse, batch: Callable[..., Batch], claimed: int
) -> None:
    before = state(warehouse)
    publication = batch("b2", 1).publication(("3", "west", "7"), ("4", "west", "8"), claimed=claimed)

    with pytest.raises(RowAccountingError, match=f"{claimed} rows were written, 2 copied and 2 found"):
        publish(warehouse, publication, NOON)

    assert state(warehouse) == before


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize(
    ("part", "claimed"), [("ledger", 2), ("quarantine", 1), ("quarantine", 3), ("released", 1), ("released", 3)]
)
def test_what_is_remembered_of_a_batch_is_counted_like_its_rows(
    warehouse: EmbeddedWarehouse, batch: Callable[..., Batch], part: str, claimed: int
) -> None:
    """A ledger row too few would have an object taken twice, a record too few would be lost."""
    before = state(warehouse)
    staging = batch("b2", 1)
    publication = staging.publication(("3", "west", "7"), quarantine=[bad("b2", 7), bad("b2", 8)])
    released = [{"QUARANTINE_ID": bad("b1", line)["QUARANTINE_ID"]} for line in (7, 8)]
    publication = replace(publication, released=staging.stage(ops_table("STAGE_RELEASED"), released))
    wrong = replace(publication, **{part: replace(getattr(publication, part), rows=claimed)})

    with pytest.raises(RowAccountingError, match=f"{claimed} rows were written"):
        publish(warehouse, wrong, NOON)

    assert state(warehouse) == before


class MiscountingLoading(Loading):
    """Loads what lies there and tells another number."""

    def __init__(self, more: int) -> None:
        self.more = more

    def fill(self, transaction: Transaction, table: Table, stage: str, key: str) -> int:
        return super().fill(transaction, table, stage, key) + self.more


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("more", [-1, 1])
def test_a_load_that_tells_other_rows_than_it_brought_publishes_nothing(
    warehouse: EmbeddedWarehouse, batch: Callable[..., Batch], more: int
) -> None:
    before = state(warehouse)
    warehouse.loading = MiscountingLoading(more)

    with pytest.raises(RowAccountingError, match=f"1 rows were written, {1 + more} copied and 1 found"):
        publish(warehouse, batch("b2", 1).publication(("3", "west", "7")), NOON)

    assert state(warehouse) == before


@pytest.mark.usefixtures("first")
def test_two_staged_rows_for_one_key_are_refused(warehouse: EmbeddedWarehouse, batch: Callable[..., Batch]) -> None:
    """MERGE with two source rows for one target row is an error in Snowflake and a coin toss elsewhere."""
    before = state(warehouse)

    with pytest.raises(RowAccountingError, match="1 keys are staged more than once"):
        publish(warehouse, batch("b2", 1).publication(("3", "west", "7"), ("3", "west", "8")), NOON)

    assert state(warehouse) == before


@pytest.mark.usefixtures("first")
def test_a_staged_file_that_is_gone_publishes_nothing(
    warehouse: EmbeddedWarehouse, batch: Callable[..., Batch], shop_lake: LocalLake
) -> None:
    before = state(warehouse)
    publication = batch("b2", 1).publication(("3", "west", "7"))
    shop_lake.delete([shop_lake.uri(BUCKET, publication.loads[0].file.key)])

    with pytest.raises(WarehouseError):
        publish(warehouse, publication, NOON)

    assert state(warehouse) == before


@pytest.mark.usefixtures("first")
def test_what_an_older_run_left_in_a_staging_table_is_not_published(
    warehouse: EmbeddedWarehouse, batch: Callable[..., Batch]
) -> None:
    with warehouse.transaction() as transaction:
        transaction.execute("INSERT INTO OPS.STAGE_SHOP_SALES (SALE_ID, SHOP, AMOUNT) VALUES ('9', 'ghost', 1)")

    publish(warehouse, batch("b2", 1).publication(("3", "west", "7")), NOON)

    assert [row[0] for row in state(warehouse)["SALES"]] == ["1", "2", "3"]


@pytest.mark.usefixtures("first")
def test_a_commit_whose_reply_is_lost_counts_as_published(
    warehouse: EmbeddedWarehouse, batch: Callable[..., Batch]
) -> None:
    """FAULTS 17 and 18: what happened is looked up, nothing is done twice."""
    publication = batch("b2", 1).publication(("3", "west", "7"))

    published = publish(LossyWarehouse(warehouse, "COMMIT", arrives=True), publication, NOON)

    assert published.table_rows == {"SHOP.SALES": 3, "SHOP.TOTALS": 3}
    found = state(warehouse)
    assert [row[0] for row in found["SALES"]] == ["1", "2", "3"]
    assert (found["BATCHES"], found["PUBLISHED"]) == ([("b1",), ("b2",)], [(2,)])
    publish(warehouse, publication, NOON)
    assert state(warehouse) == found


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("statement", ["UPDATE OPS.PIPELINES", "DELETE FROM SHOP.SALES", "COMMIT"])
def test_a_connection_lost_before_the_commit_arrived_publishes_nothing(
    warehouse: EmbeddedWarehouse, batch: Callable[..., Batch], statement: str
) -> None:
    """FAULTS 17; the same batch goes through on the next try."""
    before = state(warehouse)
    publication = batch("b2", 1).publication(("3", "west", "7"))

    with pytest.raises(WarehouseError, match="connection reset by peer"):
        publish(LossyWarehouse(warehouse, statement, arrives=False), publication, NOON)

    assert state(warehouse) == before
    publish(warehouse, publication, NOON)
    assert [row[0] for row in state(warehouse)["SALES"]] == ["1", "2", "3"]


@pytest.mark.usefixtures("first")
def test_an_object_taken_again_is_remembered_once(warehouse: EmbeddedWarehouse, batch: Callable[..., Batch]) -> None:
    """Reprocessing replaces what the ledger says of an object."""
    again = batch("b2", 1).publication(("1", "north", "10.0001"), ("2", "south", "5"), object_of="b1")

    publish(warehouse, again, NOON)

    found = state(warehouse)
    assert found["LEDGER"] == [("lake://b/b1", "1", 2, "b2")]
    assert found["BATCHES"] == [("b1",), ("b2",)]
    assert [row[0] for row in found["SALES"]] == ["1", "2"]


def test_a_pipeline_is_registered_once(warehouse: EmbeddedWarehouse) -> None:
    for _ in range(2):
        with warehouse.transaction() as transaction:
            ledger.register_pipeline(transaction, "shop")
            ledger.register_pipeline(transaction, "other")

    with warehouse.read_only() as transaction:
        assert transaction.rows("SELECT PIPELINE, PUBLISHED_BATCHES FROM OPS.PIPELINES ORDER BY 1") == [
            ("other", 0),
            ("shop", 0),
        ]
        assert ledger.published_batches(transaction, "unheard of") == 0


# --- quarantine --------------------------------------------------------------------------------------------


def bad(batch_id: str, line: int | None, raw: str | None = "x,y", code: str = "not_a_number") -> dict:
    uri = f"lake://b/{batch_id}"
    return {
        "QUARANTINE_ID": quarantine_id("shop", "sales", uri, "1", line, code),
        "PIPELINE": "shop",
        "DATASET": "sales",
        "SOURCE_URI": uri,
        "SOURCE_ETAG": "1",
        "LINE_NUMBER": None if line is None else Decimal(line),
        "REASON_CODE": code,
        "REASON": "a number was expected",
        "RAW_RECORD": raw,
        "RUN_ID": "run",
        "QUARANTINED_AT": NOON,
        "SOURCE_MODIFIED_AT": NOON,
        "SOURCE_COLUMNS": '["A", "B"]',
    }


def test_a_record_set_aside_keeps_what_stood_there(warehouse: EmbeddedWarehouse, batch: Callable[..., Batch]) -> None:
    raw = 'it\'s,"quoted"\n=1+1,\\ä🦆'

    publish(warehouse, batch("b1").publication(quarantine=[bad("b1", 7, raw), bad("b1", None, None)]), NOON)

    with warehouse.read_only() as transaction:
        (record,) = waiting_records(transaction, "shop", "sales")
        assert (record.line, record.raw, record.columns, record.modified) == (7, raw, ("A", "B"), NOON)
        assert waiting_records(transaction, "shop", "sales", codes=["not_a_number"]) == [record]
        assert waiting_records(transaction, "shop", "sales", codes=["orphan_booking"]) == []
        assert waiting_records(transaction, "shop", "sales", ids=[record.quarantine_id]) == [record]
        assert waiting_records(transaction, "shop", "sales", ids=[]) == []
        assert rejected_objects(transaction, "shop") == {("lake://b/b1", "1")}


def test_reprocessing_an_object_replaces_its_records_in_quarantine(
    warehouse: EmbeddedWarehouse, batch: Callable[..., Batch]
) -> None:
    publish(warehouse, batch("b1").publication(quarantine=[bad("b1", 7), bad("b1", 8)]), NOON)

    publish(warehouse, batch("b2", 1).publication(quarantine=[bad("b1", 8)], object_of="b1"), NOON)

    with warehouse.read_only() as transaction:
        assert [record.line for record in waiting_records(transaction, "shop", "sales")] == [8]


def test_a_released_record_is_marked_once_and_kept(warehouse: EmbeddedWarehouse, batch: Callable[..., Batch]) -> None:
    publish(warehouse, batch("b1").publication(quarantine=[bad("b1", 7), bad("b1", 8)]), NOON)
    second = batch("b2", 1)
    publication = second.publication()
    released = second.stage(ops_table("STAGE_RELEASED"), [{"QUARANTINE_ID": bad("b1", 7)["QUARANTINE_ID"]}])

    publish(warehouse, replace(publication, released=released), NOON)

    with warehouse.read_only() as transaction:
        assert [record.line for record in waiting_records(transaction, "shop", "sales")] == [8]
        assert transaction.rows(
            "SELECT LINE_NUMBER, REPLAY_RUN_ID FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NOT NULL"
        ) == [(7, "run")]


def test_the_same_record_has_the_same_id_in_every_run_and_no_other_has() -> None:
    given = ("shop", "sales", "lake://b/k", "1", 7, "not_a_number")
    others = [("x", *given[1:]), (*given[:3], "2", *given[4:]), (*given[:4], None, given[5]), (*given[:5], "too_long")]

    assert quarantine_id(*given) == quarantine_id(*given)
    assert len({quarantine_id(*entry) for entry in [given, *others]}) == 5
