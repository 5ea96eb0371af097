"""The zones in S3 (moto behind a proxy): the same as on plain files, whatever S3 answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.errors import ConfigurationError
from pipeline_assets_tests.support import fault_proxy
from pipeline_assets_tests.support.commerce_deliveries import deliveries
from pipeline_assets_tests.support.commerce_lake import BUCKET, CommerceLake, customer, order
from pipeline_assets_tests.support.commerce_model import expected, texts
from pipeline_assets_tests.support.fault_proxy import SLOW_DOWN, Call, FaultProxy, first, refuse, share
from pipeline_assets_tests.support.moto_aws import buckets_in
from pipeline_assets_tests.support.s3_lake import S3CommerceLake

AT = datetime(2024, 3, 1, 10, 15, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
NO_GZIP = b"\x1f\x8bno gzip"


@pytest.fixture
def proxy(moto_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(moto_url) as proxy:
        yield proxy


@pytest.fixture
def lake(moto_url: str, proxy: FaultProxy, aws_keys: None, tmp_path: Path) -> Iterator[S3CommerceLake]:
    with buckets_in(moto_url, BUCKET) as client:
        yield S3CommerceLake.behind(proxy.url, tmp_path / "home", client)


def land(lake: CommerceLake) -> None:
    """Good objects, one with a bad record, one that is rejected, one that is empty."""
    lake.deliver("customers", AT, customer(1), customer(2, "Grace"))
    lake.deliver("orders", AT, order(10), order(11, 2, price="x"), order(12, 2, day="2024-02-02"))
    lake.deliver("orders", AT + HOUR, order(10, status="P"), order(13, price="7.00"), name="b")
    lake.write(lake.key("orders", AT, "bad"), NO_GZIP, AT)
    lake.write(lake.key("orders", AT, "empty"), b"", AT)


COPIED = [
    ("order_date=2024-02-01", "1", "Ada", Decimal("7.00"), 1),
    ("order_date=2024-02-02", "2", "Grace", Decimal("100.25"), 1),
]


def assert_loaded(lake: S3CommerceLake) -> None:
    """Everything that `land` delivers is loaded and in its zone."""
    assert [row[:3] for row in lake.tables()["ORDERS"]] == [("10", "1", "P"), ("12", "2", "F"), ("13", "1", "F")]
    assert len(lake.tables()["ORDERS_RAW"]) == 4
    assert lake.copied_rows() == COPIED
    zones = [(key.split("/")[1], key.rpartition("/")[2].split("-", 9)[-1]) for key in lake.landed_keys()]
    assert sorted(zones) == [
        *[("processed", f"{end}") for end in ("a", "a", "b", "empty")],
        *[("rejected", "bad"), ("rejected", "bad.reason.json")],
    ]
    assert lake.keys("staging/") == []
    assert lake.rows(
        "SELECT SUM(ROWS_READ), SUM(ROWS_LOADED + ROWS_SUPERSEDED + ROWS_QUARANTINED) FROM OPS.FILE_LEDGER"
    ) == [(7, 7)]


def test_throttled_requests_are_repeated(lake: S3CommerceLake, proxy: FaultProxy) -> None:
    """FAULTS 16."""
    land(lake)
    proxy.reset(share(0.3, SLOW_DOWN, seed=1))
    lake.run()
    assert proxy.faults > 20
    assert_loaded(lake)


def is_deletion(call: Call) -> bool:
    return call.method == "DELETE" or (call.method == "POST" and "delete" in call.path)


def is_copy(call: Call) -> bool:
    return call.method == "PUT" and any(name.lower() == "x-amz-copy-source" for name in call.headers)


def test_replies_to_deletions_and_copies_that_are_lost_do_no_harm(lake: S3CommerceLake, proxy: FaultProxy) -> None:
    """FAULTS 17: the request was served, and is repeated."""
    land(lake)
    rules = {when.__name__: first(3, fault_proxy.lose_reply, when) for when in (is_deletion, is_copy)}
    lost = dict.fromkeys(rules, 0)

    def lose(call: Call) -> fault_proxy.Fault | None:
        for name, rule in rules.items():
            if fault := rule(call):
                lost[name] += 1
                return fault
        return None

    proxy.reset(lose)
    lake.run()
    assert lost == {"is_deletion": 3, "is_copy": 3}
    assert_loaded(lake)


def test_a_pipeline_that_may_not_delete_in_landing_commits_names_the_permission_and_finishes_later(
    lake: S3CommerceLake, proxy: FaultProxy
) -> None:
    land(lake)
    denied = refuse(403, "AccessDenied", "not authorized to perform: s3:DeleteObject")
    proxy.reset(lambda call: denied if is_deletion(call) and b"/landing/" in call.body + call.path.encode() else None)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=f"s3:DeleteObject on the bucket {BUCKET}.*Grant s3:DeleteObject"):
            lake.run()
        assert len(lake.tables()["ORDERS"]) == 3
        assert lake.copied_rows() == COPIED

    proxy.reset()
    report = lake.run()
    assert (report.new, report.loaded) == (0, 0)
    assert_loaded(lake)


def test_objects_go_through_the_zones_and_known_bytes_that_are_delivered_again_leave_landing(
    lake: S3CommerceLake,
) -> None:
    """The etag of known bytes is the one that the ledger has."""
    land(lake)
    report = lake.run()
    assert (report.new, report.loaded, report.rejected) == (5, 4, 1)
    assert_loaded(lake)

    land(lake)
    report = lake.run()
    assert (report.new, report.known, report.loaded) == (0, 5, 0)
    assert_loaded(lake)

    land(lake)
    report = lake.run(reprocess=True)
    assert (report.loaded, report.rejected, report.rows["read"]) == (4, 1, 7)
    assert_loaded(lake)


def test_an_object_that_is_overwritten_is_taken_by_the_next_run_and_bytes_that_return_are_a_new_version(
    lake: S3CommerceLake, proxy: FaultProxy
) -> None:
    """One is overwritten before it is copied, one while it is processed, one between runs; markers of folders stay."""
    markers = ["orders/landing/", "orders/landing/2024/"]
    for marker in markers:
        lake.write(marker, b"")
    names = ("early", "late", "returns")
    keys = {name: f"firehose/{lake.key('orders', AT, name)}" for name in names}

    def deliver(name: str, price: str) -> None:
        lake.deliver("orders", AT, order(names.index(name), price=price), name=name)

    def prices() -> dict[str, str]:
        return {names[int(row[0])]: str(row[3]) for row in lake.tables()["ORDERS"]}

    def objects() -> list[str]:
        """(zone, name) of the objects, as one text each."""
        found = [key for key in lake.keys("firehose/") if not key.endswith("/")]
        return sorted(f"{key.split('/')[2]} {key.rpartition('-')[2]}" for key in found)

    def is_first_copy(call: Call) -> bool:
        return is_copy(call) and call.key.endswith("-late")

    def overwriting(name: str) -> Callable[[Any, Call], None]:
        """Overwrite an order before a call is answered."""

        def overwrite(handler: Any, call: Call) -> None:
            deliver(name, "2.00")
            handler.answer(handler.forward(call))

        return overwrite

    for name in names:
        deliver(name, "1.00")
    rules = (
        first(1, overwriting("early"), lambda call: call.method == "GET" and call.key == keys["early"]),
        first(1, overwriting("late"), is_first_copy),
    )
    proxy.reset(lambda call: next((fault for rule in rules if (fault := rule(call))), None))
    report = lake.run()
    assert (proxy.faults, report.new, report.loaded) == (2, 3, 2)
    assert [uri.rpartition("-")[2] for uri in report.requeued] == ["early"]
    assert prices() == {"late": "1.00", "returns": "1.00"}
    assert objects() == ["landing early", "landing late", "processed late", "processed returns"]

    proxy.reset()
    for number, price in enumerate(("2.00", "1.00")):
        deliver("returns", price)
        assert lake.run().loaded == (1 if number else 3)
        assert prices() == {"early": "2.00", "late": "2.00", "returns": price}
    assert objects() == ["processed early", *["processed late"] * 2, *["processed returns"] * 3]
    assert {key for key in lake.keys("firehose/") if key.endswith("/")} == {f"firehose/{marker}" for marker in markers}

    assert lake.run(reprocess=True).loaded == 3
    assert prices() == {"early": "2.00", "late": "2.00", "returns": "1.00"}
    assert lake.run().new == 0


def test_whole_deliveries_give_the_tables_of_the_model(lake: S3CommerceLake) -> None:
    found = deliveries(7, 0.1, objects=12)
    for part in (found[:5], found[3:]):
        for delivery in part:
            lake.write(delivery.key.removeprefix("firehose/"), delivery.content)
        lake.run()
    model, tables = expected(found), lake.tables()
    assert texts(tables["CUSTOMER_RAW"]) == model.customer_raw
    assert texts(tables["ORDERS_RAW"]) == model.orders_raw
    assert texts(tables["ORDERS"]) == model.orders
    assert texts(tables["ORDER_CUSTOMER_DATE_PRICE"]) == model.mart
    assert {key.split("/")[1] for key in lake.landed_keys()} == {"processed"}
