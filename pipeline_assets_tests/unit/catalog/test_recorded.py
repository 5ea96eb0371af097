"""What the catalog takes from the Dagster instance: last results without examples of rows, ended runs, last files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from pipeline_assets.catalog.datasets import datasets_of
from pipeline_assets.catalog.health import DAYS
from pipeline_assets.catalog.recorded import exported_files, quality_rules, row_counts, runs_of
from pipeline_assets.orchestration.checks import checks_of
from pipeline_assets.pipelines import pipelines

ORDERS = pipelines()["orders"]
NOW = datetime.now(UTC).replace(tzinfo=None)
HEADERS = dg.AssetKey(["orders", "order_headers"])


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def evaluated(instance: dg.DagsterInstance, name: str, passed: bool, text: str, **metadata: object) -> dict:
    """The rule as the catalog has it, after an evaluation."""
    result = dg.AssetCheckEvaluation(
        asset_key=HEADERS, check_name=name, passed=passed, description=text, metadata=metadata
    )
    instance.report_runless_asset_event(result)
    (rule,) = [r for r in quality_rules([ORDERS], 26, instance)["orders/order_headers"] if r["name"] == name]
    return rule


def test_without_an_instance_every_check_is_listed_without_a_result() -> None:
    rules = quality_rules([ORDERS], 26, None)

    listed = {(key, rule["name"]) for key, of_dataset in rules.items() for rule in of_dataset}
    assert listed == {(c.spec.asset_key.to_user_string(), c.spec.name) for c in checks_of(ORDERS, 26)}
    assert not [rule for of_dataset in rules.values() for rule in of_dataset if "passed" in rule]


def test_the_last_result_of_a_check_counts(instance: dg.DagsterInstance) -> None:
    assert evaluated(instance, "unique_key", False, "2 keys have several rows.")["passed"] is False
    rule = evaluated(instance, "unique_key", True, "")
    assert (rule["passed"], rule["severity"], rule["found"]) == (True, "ERROR", "")


def test_examples_of_failing_rows_are_left_out(instance: dg.DagsterInstance) -> None:
    rows = dg.MetadataValue.json([{"email": "ada@example.org"}])
    rule = evaluated(instance, "totals_match_lines", False, "1 found (mustBe 0): ada@example.org", rows=rows)
    assert rule["found"] == "1 found (mustBe 0)"


def test_runs_that_have_not_ended_are_left_out(instance: dg.DagsterInstance) -> None:
    @dg.job(name="orders")
    def orders() -> None: ...

    assert orders.execute_in_process(instance=instance).success
    instance.create_run_for_job(orders)
    ((run,),) = runs_of([ORDERS], instance, NOW).values()
    assert run["success"] is True


def test_runs_of_the_ui_count_for_each_pipeline_of_theirs(instance: dg.DagsterInstance) -> None:
    @dg.job(name="__ASSET_JOB")
    def of_the_button() -> None: ...

    registered = [pipelines()[name] for name in ("bookings", "orders", "movies")]
    assert of_the_button.execute_in_process(instance=instance, tags={"pipeline": "bookings, orders"}).success
    found = runs_of(registered, instance, NOW)
    assert {name: len(runs) for name, runs in found.items()} == {"bookings": 1, "orders": 1, "movies": 0}


def test_runs_of_the_days_that_are_not_shown_are_left_out(instance: dg.DagsterInstance) -> None:
    @dg.job(name="orders")
    def orders() -> None: ...

    assert orders.execute_in_process(instance=instance).success
    assert runs_of([ORDERS], instance, NOW + timedelta(days=DAYS)) == {"orders": []}


def test_rows_of_a_dataset_are_those_of_the_whole_and_not_of_a_day(instance: dg.DagsterInstance) -> None:
    for partition, rows in ((None, 3), ("2024-03-01", 5), (None, 4), (None, None)):
        metadata = {} if rows is None else {"dagster/row_count": rows}
        made = dg.AssetMaterialization(["commerce", "orders"], partition=partition, metadata=metadata)
        instance.report_runless_asset_event(made)
    counted = row_counts(datasets_of([pipelines()["commerce"]]), instance)
    assert {key: [each["rows"] for each in found] for key, found in counted.items()} == {"commerce/orders": [3, 4]}


def test_an_export_has_the_file_that_was_written_last(instance: dg.DagsterInstance) -> None:
    for number in (1, 2):
        made = dg.AssetMaterialization(
            ["bookings", "customer_bookings_csv"], metadata={"dagster/uri": f"lake://b/{number}.csv"}
        )
        instance.report_runless_asset_event(made)
    files = exported_files(datasets_of([pipelines()["bookings"], pipelines()["movies"]]), instance)
    assert {key: found["file"] for key, found in files.items()} == {"bookings/customer_bookings_csv": "lake://b/2.csv"}
