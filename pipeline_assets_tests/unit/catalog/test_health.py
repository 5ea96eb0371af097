"""The days of a pipeline: every day is shown, and what is unknown differs from nothing."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.catalog.health import DAYS, Daily, days_of, read_daily
from pipeline_assets.pipelines import pipelines
from pipeline_assets.warehouse import EmbeddedWarehouse
from pipeline_assets_tests.support.shop_warehouse import NOON
from pipeline_assets_tests.unit.warehouse.test_ops_sql import insert, put_aside, take

TODAY = NOON.date()


def ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def test_a_pipeline_that_did_nothing_has_every_day_and_unknown_gauges() -> None:
    days = days_of(Daily(), [], NOON)

    assert [day["day"] for day in days] == [ago(before).isoformat() for before in reversed(range(DAYS))]
    counted = ("runs", "failed", "batches", "read", "loaded", "superseded", "quarantined", "waiting")
    assert {day[name] for day in days for name in counted} == {0}
    assert {day[name] for day in days for name in ("latency", "age", "engine", "warehouse")} == {None}


def test_age_grows_until_something_arrives_and_is_that_of_the_oldest_source() -> None:
    arrivals = {
        "orders": {ago(40): (NOON - timedelta(days=40), None), ago(1): (NOON - timedelta(days=1), None)},
        "customers": {ago(2): (NOON - timedelta(days=2), None)},
    }
    ages = [day["age"] for day in days_of(Daily(arrivals=arrivals), [], NOON)[-4:]]
    # The day before customers first arrived has the age of orders alone; today ends now, at noon.
    assert ages == [37 * 24 + 12, 38 * 24 + 12, 24 + 12, 48]


def test_latency_is_of_the_slowest_source_whose_delivery_time_is_known() -> None:
    arrivals = {"a": {TODAY: (NOON, 5.0)}, "b": {TODAY: (NOON, 7.5)}, "c": {TODAY: (NOON, None)}}
    assert days_of(Daily(arrivals=arrivals), [], NOON)[-1]["latency"] == 7.5
    assert days_of(Daily(arrivals={"c": arrivals["c"]}), [], NOON)[-1]["latency"] is None


def test_runs_count_on_the_day_on_which_they_began() -> None:
    runs = [{"at": f"{ago(1)} 23:59:59", "success": False}, {"at": f"{TODAY} 00:00:00", "success": True}]
    assert [(day["runs"], day["failed"]) for day in days_of(Daily(), runs, NOON)[-2:]] == [(1, 1), (1, 0)]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 5), st.integers(0, 5)), max_size=20))
def test_the_last_day_has_what_came_less_what_was_closed_whenever_that_was(moved: list[tuple[int, int, int]]) -> None:
    quarantine = {ago(before): (came + closed, closed) for before, came, closed in moved}
    days = days_of(Daily(quarantine=quarantine), [], NOON)

    assert days[-1]["waiting"] == sum(came - closed for came, closed in quarantine.values())
    assert [day["waiting"] for day in days] == sorted(day["waiting"] for day in days)


@pytest.mark.parametrize("in_s3", [False, True])
def test_the_tables_of_ops_are_read_by_day(warehouse: EmbeddedWarehouse, in_s3: bool) -> None:
    earlier = NOON - timedelta(days=1)
    bookings = pipelines()["bookings"]
    of_bookings = {"PIPELINE": "bookings", "DATASET": "bookings"}
    with warehouse.read_only() as transaction:
        for number, (at, seconds) in enumerate([(earlier, 2), (earlier, 3), (NOON, None)]):
            batch = {"BATCH_ID": f"b{number}", "PIPELINE": "bookings", "RUN_ID": "r", "PUBLISHED_AT": at}
            insert(transaction, "BATCHES", batch | {"ENGINE_SECONDS": seconds, "WAREHOUSE_SECONDS": seconds})
        insert(transaction, "BATCHES", batch | {"BATCH_ID": "other", "PIPELINE": "orders"})
        for number, late in enumerate((10, 20, 90)):
            arrived = earlier + timedelta(seconds=late)
            times = {"LAST_MODIFIED": earlier, "ARRIVED_AT": arrived, "LOADED_AT": arrived if late < 90 else NOON}
            take(transaction, URI=f"lake://b/{number}", **of_bookings, **times)
        take(transaction, PIPELINE="bookings", DATASET="no longer a source", LOADED_AT=datetime(2020, 1, 1))  # noqa: DTZ001
        put_aside(transaction, "1", PIPELINE="bookings", QUARANTINED_AT=earlier)
        put_aside(transaction, "2", PIPELINE="bookings", QUARANTINED_AT=earlier, REPLAYED_AT=NOON)
        put_aside(transaction, "3", PIPELINE="bookings", QUARANTINED_AT=earlier, CLOSED_AT=NOON, CLOSED_AS="replaced")
        put_aside(transaction, "4", PIPELINE="orders")
        daily = read_daily(transaction, [bookings], has_seconds=True, in_s3=in_s3)["bookings"]

    before, today = days_of(daily, [], NOON)[-2:]
    assert (before["batches"], before["engine"], before["warehouse"]) == (2, 5, 5)
    assert (today["batches"], today["engine"]) == (1, None)
    assert [(day["read"], day["loaded"], day["superseded"], day["quarantined"]) for day in (before, today)] == [
        (10, 6, 2, 2),
        (5, 3, 1, 1),
    ]
    assert (before["latency"], today["latency"]) == (20 if in_s3 else None, None)
    assert (before["waiting"], today["waiting"]) == (3, 1)
    assert (before["age"], today["age"]) == (12, 24)
