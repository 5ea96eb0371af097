"""Pipelines whose keys tell the day of delivery are partitioned by it: a run of days, and the view of partitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.definitions import build_definitions
from pipeline_assets.settings import load_settings
from pipeline_assets.warehouse import ledger
from pipeline_assets_tests.support.commerce_lake import CommerceLake, customer, order
from pipeline_assets_tests.support.pipeline_lake import copy_home

MARCH = datetime(2024, 3, 1, 10, tzinfo=UTC)
OUTPUTS = {
    "customer_raw",
    "customers",
    "order_customer_date_price",
    "order_customer_date_price_parquet",
    "orders",
    "orders_raw",
}


class Installation:
    """A home of commerce with its own Dagster instance."""

    def __init__(self, lake: CommerceLake, instance: dg.DagsterInstance) -> None:
        self.lake, self.instance = lake, instance
        self.definitions = build_definitions(load_settings(home=lake.home))

    def run(self, first: str = "", last: str = "") -> dg.ExecuteInProcessResult:
        """A run of the job, for a range of partitions as a backfill starts it."""
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        job = self.definitions.resolve_job_def("commerce")
        return job.execute_in_process(instance=self.instance, tags=tags if first else {})

    def days(self, output: str) -> set[str]:
        return self.instance.get_materialized_partitions(dg.AssetKey(["commerce", output]))

    def batches(self) -> dict[str, str]:
        """The batch of each record of an order, by its key."""
        return dict(self.lake.rows("SELECT O_ORDERKEY, BATCH_ID FROM COMMERCE.ORDERS_RAW"))

    def latest(self, output: str) -> dict[str, object]:
        """The metadata of the newest materialization, which the page of a table shows."""
        event = self.instance.get_latest_materialization_event(dg.AssetKey(["commerce", output]))
        assert event
        assert event.asset_materialization
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def delivered(home: Path) -> CommerceLake:
    """A home in which an order landed on each of four days, and a customer."""
    lake = CommerceLake.with_tables(home)
    for number in range(4):
        lake.deliver("orders", MARCH + timedelta(days=number), order(number, day=f"2024-02-0{number + 1}"))
    lake.deliver("customers", MARCH, customer(1))
    return lake


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Installation]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Installation(delivered(tmp_path), instance)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> CommerceLake:
    """A home that loaded what landed, without Dagster; it is only copied."""
    lake = delivered(tmp_path_factory.mktemp("prepared"))
    lake.run()
    return lake


@pytest.fixture
def loaded(prepared: CommerceLake, tmp_path: Path) -> Iterator[Installation]:
    lake = CommerceLake.at(copy_home(prepared.home, tmp_path, CommerceLake.landing))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Installation(lake, instance)


@dataclass(frozen=True)
class Ran:
    """After a run: the days and newest metadata of each output, the rows of each table, and its counts of orders."""

    days: dict[str, set[str]]
    latest: dict[str, dict[str, object]]
    rows: dict[str, int]
    counts: dict[str | None, object]
    observed: list[object]


EVERYTHING, FOUR_DAYS, ONE_DAY = ("", ""), ("2024-03-01", "2024-03-04"), ("2024-03-02", "2024-03-02")
TABLES = [output for output in sorted(OUTPUTS) if not output.endswith("_parquet")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Ran]:
    """A run of everything, a backfill of the same days, and one of a single day, in one home."""
    found = {}
    with dg.DagsterInstance.ephemeral() as instance:
        home = Installation(delivered(tmp_path_factory.mktemp("runs")), instance)
        for days in (EVERYTHING, FOUR_DAYS, ONE_DAY):
            result = home.run(*days)
            assert result.success
            events = [event.materialization for event in result.get_asset_materialization_events()]
            orders = [event for event in events if event.asset_key == dg.AssetKey(["commerce", "orders_raw"])]
            metadata = {event.partition: event.metadata.get("batch_rows_loaded") for event in orders}
            selects = ", ".join(f"(SELECT COUNT(*) FROM COMMERCE.{table.upper()})" for table in TABLES)
            (rows,) = home.lake.rows(f"SELECT {selects}")
            seen = instance.fetch_observations(dg.AssetKey(["commerce", "orders_raw"]), limit=2).records
            observed = [record.asset_observation.metadata for record in seen if record.asset_observation]
            found[days] = Ran(
                days={output: home.days(output) for output in OUTPUTS},
                latest={output: home.latest(output) for output in OUTPUTS},
                rows=dict(zip(TABLES, rows, strict=True)),
                counts={day: count and count.value for day, count in metadata.items()},
                observed=[each["batch_rows_loaded"].value for each in observed],
            )
    return found


def test_a_run_of_everything_shows_the_days_that_it_loaded(runs: dict[tuple[str, str], Ran]) -> None:
    four = {"2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04"}
    assert runs[EVERYTHING].days == dict.fromkeys(OUTPUTS, four)


def test_a_run_of_days_takes_their_objects_only_new_or_known(home: Installation) -> None:
    assert home.run("2024-03-02", "2024-03-03").success
    assert home.batches().keys() == {"1", "2"}
    assert home.days("orders_raw") == {"2024-03-02", "2024-03-03"}

    before = home.batches()
    assert home.run("2024-03-03", "2024-03-04").success
    after = home.batches()
    assert after.keys() == {"1", "2", "3"}
    assert after["1"] == before["1"], "a day outside the range is left alone"
    assert after["2"] != before["2"], "a known object of the range is taken again"


def test_a_day_without_objects_is_loaded_with_nothing(loaded: Installation) -> None:
    tables = loaded.lake.tables()
    assert loaded.run("2024-04-01", "2024-04-01").success
    assert loaded.lake.tables() == tables
    for output in OUTPUTS:
        assert "2024-04-01" in loaded.days(output), output


def test_days_before_the_first_that_is_configured_load_without_a_partition(home: Installation) -> None:
    home.lake.deliver("orders", datetime(2020, 1, 1, tzinfo=UTC), order(77))
    assert home.run().success
    assert "77" in home.batches()
    assert min(home.days("orders_raw")) == "2024-03-01"


def test_latency_is_of_new_objects_only_and_status_keeps_that_of_the_newest_through_a_backfill(
    loaded: Installation,
) -> None:
    def latencies(result: dg.ExecuteInProcessResult) -> list[object]:
        events = [event.materialization for event in result.get_asset_materialization_events()]
        found = [event.metadata.get("batch_latency_seconds_max") for event in events]
        return [value.value for value in found if value]

    def in_status() -> tuple[float, float]:
        with loaded.lake.platform.warehouse.read_only() as transaction:
            return ledger.last_latencies(transaction, ["commerce"])["commerce"]

    delivery = datetime.now(UTC) - timedelta(minutes=5)
    loaded.lake.deliver("orders", delivery, order(50))
    fresh = latencies(loaded.run())
    assert fresh
    assert all(isinstance(seconds, float) and 299 < seconds < 400 for seconds in fresh), "from key to commit"
    assert 299 < in_status()[1] < 400
    with loaded.lake.platform.warehouse.transaction() as transaction:  # so that a backfill does not take as long
        for column in ("ARRIVED_AT", "LOADED_AT"):
            transaction.execute(f"UPDATE OPS.FILE_LEDGER SET {column} = DATEADD('minute', -1, {column})")
    before = in_status()
    today = delivery.date().isoformat()
    assert not latencies(loaded.run(today, today)), "a backfill waited for nobody"
    assert in_status() == before


def test_the_newest_materialization_of_a_table_counts_its_rows_however_the_run_was_started(
    runs: dict[tuple[str, str], Ran],
) -> None:
    """The page of a table shows the metadata of the newest materialization, with a partition or without."""
    for days in (EVERYTHING, FOUR_DAYS):
        ran = runs[days]
        assert {table: ran.latest[table]["dagster/row_count"] for table in TABLES} == ran.rows, days
        for table in TABLES:
            assert any(days) or {"table_rows_written", "preview", "sql"} <= ran.latest[table].keys(), table
        assert {"dagster/uri", "dagster/row_count"} <= ran.latest["order_customer_date_price_parquet"].keys()


def test_a_run_of_everything_leaves_what_it_did_not_change_to_earlier_materializations(loaded: Installation) -> None:
    loaded.lake.deliver("customers", MARCH + timedelta(days=5), customer(9))
    loaded.run()
    assert "2024-03-06" in loaded.days("customers")
    assert "2024-03-06" not in loaded.days("orders_raw"), "it has no row of that day"


def test_counts_of_several_days_are_not_shown_as_those_of_each_day(runs: dict[tuple[str, str], Ran]) -> None:
    """The UI plots metadata by partition: the batch's count on each day would be wrong on each."""
    every_day = {f"2024-03-0{day}": None for day in range(1, 5)}
    assert {days: ran.counts for days, ran in runs.items()} == {
        EVERYTHING: {**every_day, None: 5},
        FOUR_DAYS: every_day,  # a backfill fails at one without partition
        ONE_DAY: {"2024-03-02": 1},
    }
    assert runs[ONE_DAY].observed == [1, 5], "of the last run, and of the backfill before it"
