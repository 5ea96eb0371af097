"""A value in a JSON record is typed exactly, reported, or kept beside it; nothing is guessed, nothing dropped."""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline_assets_tests.support.delivered_orders import (
    LEFT_OUT,
    ORDERS,
    LandedFileReader,
    customer,
    delivered,
    order,
    product,
    text,
)
from pipeline_assets_tests.support.engine_session import landed, opened, rows


def one(record: object, **replaced: str) -> LandedFileReader:
    """A single record, beside one that is good."""
    found = delivered(f"[{text(record, **replaced)},{text(order('good'))}]")
    assert (found.ids.count("good"), found.outcome.read) == (1, 2)
    return found


def faults(*raws: str) -> list[tuple[str, str]]:
    """(code, reason) of bad records, each in a file of its own; a session costs more than all that it reads here."""
    found = delivered(*(f"[{raw},{text(order('good'))}]" for raw in raws))
    assert (found.ids, len(found.lines)) == (["good"], 1)
    assert sorted((bad.raw, bad.line) for bad in found.bad) == sorted((raw, 1) for raw in raws)
    bad = {bad.raw: bad for bad in found.bad}
    return [(bad[raw].code, bad[raw].reason) for raw in raws]


def values(column: str, *raws: str) -> list[object]:
    """What a column of good records came to, each in a file of its own; their ids are 0, 1, …"""
    found = delivered(*(f"[{raw},{text(order('good'))}]" for raw in raws))
    assert (found.bad, len(found.orders)) == ([], len(raws) + 1)
    by_id = {row["ORDER_ID"]: row[column] for row in found.orders}
    return [by_id[str(number)] for number in range(len(raws))]


# --- numbers and texts ---------------------------------------------------------------------------------------


def test_numbers_keep_their_digits() -> None:
    """A parser that goes by way of a double would turn 12345678901234.5678 into ….568."""
    digits = {
        "25.00": "25.0000",
        "12345678901234.5678": "12345678901234.5678",
        "-12345678901234.5678": "-12345678901234.5678",
        "0.1": "0.1000",
        "-0": "0.0000",
        "1.10000000000000000000000": "1.1000",
        '"25.00"': "25.0000",
        '" 25.5 "': "25.5000",
        '"+5"': "5.0000",
        "1e3": "1000.0000",
        "1.5E2": "150.0000",
        "-25e-1": "-2.5000",
        '".5"': "0.5000",
        '"\\t7\\u00a0"': "7.0000",
        '"007"': "7.0000",
    }
    found = values("TOTAL_AMOUNT", *(text(order(n, total_amount="@n"), n=raw) for n, raw in enumerate(digits)))

    assert dict(zip(digits, map(str, found), strict=True)) == digits


def test_a_number_that_cannot_be_kept_exactly_is_no_number() -> None:
    raws = (
        *("1e30", "1.23456e0", '"1e-9"', '"e3"', "0.00001", "123456789012345.5", "NaN", "-Infinity", "inf"),
        *('"true"', '"1,5"', "7" * 5000),
    )
    for raw, (code, reason) in zip(raws, faults(*(text(order(total_amount="@n"), n=raw) for raw in raws)), strict=True):
        assert code == "not_a_number", raw
        assert reason.startswith("TOTAL_AMOUNT: a number that fits NUMBER(18,4) was expected"), raw


def test_texts_and_ids_are_what_they_were() -> None:
    ids = {
        '" 1 "': "1",
        "-7.000": "-7",
        '"1.0"': "1.0",
        "1.50": "1.50",
        "123456789012345678901234567890": "123456789012345678901234567890",
        "18446744073709551616": "18446744073709551616",
        '"0001"': "0001",
        '"true"': "true",
        '"false"': "false",
        '"null"': "null",
        '"{x"': "{x",
        '"{}"': "{}",
        '"[gift]"': "[gift]",
        '"\\u00e9\\ud83d\\ude00"': "é😀",
        '"a\\nb"': "a\nb",
    }
    found = delivered(*(text(order("@id"), id=raw) for raw in ids))

    assert found.ids == sorted(ids.values(), key=lambda key: repr((key,)))


@pytest.mark.parametrize(("raw", "same"), [("1", '"1"'), ("1.0", "1"), ("-7", "-7.000")])
def test_an_id_is_one_key_however_it_is_written(raw: str, same: str) -> None:
    found = delivered(text(order("@id"), id=raw), text(order("@id", total_amount=26), id=same))

    assert [(row["ORDER_ID"], row["TOTAL_AMOUNT"]) for row in found.orders] == [(raw.removesuffix(".0"), Decimal(26))]
    assert [(outcome.loaded, outcome.superseded) for outcome in found.outcomes] == [(0, 1), (1, 0)]


def test_blanks_go_around_names_and_stay_in_free_text() -> None:
    (row, _) = one(order(customer=customer(name="  Ada L. ", email=" ", address=" 1\n Row "))).orders

    assert (row["CUSTOMER_NAME"], row["EMAIL"], row["ADDRESS"]) == ("Ada L.", None, " 1\n Row ")


def test_the_day_of_an_order_is_by_its_own_clock_and_the_text_stays() -> None:
    stamps = [
        "2026-01-02",
        "2026-01-02T23:59:59+05:30",
        "2026-01-02 00:00",
        "2026-01-02T00:00:00.123Z",
        "2026-01-02T23:59:60-11",
    ]
    found = delivered(*(text(order(number, order_date=stamp)) for number, stamp in enumerate(stamps)))

    assert found.bad == []
    assert [(row["ORDER_DATE"], row["ORDERED_AT"]) for row in found.orders] == [
        (date(2026, 1, 2), stamp) for stamp in stamps
    ]


def test_what_is_no_day_is_reported() -> None:
    stamps = ["2026-02-30", "02-01-2026", 20260102, "2026-01-02T25:00:00", "0000-01-01", "today"]

    assert [code for code, _ in faults(*(text(order(order_date=s)) for s in stamps))] == ["not_a_date"] * len(stamps)


# --- types and required values -------------------------------------------------------------------------------

OF_WRONG_TYPE = [
    (order(True), "ORDER_ID", "true"),
    (order({"id": 1}), "ORDER_ID", "an object"),
    (order([1]), "ORDER_ID", "a list"),
    (order([]), "ORDER_ID", "a list"),
    (order(order_date={}), "ORDER_DATE", "an object"),
    (order(total_amount=False), "TOTAL_AMOUNT", "false"),
    (order(customer="Ada"), "CUSTOMER_ID", "a text where its object belongs"),
    (order(customer=7), "CUSTOMER_ID", "a number where its object belongs"),
    (order(customer=True), "CUSTOMER_ID", "true where its object belongs"),
    (order(customer=[]), "CUSTOMER_ID", "a list where its object belongs"),
    (order(customer=[customer()]), "CUSTOMER_ID", "a list where its object belongs"),
    (order(customer=customer(email=True)), "EMAIL", "true"),
    (order(products={}), "PRODUCTS", "an object"),
    (order(products={"1": product()}), "PRODUCTS", "an object"),
    (order(products=False), "PRODUCTS", "false"),
    (order(products=[product(), product(quantity=True)]), "products[2]: QUANTITY", "true"),
    (order(products=[product(), product(), product(price=[1])]), "products[3]: PRICE", "a list"),
]


def test_an_object_list_or_boolean_where_a_key_number_or_day_belongs_is_of_wrong_type() -> None:
    found = faults(*(text(record) for record, *_ in OF_WRONG_TYPE))
    for (_, where, kind), (code, reason) in zip(OF_WRONG_TYPE, found, strict=True):
        assert code == "wrong_type", (where, kind)
        assert reason.startswith(f"{where}: ")
        assert reason.endswith(f"was expected; found {kind}.")


def test_products_that_are_a_text_or_number_are_of_wrong_type() -> None:
    found = faults(*(text(order(products=products)) for products in ("x", 5, "")))

    assert [(code, reason[:37]) for code, reason in found] == [
        ("wrong_type", "PRODUCTS: a list of objects was expec")
    ] * 3


@pytest.mark.parametrize("products", [LEFT_OUT, None, []], ids=["missing", "null", "empty"])
def test_an_order_without_products_loads_without_lines(products: object) -> None:
    found = delivered(text(order(products=products)))

    assert (found.ids, found.lines, found.bad) == (["1"], [], [])


def test_the_same_product_twice_is_two_lines_in_the_order_of_the_list() -> None:
    found = delivered(
        text(order(products=[product(), product(quantity=-1), product(), product(quantity="@q")]), q="2.0")
    )

    assert [(line["_POSITION"], line["QUANTITY"]) for line in found.lines] == [(1, 2), (2, -1), (3, 2), (4, 2)]


MISSING = [
    ({}, "missing_key", "ORDER_ID"),
    (order(LEFT_OUT), "missing_key", "ORDER_ID"),
    (order(None), "missing_key", "ORDER_ID"),
    (order(" "), "missing_key", "ORDER_ID"),
    (order(order_date=None), "missing_value", "ORDER_DATE"),
    (order(products=[product(), {}]), "missing_value", "products[2]: QUANTITY"),
    (order(products=[product(quantity=None)]), "missing_value", "products[1]: QUANTITY"),
    (order(products=[None]), "missing_value", "products[1]: QUANTITY"),
]


def test_a_missing_value_is_reported_with_its_place() -> None:
    found = faults(*(text(record) for record, *_ in MISSING))

    assert found == [(code, f"{where}: a value was expected, nothing found.") for _, code, where in MISSING]


def test_an_element_that_is_no_object_makes_its_record_bad() -> None:
    kinds = {"5": "a number", '"x"': "a text", "true": "true", "[1]": "a list"}
    found = faults(*(text(order(products=[product(), "@e", product()]), e=element) for element in kinds))

    assert found == [
        ("missing_value", f"products[2]: QUANTITY: a value was expected; found {kind} where its object belongs.")
        for kind in kinds.values()
    ]


def test_the_first_bad_element_is_named_and_the_records_own_fault_goes_before() -> None:
    products = [product(), product(price="x"), product(quantity=2.5), 5]

    element, own, key, wrong = faults(
        text(order(products=products)),
        text(order(products=products, total_amount="y")),
        text(order(None, products=products)),
        text(order(None, customer=[])),
    )
    assert element[1].startswith("products[2]: PRICE: a number that fits NUMBER(18,4)")
    assert own[1].startswith("TOTAL_AMOUNT: ")
    assert (key[0], wrong[0]) == ("missing_key", "wrong_type")


def test_personal_values_are_never_in_the_reason() -> None:
    records = [
        order(customer=customer(name="Ada Lovelace " * 20)),
        order(customer=customer(email="ada@" + "x" * 320)),
        order(customer=customer(address="1 Row " * 400)),
        order(customer=customer(address={"street": "1 Row" * 600})),
        order(customer="Ada Lovelace, 1 Row"),
        order(customer=["Ada Lovelace"]),
    ]
    for _, reason in faults(*map(text, records)):
        assert not re.search("Ada|Lovelace|Row|ada@", reason)


def test_texts_are_measured_in_characters() -> None:
    found = faults(text(order("x" * 65)), text(order(products=[product(name="é" * 501)])))

    assert [(code, reason.partition(": at most")[0]) for code, reason in found] == [
        ("too_long", "ORDER_ID"),
        ("too_long", "products[1]: PRODUCT_NAME"),
    ]
    assert one(order("é" * 64, products=[product(name="é" * 500)])).bad == []


# --- the raw record ------------------------------------------------------------------------------------------


def test_a_bad_record_is_kept_as_it_stood_with_blanks_and_digits() -> None:
    raw = '{ "total_amount" : 1e30,\t"order_id":"\\u00e9" ,"x": 1.50, "y":12345678901234567890.10 }'
    pretty = '{\n  "order_id": 1.0,\n\n  "total_amount": 2.500\n}'

    assert [bad.raw for bad in delivered(f"[\n {raw} ,\n{pretty}\n]").bad] == [raw, pretty]
    assert [bad.raw for bad in delivered(f"{pretty}\n{raw}").bad] == [pretty, raw]
    assert [(bad.line, bad.raw) for bad in delivered(f"\n  {raw}  \r\n\r\n{raw}\n").bad] == [(2, raw), (4, raw)]


def test_lines_are_counted_as_they_lie_and_records_of_a_list_from_one() -> None:
    bad = text(order(total_amount="x"))
    good = text(order(2))

    assert delivered(f"\n{good}\n\n{bad}\r\n{good}\n{bad}\n").reported == [(4, "not_a_number"), (6, "not_a_number")]
    assert delivered(f"[\n\n{good},\n{bad},{good},\n{bad}]").reported == [(2, "not_a_number"), (4, "not_a_number")]


@pytest.mark.parametrize("content", ["[{}]", '{"order_id": 0}\n{}\n{"order_id": 0}\n'])
def test_what_only_a_lenient_parser_reads_does_not_stop_the_run(content: str) -> None:
    """DuckDB reads a comma behind the last value and `inf`; telling the fault of such a record ended the run."""
    for raw in (text(order(total_amount="x"))[:-1] + ",}", text(order(total_amount="@n"), n="-inf")):
        (bad,) = [bad for bad in delivered(content.replace("{}", raw)).bad if bad.raw == raw]
        assert bad.code == "not_a_number"
        assert bad.reason.endswith("was expected; found what only a lenient parser reads.")


# --- keys that the contract does not know --------------------------------------------------------------------

UNKNOWN = [
    ({"note": "x"}, {"note": "x"}, ("note",)),
    ({"note": None}, {"note": None}, ("note",)),
    ({"note": {}, "tags": []}, {"note": {}, "tags": []}, ("note", "tags")),
    ({"order": {"order_id": 5, "customer": {}}}, {"order": {"order_id": 5, "customer": {}}}, ("order",)),
    ({"Order_Id": 9, "PRODUCTS": []}, {"Order_Id": 9, "PRODUCTS": []}, ("Order_Id", "PRODUCTS")),
    (
        {"a.b": 1, 'a"b': 2, "": 3, "$": 4, "*": 5},
        {"a.b": 1, 'a"b': 2, "": 3, "$": 4, "*": 5},
        ('a"b', "*", "$", "a.b", ""),
    ),
    ({"__exact": "x", "__none": 1}, {"__exact": "x", "__none": 1}, ("__exact", "__none")),
    ({"customer": customer(tier="gold")}, {"customer": {"tier": "gold"}}, ("customer.tier",)),
    (
        {"customer": customer(tier=None, x={"name": 1})},
        {"customer": {"tier": None, "x": {"name": 1}}},
        ("customer.tier", "customer.x"),
    ),
    ({"customer": customer(address=LEFT_OUT, adress="x")}, {"customer": {"adress": "x"}}, ("customer.adress",)),
    ({"products": LEFT_OUT, "items": [1]}, {"items": [1]}, ("items",)),
    ({"customer": customer(customer=1), "products": []}, {"customer": {"customer": 1}}, ("customer.customer",)),
]


def test_unknown_keys_survive_beside_the_record_and_are_listed() -> None:
    records = [text(order(number, **changes)) for number, (changes, *_) in enumerate(UNKNOWN)]
    found = delivered(*(f"[{record},{text(order('good'))}]" for record in records))

    *rows, good = sorted(found.orders, key=lambda row: (row["ORDER_ID"] == "good", row["ORDER_ID"].zfill(2)))
    assert [json.loads(row["_RESCUED"]) for row in rows] == [rescued for _, rescued, _ in UNKNOWN]
    assert good["_RESCUED"] is None
    assert {line["_RESCUED"] for line in found.lines} == {None}
    listed = {Path(outcome.landed.uri).stem: sorted(outcome.unknown_columns) for outcome in found.outcomes}
    assert listed == {str(number): sorted(names) for number, (*_, names) in enumerate(UNKNOWN)}


def test_unknown_keys_of_an_element_survive_beside_its_line() -> None:
    elements = [product(), product(tier={"a": [1]}), product(name=LEFT_OUT, nane="x"), product(note=None, price="@n")]
    found = delivered(text(order(products=elements), n="1.50"))

    rescued = [line["_RESCUED"] and json.loads(line["_RESCUED"]) for line in found.lines]
    assert rescued == [None, {"tier": {"a": [1]}}, {"nane": "x"}, {"note": None}]
    assert found.orders[0]["_RESCUED"] is None
    assert found.outcome.unknown_columns == ("products[].nane", "products[].note", "products[].tier")


def test_rescued_numbers_keep_their_digits() -> None:
    (rescued,) = values("_RESCUED", text(order(0, weight="@n"), n="12345678901234567890.10"))

    assert rescued == '{"weight":12345678901234567890.10}'


def test_a_renamed_key_is_noticed_though_the_number_of_keys_is_right() -> None:
    """The first look only counts: one too many and one too few must not make an ordinary record."""
    records = [
        order(1, customer=customer(email=LEFT_OUT, mail="x")),
        order(2, products=[product(category=LEFT_OUT, group="x")]),
        order(3, products=[product(category=LEFT_OUT), product(group="x")]),
        order(4, customer=customer(email=LEFT_OUT), group="x"),
        order(5, products=LEFT_OUT, group="x"),
    ]
    found = delivered(json.dumps(records))

    assert [row["_RESCUED"] and json.loads(row["_RESCUED"]) for row in found.orders] == [
        {"customer": {"mail": "x"}},
        None,
        None,
        {"group": "x"},
        {"group": "x"},
    ]
    assert [line["_RESCUED"] for line in found.lines if line["ORDER_ID"] in "23"] == [
        '{"group":"x"}',
        None,
        '{"group":"x"}',
    ]
    assert found.outcome.unknown_columns == ("customer.mail", "group", "products[].group")


def test_unknown_columns_are_listed_by_file_and_known_ones_never() -> None:
    """An element that is no object made every key of an element look unknown."""
    odd = order(products=[product(new=1), 5, None, [1], "x"])
    found = delivered(text(order(2, extra=1)), json.dumps([odd]), text(order(3)))

    listed = {Path(outcome.landed.uri).stem: outcome.unknown_columns for outcome in found.outcomes}
    assert listed == {"0": ("extra",), "1": ("products[].new",), "2": ()}


NAMED_TWICE = [
    ('"order_id": 1', '"order_id": 1, "order_id": 1'),
    ('"order_id": 1', '"order_id": 1, "order_id": 2'),
    ('"order_id": 1', '"order_id": null, "order_id": 2'),
    ('"order_id": 1', '"products": [], "order_id": 1'),
    ('"order_id": 1', '"order_id": 1, "order\\u005fid": 2'),
    ('"order_id": 1', '"x": 1, "x": 2, "order_id": 1'),
    ('"name": "Ada"', '"name": "Ada", "name": "Bob"'),
    ('"price": 1.5', '"price": 1.5, "price": 9'),
    ('"category": "desk", "price": 1.5', '"price": 1.5, "price": 9'),
]


def test_a_record_that_names_a_key_twice_is_malformed() -> None:
    """One of the two values would be gone in silence: readers differ on which, and Snowflake refuses such JSON."""
    raw = text(order())
    assert all(find in raw for find, _ in NAMED_TWICE)
    found = faults(*(raw.replace(find, put) for find, put in NAMED_TWICE))

    assert [code for code, _ in found] == ["malformed_record"] * len(NAMED_TWICE)


# --- versions ------------------------------------------------------------------------------------------------


def test_an_order_delivered_again_replaces_all_of_its_lines() -> None:
    first = order(1, products=[product(product_id=f"p{n}") for n in range(3)])
    again = order(1, products=[product(product_id="q")])
    within = [order(1), order(2, products=[product(product_id="a")]), order(2, products=[])]
    found = delivered(json.dumps([first]), json.dumps(within), text(again))

    assert [(line["ORDER_ID"], line["PRODUCT_ID"]) for line in found.lines] == [("1", "q")]
    assert found.ids == ["1", "2"]
    counts = {o.landed.uri[-6:]: (o.read, o.loaded, o.superseded) for o in found.outcomes}
    assert counts == {"0.json": (1, 0, 1), "1.json": (3, 1, 2), "2.json": (1, 1, 0)}


def test_a_bad_order_supersedes_nothing(tmp_path: Path) -> None:
    with opened() as session:
        files = [text(order(1)), text(order(1, products=[product(price="x")]))]
        session.read("orders", ORDERS, [landed(tmp_path / f"{n}.json", f, days=n) for n, f in enumerate(files)])
        session.deduplicate("orders")

        assert rows(session, "SELECT ORDER_ID, _POSITION, PRICE, _IS_NEW FROM ORDERS_PRODUCTS") == [
            ("1", 1, Decimal("1.5000"), True)
        ]
        assert sorted((o.loaded, o.superseded, o.quarantined) for o in session.outcomes("orders")) == [
            (0, 0, 1),
            (1, 0, 0),
        ]
