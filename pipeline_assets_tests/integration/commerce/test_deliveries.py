"""Orders and customers in twenty objects over two days: the tables of a plain model, whatever happens.

What happens: any order, several runs, second deliveries, everything processed again, other contracts, runs of a day.
15,000 orders and 1,500 customers are loaded once; what happens to objects is tried with a fifth of them.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from pipeline_assets.batch.report import BatchReport, Request
from pipeline_assets.batch.run import run_batch
from pipeline_assets.commerce.pipeline import COMMERCE
from pipeline_assets.samples import write_samples
from pipeline_assets_tests.support.commerce_deliveries import Delivery, deliveries
from pipeline_assets_tests.support.commerce_lake import CommerceLake
from pipeline_assets_tests.support.commerce_model import Expected, expected, mart_by_duckdb, texts
from pipeline_assets_tests.support.pipeline_lake import changed_pipeline

DELIVERIES = deliveries(scale=0.2)
MODEL = expected(DELIVERIES)


def land(lake: CommerceLake, landed: Sequence[Delivery]) -> None:
    for delivery in landed:
        lake.write(delivery.key.removeprefix("firehose/"), delivery.content)


def assert_the_models(lake: CommerceLake, model: Expected = MODEL) -> None:
    """Tables, quarantine, accounting, the mart's copy and the zones are the model's."""
    tables = lake.tables()
    assert texts(tables["CUSTOMER_RAW"]) == model.customer_raw
    assert texts(tables["ORDERS_RAW"]) == model.orders_raw
    assert texts(tables["CUSTOMERS"]) == model.customers
    assert texts(tables["ORDERS"]) == model.orders
    mart = tables["ORDER_CUSTOMER_DATE_PRICE"]
    assert texts(mart) == model.mart
    open_records = lake.rows(
        "SELECT DATASET, REASON_CODE, RAW_RECORD FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL AND CLOSED_AT IS NULL"
    )
    assert Counter(open_records) == model.quarantined
    accounts = lake.rows(
        "SELECT DATASET, SUM(ROWS_READ), SUM(ROWS_LOADED + ROWS_SUPERSEDED + ROWS_QUARANTINED), SUM(ROWS_QUARANTINED), "
        "COUNT(*) FROM OPS.FILE_LEDGER GROUP BY 1 ORDER BY 1"
    )
    quarantined = Counter(dataset for dataset, *_ in model.quarantined.elements())
    assert [tuple(row) for row in accounts] == [
        (name, model.read[name], model.read[name], quarantined[name], 10) for name in ("customers", "orders")
    ]
    copied = [(key, name, date.fromisoformat(folder[11:]), *rest) for folder, key, name, *rest in lake.copied_rows()]
    assert sorted(copied) == sorted(mart)
    landed = {delivery.key.removeprefix("firehose/").replace("landing", "processed", 1) for delivery in DELIVERIES}
    assert set(lake.landed_keys()) == landed
    assert not lake.staged()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> CommerceLake:
    """A home after four runs of five objects each; tests get copies."""
    lake = CommerceLake.with_tables(tmp_path_factory.mktemp("loaded") / "home")
    for start in range(0, 20, 5):
        land(lake, DELIVERIES[start : start + 5])
        report = lake.run()
        assert (report.new, report.known, report.loaded, report.rejected) == (5, 0, 5, 0)
    return lake


@pytest.fixture
def home(loaded: CommerceLake, tmp_path: Path) -> CommerceLake:
    return CommerceLake.at(Path(shutil.copytree(loaded.home, tmp_path / "home")))


def test_several_runs_give_the_tables_of_the_model(loaded: CommerceLake) -> None:
    assert_the_models(loaded)


def test_one_run_over_the_whole_files_gives_the_models_tables_and_the_mart_of_plain_duckdb(tmp_path: Path) -> None:
    whole = deliveries()
    lake = CommerceLake.with_tables(tmp_path / "home")
    land(lake, whole)
    assert lake.run().loaded == 20
    assert_the_models(lake, expected(whole))

    write_samples("commerce", tmp_path, scale=1.0, seed=2024)
    found = mart_by_duckdb(tmp_path / "customers.csv", tmp_path / "orders.csv")
    assert texts(lake.tables()["ORDER_CUSTOMER_DATE_PRICE"]) == found


def test_every_object_delivered_twice_before_and_after_it_was_processed_loads_once(tmp_path: Path) -> None:
    lake = CommerceLake.with_tables(tmp_path / "home")
    land(lake, DELIVERIES[:10])
    land(lake, DELIVERIES[:10])
    assert lake.run().loaded == 10
    land(lake, DELIVERIES[5:])
    report = lake.run()
    assert (report.known, report.loaded) == (5, 10)
    land(lake, DELIVERIES)
    report = lake.run()
    assert (report.new, report.known, report.loaded, report.rows["read"]) == (0, 20, 0, 0)
    assert_the_models(lake)


def test_everything_processed_again_gives_the_same(home: CommerceLake) -> None:
    for delivered_again in (DELIVERIES[:0], DELIVERIES[:7]):
        land(home, delivered_again)
        report = home.run(reprocess=True)
        assert (report.loaded, report.rows["read"]) == (20, sum(MODEL.read.values()))
        assert_the_models(home)


def test_a_stricter_contract_and_back_gives_the_same(home: CommerceLake, tmp_path: Path) -> None:
    """Under the stricter one every object of orders is rejected, and nothing of it stays in ORDERS_RAW."""
    strict = changed_pipeline(COMMERCE, tmp_path / "strict", "orders", lambda text: text.replace("'F', 'O', ", ""))
    report = reprocessed(home, strict)
    assert (report.loaded, report.rejected) == (10, 10)
    assert {key.split("/")[1] for key in home.landed_keys() if key.startswith("orders/")} == {"rejected"}
    assert home.tables()["ORDERS_RAW"] == []

    assert home.run(reprocess=True).loaded == 20
    assert_the_models(home)


def test_a_contract_that_quarantines_more_and_back_gives_the_same(home: CommerceLake, tmp_path: Path) -> None:
    strict = changed_pipeline(COMMERCE, tmp_path / "strict", "orders", lambda text: text.replace(", 'P']", "]"))
    report = reprocessed(home, strict)
    partly = sum(number for row, number in MODEL.orders_raw.items() if row[2] == "P")
    assert report.rows["quarantined"] == sum(MODEL.quarantined.values()) + partly > 100
    assert len(home.tables()["ORDERS_RAW"]) == MODEL.orders_raw.total() - partly

    assert home.run(replay=True).released == partly
    assert texts(home.tables()["ORDERS_RAW"]) == MODEL.orders_raw
    assert home.run(replay=True).released == 0
    home.run(reprocess=True)
    assert_the_models(home)


def reprocessed(home: CommerceLake, pipeline: object) -> BatchReport:
    return run_batch(home.platform, pipeline, "test", Request(reprocess=True))  # type: ignore[arg-type]


def test_days_one_after_the_other_in_any_order_give_the_same(tmp_path: Path) -> None:
    lake = CommerceLake.with_tables(tmp_path / "home")
    land(lake, DELIVERIES)
    days = sorted({delivery.key.split("landing/")[1][:10].replace("/", "-") for delivery in DELIVERIES})
    loaded = [lake.run(days=(day, day)).loaded for day in reversed(days)]
    assert len(days) == 3
    assert sum(loaded) == 20
    assert min(loaded) > 0
    assert_the_models(lake)

    again = lake.run(days=(days[0], days[1]))
    assert again.loaded == sum(loaded[1:])
    assert lake.run(days=("2024-04-01", "2024-04-30")).loaded == 0
    assert_the_models(lake)
