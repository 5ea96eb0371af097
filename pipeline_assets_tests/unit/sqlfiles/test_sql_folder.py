"""Every file in sql/ is Snowflake SQL that also runs elsewhere, and says what one row is."""

from __future__ import annotations

import pytest
import sqlglot
from sqlglot import exp

from pipeline_assets.sqlfiles import load_sql, sql_files, sql_root, statement_kind, transpile


def queries() -> list[str]:
    """Files that other engines may run: not DML, and not the statements of the platform, which only Snowflake knows."""
    names = [name for name in sql_files() if not name.startswith("platform/")]
    return [name for name in names if isinstance(parsed(name), exp.Query)]


def parsed(name: str) -> exp.Expression:
    return sqlglot.parse_one(load_sql(name).text, read="snowflake")


@pytest.mark.parametrize("name", sql_files())
def test_a_file_is_one_statement_that_opens_with_its_grain(name: str) -> None:
    """Those of the platform make no rows and say what they make; they are parsed rendered, see deploy/."""
    text = (sql_root() / f"{name}.sql").read_text(encoding="utf-8")

    assert text.startswith("-- Makes: " if name.startswith("platform/") else "-- Grain: ")
    assert text.endswith("\n")
    assert load_sql(name).grain
    assert statement_kind(text)
    assert name.startswith("platform/") or len(sqlglot.parse(text, read="snowflake")) == 1


@pytest.mark.parametrize("dialect", ["duckdb", "spark"])
@pytest.mark.parametrize("name", queries())
def test_a_query_gives_the_same_columns_to_the_other_engines(name: str, dialect: str) -> None:
    there = sqlglot.parse_one(transpile(load_sql(name).text, dialect), read=dialect)

    assert [column.upper() for column in there.named_selects] == parsed(name).named_selects
