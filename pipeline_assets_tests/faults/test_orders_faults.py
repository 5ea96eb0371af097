"""The rows of the fault table that are not crashes, for `orders`; each test names its row.

What is the platform's and not this pipeline's (rows 20, 24, 30, 31) is tested with `bookings`.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline_assets.batch.outputs import Outputs
from pipeline_assets.contracts import model
from pipeline_assets.engine.duckdb.engine import DuckDBSession
from pipeline_assets.errors import WarehouseError
from pipeline_assets.lake import LocalLake
from pipeline_assets.orders.pipeline import ORDERS
from pipeline_assets_tests.support.command_line import process, run_code
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product
from pipeline_assets_tests.support.pipeline_lake import changed_pipeline

START = datetime(2026, 1, 1, tzinfo=UTC)


def orders(lake: OrdersLake) -> list[str]:
    return [row[0] for row in lake.tables()["ORDER_HEADERS"]]


def test_row_2_the_same_event_again_and_again_is_one_load(orders_lake: OrdersLake) -> None:
    orders_lake.orders("", order(1, product("P1")))
    assert [orders_lake.run().loaded for _ in range(4)] == [1, 0, 0, 0]
    assert len(orders_lake.lake_files()) == 1
    assert len(orders_lake.lake_orders()["1"]) == 1


@pytest.mark.slow
def test_rows_2_and_19_two_runs_at_once_in_two_processes_load_once(orders_lake: OrdersLake) -> None:
    orders_lake.orders("", *(order(n, product("P1"), date=f"2024-01-{n % 9 + 1:02d}") for n in range(2000)))
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda _: process(orders_lake.home, "run", "orders", "--json"), range(2)))
    assert [run.returncode for run in ended] == [0, 0], ended
    answers = [json.loads(run.stdout) for run in ended]
    assert sorted(answer["objects"]["loaded"] for answer in answers) == [0, 1]
    assert len(orders(orders_lake)) == 2000
    assert {key: len(rows) for key, rows in orders_lake.lake_orders().items()} == {str(n): 1 for n in range(2000)}


def test_row_19_a_plan_made_stale_by_another_machine_publishes_nothing(
    orders_lake: OrdersLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither tables nor lake: the loser's files never leave its staging prefix."""
    orders_lake.orders("", order(1, product("P1")))
    other = OrdersLake.at(orders_lake.home)
    make = Outputs.make
    reports = []

    def meanwhile(outputs: Outputs) -> None:
        make(outputs)
        if not reports:
            monkeypatch.setattr(Outputs, "make", make)
            locks, scratch = orders_lake.home / "locks-of-another-machine", orders_lake.home / "other"
            reports.append(other.with_platform(locks=locks, scratch=scratch).run())

    monkeypatch.setattr(Outputs, "make", meanwhile)
    with pytest.raises(WarehouseError, match="published first"):
        orders_lake.run()
    assert reports[0].loaded == 1
    assert orders_lake.run().new == 0
    assert orders(orders_lake) == ["1"]
    assert len(orders_lake.lake_orders()["1"]) == 1
    assert not orders_lake.staged()


def test_row_4_the_same_key_with_new_bytes_is_a_new_object_and_wins(orders_lake: OrdersLake) -> None:
    orders_lake.orders("", order(1, product("OLD")), order(2, product("P2")), modified=START)
    orders_lake.run()
    orders_lake.orders("", order(1, product("NEW")), order(2, product("P2")), modified=START + timedelta(seconds=1))
    report = orders_lake.run()
    assert (report.new, report.known) == (1, 0)
    assert [row[7] for row in orders_lake.tables()["ORDER_LINES"]] == ["NEW", "P2"]
    assert [row[8] for row in orders_lake.lake_orders()["1"]] == ["NEW"]


def test_row_5_an_object_overwritten_while_it_is_read_is_left_to_the_next_run(
    orders_lake: OrdersLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders_lake.orders("", order(1, product("P1")))
    orders_lake.orders("_other", order(2, product("P1")))
    read = DuckDBSession.read
    overwritten = []

    def then_overwrite(session: DuckDBSession, name: str, *arguments: object) -> None:
        read(session, name, *arguments)  # type: ignore[arg-type]
        if not overwritten:
            overwritten.append(orders_lake.orders("", order(1, product("P3")), order(3)))

    monkeypatch.setattr(DuckDBSession, "read", then_overwrite)
    report = orders_lake.run()
    assert [uri.rpartition("/")[2] for uri in report.requeued] == ["orders.json"]
    assert orders(orders_lake) == ["2"]
    assert list(orders_lake.lake_orders()) == ["2"]
    orders_lake.run()
    assert orders(orders_lake) == ["1", "2", "3"]
    assert not orders_lake.staged()


_WHOLE = json.dumps([order(number, product("P1")) for number in range(500)])


UNREADABLE = {
    "truncated.json.gz": gzip.compress(os.urandom(9_000).hex().encode())[:5_000],
    "truncated.json": _WHOLE[: len(_WHOLE) // 2],
    "cut_behind_a_comma.json": _WHOLE[: _WHOLE.index("}]}, ") + 4],
    "cut.ndjson": f"{json.dumps(order(5))}\n{json.dumps(order(6))[:70]}",
    "binary.json": bytes(range(256)) * 100,
    "utf16.json": _WHOLE.encode("utf-16"),
    "two_lists.json": f"{_WHOLE}\n{_WHOLE}",
    "parquet.json": b"PAR1" + bytes(1000),
}


def test_row_6_unreadable_objects_are_rejected_and_the_rest_of_the_batch_loads(orders_lake: OrdersLake) -> None:
    orders_lake.orders("_good", order(1000, product("P1")))
    for name, content in UNREADABLE.items():
        orders_lake.write(name, content)
    report = orders_lake.run()
    assert (report.loaded, report.rejected) == (1, len(UNREADABLE))
    assert orders(orders_lake) == ["1000"]
    assert list(orders_lake.lake_orders()) == ["1000"]
    quarantined = orders_lake.rows("SELECT SOURCE_URI, REASON_CODE, LINE_NUMBER FROM OPS.QUARANTINE")
    assert sorted((uri.rpartition("/")[2], *why) for uri, *why in quarantined) == [
        (name, "unreadable_object", None) for name in sorted(UNREADABLE)
    ]
    alerts = (orders_lake.home / "alerts.jsonl").read_text()
    assert all(name in alerts for name in UNREADABLE)
    assert orders_lake.run().new == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_row_7_one_poison_order_among_many_waits_alone_and_replay_completes_them(
    orders_lake: OrdersLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, poisoned = 300_000, 254_321
    before, after = json.dumps(order("ID")).split('"ID"')
    lines = [f"{before}{number}{after}" for number in range(count)]
    lines[poisoned] = lines[poisoned].replace("2024-01-10", "10.01.2024")
    orders_lake.write("orders.ndjson", "\n".join(lines) + "\n")
    report = orders_lake.run()
    assert report.rows == {"read": count, "loaded": count - 1, "superseded": 0, "quarantined": 1}
    ((line, code, raw, reason),) = orders_lake.rows(
        "SELECT LINE_NUMBER, REASON_CODE, RAW_RECORD, REASON FROM OPS.QUARANTINE"
    )
    assert (int(line), code, raw) == (poisoned + 1, "not_a_date", lines[poisoned])
    assert "10.01.2024" in reason

    corrected = _with_date_format(orders_lake.home / "changed", "DD.MM.YYYY", "^[0-9]{2}[.][0-9]{2}[.][0-9]{4}$")
    monkeypatch.setattr(OrdersLake, "pipeline", staticmethod(corrected))
    assert [orders_lake.run(replay=True).released for _ in range(2)] == [1, 0]
    assert orders_lake.rows("SELECT COUNT(*), COUNT(DISTINCT ORDER_ID) FROM ORDERS.ORDER_HEADERS") == [(count, count)]
    assert orders_lake.rows("SELECT COUNT(*) FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL") == [(0,)]


def _with_date_format(folder: Path, form: str, pattern: str) -> Callable:
    """The pipeline after somebody added a date format to the contract of orders."""
    model.DATE_PATTERNS.setdefault(form, pattern)
    corrected = changed_pipeline(
        ORDERS, folder, "orders", lambda text: text.replace("value: [YYYY-MM-DD,", f"value: [YYYY-MM-DD, {form},")
    )
    return lambda: corrected


def test_row_8_more_poison_than_the_threshold_rejects_the_object_and_loads_nothing_of_it(
    orders_lake: OrdersLake,
) -> None:
    orders_lake.orders("", *(order(n, product("P1", "free" if n % 3 else 1)) for n in range(30)))
    orders_lake.orders("_good", order(100, product("P1")))
    report = orders_lake.run()
    assert (report.loaded, report.rejected) == (1, 1)
    assert report.rows["quarantined"] == 30
    assert orders(orders_lake) == ["100"]
    ((code, reason),) = orders_lake.rows("SELECT REASON_CODE, REASON FROM OPS.QUARANTINE")
    assert code == "too_many_bad_rows"
    assert "20 of 30" in reason
    assert "products[1]: PRICE" in reason


class TestRow15:
    """Keys added, removed, renamed, retyped, reordered: exactly the policy's outcome, with a difference."""

    def test_an_added_key_survives_as_json_where_it_stood(self, orders_lake: OrdersLake) -> None:
        orders_lake.orders("", order(1, product("P1") | {"discount": 0.5}, product("P2"), channel="app"))
        report = orders_lake.run()
        assert list(report.unknown_columns.values()) == [["channel", "products[].discount"]]
        ((rescued,),) = orders_lake.rows("SELECT _RESCUED FROM ORDERS.ORDER_HEADERS")
        assert json.loads(rescued) == {"channel": "app"}
        found = orders_lake.rows("SELECT LINE_NUMBER, _RESCUED FROM ORDERS.ORDER_LINES ORDER BY 1")
        assert [(int(line), json.loads(text) if text else None) for line, text in found] == [
            (1, {"discount": 0.5}),
            (2, None),
        ]

    def test_a_removed_optional_key_loads_nulls(self, orders_lake: OrdersLake) -> None:
        bare = product("P1")
        del bare["category"]
        orders_lake.orders("", order(1, bare))
        orders_lake.run()
        assert orders_lake.tables()["ORDER_LINES"][0][9] is None
        assert orders_lake.tables()["DAILY_CATEGORY_SALES"][0][1] is None

    def test_a_renamed_required_key_rejects_a_file_of_any_size_that_matters(self, orders_lake: OrdersLake) -> None:
        renamed = [order(n) | {"order_no": n} for n in range(25)]
        for each in renamed:
            del each["order_id"]
        orders_lake.orders("", *renamed)
        assert orders_lake.run().rejected == 1
        ((code, reason),) = orders_lake.rows("SELECT REASON_CODE, REASON FROM OPS.QUARANTINE")
        assert code == "missing_column"
        assert "No record has order_id." in reason
        assert "not in the contract: order_no" in reason

    def test_a_retyped_key_is_rejected_by_its_share_of_bad_rows(self, orders_lake: OrdersLake) -> None:
        orders_lake.orders("", *(order(n, total={"value": 5, "currency": "EUR"}) for n in range(25)))
        assert orders_lake.run().rejected == 1

    def test_reordered_keys_load_alike(self, orders_lake: OrdersLake) -> None:
        orders_lake.orders("", dict(reversed(order(1, dict(reversed(product("P1").items()))).items())))
        orders_lake.run()
        assert orders_lake.tables()["ORDER_LINES"][0][7:] == ("P1", "Product P1", "Toys", 5, Decimal("2.5"), 2)


def test_row_27_a_batch_whose_files_could_not_be_handed_out_is_finished_by_the_next_run(
    orders_lake: OrdersLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders_lake.orders("", order(1, product("P1")))
    with monkeypatch.context() as patched:
        patched.setattr(LocalLake, "move", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
        with pytest.raises(OSError, match="Read-only"):
            orders_lake.run()
    assert orders(orders_lake) == ["1"]
    assert not orders_lake.lake_files()
    assert orders_lake.run().new == 0
    assert list(orders_lake.lake_orders()) == ["1"]
    assert not orders_lake.staged()


def test_a_catalog_that_refuses_is_asked_again_by_the_next_run(
    orders_lake: OrdersLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders_lake.orders("", order(1, product("P1")))
    with monkeypatch.context() as patched:
        patched.setattr(
            type(orders_lake.platform.catalog), "register", lambda *_: (_ for _ in ()).throw(WarehouseError("No."))
        )
        with pytest.raises(WarehouseError):
            orders_lake.run()
    orders_lake.run()
    assert orders_lake.rows("SELECT PARTITION_VALUE, FILES FROM OPS.LAKE_PARTITIONS") == [("2024-01-10", 1)]


def test_many_readers_of_the_lake_see_every_order_once_and_whole(orders_lake: OrdersLake, tmp_path: Path) -> None:
    """Four batches change every order, while another process reads the folder as any engine would."""
    versions = [[order(n, *[product(f"V{v}")] * (v + 1)) for n in range(30)] for v in range(5)]
    orders_lake.orders("", *versions[0], modified=START)
    orders_lake.run()
    script = (
        "import sys, json\n"
        "from pathlib import Path\n"
        "from pipeline_assets_tests.support.orders_lake import OrdersLake\n"
        "lake, done, seen = OrdersLake.at(Path(sys.argv[1])), Path(sys.argv[2]), 0\n"
        "while True:\n"
        "    last = done.exists()\n"
        "    for key, rows in lake.lake_orders().items():\n"
        "        version = int(rows[0][8][1:])\n"
        "        assert len(rows) == version + 1 and len({row[8] for row in rows}) == 1, (key, rows)\n"
        "    seen += 1\n"
        "    if last: break\n"
        "print(seen)\n"
    )
    done = tmp_path / "done"
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(run_code, orders_lake.home, script, orders_lake.home, done)
        try:
            for number, version in enumerate(versions[1:], 1):
                orders_lake.orders("", *version, modified=START + timedelta(hours=number))
                orders_lake.run()
        finally:
            done.touch()
    assert reader.result().returncode == 0, reader.result().stderr
    assert int(reader.result().stdout) > 5
