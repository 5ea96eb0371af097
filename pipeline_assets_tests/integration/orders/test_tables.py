"""What one batch of `orders` makes of odd but honest orders, of their dates, and of many files."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline_assets.engine.formats.json.documents import LARGEST_RECORD
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product

START = datetime(2026, 1, 1, tzinfo=UTC)
BAD_EACH = 10_007


def headers(lake: OrdersLake) -> dict[str, tuple]:
    return {row[0]: row[1:] for row in lake.tables()["ORDER_HEADERS"]}


def lines(lake: OrdersLake) -> list[tuple]:
    """(order, line number, product, price, quantity)"""
    return [(row[0], row[1], row[7], row[11], row[12]) for row in lake.tables()["ORDER_LINES"]]


# --- one batch with these orders, which the tests only read ------------------------------------------------------

MOMENTS = ("2024-05-06", "2024-05-06T23:59:59-11:00", "2024-05-06 00:00:00", "2024-05-06T00:00:00.123456Z")
EACH = [order(f"layout {number}", product("P1"), product("P2")) for number in range(1, 6)]


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> OrdersLake:
    lake = OrdersLake.with_tables(tmp_path_factory.mktemp("batch"))
    without = order("none 3", date="2024-03-01")
    del without["products"]
    none = (order("none 1", date="2024-03-01"), order("none 2", date="2024-03-01", products=None), without)
    lake.orders("_none", *none)  # a day of their own
    lake.orders("_twice", order("twice", product("P1"), product("P1")))
    lake.orders("_return", order("return", product("P1", "2.50", -3)))
    lake.orders("_ids", order(1, product(10**25)), order("0002", product("P1")), order(" 3 ", product(7)))
    lake.orders("_moments", *(order(moment, product("P1"), date=moment) for moment in MOMENTS))
    exact = json.dumps([order("exact", product("P1"))]).replace("2.5", "12345678901234.5678").replace(" 2,", " 1,")
    lake.write("exact.json", exact)
    lake.write("array.json", json.dumps(EACH[:2]))
    lake.write("single.json", json.dumps(EACH[2], indent=4))
    lake.write("lines.jsonl", "\r\n".join(map(json.dumps, EACH[3:4])) + "\r\n\r\n")
    lake.write("packed.ndjson.gz", gzip.compress(b"\xef\xbb\xbf" + json.dumps(EACH[4]).encode()))
    report = lake.run()
    assert (report.loaded, report.rows) == (10, {"read": 18, "loaded": 18, "superseded": 0, "quarantined": 0})
    return lake


def test_an_order_without_products_has_a_header_with_no_lines(batch: OrdersLake) -> None:
    keys = ("none 1", "none 2", "none 3")
    found = headers(batch)
    assert {key: (found[key][3], found[key][4]) for key in keys} == dict.fromkeys(keys, (0, Decimal("0.0000")))
    assert not [row for row in lines(batch) if row[0] in keys]
    folders = {path.parent.name for path in batch.lake_files()}
    assert folders == {"dt=2024-01-10", "dt=2024-05-06"}, "no file without rows"


def test_the_same_product_twice_stays_two_lines(batch: OrdersLake) -> None:
    assert [row[:3] for row in lines(batch) if row[0] == "twice"] == [("twice", 1, "P1"), ("twice", 2, "P1")]
    assert len(batch.lake_orders()["twice"]) == 2


def test_a_negative_quantity_is_a_return_and_loads(batch: OrdersLake) -> None:
    assert [row for row in lines(batch) if row[0] == "return"] == [("return", 1, "P1", Decimal("2.5000"), -3)]
    assert headers(batch)["return"][4] == Decimal("-7.5000")


def test_ids_are_strings_however_they_came(batch: OrdersLake) -> None:
    found = [row[:3] for row in lines(batch) if row[0].strip() in {"0002", "1", "3", "2"}]
    assert found == [("0002", 1, "P1"), ("1", 1, str(10**25)), ("3", 1, "7")]


def test_the_day_of_an_order_is_the_one_that_its_own_clock_showed(batch: OrdersLake) -> None:
    """Were it converted, one order would lie under two days, depending on where it was read."""
    found, lake = headers(batch), batch.lake_orders()
    assert {moment: found[moment][0] for moment in MOMENTS} == dict.fromkeys(MOMENTS, date(2024, 5, 6))
    kept = {moment: [(folder, text) for folder, _, text, *_ in lake[moment]] for moment in MOMENTS}
    assert kept == {moment: [("dt=2024-05-06", moment)] for moment in MOMENTS}


def test_money_keeps_its_digits(batch: OrdersLake) -> None:
    assert [row[3] for row in lines(batch) if row[0] == "exact"] == [Decimal("12345678901234.5678")]


def test_every_layout_loads_alike(batch: OrdersLake) -> None:
    rows = [row for row in batch.tables()["ORDER_LINES"] if row[0].startswith("layout")]
    assert (len(rows), len({row[2:] for row in rows})) == (10, 2)


# --- two batches with all of these orders, which the tests only read ---------------------------------------------


@dataclass(frozen=True)
class Changed:
    """A lake after a second batch; `files` and `inodes` are those of the days before it, and `late` has its version."""

    lake: OrdersLake
    files: dict[str, Path]
    inodes: dict[str, int]
    late: tuple[object, ...]

    @property
    def days(self) -> dict[str, list[str]]:
        """The folders of each order in the lake, one for each of its lines."""
        return {key: [row[0].removeprefix("dt=") for row in rows] for key, rows in self.lake.lake_orders().items()}

    def sold(self, month: str) -> dict[str, int]:
        """The orders of each day of a month in the mart."""
        sales = self.lake.tables()["DAILY_CATEGORY_SALES"]
        return {f"{row[0]}": row[2] for row in sales if f"{row[0]}".startswith(month)}

    def listed(self, month: str) -> list[tuple[str, int]]:
        """(day, files) of a month in the catalog."""
        listed = self.lake.rows("SELECT PARTITION_VALUE, FILES FROM OPS.LAKE_PARTITIONS ORDER BY 1")
        return [(day, files) for day, files in listed if day.startswith(month)]


def version_of(lake: OrdersLake, key: str) -> tuple[object, ...]:
    """The rows of an order in the tables and in the lake."""
    lines = [row for row in lake.tables()["ORDER_LINES"] if row[0] == key]
    return headers(lake)[key], lines, lake.lake_orders()[key]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Changed:
    """Each case has a month of its own, as the keys of its orders say."""
    lake = OrdersLake.with_tables(tmp_path_factory.mktemp("changed"))
    first = [
        *(order("01 moves", product("P1"), date="2023-01-10"), order("01 stays", product("P1"), date="2023-01-11")),
        *(order("02 leaves", product("P1"), date="2023-02-10"), order("02 stays", product("P1"), date="2023-02-10")),
        *(order("04 a", product("P1"), date="2023-04-10"), order("04 b", product("P1"), date="2023-04-11")),
        order("05 a", product("P1"), date="2023-05-10"),
    ]
    lake.orders("", *first, modified=START)
    lake.orders("_new", order("03", product("NEW"), date="2023-03-10"), modified=START + timedelta(hours=2))
    lake.run()
    files = {path.parent.name.removeprefix("dt="): path for path in lake.lake_files()}
    inodes, late = {day: path.stat().st_ino for day, path in files.items()}, version_of(lake, "03")
    for name in ("_SUCCESS", "notes.txt"):
        (files["2023-05-10"].parent / name).write_text("not Parquet")
    second = [
        order("01 moves", product("P1"), date="2023-01-11"),
        *(order("02 leaves", product("P1"), date="2023-02-11"), order("02 comes", product("P1"), date="2023-02-10")),
        *(order("04 c", product("P1"), date="2023-04-10"), order("05 b", product("P1"), date="2023-05-10")),
    ]
    lake.orders("_changed", *second, modified=START + timedelta(hours=1))
    lake.orders("_late", order("03", product("OLD"), product("OLD2"), date="2023-03-09"), modified=START)
    report = lake.run()
    assert (report.loaded, report.rows["superseded"]) == (2, 1)
    return Changed(lake, files, inodes, late)


def test_an_order_that_changes_its_day_leaves_no_trace_under_the_old_one(changed: Changed) -> None:
    assert (changed.days["01 moves"], changed.days["01 stays"]) == (["2023-01-11"], ["2023-01-11"])
    assert changed.sold("2023-01") == {"2023-01-11": 2}
    assert changed.listed("2023-01") == [("2023-01-11", 1)]
    assert [path.name for path in changed.lake.lake_table.glob("dt=2023-01-*/*.parquet")] == [
        changed.files["2023-01-11"].name
    ]


def test_a_file_that_loses_an_order_and_gains_another_in_one_batch_has_what_it_gained(changed: Changed) -> None:
    """It is promoted twice: without what leaves it, then with what comes; in the other order the new rows were lost."""
    assert {key: days for key, days in changed.days.items() if key.startswith("02")} == {
        "02 leaves": ["2023-02-11"],
        "02 stays": ["2023-02-10"],
        "02 comes": ["2023-02-10"],
    }


def test_an_older_version_that_arrives_late_changes_nothing(changed: Changed) -> None:
    assert version_of(changed.lake, "03") == changed.late
    assert changed.listed("2023-03") == [("2023-03-10", 1)]
    assert changed.sold("2023-03") == {"2023-03-10": 1}


def test_a_day_without_changes_is_not_written_again(changed: Changed) -> None:
    day = "2023-04-11"
    assert changed.files[day].stat().st_ino == changed.inodes[day]
    assert changed.files["2023-04-10"].stat().st_ino != changed.inodes["2023-04-10"]


def test_what_others_leave_in_a_days_folder_is_no_file_of_the_table(changed: Changed) -> None:
    """Spark leaves `_SUCCESS`, people leave notes; neither stops a batch or counts in the catalog."""
    assert changed.listed("2023-05") == [("2023-05-10", 1)]
    assert sorted(key for key in changed.days if key.startswith("05")) == ["05 a", "05 b"]


# --- several batches ---------------------------------------------------------------------------------------------


def test_an_empty_array_is_a_loaded_object_without_rows(orders_lake: OrdersLake) -> None:
    orders_lake.orders("")
    report = orders_lake.run()
    assert (report.loaded, report.rows["read"]) == (1, 0)
    assert orders_lake.run().known == 1


FATES = [("moved", "moved"), ("moved", "moved elsewhere"), ("moved", "without products"), ("without products",) * 2]


def test_a_file_of_the_lake_that_loses_all_its_orders_is_gone(orders_lake: OrdersLake) -> None:
    """In whichever ways it loses them; what took its orders, and nothing else, is in the lake and in the catalog."""
    first, changed, shown = [], [], {}
    for case, fates in enumerate(FATES):  # each case has a month of its own
        month = f"2024-0{case + 1}"
        days = {"moved": f"{month}-11", "moved elsewhere": f"{month}-12", "without products": f"{month}-10"}
        for number, fate in enumerate(fates, 10 * case + 1):
            first.append(order(number, *[product("P1")] * (1 + number % 2), date=f"{month}-10"))
            changed.append(order(number, *[product("P3")] * (fate != "without products"), date=days[fate]))
            if fate != "without products":
                shown[str(number)] = days[fate]
    orders_lake.orders("", *first, modified=START)
    orders_lake.run()
    emptied = orders_lake.lake_files()
    orders_lake.orders("_changed", *changed, modified=START + timedelta(hours=1))
    orders_lake.run()

    exist = {fates: path.exists() for fates, path in zip(FATES, emptied, strict=True)}
    assert exist == dict.fromkeys(FATES, False)
    assert {key: [row[0] for row in rows] for key, rows in orders_lake.lake_orders().items()} == {
        key: [f"dt={day}"] for key, day in shown.items()
    }
    assert {row[0]: row[7] for row in orders_lake.tables()["ORDER_LINES"]} == dict.fromkeys(shown, "P3")
    assert len(orders_lake.tables()["ORDER_LINES"]) == len(shown)
    assert orders_lake.rows("SELECT PARTITION_VALUE FROM OPS.LAKE_PARTITIONS ORDER BY 1") == [
        (day,) for day in sorted(set(shown.values()))
    ]


def test_small_batches_fill_up_one_file_a_day_and_known_files_keep_their_names(orders_lake: OrdersLake) -> None:
    for batch in range(4):
        orders_lake.orders(f"_{batch}", order(batch, product("P1")), modified=START + timedelta(hours=batch))
        orders_lake.run()
        if not batch:
            (first,) = orders_lake.lake_files()
    assert orders_lake.lake_files() == [first]
    assert sorted(orders_lake.lake_orders()) == ["0", "1", "2", "3"]


def test_reprocessing_rebuilds_the_lake_after_somebody_deleted_it(orders_lake: OrdersLake) -> None:
    orders_lake.orders("", order(1, product("P1")), order(2, product("P1"), date="2024-01-11"))
    orders_lake.run()
    before = orders_lake.lake_orders()
    for path in orders_lake.lake_files():
        path.unlink()
    orders_lake.run(reprocess=True)
    assert orders_lake.lake_orders() == before


def test_a_quarantined_order_is_released_by_a_replay_once(orders_lake: OrdersLake) -> None:
    """A shop that wrote a wrong date; the raw order spans lines in its file."""
    orders_lake.write("bad.json", json.dumps([order(1, product("P1")), order(2, product("P2"), date="soon")], indent=2))
    report = orders_lake.run()
    assert report.rows == {"read": 2, "loaded": 1, "superseded": 0, "quarantined": 1}
    ((key, raw, line),) = orders_lake.rows("SELECT QUARANTINE_ID, RAW_RECORD, LINE_NUMBER FROM OPS.QUARANTINE")
    assert json.loads(raw)["order_id"] == 2
    assert "\n" in raw
    assert int(line) == 2
    assert orders_lake.run(replay=True).released == 0
    with orders_lake.platform.warehouse.transaction() as transaction:  # as if the contract had learnt to read the date
        corrected = raw.replace("soon", "2024-01-12")
        transaction.execute("UPDATE OPS.QUARANTINE SET RAW_RECORD = %s WHERE QUARANTINE_ID = %s", (corrected, key))
    assert orders_lake.run(replay=True).released == 1
    assert orders_lake.run(replay=True).released == 0
    assert sorted(headers(orders_lake)) == ["1", "2"]
    assert sorted(orders_lake.lake_orders()) == ["1", "2"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_thousands_of_tiny_files_in_one_run_become_few(orders_lake: OrdersLake) -> None:
    """More than are read, copied or written at once; what else twenty thousand would show is that they take longer."""
    count, folder = 3_000, orders_lake.landing_folder
    folder.mkdir(parents=True)
    for number in range(count):
        day = f"2024-01-{number % 28 + 1:02d}"
        (folder / f"order_{number}.json").write_text(json.dumps(order(number, product("P1"), date=day)))
    (folder / "order_777.json").write_text('{"order_id": 777, "order_da')
    report = orders_lake.run()
    assert (report.loaded, report.rejected) == (count - 1, 1)
    assert report.rows["loaded"] == count - 1
    assert len(orders_lake.lake_files()) == 28
    assert sum(pq.read_metadata(path).num_rows for path in orders_lake.lake_files()) == count - 1
    assert orders_lake.rows("SELECT COUNT(*) FROM OPS.FILE_LEDGER") == [(count,)]
    assert len(report.statements) < 60, "the number of statements must not follow the number of files"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_single_line_array_is_read_record_by_record_in_little_memory(orders_lake: OrdersLake, tmp_path: Path) -> None:
    """The line is longer than four of the longest records that are accepted; all threads take its records."""
    lake = OrdersLake.at(orders_lake.home, memory_limit="300MB")  # as in docs/benchmarks.md
    one = json.dumps(order("ID", *(product(f"P{n}", n + 0.25) for n in range(1, 4))))
    before, after = one.split('"ID"')
    count = 4 * LARGEST_RECORD // len(before + after)
    with open(tmp_path / "big.json", "w", encoding="utf-8") as file:
        file.write("[")
        for number in range(count):
            rest = after if number % BAD_EACH else after.replace("2024-01-10", "soon")
            file.write(f"{',' if number else ''}{before}{number}{rest}")
        file.write("]")
    lake.land(tmp_path / "big.json", "big.json")
    report = lake.run()
    assert report.bytes_read > 4 * LARGEST_RECORD
    bad = range(0, count, BAD_EACH)
    good = count - len(bad)
    assert report.rows == {"read": count, "loaded": good, "superseded": 0, "quarantined": len(bad)}
    assert lake.rows("SELECT COUNT(*), COUNT(DISTINCT ORDER_ID) FROM ORDERS.ORDER_LINES") == [(3 * good, good)]
    waiting = lake.rows("SELECT LINE_NUMBER, RAW_RECORD FROM OPS.QUARANTINE ORDER BY LINE_NUMBER")
    assert [(line, json.loads(raw)["order_id"]) for line, raw in waiting] == [(n + 1, n) for n in bad]
