"""The cost of a batch follows the records, not the number of objects that they are delivered in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline_assets.warehouse import connection, transaction
from pipeline_assets_tests.support.commerce_lake import CommerceLake, customer, order

AT = datetime(2024, 3, 1, 10, 15, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
MANY = transaction.COPY_FILES_LIMIT + 1  # whatever is done for so many names at once is done twice


def deliver(lake: CommerceLake, at: datetime, objects: int) -> None:
    lake.deliver("customers", at, customer(1))
    for number in range(objects):
        lake.deliver("orders", at + timedelta(seconds=number), order(number, price=f"{objects}.00"))


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that reaches the warehouse."""
    found: list[str] = []
    theirs = transaction.run_statement
    for module in (transaction, connection):
        monkeypatch.setattr(module, "run_statement", lambda *a: (found.append(a[1]), theirs(*a))[1])
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_statements_of_a_batch_are_the_same_for_one_object_and_for_a_thousand(
    lake: CommerceLake, statements: list[str]
) -> None:
    deliver(lake, AT, 1)
    lake.run()  # into empty tables, of which nothing is fetched
    counts = {}
    for number, objects in enumerate((1, MANY), 1):
        deliver(lake, AT + number * HOUR, objects)
        for kind, request in (("new", {}), ("delivered again", {}), ("processed again", {"reprocess": True})):
            if kind == "delivered again":
                deliver(lake, AT + number * HOUR, objects)
            statements.clear()
            report = lake.run(**request)
            assert report.new + report.known >= objects
            counts[objects, kind] = len(statements)
    kinds = ("new", "delivered again", "processed again")
    assert [counts[MANY, kind] for kind in kinds] == [counts[1, kind] for kind in kinds]
    assert lake.rows("SELECT COUNT(*) FROM COMMERCE.ORDERS") == [(MANY,)]
    assert {key.split("/")[1] for key in lake.landed_keys()} == {"processed"}
