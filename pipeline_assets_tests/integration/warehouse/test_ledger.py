"""What the ledger tells of the objects that were taken, as discovery compares it with a listing."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from snowflake.connector.errors import OperationalError

from pipeline_assets.errors import WarehouseError
from pipeline_assets.warehouse import SnowflakeWarehouse, Transaction, Warehouse, ledger

TAKEN = [
    ("customers", "s3://b/in/a b.csv", "1", 0),
    ("customers", "s3://b/in/a b.csv", "2", 0),
    ("customers", "s3://b/in/a b.csv", "2", 10**15),
    ("bookings", "s3://b/in/e\u0301\t%20'\"#\u4e2d.csv", 'W/"quoted"-3', 7),
]
_INSERT = (
    "INSERT INTO OPS.FILE_LEDGER (PIPELINE, DATASET, URI, ETAG, SIZE_BYTES, LAST_MODIFIED, STATUS, ROWS_READ, "
    "ROWS_LOADED, ROWS_SUPERSEDED, ROWS_QUARANTINED, BATCH_ID, RUN_ID, LOADED_AT) "
    "SELECT %s, %s, %s, %s, %s, '2026-01-01', 'loaded', 0, 0, 0, 0, 'b', 'r', '2026-01-01'"
)


@pytest.fixture(params=["embedded", "driver"])
def some_warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Warehouse:
    """The embedded one, and the real driver with a server behind it, which sends Arrow."""
    if request.param == "embedded":
        return request.getfixturevalue("warehouse")
    return SnowflakeWarehouse(request.getfixturevalue("account").settings(tmp_path / "home"))


def test_a_fingerprint_is_made_of_dataset_size_etag_and_uri(some_warehouse: Warehouse) -> None:
    """As `KnownObjects` makes it of a listing; the model is in Python."""
    with some_warehouse.read_only() as transaction:
        for row in TAKEN:
            transaction.execute(_INSERT, ("made-up", *row))
        transaction.execute(_INSERT, ("another", "customers", "s3://b/in/other.csv", "1", 1))
        tables = list(ledger.fingerprints(transaction, "made-up"))

    told = [value for table in tables for value in table.column(0).to_pylist()]
    texts = [f"{dataset} {size} {etag} {uri}" for dataset, uri, etag, size in TAKEN]
    assert sorted(told) == sorted(hashlib.md5(text.encode()).hexdigest() for text in texts)


def test_a_pipeline_that_has_taken_nothing_has_no_fingerprints(some_warehouse: Warehouse) -> None:
    with some_warehouse.read_only() as transaction:
        assert sum(table.num_rows for table in ledger.fingerprints(transaction, "nobody's")) == 0
        assert len(transaction.statements) == 1


def test_values_are_bound_by_name_and_lists_as_their_values(some_warehouse: Warehouse) -> None:
    """By the emulator as by the driver; an empty list has no value."""
    with some_warehouse.read_only() as transaction:
        for pipeline in ("one", "it's", "%(pipelines)s"):
            transaction.execute(_INSERT, (pipeline, *TAKEN[-1]))

        for pipelines in ([], ["it's"], ["%(pipelines)s", "one"], ("it's", "nobody's", "one")):
            found = [row[0] for row in ledger.totals(transaction, pipelines)]
            assert found == [name for name in ("%(pipelines)s", "it's", "one") if name in pipelines]


def test_a_connection_that_is_lost_while_rows_arrive_is_a_refusal() -> None:
    def lost() -> object:
        yield "the first table"
        raise OperationalError("250003: Failed to execute request: connection reset by peer")

    cursor = SimpleNamespace(execute=lambda *_: SimpleNamespace(fetch_arrow_batches=lost))

    with pytest.raises(WarehouseError, match="connection reset"):
        list(ledger.fingerprints(Transaction(SimpleNamespace(cursor=lambda: cursor)), "made-up"))
