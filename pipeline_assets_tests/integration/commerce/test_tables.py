"""The rules of the tables, the mart and its copy in the lake."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
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
from pipeline_assets_tests.support.pipeline_lake import changed_pipeline, copy_home

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


@dataclass
class Batches:
    """What one home had after each of three batches over customers and orders of their own for each rule."""

    lake: CommerceLake
    reports: list[BatchReport] = field(default_factory=list)
    tables: list[dict[str, list[tuple]]] = field(default_factory=list)
    copied: list[list[tuple]] = field(default_factory=list)
    partitions: list[list[str]] = field(default_factory=list)

    def mart(self, batch: int, *customers: str) -> list[tuple]:
        """(customer, name, day, price, orders) of the rows of these customers."""
        found = self.tables[batch]["ORDER_CUSTOMER_DATE_PRICE"]
        return [(key, name, f"{day}", str(price), int(n)) for key, name, day, price, n in found if key in customers]

    def prices(self, batch: int, *keys: str) -> dict[str, str]:
        return {row[0]: str(row[3]) for row in self.tables[batch]["ORDERS"] if row[0] in keys}

    def run(self) -> None:
        self.reports.append(self.lake.run())
        self.tables.append(self.lake.tables())
        self.copied.append(self.lake.copied_rows())
        self.partitions.append(partitions(self.lake))
        assert self.partitions[-1] == registered(self.lake)


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Batches:
    lake = CommerceLake.with_tables(tmp_path_factory.mktemp("batches") / "home")
    found = Batches(lake)
    # The first customer is behind the byte order mark; 1 and 2 are namesakes, 3 is renamed, 4 and 5 have open orders,
    # and 6 comes a day after the order.
    lake.deliver("customers", AT, "\ufeff" + customer(1), customer(2), *(customer(n, f"C{n}") for n in (3, 4, 5)))
    lake.deliver("orders", AT, order(10, 1, price="1.00"), order(20, 2, price="2.00"))
    lake.deliver("orders", AT, order(30, 3), order(31, 3, day="2024-02-02"), name="renamed")
    lake.deliver("orders", AT, order(40, 4, "O"), order(41, 4, "P"), order(42, 4, price="7.00"), name="open")
    lake.deliver("orders", AT, order(50, 5), order(51, 5, day="2024-02-09"), name="reopened")
    lake.deliver("orders", AT, order(60, 6, day="2024-02-06"), name="early")
    lake.deliver("orders", AT, order(70, 7, price="1.00"), order(71, 7), order(70, 7, price="2.00"), name="twice")
    lake.deliver("orders", AT + HOUR, order(80, 8, price="2.00"), name="newer")
    lake.deliver("orders", AT, order(90, 9, price="98.00"), name="zb")
    for spelled in (str.upper, str.lower):
        header, name = spelled(",".join(COLUMNS["orders"])), spelled.__name__
        lake.deliver("orders", AT, header, order(name, 9), name=f"header{name}")
    found.run()
    lake.deliver("customers", AT + HOUR, customer(3, "Renamed"))
    lake.deliver("orders", AT + HOUR, order(51, 5, status="P", day="2024-02-09"), name="reopened")
    lake.deliver("customers", AT + 24 * HOUR, customer(6, "C6"))
    lake.write(lake.key("orders", AT, "older"), order(80, 8, price="1.00"), AT + 99 * HOUR)
    lake.deliver("orders", AT, order(90, 9, price="99.00"), name="zc")
    found.run()
    lake.deliver("orders", AT, order(90, 9, price="97.00"), name="za")
    found.run()
    return found


def test_namesakes_stay_apart(batches: Batches) -> None:
    assert batches.mart(0, "1", "2") == [
        ("1", "Ada", "2024-02-01", "1.00", 1),
        ("2", "Ada", "2024-02-01", "2.00", 1),
    ]


def test_a_renamed_customer_changes_every_row_of_the_mart_and_its_copy(batches: Batches) -> None:
    for batch, name in enumerate(("C3", "Renamed")):
        assert [row[1] for row in batches.mart(batch, "3")] == [name, name]
        assert [row[2] for row in batches.copied[batch] if row[1] == "3"] == [name, name]


def test_only_finished_orders_enter_the_mart(batches: Batches) -> None:
    assert batches.mart(0, "4") == [("4", "C4", "2024-02-01", "7.00", 1)]
    assert batches.prices(0, "40", "41", "42").keys() == {"40", "41", "42"}


def test_an_order_that_is_open_again_leaves_the_mart_and_its_partition_goes(batches: Batches) -> None:
    days = ["2024-02-01", "2024-02-09"]
    for batch in range(2):
        assert [row[2] for row in batches.mart(batch, "5")] == days[: 2 - batch]
        assert [day for day in days if day in batches.partitions[batch]] == days[: 2 - batch]


def test_a_customer_who_comes_a_day_after_the_order_joins_by_itself(batches: Batches) -> None:
    assert batches.mart(0, "6") == []
    assert "2024-02-06" not in batches.partitions[0]
    assert batches.mart(1, "6") == [("6", "C6", "2024-02-06", "100.25", 1)]
    assert [row for row in batches.copied[1] if row[1] == "6"] == [
        ("order_date=2024-02-06", "6", "C6", Decimal("100.25"), 1)
    ]


def test_a_later_record_of_one_object_beats_an_earlier_one(batches: Batches) -> None:
    assert batches.prices(0, "70", "71") == {"70": "2.00", "71": "100.25"}
    assert [row[0] for row in batches.tables[0]["ORDERS_RAW"] if row[1] == "7"] == ["70", "70", "71"]


def test_the_delivery_time_in_the_key_orders_versions_not_the_time_of_the_object(batches: Batches) -> None:
    """A copy of an old delivery is younger than what it repeats."""
    assert [batches.prices(batch, "80") for batch in range(2)] == [{"80": "2.00"}] * 2
    assert len([row for row in batches.tables[1]["ORDERS_RAW"] if row[0] == "80"]) == 2


def test_objects_of_one_time_are_ordered_by_their_keys_in_any_order_of_runs(batches: Batches) -> None:
    assert [batches.prices(batch, "90")["90"] for batch in range(3)] == ["98.00", "99.00", "99.00"]


def test_the_byte_order_mark_does_not_cost_the_first_record(batches: Batches) -> None:
    assert [row[0] for row in batches.tables[0]["CUSTOMERS"]] == ["1", "2", "3", "4", "5"]


def test_a_header_that_somebody_uploaded_is_skipped_and_reported(batches: Batches) -> None:
    notes = [note for note in batches.reports[0].notes if "the first record names the columns and was skipped" in note]
    spelled = ("upper", "lower")
    assert {name: any(f"header{name}" in note for note in notes) for name in spelled} == dict.fromkeys(spelled, True)
    assert sorted(row[0] for row in batches.tables[0]["ORDERS_RAW"] if row[1] == "9") == ["90", "lower", "upper"]


def test_every_record_of_the_batches_is_counted_once(batches: Batches) -> None:
    assert [report.rows for report in batches.reports] == [
        {"read": 22, "loaded": 21, "superseded": 1, "quarantined": 0},
        {"read": 5, "loaded": 4, "superseded": 1, "quarantined": 0},
        {"read": 1, "loaded": 0, "superseded": 1, "quarantined": 0},
    ]


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


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> CommerceLake:
    """A home with a partition for each of two days; tests get copies."""
    lake = CommerceLake.with_tables(tmp_path_factory.mktemp("two_days") / "home")
    lake.deliver("customers", AT, customer(1), customer(2, "Grace"))
    lake.deliver("orders", AT, order(10), order(11, 2, day="2024-02-02"), order(14, day="2024-02-02"))
    lake.run()
    return lake


@pytest.fixture
def copied(two_days: CommerceLake, tmp_path: Path) -> CommerceLake:
    return CommerceLake.at(copy_home(two_days.home, tmp_path / "copied", CommerceLake.landing))


def test_only_changed_partitions_are_written_and_registered_again(
    copied: CommerceLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS 20: which rows changed does not depend on the clocks; one partition only loses a row."""
    lake, asked = copied, list[str]()
    catalog = type(lake.platform.catalog)
    register = catalog.register
    monkeypatch.setattr(catalog, "register", lambda *a: (asked.extend(a[2]), register(*a))[1])
    before = {path.parent.name: path.stat().st_ino for path in copies(lake)}

    lake.deliver("orders", AT + HOUR, order(12, day="2024-02-03"), order(11, 2, status="P", day="2024-02-02"))
    lake.run()
    after = {path.parent.name: path.stat().st_ino for path in copies(lake)}
    assert after["order_date=2024-02-01"] == before["order_date=2024-02-01"]
    assert after["order_date=2024-02-02"] != before["order_date=2024-02-02"]
    assert sorted(after) == [f"order_date=2024-02-0{day}" for day in (1, 2, 3)]
    assert asked == ["2024-02-02", "2024-02-03"]
    days = ("2024-02-01", "2024-02-02", "2024-02-03")
    assert [row[:2] for row in lake.copied_rows()] == [(f"order_date={day}", "1") for day in days]

    lake.deliver("orders", AT + 2 * HOUR, order(12, price="9.00", day="2024-02-03"))
    lake.with_platform(clock=lambda: LONG_AGO).run()
    assert [str(price) for *_, price, _ in lake.copied_rows()] == ["100.25", "100.25", "9.00"]
    assert asked[2:] == ["2024-02-03"]


def test_every_partition_is_written_again_after_the_select_or_the_contract_of_the_copy_changed(
    copied: CommerceLake, tmp_path: Path
) -> None:
    (table,) = copied.pipeline().lake_tables
    folders = {"sql": PROJECT_ROOT / "sql/commerce", "contracts": PROJECT_ROOT / "pipeline_assets/commerce/contracts"}
    for name, folder in folders.items():
        shutil.copytree(folder, tmp_path / "changed" / name)
    changes = (
        ("contracts", "DECIMAL(38,2)", "DECIMAL(38,4)", "100.2500"),
        ("sql", "PRICED.ORDER_TOTAL_PRICE,", "PRICED.ORDER_COUNT AS ORDER_TOTAL_PRICE,", "1.0000"),
    )
    for day, (kind, before, after, price) in enumerate(changes, 3):
        (path,) = (tmp_path / "changed" / kind).glob(f"{table.contract.name}.*")
        path.write_text(path.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
        copied.deliver("orders", AT + day * HOUR, order(20 + day, day=f"2024-02-0{day}"))
        run(copied, resolve(replace(COMMERCE, folder=tmp_path / "changed")))
        assert [str(row[3]) for row in copied.copied_rows()] == [price] * (day + 1), kind
        assert len(partitions(copied)) == day


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
def test_a_run_that_breaks_off_after_the_commit_is_finished_by_the_next(copied: CommerceLake, method: str) -> None:
    lake, opened = copied, (order(n, status="O", day="2024-02-02") for n in (11, 14))
    lake.deliver("orders", AT + HOUR, *opened, order(12))

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


def test_a_quarantined_record_says_where_its_object_is_now(lake: CommerceLake) -> None:
    objects = {
        "processed": order(1, price="x").encode() + b"\n",
        "rejected": f"{order(1)}af\xe9\n".encode("windows-1252") * 300,
    }
    for zone, content in objects.items():
        lake.deliver("orders", AT, name=zone).write_bytes(content)
    lake.run()
    for zone, content in objects.items():
        with lake.platform.warehouse.read_only() as transaction:
            ((record, *_), *_) = transaction.rows(
                f"SELECT QUARANTINE_ID FROM OPS.QUARANTINE WHERE SOURCE_URI LIKE '%-{zone}'"
            )
            shown = quarantined_record(transaction, record)
        assert shown is not None, zone
        now = str(shown["CURRENT_URI"])
        assert f"/{zone}/" in now
        assert (lake.home / "lake" / now.removeprefix("lake://")).read_bytes() == content
