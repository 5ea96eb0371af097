"""Loading by pipes: whatever a pipe does or says, a batch is published whole, once, or not at all.

The pipes are played (see `snowflake_server`): they really load the files, but no real Snowpipe was ever asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline_assets.contracts.ddl import staging_table
from pipeline_assets.errors import (
    ConfigurationError,
    PipeTimeoutError,
    PublicationConflictError,
    RowAccountingError,
    WarehouseError,
)
from pipeline_assets.lake import S3Lake
from pipeline_assets.warehouse import SnowflakeWarehouse, ledger
from pipeline_assets.warehouse.publication import publish
from pipeline_assets.warehouse.snowpipe import Endpoint, Snowpipe
from pipeline_assets_tests.support.shop_warehouse import NOON, SALES, Batch
from pipeline_assets_tests.support.snowflake_account import Key, TestAccount

TABLES = (
    "SHOP.SALES",
    "SHOP.TOTALS",
    "OPS.PIPED_SHOP_SALES",
    "OPS.STAGE_SHOP_SALES",
    "OPS.BATCHES",
    "OPS.PIPELINES",
    "OPS.FILE_LEDGER",
)
SOLD = (("a", "north", "10.0001"), ("b", "south", "5"))
_names = iter(f"batch{number}" for number in range(1000))


@pytest.fixture
def shop(account: TestAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SnowflakeWarehouse]:
    """Empty tables, and pipes that work; waiting takes no time."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-used")
    warehouse = SnowflakeWarehouse(account.settings(tmp_path, snowflake_load="snowpipe", snowflake_pipe_patience=30))
    clock = Clock()
    warehouse.loading.clock, warehouse.loading.sleep = clock.now, clock.sleep  # type: ignore[attr-defined]
    with warehouse.transaction() as transaction:
        for table in TABLES:
            transaction.execute(f"DELETE FROM {table}")
        ledger.register_pipeline(transaction, "shop")
    account.pipes_do("LOADED")
    yield warehouse
    account.pipes_do("LOADED")


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.time, self.slept = 0.0, []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept.append(seconds)


@pytest.fixture
def batch(account: TestAccount, tmp_path: Path) -> Callable[..., Batch]:
    """A batch under a name that no pipe has seen, planned after so many publications."""
    lake = S3Lake(region="us-east-1", endpoint_url=account.s3_url)
    return lambda planned_on=0: Batch(lake, tmp_path, next(_names), planned_on)


def count(warehouse: SnowflakeWarehouse, table: str) -> int:
    with warehouse.read_only() as transaction:
        return int(transaction.scalar(f"SELECT COUNT(*) FROM {table}"))


def published(warehouse: SnowflakeWarehouse) -> list[int]:
    with warehouse.read_only() as transaction:
        tables = ("SHOP.SALES", "SHOP.TOTALS", "OPS.BATCHES", "OPS.FILE_LEDGER")
        return [int(transaction.scalar(f"SELECT COUNT(*) FROM {table}")) for table in tables]


def test_a_pipe_loads_and_the_transaction_publishes(shop: SnowflakeWarehouse, batch: Callable[..., Batch]) -> None:
    """Every other call of the played API is carried out and answered with 503: it is asked again, once is loaded."""
    publish(shop, batch().publication(*SOLD), NOON)
    publish(shop, batch(1).publication(("c", "south", "1")), NOON)

    with shop.read_only() as transaction:
        assert [str(row[0]) for row in transaction.rows("SELECT TOTAL FROM SHOP.TOTALS ORDER BY SHOP")] == [
            "10.0001",
            "6.0000",
        ]
    assert published(shop) == [3, 2, 2, 2]
    assert count(shop, "OPS.PIPED_SHOP_SALES") == 0


INCOMPLETE: dict[str, tuple[type[WarehouseError], str]] = {
    "LOAD_FAILED": (WarehouseError, "LOAD_FAILED with 1 bad rows: Numeric value 'x' is not recognized"),
    "PARTIALLY_LOADED": (WarehouseError, "PARTIALLY_LOADED with 1 bad rows"),
    "SILENT": (PipeTimeoutError, "Not loaded after 30 seconds"),
    "LOAD_IN_PROGRESS": (PipeTimeoutError, "LOAD_IN_PROGRESS"),
    "MISCOUNTS": (RowAccountingError, "2 rows were written to .* and 1 loaded"),
    # The report says that all is there, and the table says otherwise: the table is right.
    "LOSES_ROWS": (RowAccountingError, "2 rows were written, 1 copied and 1 found"),
}


def test_a_pipe_that_did_not_load_everything_publishes_nothing_and_the_next_run_finishes(
    account: TestAccount, shop: SnowflakeWarehouse, batch: Callable[..., Batch]
) -> None:
    """What an earlier run left of its rows gets into none of the next ones."""
    for outcome, (error, says) in INCOMPLETE.items():
        account.pipes_do(outcome)
        with pytest.raises(WarehouseError) as raised:
            publish(shop, batch().publication(*SOLD), NOON)
        assert isinstance(raised.value, error), outcome
        assert re.search(says, str(raised.value)), outcome
        assert raised.value.remedy, outcome
        assert "\n" not in str(raised.value), outcome
        assert published(shop) == [0, 0, 0, 0], outcome

    account.pipes_do("LOADED")
    publish(shop, batch().publication(*SOLD), NOON)

    assert published(shop) == [2, 2, 1, 1]
    assert count(shop, "OPS.PIPED_SHOP_SALES") == 0


def test_what_a_dead_run_left_is_seen_by_nobody_and_goes_with_the_next_publication(
    shop: SnowflakeWarehouse, batch: Callable[..., Batch]
) -> None:
    """A run that dies between the pipe's commit and its own."""
    dead = batch().publication(("a", "north", "999"))
    shop.loading.preload(shop.database, [(staging_table(SALES), dead.loads[0].file.key, 1)])
    assert count(shop, "OPS.PIPED_SHOP_SALES") == 1
    assert published(shop) == [0, 0, 0, 0]

    publish(shop, batch().publication(*SOLD), NOON)

    with shop.read_only() as transaction:
        assert str(transaction.scalar("SELECT AMOUNT FROM SHOP.SALES WHERE SALE_ID = 'a'")) == "10.0001"
    assert count(shop, "OPS.PIPED_SHOP_SALES") == 0


def test_of_two_batches_side_by_side_one_is_published_and_the_other_stops(
    shop: SnowflakeWarehouse, batch: Callable[..., Batch]
) -> None:
    slow, fast = batch().publication(("a", "north", "999")), batch().publication(*SOLD)
    shop.loading.preload(shop.database, [(staging_table(SALES), slow.loads[0].file.key, 1)])

    publish(shop, fast, NOON)
    with pytest.raises(PublicationConflictError):
        publish(shop, slow, NOON)

    assert published(shop) == [2, 2, 1, 1]


def test_the_load_history_decides_nothing(shop: SnowflakeWarehouse, batch: Callable[..., Batch]) -> None:
    """FAULTS 28: a history that still says LOADED does not publish rows that are gone, and loads nothing twice."""
    publication = batch().publication(*SOLD)
    publish(shop, publication, NOON)
    with shop.transaction() as transaction:
        for table in TABLES:
            transaction.execute(f"DELETE FROM {table}")
        ledger.register_pipeline(transaction, "shop")

    with pytest.raises(RowAccountingError, match="0 copied and 0 found"):
        publish(shop, publication, NOON)

    assert published(shop) == [0, 0, 0, 0]


def test_waiting_is_jittered_grows_and_ends_with_the_patience(
    account: TestAccount, shop: SnowflakeWarehouse, batch: Callable[..., Batch]
) -> None:
    account.pipes_do("SILENT")
    with pytest.raises(PipeTimeoutError):
        publish(shop, batch().publication(*SOLD), NOON)

    slept = shop.loading.sleep.__self__.slept  # type: ignore[attr-defined]
    assert sum(slept) == pytest.approx(30)
    assert len(set(slept)) == len(slept)
    assert max(slept) <= 15


def test_an_empty_file_asks_no_pipe(shop: SnowflakeWarehouse, batch: Callable[..., Batch]) -> None:
    shop.loading.endpoint = Endpoint("http://127.0.0.1:1", lambda: "")  # type: ignore[attr-defined]

    publish(shop, batch().publication(), NOON)

    assert published(shop) == [0, 0, 1, 1]


def test_a_missing_pipe_and_a_foreign_key_are_named(
    account: TestAccount, shop: SnowflakeWarehouse, tmp_path: Path
) -> None:
    files = [(staging_table(SALES), "staging/x/sales.parquet", 1)]
    with pytest.raises(ConfigurationError, match=r"There is no pipe OTHER\.OPS\.LOAD_SHOP_SALES.*deploy snowflake"):
        shop.loading.preload("OTHER", files)

    foreign = SnowflakeWarehouse(
        account.settings(tmp_path, snowflake_load="snowpipe", snowflake_private_key=Key.new().private)
    )
    with pytest.raises(ConfigurationError, match=r"GRANT OPERATE ON PIPE ANALYTICS\.OPS\.LOAD_SHOP_SALES"):
        foreign.loading.preload("ANALYTICS", files)


def test_an_api_that_is_gone_is_asked_a_few_times_and_named() -> None:
    clock = Clock()
    gone = Snowpipe(Endpoint("http://127.0.0.1:1", lambda: "token-to-hide"), 30, clock.now, clock.sleep)

    with pytest.raises(WarehouseError, match="cannot be reached") as error:
        gone.preload("ANALYTICS", [(staging_table(SALES), "staging/x/sales.parquet", 1)])

    assert len(clock.slept) == 5
    assert "token-to-hide" not in str(error.value)
