"""The rules of the tables, the mart and its copy in the lake."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline_assets.batch.report import BatchReport, Request
from pipeline_assets.batch.run import run_batch
from pipeline_assets.commerce.pipeline import COMMERCE
from pipeline_assets.lake import LocalLake
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets.settings import PROJECT_ROOT
from pipeline_assets.warehouse.quarantine import quarantined_record
from pipeline_assets_tests.support.commerce_lake import CommerceLake, customer, order
from pipeline_assets_tests.support.commerce_model import COLUMNS
from pipeline_assets_tests.support.pipeline_lake import changed_pipeline

AT = datetime(2024, 3, 1, 10, 15, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
LONG_AGO = datetime.fromisoformat("2020-01-01T00:00:00")  # clocks of a platform have no time zone


def mart(lake: CommerceLake) -> list[tuple]:
    """(customer, name, price, orders) of every row."""
    return [(key, name, str(price), int(n)) for key, name, _, price, n in lake.tables()["ORDER_CUSTOMER_DATE_PRICE"]]


def copies(lake: CommerceLake) -> list[Path]:
    """The files of the mart's copy."""
    (table,) = lake.pipeline().lake_tables
    return sorted((lake.home / "lake" / table.bucket / table.prefix).glob("*/*"))


def partitions(lake: CommerceLake) -> list[str]:
    """The partitions with a file; each has one."""
    files = copies(lake)
    assert len(files) == len({file.parent for file in files})
    return sorted(file.parent.name.partition("=")[2] for file in files)


def registered(lake: CommerceLake) -> list[str]:
    return [value for (value,) in lake.rows("SELECT PARTITION_VALUE FROM OPS.LAKE_PARTITIONS ORDER BY 1")]


# --- versions ------------------------------------------------------------------------------------------------


def test_namesakes_stay_apart(lake: CommerceLake) -> None:
    lake.deliver("customers", AT, customer(1, "Ada"), customer(2, "Ada"))
    lake.deliver("orders", AT, order(10, 1, price="1.00"), order(11, 2, price="2.00"))
    lake.run()
    assert mart(lake) == [("1", "Ada", "1.00", 1), ("2", "Ada", "2.00", 1)]


def test_a_renamed_customer_changes_every_row_of_the_mart_and_its_copy(lake: CommerceLake) -> None:
    lake.deliver("customers", AT, customer(1, "Ada"))
    lake.deliver("orders", AT, order(10), order(11, day="2024-02-02"))
    lake.run()
    lake.deliver("customers", AT + HOUR, customer(1, "Augusta"))
    lake.run()
    assert [name for _, name, *_ in mart(lake)] == ["Augusta", "Augusta"]
    assert [row[2] for row in lake.copied_rows()] == ["Augusta", "Augusta"]


def test_only_finished_orders_enter_the_mart(lake: CommerceLake) -> None:
    lake.deliver("customers", AT, customer(1))
    lake.deliver("orders", AT, order(10, status="O"), order(11, status="P"), order(12, price="7.00"))
    lake.run()
    assert mart(lake) == [("1", "Ada", "7.00", 1)]
    assert len(lake.tables()["ORDERS"]) == 3


def test_an_order_that_is_open_again_leaves_the_mart_and_its_partition_goes(lake: CommerceLake) -> None:
    lake.deliver("customers", AT, customer(1))
    lake.deliver("orders", AT, order(10), order(11, day="2024-02-02"))
    lake.run()
    assert partitions(lake) == registered(lake) == ["2024-02-01", "2024-02-02"]

    lake.deliver("orders", AT + HOUR, order(11, status="P", day="2024-02-02"))
    lake.run()
    assert len(mart(lake)) == 1
    assert partitions(lake) == registered(lake) == ["2024-02-01"]


def test_a_customer_who_comes_a_day_after_the_order_joins_by_itself(lake: CommerceLake) -> None:
    lake.deliver("orders", AT, order(10))
    lake.run()
    assert mart(lake) == []
    assert partitions(lake) == []
    lake.deliver("customers", AT + 24 * HOUR, customer(1))
    lake.run()
    assert mart(lake) == [("1", "Ada", "100.25", 1)]
    assert lake.copied_rows() == [("order_date=2024-02-01", "1", "Ada", Decimal("100.25"), 1)]


def test_a_later_record_of_one_object_beats_an_earlier_one(lake: CommerceLake) -> None:
    lake.deliver("orders", AT, order(10, price="1.00"), order(11), order(10, price="2.00"))
    report = lake.run()
    assert {row[0]: str(row[3]) for row in lake.tables()["ORDERS"]} == {"10": "2.00", "11": "100.25"}
    assert len(lake.tables()["ORDERS_RAW"]) == 3
    assert report.rows == {"read": 3, "loaded": 2, "superseded": 1, "quarantined": 0}


def test_the_delivery_time_in_the_key_orders_versions_not_the_time_of_the_object(lake: CommerceLake) -> None:
    """A copy of an old delivery is younger than what it repeats."""
    lake.deliver("orders", AT + HOUR, order(10, price="2.00"))
    lake.run()
    lake.write(lake.key("orders", AT), order(10, price="1.00"), AT + 99 * HOUR)
    assert lake.run().rows["superseded"] == 1
    assert str(lake.tables()["ORDERS"][0][3]) == "2.00"


def test_objects_of_one_time_are_ordered_by_their_keys_in_any_order_of_runs(lake: CommerceLake) -> None:
    for name in "bca":
        lake.deliver("orders", AT, order(10, price=f"{ord(name)}.00"), name=name)
        lake.run()
    assert str(lake.tables()["ORDERS"][0][3]) == "99.00"


def test_the_byte_order_mark_does_not_cost_the_first_record(lake: CommerceLake) -> None:
    lake.deliver("customers", AT, "\ufeff" + customer(1), customer(2))
    lake.run()
    assert [row[0] for row in lake.tables()["CUSTOMERS"]] == ["1", "2"]


@pytest.mark.parametrize("spelled", [str.upper, str.lower])
def test_a_header_that_somebody_uploaded_is_skipped_and_reported(
    lake: CommerceLake, spelled: Callable[[str], str]
) -> None:
    lake.deliver("orders", AT, spelled(",".join(COLUMNS["orders"])), order(10))
    report = lake.run()
    assert report.rows == {"read": 1, "loaded": 1, "superseded": 0, "quarantined": 0}
    assert [row[0] for row in lake.tables()["ORDERS_RAW"]] == ["10"]
    assert ["the first record names the columns and was skipped" in note for note in report.notes] == [True]


# --- quarantine ----------------------------------------------------------------------------------------------


@pytest.fixture
def laxer(tmp_path: Path) -> ResolvedPipeline:
    """The contract after somebody allowed the status X."""
    return changed_pipeline(COMMERCE, tmp_path / "laxer", "orders", lambda text: text.replace("'P']", "'P', 'X']"))


def run(lake: CommerceLake, pipeline: ResolvedPipeline, **request: bool) -> BatchReport:
    return run_batch(lake.platform, pipeline, "test", Request(**request))  # type: ignore[arg-type]


def test_a_bad_record_is_replayed_once_and_appended_once(lake: CommerceLake, laxer: ResolvedPipeline) -> None:
    lake.deliver("customers", AT, customer(1))
    lake.deliver("orders", AT, order(10), order(11, status="X"), order(12))
    lake.run()
    assert len(lake.tables()["ORDERS_RAW"]) == 2

    assert run(lake, laxer, replay=True).released == 1
    after = lake.tables()
    assert [row[0] for row in after["ORDERS_RAW"]] == ["10", "11", "12"]
    assert run(lake, laxer, replay=True).released == 0
    run(lake, laxer, reprocess=True)
    assert run(lake, laxer, reprocess=True, replay=True).released == 0
    assert lake.tables() == after
    assert partitions(lake) == ["2024-02-01"]


def test_a_replayed_record_does_not_beat_a_newer_one(lake: CommerceLake, laxer: ResolvedPipeline) -> None:
    lake.deliver("orders", AT, order(10, status="X", price="1.00"))
    lake.run()
    lake.deliver("orders", AT + HOUR, order(10, price="2.00"))
    lake.run()
    report = run(lake, laxer, replay=True)
    assert (report.released, str(lake.tables()["ORDERS"][0][3])) == (1, "2.00")
    assert len(lake.tables()["ORDERS_RAW"]) == 2


# --- the copy of the mart in the lake ------------------------------------------------------------------------


def test_only_changed_partitions_are_written_and_registered_again(
    lake: CommerceLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    catalog = type(lake.platform.catalog)
    register = catalog.register
    monkeypatch.setattr(catalog, "register", lambda *a: (asked.extend(a[2]), register(*a))[1])
    lake.deliver("customers", AT, customer(1), customer(2, "Grace"))
    lake.deliver("orders", AT, order(10), order(11, 2, day="2024-02-02"))
    lake.run()
    before = {path.parent.name: path.stat().st_ino for path in copies(lake)}

    asked.clear()
    lake.deliver("orders", AT + HOUR, order(12, day="2024-02-03"), order(11, 2, price="9.00", day="2024-02-02"))
    lake.run()
    after = {path.parent.name: path.stat().st_ino for path in copies(lake)}
    assert after["order_date=2024-02-01"] == before["order_date=2024-02-01"]
    assert after["order_date=2024-02-02"] != before["order_date=2024-02-02"]
    assert sorted(after) == [f"order_date=2024-02-0{day}" for day in (1, 2, 3)]
    assert asked == ["2024-02-02", "2024-02-03"]


def test_a_partition_that_lost_a_row_and_got_none_is_written_again(lake: CommerceLake) -> None:
    lake.deliver("customers", AT, customer(1), customer(2, "Grace"))
    lake.deliver("orders", AT, order(10), order(11, 2))
    lake.run()
    lake.deliver("orders", AT + HOUR, order(11, 2, status="P"))
    lake.run()
    assert [row[:2] for row in lake.copied_rows()] == [("order_date=2024-02-01", "1")]


@pytest.mark.parametrize(
    ("file", "before", "after", "price"),
    [
        ("sql", "PRICED.ORDER_TOTAL_PRICE,", "PRICED.ORDER_COUNT AS ORDER_TOTAL_PRICE,", "1.00"),
        ("contracts", "DECIMAL(38,2)", "DECIMAL(38,4)", "100.2500"),
    ],
)
def test_every_partition_is_written_again_after_the_select_or_the_contract_of_the_copy_changed(
    lake: CommerceLake, tmp_path: Path, file: str, before: str, after: str, price: str
) -> None:
    lake.deliver("customers", AT, customer(1))
    lake.deliver("orders", AT, order(10))
    lake.run()
    (table,) = lake.pipeline().lake_tables
    folders = {"sql": PROJECT_ROOT / "sql/commerce", "contracts": PROJECT_ROOT / "pipeline_assets/commerce/contracts"}
    for name, folder in folders.items():
        shutil.copytree(folder, tmp_path / "changed" / name)
    (path,) = (tmp_path / "changed" / file).glob(f"{table.contract.name}.*")
    path.write_text(path.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")

    lake.deliver("orders", AT + HOUR, order(11, day="2024-02-02"))
    run(lake, resolve(replace(COMMERCE, folder=tmp_path / "changed")))
    assert [str(row[3]) for row in lake.copied_rows()] == [price, price]
    assert len(partitions(lake)) == 2


def test_the_copy_follows_the_mart_though_the_clock_went_back(lake: CommerceLake) -> None:
    """FAULTS 20: which rows changed does not depend on the clocks of the machines that run batches."""
    lake.deliver("customers", AT, customer(1), customer(2, "Grace"))
    lake.deliver("orders", AT, order(10), order(11, 2))
    lake.run()
    behind = lake.with_platform(clock=lambda: LONG_AGO)
    lake.deliver("orders", AT + HOUR, order(11, 2, price="9.00"))
    behind.run()
    assert [str(price) for *_, price, _ in lake.copied_rows()] == ["100.25", "9.00"]


def test_a_partition_that_was_written_before_a_run_broke_off_is_registered_by_the_next(
    lake: CommerceLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.deliver("customers", AT, customer(1))
    lake.deliver("orders", AT, order(10), order(11, day="2024-02-02"))
    catalog = lake.platform.catalog
    with monkeypatch.context() as patch:
        patch.setattr(type(catalog), "register", lambda *_: (_ for _ in ()).throw(RuntimeError("the machine stops")))
        with pytest.raises(RuntimeError):
            lake.run()
    assert (partitions(lake), registered(lake)) == (["2024-02-01", "2024-02-02"], [])
    lake.run()
    assert registered(lake) == ["2024-02-01", "2024-02-02"]


@pytest.mark.parametrize("method", ["delete", "publish", "move_all"])
def test_a_run_that_breaks_off_after_the_commit_is_finished_by_the_next(lake: CommerceLake, method: str) -> None:
    lake.deliver("customers", AT, customer(1))
    lake.deliver("orders", AT, order(10), order(11, day="2024-02-02"))
    lake.run()
    lake.deliver("orders", AT + HOUR, order(11, status="O", day="2024-02-02"), order(12))

    class Failing(LocalLake):
        """Fails when the mart's copy or the zones are written."""

        def fail(self, name: str, *arguments: object) -> object:
            if name == method and "staging" not in repr(arguments) and "processing" not in repr(arguments[2:]):
                raise RuntimeError("the machine stops")
            return getattr(LocalLake, name)(self, *arguments)

        def delete(self, uris: object) -> None:
            self.fail("delete", list(uris))  # type: ignore[call-overload]

        def publish(self, *arguments: object) -> str:
            return self.fail("publish", *arguments)  # type: ignore[return-value]

        def move_all(self, *arguments: object) -> None:
            self.fail("move_all", *arguments)

    with pytest.raises(RuntimeError):
        lake.with_platform(lake=Failing(lake.home / "lake")).run()
    lake.run()
    assert mart(lake) == [("1", "Ada", "200.50", 2)]
    assert [row[1:] for row in lake.copied_rows()] == [("1", "Ada", Decimal("200.50"), 2)]
    assert partitions(lake) == registered(lake) == ["2024-02-01"]
    assert {key.split("/")[1] for key in lake.landed_keys()} == {"processed"}
    assert not lake.staged()


@pytest.mark.parametrize(
    ("content", "zone"),
    [
        (order(1, price="x").encode() + b"\n", "processed"),
        (f"{order(1)}af\xe9\n".encode("windows-1252") * 300, "rejected"),
    ],
    ids=["a bad record", "a rejected object"],
)
def test_a_quarantined_record_says_where_its_object_is_now(lake: CommerceLake, content: bytes, zone: str) -> None:
    lake.deliver("orders", AT).write_bytes(content)
    lake.run()
    with lake.platform.warehouse.read_only() as transaction:
        shown = quarantined_record(transaction, transaction.scalar("SELECT QUARANTINE_ID FROM OPS.QUARANTINE"))
    assert shown is not None
    now = str(shown["CURRENT_URI"])
    assert f"/{zone}/" in now
    assert (lake.home / "lake" / now.removeprefix("lake://")).read_bytes() == content
