"""A thousand messy orders beside a plain Python model: what loads, what is quarantined, and every sum."""

from __future__ import annotations

import json
import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from pipeline_assets_tests.support.orders_lake import OrdersLake

CENT = Decimal("0.0001")


def messy(random_: random.Random, number: int) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """(an order as a shop writes it, its header as a person reads it, or None if it is to be quarantined)."""
    lines, total = [], Decimal(0)
    good = True
    for _ in range(random_.randrange(5)):
        price = Decimal(random_.randrange(-5000, 100_000)) / 100
        quantity = random_.randrange(-3, 20)
        written: Any = random_.choice([float(price), str(price), f" {price}\t", None, float(price) * 3 / 3])
        line = {"product_id": random_.choice([1, 7.0, "p", None]), "price": written, "quantity": quantity}
        fault = random_.random()
        if fault < 0.01:
            line["quantity"], good = random_.choice([None, 2.5, "many"]), False
        elif fault < 0.02:
            line["price"], good = "free", False
        elif fault < 0.03:
            line["quantity"], good = 10**17, good and written is None
        if line["price"] is not None and good:
            total += price * quantity
        if random_.random() < 0.2:
            line = {key.title(): value for key, value in line.items()}
        lines.append(line)
    # The freight of Northwind: a sum of floats.
    freight = [random_.randrange(10_000) / 100 for _ in range(5)]
    exact = sum((Decimal(str(part)) for part in freight), Decimal(0))
    order = {"order_id": number, "order_date": "1996-07-04", "total_amount": sum(freight), "products": lines}
    customer = random_.choice([None, {}, {"name": "Guest"}, {"customer_id": 5.0, "address": {"city": "Reims"}}])
    if random_.random() < 0.8:
        order["customer"] = customer
    identified = "5" if order.get("customer") and "customer_id" in (customer or {}) else None
    if random_.random() < 0.2:
        order["order_date"] = random_.choice(["1996-07-04t10:00:00 +02:00", "1996-07-04 10:00z"])
    if random_.random() < 0.1:
        order = {key.upper(): value for key, value in order.items()}
    return order, {"customer": identified, "total": exact, "lines": len(lines), "sum": total} if good else None


@pytest.mark.parametrize("seed", [1, 2])
def test_a_thousand_messy_orders_are_what_a_person_reads(orders_lake: OrdersLake, seed: int) -> None:
    random_ = random.Random(seed)
    orders = {str(number): messy(random_, number) for number in range(1000)}
    written = [json.dumps(order) for order, _ in orders.values()]
    orders_lake.write("orders_a.ndjson", "\n".join(written[:500]))
    orders_lake.write("orders_b.json", f"[{','.join(written[500:])}]")
    report = orders_lake.run()

    expected = {key: header for key, (_, header) in orders.items() if header}
    assert report.rows == {
        "read": 1000, "loaded": len(expected), "superseded": 0, "quarantined": 1000 - len(expected)
    }  # fmt: skip
    found = {row[0]: row[2:] for row in orders_lake.tables()["ORDER_HEADERS"]}
    assert found == {k: (h["customer"], h["total"], h["lines"], h["sum"]) for k, h in expected.items()}
    ((amount,),) = orders_lake.rows("SELECT SUM(AMOUNT) FROM ORDERS.DAILY_CATEGORY_SALES")
    assert amount == sum(header["sum"] for header in expected.values())
    codes = Counter(code for (code,) in orders_lake.rows("SELECT REASON_CODE FROM OPS.QUARANTINE"))
    assert set(codes) == {"not_a_number", "missing_value", "does_not_fit"}
    assert any("binary floats" in note for note in report.notes)
    assert len(orders_lake.lake_orders()) == sum(header["lines"] > 0 for header in expected.values())
