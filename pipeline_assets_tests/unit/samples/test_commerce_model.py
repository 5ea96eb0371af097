"""The model of pipeline `commerce`: its rules by example, and its mart against DuckDB's over the whole files."""

from __future__ import annotations

import csv
import io
import tempfile
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.model import Dialect
from pipeline_assets.engine import SourceFile
from pipeline_assets.lake import LandedObject
from pipeline_assets.samples import write_samples
from pipeline_assets_tests.benchmarks.commerce import plain_duckdb, write_objects
from pipeline_assets_tests.support.commerce_deliveries import FIRST_DELIVERY, Delivery, deliveries, landing_key
from pipeline_assets_tests.support.commerce_model import (
    COLUMNS,
    DATES,
    KEPT_BLANKS,
    MONEY,
    expected,
    landed,
    mart_by_duckdb,
    texts,
)
from pipeline_assets_tests.support.engine_session import opened, rows


def customer(key: object = 1, name: str = "Ada", *, balance: str = "1.50", comment: str = "") -> str:
    return record(key, name, "1 High Street, Leeds", 3, "13-1", balance, "BUILDING", comment)


def order(
    key: object = 1,
    customer: object = 1,
    status: str = "F",
    price: str = "10.00",
    day: str = "2024-01-02",
    *,
    comment: str = "",
) -> str:
    return record(key, customer, status, price, day, "1-URGENT", "Clerk#1", 0, comment)


def record(*fields: object) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(fields)
    return text.getvalue()


def delivery(dataset: str, *records: str, hour: int = 0) -> Delivery:
    when = FIRST_DELIVERY + timedelta(hours=hour)
    return Delivery(landing_key(dataset, when, str(hour)), "".join(records).encode())


CUSTOMERS = delivery("customers", customer(1, "Ada"), customer(2, "Ben"))


# --- the rules -----------------------------------------------------------------------------------------------


def test_the_later_delivery_of_a_key_wins_in_whatever_order_objects_arrive():
    older = delivery("orders", order(1, status="O"), hour=1)
    newer = delivery("orders", order(1, status="F"), hour=30)
    for arrival in ([CUSTOMERS, older, newer], [newer, CUSTOMERS, older], [newer, older, newer, CUSTOMERS]):
        found = expected(arrival)
        assert [row[2] for row in found.orders] == ["F"]
        assert sorted(row[2] for row in found.orders_raw.elements()) == ["F", "O"]
        assert found.mart == Counter([("1", "Ada", "2024-01-02", "10", "1")])


def test_a_later_record_of_the_same_object_wins():
    found = expected([CUSTOMERS, delivery("orders", order(1, status="F"), order(2), order(1, status="P"))])
    assert {(row[0], row[2]) for row in found.orders} == {("1", "P"), ("2", "F")}
    assert found.mart == Counter([("1", "Ada", "2024-01-02", "10", "1")])


def test_a_record_that_is_sent_again_is_twice_in_raw_and_once_in_the_table():
    found = expected([delivery("customers", customer(1)), delivery("customers", customer(1), hour=2)])
    assert list(found.customer_raw.values()) == [2]
    assert list(found.customers.values()) == [1]


def test_only_fulfilled_orders_of_present_customers_are_in_the_mart():
    orders = delivery("orders", order(1, status="O"), order(2, status="P"), order(3, customer=9), order(4, customer=2))
    found = expected([CUSTOMERS, orders])
    assert len(found.orders) == 4
    assert found.mart == Counter([("2", "Ben", "2024-01-02", "10", "1")])


def test_a_customer_who_arrives_later_joins_and_one_who_is_renamed_changes_the_mart():
    first = [delivery("orders", order(1)), delivery("customers", customer(1, "Ada"), hour=24)]
    assert expected(first).mart == Counter([("1", "Ada", "2024-01-02", "10", "1")])
    renamed = [*first, delivery("customers", customer(1, "Eva"), hour=25)]
    assert expected(renamed).mart == Counter([("1", "Eva", "2024-01-02", "10", "1")])


def test_namesakes_stay_apart_and_days_of_a_customer_are_summed():
    customers = delivery("customers", customer(1, "Ada"), customer(2, "Ada"))
    orders = delivery("orders", order(1), order(2, price="0.05"), order(3, customer=2), order(4, day="2024-01-03"))
    assert expected([customers, orders]).mart == Counter(
        [
            ("1", "Ada", "2024-01-02", "10.05", "2"),
            ("2", "Ada", "2024-01-02", "10", "1"),
            ("1", "Ada", "2024-01-03", "10", "1"),
        ]
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (order("", comment="two\nlines"), "missing_key"),
        (order("  "), "missing_key"),
        (order(price="12x.50"), "not_a_number"),
        (order(price="1.005"), "not_a_number"),
        (order(price="12345678901"), "not_a_number"),
        (order(day="2024-02-30"), "not_a_date"),
        (order(day="20240230"), "not_a_date"),
        ("1,1,F\n", "malformed_record"),
        (order().rstrip("\n") + ",more\n", "malformed_record"),
    ],
)
def test_a_bad_record_is_quarantined_as_it_stands_and_the_others_load(text, code):
    found = expected([delivery("orders", order(5), text, order(6))])
    assert found.quarantined == Counter([("orders", code, text.rstrip("\n"))])
    assert found.quarantined_codes == Counter([("orders", code)])
    assert {row[0] for row in found.orders} == {"5", "6"}
    assert found.read["orders"] == 3


def test_blanks_stay_in_comments_only_and_an_empty_text_is_none():
    ((raw, _),) = expected([delivery("customers", customer(" 1 ", " Ada ", comment="  two \n"))]).customers.items()
    assert (raw[0], raw[1], raw[-1]) == ("1", "Ada", "  two \n")
    ((raw, _),) = expected([delivery("customers", customer(1, ""))]).customers.items()
    assert (raw[1], raw[-1]) == (None, None)


def test_a_header_is_no_record_and_a_byte_order_mark_and_a_missing_newline_change_nothing():
    header = "c_custkey,C_NAME,C_ADDRESS,C_NATIONKEY,C_PHONE,C_ACCTBAL,C_MKTSEGMENT,C_COMMENT\r\n"
    plain = delivery("customers", customer(1), customer(2))
    with_header = Delivery(plain.key, b"\xef\xbb\xbf" + header.encode() + plain.content.rstrip(b"\n"))
    assert expected([with_header]) == expected([plain])


def test_an_object_delivered_twice_counts_once_and_two_contents_of_a_key_are_refused():
    assert expected([CUSTOMERS, CUSTOMERS]) == expected([CUSTOMERS])
    with pytest.raises(ValueError, match="two contents"):
        expected([CUSTOMERS, Delivery(CUSTOMERS.key, b"")])
    with pytest.raises(ValueError, match="no key of a landed object"):
        expected([Delivery("firehose/returns/landing/2024/x", b"")])


def test_texts_compare_values_whatever_their_type():
    rows = [(1, "Ada", Decimal("10.5000"), date(2024, 1, 2), None, Decimal(100))]
    assert texts(rows) == Counter([("1", "Ada", "10.5", "2024-01-02", None, "100")])


# --- against DuckDB ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "scale"), [(2024, 0.01), (2024, 1.0), (7, 0.2), (8, 0.2)])
def test_the_mart_of_the_samples_is_what_duckdb_computes_over_the_whole_files(tmp_path, seed, scale):
    customers, orders = (file.path for file in write_samples("commerce", tmp_path, scale=scale, seed=seed))
    found = expected(deliveries(seed, scale))
    assert found.mart == mart_by_duckdb(customers, orders)
    assert sum(found.mart.values()) == len(found.mart) > 50


def test_the_samples_show_the_difference_between_a_wrong_mart_and_a_right_one():
    found = expected(deliveries())
    by_name = Counter((name, day) for _, name, day, *_ in found.mart)
    assert max(by_name.values()) > 1, "no namesakes on one day"
    assert max(int(row[-1]) for row in found.mart) > 1, "no two orders of a customer on one day"
    assert {row[2] for row in found.orders} == {"F", "O", "P"}
    assert any(str(row[1]).endswith(" & Sons") for row in found.mart), "no renamed customer"
    raw = sum(found.orders_raw.values())
    assert raw > len(found.orders)
    assert sum(found.read.values()) == sum(
        sum(counts.values()) for counts in (found.orders_raw, found.customer_raw, found.quarantined)
    )


def test_the_samples_quarantine_what_their_manifest_counts_as_bad(tmp_path):
    files = write_samples("commerce", tmp_path)
    bad = {(file.kind, code): file.dirt[code] for file in files for code in file.dirt if code in _BAD}
    assert expected(deliveries()).quarantined_codes == bad


def test_the_objects_of_the_benchmark_have_one_mart_with_and_without_bad_records(tmp_path):
    marts, quarantined = [], []
    (tmp_path / "out").mkdir()
    for source, bad in (("clean", False), ("dirty", True)):
        write_objects(tmp_path / source, 3_000, bad=bad)
        paths = [path for path in (tmp_path / source).rglob("*") if path.is_file()]
        found = expected((path.relative_to(tmp_path / source).as_posix(), path.read_bytes()) for path in paths)
        plain_duckdb(tmp_path, tmp_path, source)
        written = duckdb.execute(f"SELECT * FROM '{tmp_path}/out/mart.parquet'").fetchall()
        marts += [found.mart, texts(written)]
        quarantined.append(sum(found.quarantined.values()))
    assert all(mart == marts[0] for mart in marts)
    assert quarantined[0] == 0 < quarantined[1]


_BAD = ("missing_key", "not_a_number", "malformed_record")
_TEXTS = st.text(alphabet=' a,"\n', max_size=4)
_CUSTOMERS = st.builds(
    customer,
    st.sampled_from([1, 2, 3, ""]),
    st.sampled_from(["Ada", 'Ben, "B"', "two\nlines"]),
    balance=st.sampled_from(["1.50", "x"]),
    comment=_TEXTS,
)
_ORDERS = st.builds(
    order,
    st.sampled_from([1, 2, 3, 4, 5, ""]),
    st.sampled_from([1, 2, 3, 9]),
    st.sampled_from("FFOP"),
    st.sampled_from(["1.10", "2.05", "3", "n/a"]),
    st.sampled_from(["2024-01-02", "2024-01-03"]),
    comment=_TEXTS,
)
_CUT = st.sampled_from(["1,2\n"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(_CUSTOMERS | _CUT, min_size=1, max_size=6),
    st.lists(_ORDERS | _CUT, min_size=1, max_size=10),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_any_records_cut_anywhere_give_the_mart_of_the_whole_files(customers, orders, size, random):
    objects = [
        delivery(dataset, *records[start : start + size], hour=start)
        for dataset, records in (("customers", customers), ("orders", orders))
        for start in range(0, len(records), size)
    ]
    random.shuffle(objects)
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "customers.csv", Path(folder) / "orders.csv"
        for path, records in zip(paths, (customers, orders), strict=True):
            path.write_text("".join(records), encoding="utf-8", newline="")
        assert expected([*objects, *objects]).mart == mart_by_duckdb(*paths)


# --- against the engine --------------------------------------------------------------------------------------


def contract(dataset: str) -> Contract:
    """The shape of a dataset as the model reads it."""
    columns = []
    for place, name in enumerate(COLUMNS[dataset]):
        if name in MONEY:
            columns.append(Column(name, "number", "NUMBER(12,2)"))
        elif name in DATES:
            columns.append(Column(name, "date", "DATE", input_formats=("YYYY-MM-DD",)))
        else:
            is_key, kept = place == 0, name in KEPT_BLANKS
            columns.append(Column(name, "string", "VARCHAR", key=is_key, required=is_key, keep_blanks=kept))
    dialect = Dialect(header=False)
    return Contract(dataset, dataset.upper(), "1", "shop", "", "", "", tuple(columns), dialect=dialect)


@pytest.mark.parametrize("seed", [2024, 7])
def test_the_engine_reads_the_deliveries_as_the_model_does(tmp_path, seed):
    delivered = deliveries(seed, 0.2)
    found = expected(delivered)
    for dataset, raw, current in (
        ("customers", found.customer_raw, found.customers),
        ("orders", found.orders_raw, found.orders),
    ):
        files = []
        for number, (key, content) in enumerate(delivered):
            if landed(key)[0] == dataset:
                path = tmp_path / str(number)
                path.write_bytes(content)
                files.append(SourceFile(path, LandedObject(key, "etag", len(content), landed(key)[1])))
        columns = ", ".join(COLUMNS[dataset])
        with opened() as session:
            session.read(dataset, contract(dataset), files)
            session.deduplicate(dataset)
            assert texts(rows(session, f"SELECT {columns} FROM {session.every_version(dataset)}")) == raw
            assert texts(rows(session, f"SELECT {columns} FROM {dataset}")) == current
            bad = Counter((dataset, record.code, record.raw) for record in session.bad_records(dataset))
        assert bad == Counter({item: count for item, count in found.quarantined.items() if item[0] == dataset})
