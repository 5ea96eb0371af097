"""Column lineage comes from the SQL, so it cannot be out of date."""

from __future__ import annotations

import pytest

from pipeline_assets.engine.interface import INPUT_COLUMNS
from pipeline_assets.sqlfiles import column_sources, load_sql
from pipeline_assets_tests.bookings_lake import contract

INPUTS = {
    "BOOKINGS": (*contract("bookings").column_names, *INPUT_COLUMNS),
    "CUSTOMERS": (*contract("customers").column_names, *INPUT_COLUMNS),
}
OF_CUSTOMERS = ("FIRST_NAME", "LAST_NAME", "EMAIL", "PHONE_NUMBER", "ADDRESS", "COUNTRY_CODE", "SEGMENT_ID")


def test_every_column_of_the_join_is_traced_to_its_file() -> None:
    columns = contract("customer_bookings").column_names

    found = column_sources(load_sql("bookings/customer_bookings").text, columns, INPUTS)

    assert found == {column: [("CUSTOMERS" if column in OF_CUSTOMERS else "BOOKINGS", column)] for column in columns}


def test_a_mart_is_traced_through_its_aggregates() -> None:
    found = column_sources(
        load_sql("bookings/daily_spend").text,
        ["BOOKING_DATE", "BOOKINGS", "AMOUNT_SPENT"],
        {"BOOKINGS.CUSTOMER_BOOKINGS": contract("customer_bookings").column_names},
    )

    assert found["AMOUNT_SPENT"] == [("BOOKINGS.CUSTOMER_BOOKINGS", "AMOUNT_SPENT")]
    assert found["BOOKING_DATE"] == [("BOOKINGS.CUSTOMER_BOOKINGS", "BOOKING_DATE")]
    assert found["BOOKINGS"] == []  # COUNT(*) is made of no column


@pytest.mark.parametrize(
    ("sql", "sources"),
    [
        ("SELECT A || B AS X FROM T", [("T", "A"), ("T", "B")]),
        ("WITH C AS (SELECT A AS Y FROM T) SELECT Y AS X FROM C", [("T", "A")]),
        ("SELECT A AS X FROM T UNION ALL SELECT B AS X FROM U", [("T", "A"), ("U", "B")]),
        ("SELECT COALESCE(T.A, U.B) AS X FROM T INNER JOIN U ON T.K = U.K", [("T", "A"), ("U", "B")]),
        ("SELECT CASE WHEN A = 'x' THEN 1 ELSE 0 END AS X FROM T", [("T", "A")]),
        ("SELECT CASE WHEN K = 'x' THEN A ELSE B END AS X FROM T", [("T", "A"), ("T", "B"), ("T", "K")]),
        ("SELECT CASE K WHEN 'x' THEN A END AS X FROM T", [("T", "A"), ("T", "K")]),
        ("SELECT IFF(K = 'x', A, B) AS X FROM T", [("T", "A"), ("T", "B"), ("T", "K")]),
        ("SELECT SUM(A) OVER (PARTITION BY B ORDER BY K) AS X FROM T", [("T", "A"), ("T", "B"), ("T", "K")]),
        ("SELECT (SELECT MAX(U.B) FROM U) AS X FROM T", [("U", "B")]),
        ("SELECT X FROM (SELECT A AS X, B FROM T) AS Y", [("T", "A")]),
        ("SELECT 1 AS X FROM T", []),
    ],
)
def test_a_column_is_traced_to_everything_it_is_made_of(sql: str, sources: list[tuple[str, str]]) -> None:
    assert column_sources(sql, ["X"], {"T": ["A", "B", "K"], "U": ["B", "K"]}) == {"X": sources}


def test_names_come_back_as_they_were_given() -> None:
    assert column_sources("SELECT A AS X FROM S.T", ["X"], {"s.t": ["A"]}) == {"X": [("s.t", "A")]}
