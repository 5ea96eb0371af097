"""Every file in sql/ is Snowflake SQL that also runs elsewhere, and says what one row is."""

from __future__ import annotations

import pytest
import sqlglot
from sqlglot import exp

from pipeline_assets.pipeline.selects import Select
from pipeline_assets.sqlfiles import load_sql, sql_files, sql_root, statement_kind, transpile, with_bind_variables


def pipelines_queries() -> list[str]:
    """Files that other engines may run; those of the platform only run in the warehouse."""
    return [name for name in sql_files() if not name.startswith(("platform/", "ops/"))]


def parsed(name: str) -> exp.Expr:
    """Those in platform/ cannot be parsed before they are rendered, see deploy/."""
    return sqlglot.parse_one(with_bind_variables(load_sql(name).text), read="snowflake")


def test_a_file_is_one_statement_that_opens_with_its_grain() -> None:
    """Or with what it makes, if it returns no rows."""
    assert len(sql_files()) > 100
    for name in sql_files():
        text = (sql_root() / f"{name}.sql").read_text(encoding="utf-8")

        opening = "-- Grain: " if statement_kind(text) in ("SELECT", "WITH") else "-- Makes: "
        assert text.startswith(opening), name
        assert text.endswith("\n"), name
        assert load_sql(name).grain, name
        statements = 1 if name.startswith("platform/") else len(sqlglot.parse(with_bind_variables(text), "snowflake"))
        assert statements == 1, name


def test_a_statement_over_ops_has_no_comment_but_the_opening_one() -> None:
    """It is recorded in the metadata of runs."""
    names = [name for name in sql_files() if name.startswith("ops/")]
    assert len(names) > 40
    for name in names:
        statement = sqlglot.parse_one(with_bind_variables(load_sql(name).statement), read="snowflake")
        assert not [comment for node in statement.walk() for comment in node.comments or []], name


def over_tables(name: str) -> bool:
    """Whether a query reads tables: it runs in the warehouse and on no other engine."""
    return Select(name, load_sql(name).text, {}).reads_tables


@pytest.mark.parametrize("dialect", ["duckdb", "spark"])
@pytest.mark.parametrize("name", [name for name in pipelines_queries() if not over_tables(name)])
def test_a_query_gives_the_same_columns_to_the_other_engines(name: str, dialect: str) -> None:
    there = sqlglot.parse_one(transpile(load_sql(name).text, dialect), read=dialect)

    assert [column.upper() for column in there.named_selects] == parsed(name).named_selects
