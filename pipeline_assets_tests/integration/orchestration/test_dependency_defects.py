"""Defects of what we build on: each is pinned as it is, beside the proof that it does not reach us.

A pinned defect that fails has been mended over there: then the wrapping here can go. What concerns Glue stands
elsewhere.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import dagster as dg
import obstore
import pytest
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.storage.event_log.base import AssetRecord
from dagster_aws.s3.sensor import get_objects

from pipeline_assets.definitions import build_definitions
from pipeline_assets.lake import S3Lake
from pipeline_assets.lake.zone_poll import Cursor, poll_zone
from pipeline_assets.settings import load_settings
from pipeline_assets.warehouse import EmbeddedWarehouse, SnowflakeWarehouse
from pipeline_assets_tests.support.bookings_lake import BookingsLake, customer
from pipeline_assets_tests.support.fault_proxy import FaultProxy, first, lose_reply, truncate
from pipeline_assets_tests.support.moto_aws import buckets_in

REGION, BUCKET = "eu-west-1", "landing-bucket"
SECOND = datetime(2026, 1, 1, tzinfo=UTC)


# --- dagster_aws ---------------------------------------------------------------------------------------------


class Listed:
    """What get_objects asks of a client: pages of keys with the time they were written, which S3 gives in seconds."""

    def __init__(self, **written: datetime) -> None:
        self.contents = [{"Key": key, "LastModified": moment} for key, moment in written.items()]

    def get_paginator(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(paginate=lambda **_: [{"Contents": self.contents}])


def test_pinned_get_objects_drops_an_object_of_the_same_second() -> None:
    client = Listed(seen=SECOND, landed_later_in_that_second=SECOND, next_second=SECOND + timedelta(seconds=1))
    found = get_objects("bucket", since_last_modified=SECOND, client=client)
    assert [entry["Key"] for entry in found] == ["next_second"]


def test_pinned_get_objects_raises_when_the_key_of_its_cursor_was_deleted() -> None:
    with pytest.raises(Exception, match="is not present"):
        get_objects("bucket", since_key="deleted", client=Listed(another=SECOND))


def test_our_sensor_finds_an_object_of_the_same_second_and_one_after_a_deletion(s3: Any, moto_url: str) -> None:
    lake = S3Lake(region=REGION, endpoint_url=moto_url)
    s3.put_object(Bucket=BUCKET, Key="in/b", Body=b"x")
    cursor = poll_zone(lake, BUCKET, "in/", Cursor())
    s3.put_object(Bucket=BUCKET, Key="in/a", Body=b"x")
    after = poll_zone(lake, BUCKET, "in/", cursor)
    assert after.digest != cursor.digest
    s3.delete_object(Bucket=BUCKET, Key="in/b")
    s3.put_object(Bucket=BUCKET, Key="in/c", Body=b"x")
    assert poll_zone(lake, BUCKET, "in/", after).digest != after.digest


# --- obstore -------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(moto_url: str, aws_keys: None) -> Iterator[Any]:
    with buckets_in(moto_url, BUCKET) as client:
        yield client


@pytest.fixture
def proxy(moto_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(moto_url) as proxy:
        yield proxy


def test_a_deletion_whose_reply_was_lost_is_repeated_by_us_as_obstore_does_not(s3: Any, proxy: FaultProxy) -> None:
    lake = S3Lake(region=REGION, endpoint_url=proxy.url)
    proxy.reset(first(1, lose_reply))
    with pytest.raises(obstore.exceptions.BaseError):
        obstore.delete(lake.store(BUCKET), ["in/a"])

    s3.put_object(Bucket=BUCKET, Key="in/a", Body=b"x")
    proxy.reset(first(2, lose_reply))
    lake.delete([f"s3://{BUCKET}/in/a", f"s3://{BUCKET}/in/gone"])
    assert [call.method for call in proxy.calls] == ["POST"] * 3


def test_a_page_of_a_listing_that_broke_off_is_asked_for_again_by_us_as_obstore_does_not(
    s3: Any, proxy: FaultProxy
) -> None:
    for name in "abc":
        s3.put_object(Bucket=BUCKET, Key=f"in/{name}", Body=b"x")
    lake = S3Lake(region=REGION, endpoint_url=proxy.url)
    proxy.reset(first(1, truncate(0.5)))
    with pytest.raises(obstore.exceptions.BaseError):
        obstore.list(lake.store(BUCKET), "in/").collect()

    proxy.reset(first(2, truncate(0.5)))
    assert [landed.key for landed in lake.list_objects(BUCKET, "in/")] == ["in/a", "in/b", "in/c"]
    proxy.reset(first(2, truncate(0.5)))
    assert poll_zone(lake, BUCKET, "in/", Cursor()).count == 3


# --- dagster_snowflake ---------------------------------------------------------------------------------------


def test_pinned_the_snowflake_resource_neither_closes_nor_rolls_back_when_the_body_raises() -> None:
    import fakesnow
    from dagster_snowflake import SnowflakeResource

    with fakesnow.patch():
        resource = SnowflakeResource(account="a", user="u", password="p", database="D", schema="S", autocommit=True)
        opened = resource.get_connection()
        connection = opened.__enter__()
        for statement in ("CREATE TABLE T (N INT)", "BEGIN", "INSERT INTO T VALUES (1)"):
            connection.cursor().execute(statement)
        error = RuntimeError("the body")
        assert not opened.__exit__(RuntimeError, error, error.__traceback__)
        assert not connection.is_closed()
        assert connection.cursor().execute("SELECT COUNT(*) FROM T").fetchone() == (1,)
        connection.close()


def test_ours_rolls_back_and_closes_when_the_body_raises(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.run()
    warehouse = lake.platform.warehouse
    assert isinstance(warehouse, EmbeddedWarehouse)
    opened = warehouse.transaction()
    transaction = opened.__enter__()
    transaction.execute("DELETE FROM BOOKINGS.CUSTOMERS")
    connection, error = transaction._connection, RuntimeError("the body")
    assert not opened.__exit__(RuntimeError, error, error.__traceback__)
    assert connection.is_closed()
    assert lake.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMERS") == [(1,)]


def test_ours_closes_a_connection_to_snowflake_when_the_body_raises(tmp_path: Path) -> None:
    connection = mock.Mock()
    settings = load_settings(
        home=tmp_path, snowflake_account="a", snowflake_user="u", snowflake_private_key="not read here"
    )
    with (
        mock.patch("pipeline_assets.warehouse.snowflake.open_through_resource", return_value=connection),
        pytest.raises(RuntimeError, match="the body"),
        SnowflakeWarehouse(settings).connect(),
    ):
        raise RuntimeError("the body")
    connection.close.assert_called_once_with()


# --- dagster -------------------------------------------------------------------------------------------------


def requested_after_a_failed_blocking_check(condition: dg.AutomationCondition) -> bool:
    """Whether an asset is asked for when its upstream was made anew and a blocking check of it failed."""

    @dg.asset
    def upstream() -> None: ...

    @dg.asset_check(asset=upstream, blocking=True)
    def is_sound() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    @dg.asset(deps=[upstream], automation_condition=condition)
    def downstream() -> None: ...

    definitions = dg.Definitions(assets=[upstream, downstream], asset_checks=[is_sound])
    with dg.DagsterInstance.ephemeral() as instance:
        first_look = dg.evaluate_automation_conditions(definitions, instance)
        selection = dg.AssetSelection.assets(upstream) | dg.AssetSelection.checks(is_sound)
        job = dg.define_asset_job("job", selection)
        resolved = dg.Definitions(assets=[upstream], asset_checks=[is_sound], jobs=[job]).resolve_job_def("job")
        resolved.execute_in_process(instance=instance, raise_on_error=False)
        again = dg.evaluate_automation_conditions(definitions, instance, cursor=first_look.cursor)
        return again.get_num_requested(dg.AssetKey("downstream")) > 0


def test_pinned_eager_ignores_blocking_checks_of_its_upstream() -> None:
    assert requested_after_a_failed_blocking_check(dg.AutomationCondition.eager())


def test_eager_joined_with_the_checks_waits_for_them() -> None:
    joined = dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()
    assert not requested_after_a_failed_blocking_check(joined)


def automated_without_the_checks(definitions: dg.Definitions) -> list[dg.AssetKey]:
    """Assets that are made anew though a blocking check of what they are made from has failed."""
    graph = definitions.resolve_asset_graph()
    conditions = {key: graph.get(key).automation_condition for key in graph.get_all_asset_keys()}
    return [key for key, condition in conditions.items() if condition and "blocking_checks" not in repr(condition)]


def test_ours_uses_no_automation_condition_without_the_checks(tmp_path: Path) -> None:
    eager = dg.AssetSpec("eager", automation_condition=dg.AutomationCondition.eager())
    assert automated_without_the_checks(dg.Definitions(assets=[eager])) == [eager.key]
    assert automated_without_the_checks(build_definitions(load_settings(home=tmp_path))) == []


def freshness(instance: dg.DagsterInstance, asset: dg.AssetsDefinition) -> FreshnessState:
    node = dg.Definitions(assets=[asset]).resolve_asset_graph().get(asset.key)
    (record,) = instance.get_asset_records([asset.key]) or [None]

    async def gen(*_: object) -> Any:
        return record

    with mock.patch.object(AssetRecord, "gen", gen):
        return asyncio.run(TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(mock.Mock(), node))


def test_pinned_freshness_counts_materializations_only() -> None:
    """An observation says that somebody looked and all is well; the policy does not hear of it."""

    @dg.asset(freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=1)))
    def table() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetObservation("table"))
        assert freshness(instance, table) is FreshnessState.UNKNOWN
        instance.report_runless_asset_event(dg.AssetMaterialization("table"))
        assert freshness(instance, table) is FreshnessState.PASS
    assert "last_materialization" in inspect.getsource(TimeWindowFreshnessPolicyEvaluator)


def test_ours_materializes_no_table_in_a_run_that_finds_nothing_new(lake: BookingsLake) -> None:
    """Otherwise the daily schedule would keep tables fresh that no data has reached for a month."""
    lake.customers("", customer(1))
    lake.run()
    definitions = build_definitions(load_settings(home=lake.home))
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("bookings").execute_in_process(instance=instance)
        assert result.success
        assert result.get_asset_materialization_events() == []
