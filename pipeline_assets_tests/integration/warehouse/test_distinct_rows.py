"""append_distinct: of equal rows a table has as many as the object with most of them, whatever is loaded when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.ddl import staging_table, table_for_write_mode
from pipeline_assets.lake import LocalLake
from pipeline_assets.warehouse import EmbeddedWarehouse, ledger
from pipeline_assets.warehouse.publication import Load, publish
from pipeline_assets_tests.support.shop_warehouse import NOON, Batch

COLUMNS = (
    Column("REVIEWER", "string", "VARCHAR(64)"),
    Column("TITLE", "string", "VARCHAR(64)"),
    Column("RATING", "number", "NUMBER(18,4)"),
    Column("STARS", "integer", "NUMBER(20,0)"),
    Column("WEIGHT", "number", "FLOAT"),
    Column("REVIEWED_ON", "date", "DATE"),
    Column("CHANGED_AT", "timestamp", "TIMESTAMP_NTZ(6)"),
    Column("VERIFIED", "boolean", "BOOLEAN"),
)
REVIEWS = Contract("reviews", "REVIEWS", "1", "shop", "Reviews.", "One row per review.", "team", COLUMNS)
Row = tuple[Any, ...]
Object = tuple[str, list[Row]]  # uri and rows


class Reviews:
    """The table, loaded batch by batch."""

    def __init__(self, warehouse: EmbeddedWarehouse, batch: Callable[..., Batch], contract: Contract = REVIEWS) -> None:
        self.warehouse, self._batch, self.contract = warehouse, batch, contract
        self.become(contract)

    def become(self, contract: Contract) -> None:
        self.contract = contract
        mode = "append_distinct"
        self.warehouse.prepare([table_for_write_mode(contract, mode), staging_table(contract, mode)])

    def load(self, *objects: Object) -> int:
        """Publish objects as one batch; returns the rows of the table after it."""
        with self.warehouse.read_only() as transaction:
            planned_on = ledger.published_batches(transaction, "shop")
        batch = self._batch(f"b{planned_on}", planned_on)
        rows = [
            dict(zip(self.contract.column_names, row, strict=True))
            | {"_SOURCE_URI": uri, "_SOURCE_ETAG": "1", "_SOURCE_MODIFIED_AT": NOON}
            for uri, of_object in objects
            for row in of_object
        ]
        staged = batch.stage(staging_table(self.contract, "append_distinct"), rows)
        load = Load(self.contract, staged, "append_distinct", dataset="reviews")
        publication = replace(batch.publication(), loads=[load], marts=[])
        return publish(self.warehouse, publication, NOON).table_rows["SHOP.REVIEWS"]

    def counts(self) -> Counter[Row]:
        with self.warehouse.read_only() as transaction:
            return Counter(transaction.rows(f"SELECT {', '.join(self.contract.column_names)} FROM SHOP.REVIEWS"))


@pytest.fixture
def reviews(warehouse: EmbeddedWarehouse, shop_lake: LocalLake, tmp_path: Path) -> Reviews:
    return Reviews(warehouse, lambda batch_id, planned_on: Batch(shop_lake, tmp_path, batch_id, planned_on))


FIRST = datetime.fromisoformat("0001-01-01")
TEXTS = st.sampled_from([None, "", " ", "a", "A", "a|", "TITLE:1:a|", "1:a|TITLE:", "é", "e\u0301", "\x00"])
ROWS = st.tuples(
    TEXTS,
    TEXTS,
    st.sampled_from([None, Decimal("0.0000"), Decimal("-1.5000"), Decimal("99999999999999.9999")]),
    st.sampled_from([None, Decimal(0), Decimal(2**64 - 1)]),
    st.sampled_from([None, 0.1, 0.1 + 2**-56, 1e-300, 5e-324, -1.7976931348623157e308]),
    st.sampled_from([None, date(1, 1, 1), date(9999, 12, 31)]),
    st.sampled_from([None, FIRST, FIRST + timedelta(microseconds=1)]),
    st.sampled_from([None, True, False]),
)
EQUAL_ROWS = st.lists(ROWS, min_size=1, max_size=3, unique=True).flatmap(
    lambda rows: st.lists(
        st.lists(  # objects of a batch, each with rows of which many are equal
            st.lists(st.sampled_from(rows), max_size=6), min_size=1, max_size=3
        ),
        min_size=1,
        max_size=3,
    )
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=EQUAL_ROWS, again=st.booleans())
def test_of_equal_rows_there_are_as_many_as_in_the_object_with_most(
    batches: list[list[list[Row]]], again: bool, reviews: Reviews
) -> None:
    with reviews.warehouse.transaction() as transaction:
        transaction.execute("DELETE FROM SHOP.REVIEWS")
    named = [[(f"lake://b/{b}-{o}", rows) for o, rows in enumerate(each)] for b, each in enumerate(batches)]
    expected: Counter[Row] = Counter()
    for objects in named:
        for _, rows in objects:
            expected |= Counter(rows)  # the greater of both counts
    for objects in [*named, *(reversed(named) if again else ())]:
        reviews.load(*objects)
    assert reviews.counts() == expected


def row(title: str | None = "a", **values: Any) -> Row:
    given = {"TITLE": title, "RATING": Decimal("1.0000"), "CHANGED_AT": NOON} | values
    return tuple(given.get(column.name) for column in COLUMNS)


def test_rows_of_one_object_keep_their_number_and_those_of_another_add_only_what_is_missing(reviews: Reviews) -> None:
    assert reviews.load(("lake://b/1", [row(), row(), row("b")])) == 3
    assert reviews.load(("lake://b/2", [row(), row("b"), row("b"), row("c")])) == 5
    assert reviews.counts() == Counter({row(): 2, row("b"): 2, row("c"): 1})


def test_a_column_that_is_added_does_not_make_earlier_rows_others(reviews: Reviews) -> None:
    """An earlier object that is loaded again has NULL in it, as the rows in the table have."""
    first = replace(REVIEWS, columns=COLUMNS[1:-1])
    reviews.become(first)
    reviews.load(("lake://b/1", [row()[1:-1], row()[1:-1]]))
    reviews.become(REVIEWS)
    assert reviews.load(("lake://b/1", [row(), row()])) == 2
    assert reviews.load(("lake://b/2", [row(VERIFIED=True)])) == 3


def test_the_order_of_columns_does_not_matter(reviews: Reviews) -> None:
    reviews.load(("lake://b/1", [row()]))
    reviews.contract = replace(REVIEWS, columns=tuple(reversed(COLUMNS)))
    assert reviews.load(("lake://b/2", [tuple(reversed(row()))])) == 1
