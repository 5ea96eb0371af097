"""What JSON writers mean: guests, keys in any case, objects in text columns, floats; and how faults are explained."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from pipeline_assets_tests.support.delivered_orders import LEFT_OUT, customer, delivered, order, product, text


def test_a_text_column_keeps_the_json_of_an_object_or_a_list() -> None:
    raw = text(
        order(customer=customer(address="@a", name=["Ada"]), products=[product(name={"en": "Pen"}), product()]),
        a='{ "street": "Row", "no": 1.50 }',
    )
    found = delivered(raw)

    assert [(row["ADDRESS"], row["CUSTOMER_NAME"]) for row in found.orders] == [
        ('{"street":"Row","no":1.50}', '["Ada"]')
    ]
    assert [line["PRODUCT_NAME"] for line in found.lines] == ['{"en":"Pen"}', "Pen"]


@pytest.mark.parametrize("customer_of", [None, LEFT_OUT, {}, {"name": "Guest"}, {"customer_id": None}])
def test_a_guest_has_no_customer_id(customer_of: object) -> None:
    found = delivered(text(order(customer=customer_of, total_amount=None)))

    assert [(row["CUSTOMER_ID"], row["TOTAL_AMOUNT"]) for row in found.orders] == [(None, None)]


def test_a_line_may_lack_everything_but_its_quantity() -> None:
    found = delivered(text(order(products=[{"quantity": 1}, product(product_id=None), product(price=LEFT_OUT)])))

    assert [(line["PRODUCT_ID"], line["PRICE"]) for line in found.lines] == [
        (None, None), (None, Decimal("1.5")), ("p1", None)
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["{}", "[{}]", '{}\n{{"order_id": 2}}\n'])
def test_keys_are_read_in_any_case(form: str) -> None:
    raw = (
        '{"Order_ID": 7.0, "ORDER_DATE": "2026-01-02", "Customer": {"Name": "Ada", "tier": "gold"}, '
        '"Products": [{"PRICE": 1.50, "Quantity": 2, "Note": "order_id"}, {"quantity": 3, "Product_Id": 8.0}]}'
    )
    found = delivered(form.format(raw))

    (row,) = found.orders
    assert (row["ORDER_ID"], row["CUSTOMER_NAME"], json.loads(row["_RESCUED"])) == (
        "7", "Ada", {"customer": {"tier": "gold"}}
    )  # fmt: skip
    assert [(line["PRODUCT_ID"], line["PRICE"], line["QUANTITY"]) for line in found.lines] == [
        (None, Decimal("1.5"), 2), ("8", None, 3)
    ]  # fmt: skip


def test_a_key_in_the_contracts_case_goes_before_and_two_others_are_ambiguous() -> None:
    exact = '{"ORDER_ID": 8, "order_id": 1, "order_date": "2026-01-02"}'
    ambiguous = '{"ORDER_ID": 8, "Order_id": 8, "order_date": "2026-01-02"}'
    found = delivered(f"{exact}\n{ambiguous}\n")

    assert [(row["ORDER_ID"], json.loads(row["_RESCUED"])) for row in found.orders] == [("1", {"ORDER_ID": 8})]
    assert [(bad.line, bad.code, bad.reason) for bad in found.bad] == [
        (2, "malformed_record", "The record names order_id twice, in different cases.")
    ]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ('{"order_id": 1, "order_id": 2}', "The record names order_id twice."),
        ('{"x": {"ada@example.org": 1}, "ada@example.org": 2, "ada@example.org": 3}', "The record names a key twice."),
        (
            '{"order_id": 1,, }',
            "The record is not JSON: Expecting property name enclosed in double quotes at character 16.",
        ),
        ("5", "The record is a number and not an object."),
        ('["Ada"]', "The record is a list and not an object."),
    ],
)
def test_a_malformed_record_is_explained_without_its_values(raw: str, reason: str) -> None:
    found = delivered(f"{text(order(1))}\n{raw}\n{text(order(2))}\n")

    assert found.ids == ["1", "2"]
    assert [(bad.code, bad.reason) for bad in found.bad] == [("malformed_record", reason)]


def test_a_line_of_another_encoding_is_explained_with_the_remedy() -> None:
    lines = (text(order(1)), text(order(2)).replace("p1", "Müller"), text(order(3)))
    found = delivered("\n".join(lines).encode("latin-1"))

    assert found.ids == ["1", "3"]
    ((code, reason),) = [(bad.code, bad.reason) for bad in found.bad]
    assert code == "malformed_record"
    assert reason.startswith("The record has a byte that is not UTF-8")
    assert reason.endswith("Deliver the file as UTF-8.")


def test_floats_are_read_as_the_decimals_that_they_stand_for_and_counted() -> None:
    products = [product(price="@single"), product(price=0.1 + 0.2), product(price=1.5)]
    found = delivered(text(order(products=products, total_amount=0.1 + 0.7), single="32.380001100000001"))

    assert [row["TOTAL_AMOUNT"] for row in found.orders] == [Decimal("0.8")]
    assert [line["PRICE"] for line in found.lines] == [Decimal("32.38"), Decimal("0.3"), Decimal("1.5")]
    assert [outcome.floats for outcome in found.outcomes] == [3]
