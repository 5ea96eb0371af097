"""Tables from contracts, and the quoting of what comes from outside."""

from __future__ import annotations

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from pipeline_assets.contracts.ddl import Table, literal, staging_table, target_table
from pipeline_assets.contracts.names import sql_name
from pipeline_assets_tests.support.bookings_lake import contract

NASTY = ["it's", "back\\slash", "ends in \\", "\\'", "'; DROP TABLE Y; --", "line\nend", "%s", "🦆"]


def parsed(sql: str) -> exp.Expression:
    """The only statement in `sql`, as Snowflake reads it."""
    (statement,) = sqlglot.parse(sql, read="snowflake")
    assert statement is not None
    return statement


def test_a_table_has_its_columns_provenance_and_key() -> None:
    table = target_table(contract("customer_bookings"))

    create = parsed(table.create())

    columns = [column.name for column in create.find_all(exp.ColumnDef)]
    assert columns[:15] == list(contract("customer_bookings").column_names)
    assert columns[15:] == ["_BATCH_ID", "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_LOADED_AT", "_RESCUED"]
    assert "AMOUNT_SPENT NUMBER(18,4) NOT NULL" in table.create()
    assert "PRIMARY KEY (BOOKING_ID)" in table.create()
    assert table.qualified == "BOOKINGS.CUSTOMER_BOOKINGS"


def test_a_table_is_never_replaced() -> None:
    assert target_table(contract("customers")).create().startswith("CREATE TABLE IF NOT EXISTS BOOKINGS.CUSTOMERS (")


def test_a_staging_table_takes_what_a_later_statement_checks_with_a_better_message() -> None:
    table = staging_table(contract("customer_bookings"))

    assert table.qualified == "OPS.STAGE_BOOKINGS_CUSTOMER_BOOKINGS"
    assert "NOT NULL" not in table.create()
    assert "PRIMARY KEY" not in table.create()


@pytest.mark.parametrize("comment", NASTY)
def test_a_comment_is_text_whatever_stands_in_it(comment: str) -> None:
    table = Table("S", "T", comment, (("A", "VARCHAR", False, comment),), ("A",))

    create = parsed(table.create())

    assert create.find(exp.SchemaCommentProperty).this.name == comment
    assert create.find(exp.CommentColumnConstraint).this.name == comment


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_literal_is_read_back_as_it_was(text: str) -> None:
    found = parsed(f"SELECT {literal(text)}").expressions

    assert [value.name for value in found] == [text]


@pytest.mark.parametrize("name", ["x; drop table y", 'a"b', '"; drop table y; --', "Ärger", "select", "a.b"])
def test_a_name_from_outside_is_a_name_and_nothing_else(name: str) -> None:
    """FAULTS 31."""
    statement = parsed(f"SELECT * FROM {sql_name(name)}")

    assert isinstance(statement, exp.Select)
    assert [table.name for table in statement.find_all(exp.Table)] == [name]
