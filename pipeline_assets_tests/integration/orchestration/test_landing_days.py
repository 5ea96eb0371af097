"""Pipelines whose keys tell the day of delivery are partitioned by it: a run of days, and the view of partitions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from pipeline_assets.definitions import build_definitions
from pipeline_assets.settings import load_settings
from pipeline_assets.warehouse import ledger
from pipeline_assets_tests.support.commerce_lake import CommerceLake, customer, order

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


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Installation]:
    lake = CommerceLake.with_tables(tmp_path)
    for number in range(4):
        lake.deliver("orders", MARCH + timedelta(days=number), order(number, day=f"2024-02-0{number + 1}"))
    lake.deliver("customers", MARCH, customer(1))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Installation(lake, instance)


def test_a_run_of_everything_shows_the_days_that_it_loaded(home: Installation) -> None:
    assert home.run().success
    for output in OUTPUTS:
        assert home.days(output) == {"2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04"}, output


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


def test_a_day_without_objects_is_loaded_with_nothing(home: Installation) -> None:
    home.run()
    tables = home.lake.tables()
    assert home.run("2024-04-01", "2024-04-01").success
    assert home.lake.tables() == tables
    for output in OUTPUTS:
        assert "2024-04-01" in home.days(output), output


def test_days_before_the_first_that_is_configured_load_without_a_partition(home: Installation) -> None:
    home.lake.deliver("orders", datetime(2020, 1, 1, tzinfo=UTC), order(77))
    assert home.run().success
    assert "77" in home.batches()
    assert min(home.days("orders_raw")) == "2024-03-01"


def test_latency_is_of_new_objects_only(home: Installation) -> None:
    def latencies(result: dg.ExecuteInProcessResult) -> list[object]:
        events = [event.materialization for event in result.get_asset_materialization_events()]
        found = [event.metadata.get("batch_latency_seconds_max") for event in events]
        return [value.value for value in found if value]

    delivered = datetime.now(UTC) - timedelta(minutes=5)
    home.lake.deliver("orders", delivered, order(50))
    home.run("2024-03-01", "2024-03-04")
    fresh = latencies(home.run())
    assert fresh
    assert all(isinstance(seconds, float) and 299 < seconds < 400 for seconds in fresh), "from key to commit"
    today = delivered.date().isoformat()
    assert not latencies(home.run(today, today)), "a backfill waited for nobody"


def test_status_keeps_the_latency_of_the_newest_deliveries_through_a_backfill(home: Installation) -> None:
    def seconds() -> tuple[float, float]:
        with home.lake.platform.warehouse.read_only() as transaction:
            return ledger.last_latencies(transaction, ["commerce"])["commerce"]

    home.run()
    delivered = datetime.now(UTC) - timedelta(minutes=5)
    home.lake.deliver("orders", delivered, order(50))
    home.run()
    before = seconds()
    assert 299 < before[1] < 400
    home.run(delivered.date().isoformat(), delivered.date().isoformat())
    assert seconds() == before


def test_the_newest_materialization_of_a_table_counts_its_rows_however_the_run_was_started(home: Installation) -> None:
    """The page of a table shows the metadata of the newest materialization, with a partition or without."""
    tables = [output for output in OUTPUTS if not output.endswith("_parquet")]

    def newest(output: str) -> dict[str, object]:
        event = home.instance.get_latest_materialization_event(dg.AssetKey(["commerce", output]))
        assert event
        assert event.asset_materialization
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}

    for days in (("", ""), ("2024-03-01", "2024-03-04")):
        assert home.run(*days).success
        for output in tables:
            ((rows,),) = home.lake.rows(f"SELECT COUNT(*) FROM COMMERCE.{output.upper()}")
            metadata = newest(output)
            assert metadata["dagster/row_count"] == rows, (days, output)
            assert any(days) or {"table_rows_written", "preview", "sql"} <= metadata.keys(), output
        assert {"dagster/uri", "dagster/row_count"} <= newest("order_customer_date_price_parquet").keys()


def test_a_run_of_everything_leaves_what_it_did_not_change_to_earlier_materializations(home: Installation) -> None:
    home.run()
    home.lake.deliver("customers", MARCH + timedelta(days=5), customer(9))
    home.run()
    assert "2024-03-06" in home.days("customers")
    assert "2024-03-06" not in home.days("orders_raw"), "it has no row of that day"


def test_counts_of_several_days_are_not_shown_as_those_of_each_day(home: Installation) -> None:
    """The UI plots metadata by partition: the batch's count on each day would be wrong on each."""

    def counts(*days: str) -> dict[str | None, object]:
        events = [event.materialization for event in home.run(*days).get_asset_materialization_events()]
        found = [event for event in events if event.asset_key == dg.AssetKey(["commerce", "orders_raw"])]
        metadata = {event.partition: event.metadata.get("batch_rows_loaded") for event in found}
        return {day: count and count.value for day, count in metadata.items()}

    every_day = {f"2024-03-0{day}": None for day in range(1, 5)}
    assert counts() == {**every_day, None: 5}
    assert counts("2024-03-01", "2024-03-04") == every_day, "a backfill fails at one without partition"
    assert counts("2024-03-02", "2024-03-02") == {"2024-03-02": 1}
    seen = home.instance.fetch_observations(dg.AssetKey(["commerce", "orders_raw"]), limit=2).records
    metadata = [record.asset_observation.metadata for record in seen if record.asset_observation]
    assert [each["batch_rows_loaded"].value for each in metadata] == [1, 5]
