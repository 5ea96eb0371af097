"""The page of an asset answers an analyst: counts of the table itself, its SELECT, files that open, next commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipeline_assets.contracts.masking import MASK
from pipeline_assets.definitions import build_definitions
from pipeline_assets.lake.s3 import S3Lake
from pipeline_assets.orchestration.checks import checks_of
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support import commerce_lake
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.command_line import process
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product
from pipeline_assets_tests.support.pipeline_lake import PipelineLake, copy_home

MARCH = datetime(2024, 3, 1, 10, tzinfo=UTC)


class Pages:
    """The pages of a pipeline's assets, as its newest run left them."""

    def __init__(self, lake: PipelineLake, instance: dg.DagsterInstance) -> None:
        self.lake, self._name, self._instance = lake, lake.name, instance
        self.checks: list[dg.AssetCheckEvaluation] = []
        self._job = build_definitions(load_settings(home=lake.home)).resolve_job_def(lake.name)

    def run(self) -> list[dg.AssetCheckEvaluation]:
        result = self._job.execute_in_process(instance=self._instance)
        assert result.success
        self.checks = result.get_asset_check_evaluations()
        return self.checks

    def metadata(self, asset: str) -> dict[str, Any]:
        event = self._instance.get_latest_materialization_event(dg.AssetKey([self._name, asset]))
        assert event
        assert event.asset_materialization
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}

    def observed(self, asset: str) -> dict[str, Any]:
        records = self._instance.fetch_observations(dg.AssetKey([self._name, asset]), limit=1).records
        (observation,) = [record.asset_observation for record in records]
        assert observation
        return {name: value.value for name, value in observation.metadata.items()}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="module")
def bookings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """Two runs, of which the second changes, adds and quarantines a booking; the pages are only read."""
    lake = BookingsLake.with_tables(tmp_path_factory.mktemp("bookings") / "home")
    with dg.DagsterInstance.ephemeral() as instance:
        pages = Pages(lake, instance)
        lake.customers("", customer(1), customer(2))
        lake.bookings("", booking(1, 1), booking(2, 1), booking(3, 2))
        pages.run()
        lake.bookings("_2", booking(3, 2, "99.00"), booking(4, 1), booking(5, 1, "x"))
        pages.run()
        yield pages


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """Two runs over three days, of which the last has no products; the pages are only read."""
    lake = OrdersLake.with_tables(tmp_path_factory.mktemp("orders") / "home")
    with dg.DagsterInstance.ephemeral() as instance:
        pages = Pages(lake, instance)
        first = order(1, product("P1"), product("P2")), order(2, product("P1"), date="2024-01-11")
        lake.orders("", *first, order(4, date="2024-01-12"))
        pages.run()
        lake.orders("_2", order(3, product("P9"), date="2024-01-11"))
        pages.run()
        yield pages


def test_the_counts_of_a_table_are_its_own_and_add_up(bookings: Pages) -> None:
    pages = bookings
    page = pages.metadata("customer_bookings")
    counts = {name: page[name] for name in page if name.startswith("table_")}
    assert counts == {"table_rows_before": 3, "table_rows_written": 2, "table_rows_deleted": 1}
    assert page["dagster/row_count"] == 4
    names = list(page)
    assert max(map(names.index, counts)) < names.index("preview") < names.index("sql") < names.index("batch_id")
    export = pages.metadata("customer_bookings_csv")
    assert export["dagster/row_count"] == 2
    assert Path(export["location"]).read_text(encoding="utf-8").count("\n") == 3
    files = pages.observed("bookings_files")
    counted = ("records", "records_loaded", "records_superseded", "records_quarantined")
    assert [files[name] for name in counted] == [3, 2, 0, 1]
    assert (Path(files["location"]) / "booking_details_2.csv").is_file()


def test_the_sql_of_a_table_begins_with_its_own_select(bookings: Pages) -> None:
    own, _, batch = bookings.metadata("daily_spend")["sql"].partition("**All statements of the batch")
    assert own.startswith("**The SELECT of `daily_spend`**\n\n```sql\nSELECT\n    BOOKED.BOOKING_DATE,")
    assert own.count("```sql") == 1
    assert "INSERT INTO BOOKINGS.DAILY_SPEND" in batch
    assert "\nFROM OPS.STAGE_BOOKINGS_CUSTOMER_BOOKINGS" in batch, "each clause has a line"


def test_a_lake_table_shows_its_rows_partitions_files_and_a_masked_preview(orders: Pages) -> None:
    page = orders.metadata("orders_parquet_datalake")
    files = [path for path in Path(page["location"]).rglob("*.parquet") if path.is_file()]
    assert (page["dagster/row_count"], page["table_partitions"], page["table_files"]) == (4, 2, len(files))
    assert page["table_bytes"] == sum(path.stat().st_size for path in files)
    assert "P1" in page["preview"] or "P9" in page["preview"]
    assert MASK in page["preview"]
    assert "Ada" not in page["preview"]


def test_files_without_rows_and_rows_without_files_fail_the_check_of_a_lake_table(
    orders: Pages, tmp_path: Path
) -> None:
    lake = OrdersLake.at(copy_home(orders.lake.home, tmp_path / "home", OrdersLake.landing))
    (check,) = [check for check in checks_of(OrdersLake.pipeline(), 26) if check.spec.name == "partitions"]

    def partitions() -> dg.AssetCheckResult:
        with lake.platform.warehouse.read_only() as transaction:
            return check.result(transaction, lake.platform)

    assert partitions().passed, "an order without products has no row in the lake"
    folder = lake.home / Path(orders.metadata("orders_parquet_datalake")["location"]).relative_to(orders.lake.home)
    (folder / "dt=2024-01-11").rename(folder / "dt=2024-01-13")
    found = partitions()
    assert not found.passed
    assert found.description == "Differing partitions: 2024-01-11 (no files), 2024-01-13 (no rows)"


def test_the_zone_of_loaded_objects_opens_where_the_batch_left_them(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    lake = CommerceLake.with_tables(tmp_path / "home")
    lake.deliver("customers", MARCH, commerce_lake.customer(1))
    lake.deliver("orders", MARCH, commerce_lake.order(10, 1))
    pages = Pages(lake, instance)
    pages.run()

    zone = pages.observed("orders_processed")
    assert zone["objects_loaded"] == 1
    assert len([path for path in Path(zone["location"]).rglob("*") if path.is_file()]) == 1
    assert pages.metadata("orders_raw")["plot_delivery_latency"].startswith("![Delivery latency](data:image/png")


@pytest.mark.parametrize(("key", "page"), [("a b/", "buckets/dev-lake"), ("a b/c.csv", "object/dev-lake")])
def test_a_place_in_s3_is_a_page_of_its_console(key: str, page: str) -> None:
    lake = S3Lake(region="eu-west-1", bucket_prefix="dev-")
    address = f"https://console.aws.amazon.com/s3/{page}?region=eu-west-1&prefix="
    assert lake.location("lake", key) == address + key.replace(" ", "%20")


def test_the_next_command_of_each_failed_check_can_be_typed_as_it_stands(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    lake = OrdersLake.with_tables(tmp_path / "home")
    unknown = order(1, product("P1"), total=999) | {"channel": "web"}
    lake.orders("", unknown, {"order_date": "2024-01-10"}, order(2, product("P1"), date="no date"))
    lake.write("orders_truncated.json", '[{"order_id": "3", ')
    pages = Pages(lake, instance)
    pages.run()
    with lake.platform.warehouse.autocommit() as session:
        for table in ("ORDER_HEADERS", "DAILY_CATEGORY_SALES"):
            session.execute(
                f"CREATE OR REPLACE TABLE ORDERS.{table} AS SELECT * FROM ORDERS.{table} "
                f"UNION ALL SELECT * FROM ORDERS.{table}"
            )
    failed = {check.check_name: check.metadata for check in pages.run() if not check.passed}

    assert {
        "unique_key", "unknown_columns", "quarantine", "rejected_objects", "reconciles", "totals_match_lines"
    } <= failed.keys()  # fmt: skip
    for command in {str(metadata["next_command"].value) for metadata in failed.values()}:
        program, *words = shlex.split(command)
        assert program == "pipeline-assets"
        done = process(lake.home, *words)
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.strip(), command


def test_a_check_that_passes_has_no_next_command(orders: Pages) -> None:
    assert {check.passed for check in orders.checks} == {True, False}
    for check in orders.checks:
        assert ("next_command" in check.metadata) != check.passed, check.check_name
