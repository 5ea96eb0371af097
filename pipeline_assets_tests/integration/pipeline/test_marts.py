"""Which rows of a mart a batch makes anew: after any batches each mart is what its SELECT gives over the tables."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline import LandedFiles, Mart, Pipeline, Table
from pipeline_assets.pipeline.marts import difference_query
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets_tests.support.small_pipelines import SmallLake, lake_of, pipeline_of, temporary

SALES = ["SALE_ID text key", "ITEM_ID text", "SOLD_ON date", "CITY text", "AMOUNT number"]
CONTRACTS = {
    "sales": ("csv", SALES),
    "items": ("csv", ["ITEM_ID text key", "CATEGORY text"]),
    "by_city": ("table", ["CITY text", "SALES integer", "AMOUNT number"]),
    "by_month": ("table", ["MONTH date", "CITY text", "AMOUNT number"]),
    "by_category": ("table", ["CATEGORY text", "SALES integer"]),
    "cities_by_sales": ("table", ["SALES integer", "CITIES integer"]),
    "m_cities": ("table", ["CITY text", "SALES integer"]),
    "ranked": ("table", ["CITY text", "SALE_ID text", "PLACE integer"]),
    "total": ("table", ["SALES integer", "AMOUNT number"]),
    "large": ("table", ["CITY text", "AMOUNT number"]),
    "pairs": ("table", ["CITY text", "PAIRS integer"]),
}
SQL = {
    "by_city": "SELECT S.CITY, COUNT(*) AS SALES, SUM(S.AMOUNT) AS AMOUNT FROM SHOP.SALES AS S GROUP BY S.CITY",
    "by_month": "SELECT DATE_TRUNC('MONTH', S.SOLD_ON) AS MONTH, S.CITY, SUM(S.AMOUNT) AS AMOUNT "
    "FROM SHOP.SALES AS S GROUP BY DATE_TRUNC('MONTH', S.SOLD_ON), S.CITY",
    "by_category": "SELECT I.CATEGORY, COUNT(*) AS SALES FROM SHOP.SALES AS S "
    "LEFT JOIN SHOP.ITEMS AS I ON S.ITEM_ID = I.ITEM_ID GROUP BY I.CATEGORY",
    "cities_by_sales": "SELECT C.SALES, COUNT(*) AS CITIES FROM SHOP.BY_CITY AS C GROUP BY C.SALES",
    "m_cities": "SELECT C.CITY, C.SALES FROM SHOP.BY_CITY AS C WHERE C.CITY LIKE '%m%' AND C.CITY <> '%s'",
    "ranked": "SELECT S.CITY, S.SALE_ID, ROW_NUMBER() OVER (PARTITION BY S.CITY ORDER BY S.AMOUNT DESC, S.SALE_ID) "
    "AS PLACE FROM SHOP.SALES AS S",
    "total": "SELECT COUNT(*) AS SALES, SUM(S.AMOUNT) AS AMOUNT FROM SHOP.SALES AS S",
    "large": "SELECT S.CITY, SUM(S.AMOUNT) AS AMOUNT FROM SHOP.SALES AS S GROUP BY S.CITY HAVING SUM(S.AMOUNT) > 25",
    "pairs": "SELECT A.CITY, COUNT(*) AS PAIRS FROM SHOP.SALES AS A "
    "INNER JOIN SHOP.SALES AS B ON A.ITEM_ID = B.ITEM_ID GROUP BY A.CITY",
}
MARTS = [
    Mart("cities_by_sales", refresh_by="SALES"),
    Mart("m_cities", refresh_by="CITY"),
    Mart("by_city", refresh_by="CITY"),
    Mart("by_month", refresh_by=["MONTH", "CITY"]),
    Mart("by_category", refresh_by="CATEGORY"),
    Mart("ranked", refresh_by="CITY"),
    Mart("total", refresh="full"),
    Mart("large", refresh_by="CITY"),
    Mart("pairs", refresh_by="CITY"),
]


def value(folder: Path, **sql: str) -> Pipeline:
    return pipeline_of(
        folder,
        CONTRACTS,
        SQL | sql,
        sources=[LandedFiles("sales", "in/sales*.csv"), LandedFiles("items", "in/items*.csv")],
        tables=[Table("sales"), Table("items"), *MARTS],
    )


class Sales(SmallLake):
    def sale(self, key: str, item: str, day: str, city: str, amount: int, at: float) -> None:
        row = {"SALE_ID": key, "ITEM_ID": item, "SOLD_ON": day, "CITY": city, "AMOUNT": amount}
        self.csv(f"sales_{key}_{at}", row, at=at)

    def wrong(self) -> list[str]:
        """The marts that are not what their SELECTs give."""
        return [m.contract.name for m in type(self).pipeline().marts if self.rows(difference_query(m))]

    def mart(self, name: str) -> list[tuple]:
        return sorted(self.rows(f"SELECT * EXCLUDE ({', '.join(OURS)}) FROM SHOP.{name}"), key=str)


OURS = ("_BATCH_ID", "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_LOADED_AT", "_RESCUED")


@cache
def kind() -> type[Sales]:
    return lake_of(value(temporary()), Sales)  # type: ignore[return-value]


@pytest.fixture
def sales(tmp_path: Path) -> Sales:
    """Three cities, one of them NULL, two of them with two sales."""
    lake = kind().with_tables(tmp_path / "home")
    lake.csv("items_1", {"ITEM_ID": "I1", "CATEGORY": "Toys"}, {"ITEM_ID": "I2", "CATEGORY": "Books"}, at=1)
    rows = [
        ("S1", "I1", "2024-01-31", "Rome", 10),
        ("S2", "I2", "2024-02-01", "Rome", 20),
        ("S3", "I1", "2024-02-02", "Oslo", 30),
        ("S4", "I9", "2024-02-03", "Oslo", 40),
        ("S5", "I9", "2024-02-03", "", 50),
    ]
    names = [column.split()[0] for column in SALES]
    lake.csv("sales_1", *(dict(zip(names, row, strict=True)) for row in rows), at=1)
    lake.run()
    assert lake.wrong() == []
    return lake


def test_rows_that_move_between_groups_leave_the_old_one_and_join_the_new(sales: Sales) -> None:
    """The city, month and number of sales of S1's row change; staged rows alone name the new group only."""
    sales.sale("S1", "I1", "2024-03-01", "Oslo", 10, 2)
    sales.run()
    assert sales.wrong() == []
    assert sales.mart("BY_CITY") == [("Oslo", 3, 80), ("Rome", 1, 20), (None, 1, 50)]
    assert sales.mart("CITIES_BY_SALES") == [(1, 2), (3, 1)]
    assert sales.mart("M_CITIES") == [("Rome", 1)]


def test_groups_without_a_value_are_made_anew_like_any_other(sales: Sales) -> None:
    """With `=` instead of EQUAL_NULL the group would be inserted again in each batch and never deleted."""
    sales.sale("S6", "I9", "2024-02-03", "", 5, 2)
    sales.run()
    assert sales.mart("BY_CITY")[-1] == (None, 2, 55)
    assert sales.mart("BY_CATEGORY")[-1] == (None, 3)
    assert sales.wrong() == []


def test_a_changed_row_of_either_table_refreshes_a_mart_over_two(sales: Sales) -> None:
    """A late item gives sales that nobody delivers again a category."""
    sales.csv("items_2", {"ITEM_ID": "I9", "CATEGORY": "Toys"}, {"ITEM_ID": "I2", "CATEGORY": "Maps"}, at=2)
    sales.run()
    assert sales.mart("BY_CATEGORY") == [("Maps", 1), ("Toys", 4)]


def test_a_group_can_become_large_enough_and_too_small(sales: Sales) -> None:
    """HAVING is asked of whole groups: 16 more for Rome are no large group by themselves."""
    assert sales.mart("LARGE") == [("Oslo", 70), ("Rome", 30), (None, 50)]
    sales.sale("S2", "I2", "2024-02-01", "Rome", 1, 2)
    sales.run()
    assert sales.mart("LARGE") == [("Oslo", 70), (None, 50)]
    sales.sale("S7", "I2", "2024-02-01", "Rome", 16, 3)
    sales.run()
    assert sales.mart("LARGE") == [("Oslo", 70), ("Rome", 27), (None, 50)]


def test_a_join_of_a_table_with_itself_sees_pairs_of_a_touched_and_an_untouched_row(sales: Sales) -> None:
    assert sales.mart("PAIRS") == [("Oslo", 4), ("Rome", 3), (None, 2)]
    sales.sale("S6", "I2", "2024-02-03", "Bern", 5, 2)
    sales.run()
    assert sales.mart("PAIRS") == [("Bern", 2), ("Oslo", 4), ("Rome", 4), (None, 2)]


def test_a_mart_that_is_added_later_and_one_whose_select_changed_are_made_for_all_rows(
    sales: Sales, tmp_path: Path
) -> None:
    """A mart over a mart is made anew with it: its rows come from rows that no batch touches."""
    later = value(tmp_path / "later", by_city=SQL["by_city"].replace("COUNT(*)", "COUNT(*) + 10"))
    changed = lake_of(later, Sales).at(sales.home)
    assert isinstance(changed, Sales)
    changed.sale("S6", "I1", "2024-02-03", "Bern", 5, 2)
    changed.run()
    assert changed.mart("BY_CITY")[0] == ("Bern", 11, 5)
    assert changed.mart("CITIES_BY_SALES") == [(11, 2), (12, 2)]
    assert changed.wrong() == []


def test_a_mart_that_is_added_later_fills_itself(tmp_path: Path) -> None:
    whole = value(tmp_path / "value")
    first = lake_of(replace(whole, tables=[Table("sales"), Table("items")]), Sales).at(tmp_path / "home")
    assert isinstance(first, Sales)
    first.sale("S1", "I1", "2024-01-01", "Rome", 1, 1)
    first.run()
    second = lake_of(whole, Sales).at(tmp_path / "home")
    assert isinstance(second, Sales)
    second.sale("S2", "I1", "2024-01-01", "Oslo", 1, 1)
    second.run()
    assert second.mart("BY_CITY") == [("Oslo", 1, 1), ("Rome", 1, 1)]
    assert second.wrong() == []


def test_marts_come_after_the_marts_that_they_read() -> None:
    names = [mart.contract.name for mart in kind().pipeline().marts]
    assert names.index("by_city") < names.index("cities_by_sales")


LAST = "WITH L AS (SELECT ITEM_ID, MAX(SOLD_ON) AS D, SUM(AMOUNT) AS A FROM SHOP.SALES GROUP BY ITEM_ID) "
REFUSED = {
    "a column made of an inner aggregate": LAST + "SELECT L.D AS CITY, COUNT(*) AS PAIRS FROM L GROUP BY L.D",
    "an inner aggregate in a condition": LAST + "SELECT S.CITY, COUNT(*) AS PAIRS FROM SHOP.SALES AS S "
    "INNER JOIN L ON L.ITEM_ID = S.ITEM_ID WHERE L.A > 10 GROUP BY S.CITY",
    "an inner HAVING": "WITH L AS (SELECT ITEM_ID FROM SHOP.SALES GROUP BY ITEM_ID HAVING SUM(AMOUNT) > 10) "
    "SELECT S.CITY, COUNT(*) AS PAIRS FROM SHOP.SALES AS S INNER JOIN L ON L.ITEM_ID = S.ITEM_ID GROUP BY S.CITY",
    "an inner LIMIT": "SELECT S.CITY, COUNT(*) AS PAIRS FROM (SELECT CITY FROM SHOP.SALES LIMIT 3) AS S GROUP BY CITY",
    "an average in a condition": "SELECT S.CITY, COUNT(*) AS PAIRS FROM SHOP.SALES AS S "
    "WHERE S.AMOUNT > (SELECT AVG(A.AMOUNT) FROM SHOP.SALES AS A) GROUP BY S.CITY",
    "a window over other columns": "SELECT S.CITY, ROW_NUMBER() OVER (PARTITION BY S.ITEM_ID ORDER BY S.AMOUNT) "
    "AS PAIRS FROM SHOP.SALES AS S",
    "a window over everything": "SELECT S.CITY, ROW_NUMBER() OVER (ORDER BY S.AMOUNT) AS PAIRS FROM SHOP.SALES AS S",
    "an expression of the partition": "SELECT S.CITY, ROW_NUMBER() OVER (PARTITION BY UPPER(S.CITY) "
    "ORDER BY S.AMOUNT) AS PAIRS FROM SHOP.SALES AS S",
    "a measure": "SELECT MAX(S.CITY) AS CITY, S.SOLD_ON AS PAIRS FROM SHOP.SALES AS S GROUP BY S.SOLD_ON",
    "a grand total": "SELECT MAX(S.CITY) AS CITY, COUNT(*) AS PAIRS FROM SHOP.SALES AS S",
    "a UNION": "SELECT CITY, AMOUNT AS PAIRS FROM SHOP.SALES UNION SELECT CITY, AMOUNT FROM SHOP.SALES",
    "a ROLLUP": "SELECT S.CITY, COUNT(*) AS PAIRS FROM SHOP.SALES AS S GROUP BY ROLLUP (S.CITY)",
    "a table expression read twice": "WITH L AS (SELECT CITY, ITEM_ID FROM SHOP.SALES) SELECT A.CITY, COUNT(*) "
    "AS PAIRS FROM L AS A INNER JOIN L AS B ON A.ITEM_ID = B.ITEM_ID GROUP BY A.CITY",
}


@pytest.mark.parametrize("select", REFUSED.values(), ids=REFUSED)
def test_rows_that_depend_on_more_than_their_refresh_columns_cannot_be_refreshed_by_them(
    select: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"sql/shop/pairs.sql.*refresh_by of pairs names CITY.*refresh='full'"):
        resolve(value(tmp_path, pairs=select))
