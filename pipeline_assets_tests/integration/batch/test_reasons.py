"""Reasons are read by people who may not see personal data: they repeat values of declared columns only."""

from __future__ import annotations

import json

from pipeline_assets_tests.support.bookings_lake import CUSTOMER_HEADER, BookingsLake, booking, customer
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product

PERSON = "Ada Secret, 1 High Street"
REASONS = "SELECT REASON FROM OPS.QUARANTINE ORDER BY LINE_NUMBER"


def test_no_reason_repeats_a_value_that_no_column_of_an_order_declares(orders_lake: OrdersLake) -> None:
    broken: list[dict[str, object]] = [
        {"products": PERSON},
        {"products": [PERSON]},
        {"products": {"note": PERSON}},
        {"products": [{"note": PERSON}]},
        {"customer": PERSON},
        {"note": PERSON, "order_date": "x"},
        {PERSON: 1, "order_date": "x"},
    ]
    for number, changes in enumerate(broken):
        orders_lake.write(f"{number}.ndjson", json.dumps({**order(number, product("P1")), **changes}))
    assert orders_lake.run().rows["quarantined"] == len(broken)
    assert [reason for (reason,) in orders_lake.rows(REASONS) if "Secret" in reason] == []


def test_no_reason_repeats_a_value_of_a_column_that_no_contract_of_csv_declares(lake: BookingsLake) -> None:
    rows = [f"{customer(1)},a", f',"{PERSON}",x,e,,a,GB,1,"{PERSON}"', f'2,"{PERSON}"', f'{customer(3)},"{PERSON}"x']
    lake.write("customer_details.csv", "\n".join([f"{CUSTOMER_HEADER},NOTE", *rows]) + "\n")
    lake.bookings("", booking(1, 1))
    assert lake.run().rows["quarantined"] == 3
    assert [reason for (reason,) in lake.rows(REASONS) if "Secret" in reason] == []
