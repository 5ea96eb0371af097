"""How a SELECT uses each column that it reads: for a value, for a choice of values, or for a choice of rows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from pipeline_assets.pipeline.selects import Select
from pipeline_assets_tests.unit.pipeline.test_column_steps import SCHEMA, Columns, statements


def shown(uses: dict) -> dict[str, str]:
    return {column: " ".join(sorted(use.subtype for use in found)) for (_, column), found in uses.items()}


@settings(max_examples=60)
@given(statements())
def test_a_column_has_uses_for_exactly_what_it_is_computed_from(statement: tuple[str, Columns]) -> None:
    text, columns = statement
    select = Select("generated", text, SCHEMA)

    for name in columns:
        uses = select.uses_of(name)
        assert sorted(uses) == select.sources_of(name), text
        assert all(uses.values())
    assert set(select.row_uses) <= select.columns_read, text


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("SELECT A AS X FROM S.T", {"A": "IDENTITY"}),
        ("SELECT CAST(A AS DATE) AS X FROM S.T", {"A": "TRANSFORMATION"}),
        ("SELECT SUM(A * B) AS X FROM S.T", {"A": "AGGREGATION", "B": "AGGREGATION"}),
        (
            "SELECT IFF(A > 0, B, C) AS X FROM S.T",
            {"A": "CONDITIONAL", "B": "TRANSFORMATION", "C": "TRANSFORMATION"},
        ),
        (
            "SELECT CASE A WHEN B THEN C END AS X FROM S.T",
            {"A": "CONDITIONAL", "B": "CONDITIONAL", "C": "TRANSFORMATION"},
        ),
        ("SELECT CASE WHEN A > 0 THEN A END AS X FROM S.T", {"A": "CONDITIONAL TRANSFORMATION"}),
        (
            "SELECT SUM(A) OVER (PARTITION BY B ORDER BY C) AS X FROM S.T",
            {"A": "AGGREGATION", "B": "WINDOW", "C": "WINDOW"},
        ),
        ("SELECT LAG(A) OVER (ORDER BY B) AS X FROM S.T", {"A": "TRANSFORMATION", "B": "WINDOW"}),
        ("WITH W AS (SELECT SUM(A) AS S FROM S.T) SELECT S AS X FROM W", {"A": "AGGREGATION"}),
        ("WITH W AS (SELECT SUM(A) AS S FROM S.T) SELECT IFF(S > 0, 1, 0) AS X FROM W", {"A": "CONDITIONAL"}),
        ("SELECT A AS X FROM S.T UNION ALL SELECT E + 1 FROM S.U", {"A": "IDENTITY", "E": "TRANSFORMATION"}),
        ("SELECT (SELECT MAX(E) FROM S.U) AS X, A AS Y FROM S.T", {"E": "AGGREGATION"}),
        ("SELECT G.VALUE AS X FROM S.T AS O, LATERAL FLATTEN(INPUT => O.A) AS G", {"A": "TRANSFORMATION"}),
    ],
)
def test_the_use_of_a_column_follows_from_its_place_in_the_expressions(text: str, uses: dict[str, str]) -> None:
    assert shown(Select("one", text, SCHEMA).uses_of("X")) == uses


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("SELECT A AS X FROM S.T", {}),
        ("SELECT A AS X FROM S.T WHERE B > 0 ORDER BY C", {"B": "FILTER", "C": "SORT"}),
        ("SELECT T.B AS X FROM S.T LEFT JOIN S.U ON T.J = U.E", {"J": "JOIN", "E": "JOIN"}),
        ("SELECT A AS X, SUM(B) AS Y FROM S.T GROUP BY 1 HAVING SUM(C) > 0", {"A": "GROUP_BY", "C": "FILTER"}),
        ("WITH W AS (SELECT A + B AS S FROM S.T) SELECT S AS X FROM W WHERE S > 0", {"A": "FILTER", "B": "FILTER"}),
        (
            "SELECT Q.X FROM (SELECT A AS X FROM S.T UNION SELECT E FROM S.U) AS Q WHERE Q.X > 0",
            {"A": "FILTER", "E": "FILTER"},
        ),
        ("SELECT A AS X FROM S.T QUALIFY ROW_NUMBER() OVER (ORDER BY B) = 1", {"B": "FILTER"}),
    ],
)
def test_columns_of_conditions_decide_about_rows(text: str, uses: dict[str, str]) -> None:
    assert shown(Select("one", text, SCHEMA).row_uses) == uses
