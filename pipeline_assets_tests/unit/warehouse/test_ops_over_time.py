"""The statements of the catalog in sql/ops/: batches over time, what landed last, sizes of lake tables."""

from __future__ import annotations

from datetime import timedelta

from pipeline_assets.warehouse import EmbeddedWarehouse, ledger
from pipeline_assets.warehouse.catalog import lake_sizes
from pipeline_assets_tests.support.shop_warehouse import NOON
from pipeline_assets_tests.unit.warehouse.test_ops_sql import insert, take


def test_batches_are_counted_by_dataset_and_only_the_newest(warehouse: EmbeddedWarehouse) -> None:
    hours = [NOON + timedelta(hours=number) for number in range(3)]
    with warehouse.read_only() as transaction:
        for number, at in enumerate(hours):
            batch = {"BATCH_ID": f"b{number}", "PIPELINE": "shop", "RUN_ID": "r", "PUBLISHED_AT": at}
            insert(transaction, "BATCHES", batch)
            arrived = {"BATCH_ID": f"b{number}", "ARRIVED_AT": NOON + timedelta(seconds=60)}
            take(transaction, URI=f"lake://b/{number}", **arrived)
            take(transaction, URI=f"lake://c/{number}", STATUS="rejected", LAST_MODIFIED=NOON, **arrived)
        take(transaction, URI="lake://b/9", DATASET="customers", BATCH_ID="b0")
        take(transaction, URI="lake://b/9", PIPELINE="other", BATCH_ID="b0")

        rows = ledger.objects_by_batch(transaction, "shop", 2)
        assert [(name, at, *map(int, counts)) for name, at, *counts, _ in rows] == [
            ("customers", hours[0], 1, 0, 9, 5, 3, 1, 1),
            ("sales", hours[1], 2, 1, 18, 10, 6, 2, 2),
            ("sales", hours[2], 2, 1, 18, 10, 6, 2, 2),
        ]
        assert [None if latency is None else float(latency) for *_, latency in rows] == [None, 60, 60]


def test_what_was_taken_last_comes_first_in_each_dataset(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        for number in (1, 3, 2):
            take(transaction, URI=f"lake://b/{number}", LOADED_AT=NOON + timedelta(hours=number))
        take(transaction, URI="lake://b/4", DATASET="customers")
        take(transaction, URI="lake://b/5", PIPELINE="other")

        rows = ledger.newest_objects(transaction, "shop", 2)
        assert [row[:2] for row in rows] == [
            ("customers", "lake://b/4"),
            ("sales", "lake://b/3"),
            ("sales", "lake://b/2"),
        ]
        assert rows[0][2:] == (9, NOON, "loaded", 5, 3, 1, 1)


def test_sizes_are_those_of_all_partitions(warehouse: EmbeddedWarehouse) -> None:
    with warehouse.read_only() as transaction:
        assert lake_sizes(transaction) == {}
        for number, table in enumerate(("S.A", "S.A", "S.B")):
            partition = {"TABLE_NAME": table, "PARTITION_VALUE": str(number), "LOCATION": "x", "FILES": 2}
            at = NOON + timedelta(hours=number)
            insert(transaction, "LAKE_PARTITIONS", partition | {"SIZE_BYTES": 10, "REGISTERED_AT": at})

        later = [NOON + timedelta(hours=number) for number in (1, 2)]
        assert lake_sizes(transaction) == {"S.A": (2, 4, 20, later[0]), "S.B": (1, 2, 10, later[1])}
