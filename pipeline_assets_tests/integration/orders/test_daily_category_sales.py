"""DAILY_CATEGORY_SALES is always what grouping all published order lines gives, whichever of them a batch moved."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from pipeline_assets_tests.support.orders_lake import LINE_COLUMNS, OrdersLake, order, product

START = datetime(2026, 1, 1, tzinfo=UTC)
FIRST_DAY = date(2024, 1, 1)
COLUMNS = LINE_COLUMNS.split(", ")
Line = tuple[str | None, str, int]  # category, price, quantity
# Lines of an order before and after a newer delivery, and whether it moves to another day.
MOVES: dict[str, tuple[list[Line], list[Line], bool]] = {
    "nothing": ([("Toys", "2.50", 2)], [("Toys", "2.50", 2)], False),
    "day": ([("Toys", "2.50", 2)], [("Toys", "2.50", 2)], True),
    "category": ([("Toys", "2.50", 2)], [("Books", "2.50", 2)], False),
    "category, to none": ([("Toys", "2.50", 2)], [(None, "2.50", 2)], False),
    "day and category": ([("Toys", "2.50", 2)], [("Books", "2.50", 2)], True),
    "one of two lines to another category": ([("Toys", "1", 1)] * 2, [("Toys", "1", 1), ("Books", "1", 1)], False),
    "a second line of the same category": ([("Toys", "1", 1)], [("Toys", "1", 1)] * 2, False),
    "price": ([("Toys", "2.50", 2)], [("Toys", "2.5001", 2)], False),
    "quantity": ([("Toys", "2.50", 2)], [("Toys", "2.50", -3)], False),
    "the last line of a category": ([("Toys", "1", 1), ("Books", "1", 1)], [("Toys", "1", 1)], False),
    "all lines": ([("Toys", "1", 1), ("Books", "1", 1)], [], False),
    "all lines, and day": ([("Toys", "1", 1), ("Books", "1", 1)], [], True),
    "none to two of one category, and day": ([], [("Toys", "1", 3), ("Toys", "2", 1)], True),
}


def document(order_id: str, day: date, lines: list[Line]) -> dict:
    products = [product(f"P{n}", price, quantity, category) for n, (category, price, quantity) in enumerate(lines)]
    return order(order_id, *products, date=day.isoformat())


def from_scratch(lake: OrdersLake) -> dict[tuple, tuple[int, int, Decimal]]:
    """(day, category) -> (orders, quantity, amount) over everything published."""
    groups: dict[tuple, list[dict]] = defaultdict(list)
    for published in lake.tables()["ORDER_LINES"]:
        row = dict(zip(COLUMNS, published, strict=True))
        groups[row["ORDER_DATE"], row["CATEGORY"]].append(row)
    return {
        group: (
            len({row["ORDER_ID"] for row in rows}),
            sum(int(row["QUANTITY"]) for row in rows),
            sum((row["PRICE"] * row["QUANTITY"] for row in rows), Decimal(0)),
        )
        for group, rows in groups.items()
    }


def mart(lake: OrdersLake) -> dict[tuple, tuple[int, int, Decimal]]:
    rows = lake.tables()["DAILY_CATEGORY_SALES"]
    found = {row[:2]: (int(row[2]), int(row[3]), row[4]) for row in rows}
    assert len(found) == len(rows), "a group is in the mart twice"
    return found


def published(lake: OrdersLake) -> dict[str, tuple[date, list[Line]]]:
    """The day and the lines of every published order."""
    tables = lake.tables()
    found: dict[str, tuple[date, list[Line]]] = {row[0]: (row[1], []) for row in tables["ORDER_HEADERS"]}
    for values in tables["ORDER_LINES"]:
        row = dict(zip(COLUMNS, values, strict=True))
        day, lines = found[row["ORDER_ID"]]
        assert row["ORDER_DATE"] == day
        lines.append((row["CATEGORY"], row["PRICE"], int(row["QUANTITY"])))
    return found


def as_published(day: date, lines: list[Line]) -> tuple[date, list[tuple]]:
    return day, [(category, Decimal(price), quantity) for category, price, quantity in lines]


def test_an_order_counts_once_in_each_of_its_categories(orders_lake: OrdersLake) -> None:
    toys, books = product("P1"), product("P2", category="Books")
    orders_lake.orders("", order(1, toys, toys, books), order(2, toys), order(3))
    orders_lake.run()
    assert [row[1:3] for row in orders_lake.tables()["DAILY_CATEGORY_SALES"]] == [("Books", 1), ("Toys", 2)]


def test_an_order_that_moves_between_groups_and_back_leaves_the_old_one(orders_lake: OrdersLake) -> None:
    """Every case has its own days: what happens to one cannot hide what happens to another."""
    old, new, beside = {}, {}, {}
    for number, (alone, move) in enumerate((alone, move) for alone in (True, False) for move in MOVES.values()):
        lines_before, lines_after, moves = move
        day = FIRST_DAY + timedelta(2 * number)
        before, after = (day, lines_before), (day + timedelta(moves), lines_after)
        key = f"{number:03}"
        old[key], new[key] = before, after
        if not alone:
            beside |= {f"{key}-{n}": row for n, row in enumerate((before, after))}
    orders_lake.orders("", *(document(key, *row) for key, row in (old | beside).items()), modified=START)
    orders_lake.run()
    for hour, (name, moved) in enumerate({"there": new, "back": old}.items(), 1):
        documents = (document(key, *row) for key, row in moved.items())
        orders_lake.orders(f"_{name}", *documents, modified=START + timedelta(hours=hour))
        orders_lake.run()

        assert published(orders_lake) == {key: as_published(*row) for key, row in (moved | beside).items()}, name
        assert mart(orders_lake) == from_scratch(orders_lake), name


@pytest.mark.parametrize("seed", [1])
def test_after_each_of_many_batches_the_mart_is_what_grouping_everything_gives(
    orders_lake: OrdersLake, seed: int
) -> None:
    """Few orders on many days, so that a day is rarely touched twice in one batch."""
    random = Random(seed)
    current = {}
    for batch in range(5):
        fresh = {
            str(number): (
                FIRST_DAY + timedelta(random.randrange(40)),
                [
                    (random.choice(["Toys", "Books", None]), str(random.randrange(1, 9)), random.randrange(-2, 5))
                    for _ in range(random.randrange(4))
                ],
            )
            for number in ([*random.sample(range(24), 5), 24 + batch] if batch else range(24))
        }
        current |= fresh
        now = START + timedelta(hours=batch)
        orders_lake.orders(f"_{batch}", *(document(key, *row) for key, row in fresh.items()), modified=now)
        orders_lake.run()
        assert mart(orders_lake) == from_scratch(orders_lake), f"batch {batch}"
    assert published(orders_lake) == {key: as_published(*row) for key, row in current.items()}
