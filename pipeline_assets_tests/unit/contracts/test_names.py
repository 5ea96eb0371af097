"""Names of tables and columns in SQL: whatever they are, they are read back as they were."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
import sqlglot
from hypothesis import example, given
from hypothesis import strategies as st
from sqlglot import exp
from sqlglot.dialects.snowflake import Snowflake

import pipeline_assets
from pipeline_assets.contracts import names
from pipeline_assets.contracts.names import (
    bindable,
    name_parts,
    require_usable_names,
    spark_name,
    sql_name,
)
from pipeline_assets.errors import ContractError
from pipeline_assets.pipelines import pipelines
from pipeline_assets.sqlfiles import transpile
from pipeline_assets_tests.support.small_pipelines import contract

# https://docs.snowflake.com/en/sql-reference/reserved-keywords
SNOWFLAKE = """account all alter and any as between by case cast check column connect connection constraint create cross
    current current_date current_time current_timestamp current_user database delete distinct drop else exists false
    following for from full grant group gscluster having ilike in increment inner insert intersect into is issue join
    lateral left like localtime localtimestamp minus natural not null of on or order organization qualify regexp revoke
    right rlike row rows sample schema select set some start table tablesample then to trigger true try_cast union
    unique update using values view when whenever where with"""
# https://spark.apache.org/docs/3.5.0/sql-ref-ansi-compliance.html: those that are reserved without ANSI mode
SPARK = "anti cross except full inner intersect join lateral left minus natural on right semi using union"
SELECT = (
    "SELECT T.{0} AS {0}, MAX({0}) OVER (PARTITION BY {0} ORDER BY {0} DESC) AS M, CASE WHEN {0} IS NULL THEN {0} END "
    "FROM (SELECT A.{0}, X FROM {1}{0} AS A WHERE {0} IS NOT NULL AND {0} IN (SELECT {0} FROM {1}{0}) "
    "GROUP BY {0}, X) AS T"
)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def words() -> list[str]:
    """Every keyword of DuckDB, of Snowflake and of sqlglot."""
    found = {word for (word,) in duckdb.sql("SELECT keyword_name FROM duckdb_keywords()").fetchall()}
    found |= {*Snowflake.Tokenizer.KEYWORDS, *SNOWFLAKE.split(), *SPARK.split()}
    return sorted({word.upper() for word in found if re.fullmatch(r"[A-Za-z_]\w*", word)})


def test_keywords_are_names_in_every_place_of_a_statement() -> None:
    wrong = []
    with duckdb.connect() as connection:
        for word in words():
            if sql_name(word) != word:
                continue
            try:
                tree = sqlglot.parse_one(SELECT.format(word, "SHOP."), read="snowflake")
                connection.execute(f"CREATE TABLE {word} ({word} INTEGER, X INTEGER)")
                connection.execute(SELECT.format(word, ""))
                connection.execute(f"DROP TABLE {word}")
            except (sqlglot.errors.SqlglotError, duckdb.Error) as error:
                wrong.append((word, str(error)[:80]))
                continue
            quoted = sqlglot.parse_one(SELECT.format(f'"{word}"', "SHOP."), read="snowflake")
            for identifier in (*tree.find_all(exp.Identifier), *quoted.find_all(exp.Identifier)):
                identifier.set("quoted", True)
            if tree != quoted:
                wrong.append((word, "is not read as a name"))
    assert wrong == []


def test_the_reserved_words_of_snowflake_and_spark_are_quoted() -> None:
    assert [word for word in f"{SNOWFLAKE} {SPARK}".split() if sql_name(word) == word] == []


def test_names_of_the_shipped_pipelines_need_no_quotes() -> None:
    shipped = [each for pipeline in pipelines().values() for each in pipeline.contracts]
    assert {sql_name(name) == name for each in shipped for name in (each.table, *each.column_names)} == {True}


@given(texts)
@example('a"b')
@example("a`b")
@example("x; drop table y -- '")
def test_a_name_is_read_back_as_it_was_in_each_dialect(name: str) -> None:
    statement = f"SELECT A.{sql_name(name)} FROM S.{sql_name(name)} AS A"
    (column,) = sqlglot.parse_one(statement, read="snowflake").find_all(exp.Column)
    assert column.name == name
    (in_spark,) = sqlglot.parse_one(transpile(statement, "spark"), read="spark").find_all(exp.Column)
    assert in_spark.name == name
    (of_spark,) = sqlglot.parse_one(f"SELECT A.{spark_name(name)} FROM A", read="spark").find_all(exp.Column)
    assert of_spark.name == name
    made = transpile(f"SELECT 1 AS {sql_name(name)}", "duckdb")
    assert duckdb.sql(made).columns == [name]


@given(st.lists(texts.map(lambda text: f"{text}.") | st.sampled_from(["ORDER", "PLAIN", '"']), min_size=1))
def test_the_parts_of_a_qualified_name_are_its_names(raw: list[str]) -> None:
    assert name_parts(".".join(map(sql_name, raw))) == raw


@given(texts)
def test_a_percent_sign_in_a_name_is_no_placeholder(name: str) -> None:
    assert bindable(sql_name(name)) % () == sql_name(name)


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        ("_BATCH_ID", "the column '_BATCH_ID' has a name of the platform's own columns"),
        ("ROWID", "the column 'ROWID' has a name of the platform's own columns"),
        ("Foo", "the column 'Foo' is not in upper case: write 'FOO'"),
        (" A", "the column ' A' is empty, has blanks around it"),
        ("", "the column '' is empty"),
        ("A" * 256, "longer than 255 characters"),
        ("A\nB", "has a control character"),
        ("A$$B", r"or \$\$, which ends the text of a task"),
        ("KEY__TEXT", "the column 'KEY' is there beside 'KEY__TEXT'"),
        ("KEY", "the column 'KEY' is there twice"),
    ],
)
def test_a_name_that_cannot_be_a_column_is_refused(column: str, fault: str) -> None:
    plain = contract("sales", "KEY text key", "OTHER text")
    odd = replace(plain, columns=(plain.columns[0], replace(plain.columns[1], name=column)))
    with pytest.raises(ContractError, match=f"^sales: .*{fault}") as error:
        require_usable_names(odd)
    assert "extract a view" in str(error.value)


def test_a_name_that_cannot_be_a_table_is_refused() -> None:
    with pytest.raises(ContractError, match=r"^sales: the table 'Sales' is not in upper case"):
        require_usable_names(replace(contract("sales", "KEY text key"), table="Sales"))


@pytest.mark.parametrize("column", ["_ID", "_", "__V", "_SOURCE", "_BATCH", "C0", "T", "RAW", "S", 'A"B', "100%"])
def test_other_names_are_free(column: str) -> None:
    plain = contract("sales", "KEY text key")
    require_usable_names(replace(plain, columns=(*plain.columns, replace(plain.columns[0], name=column))))


def test_every_column_of_the_platform_is_refused() -> None:
    """Names of relations, and columns of statements without a contract's columns, are left out."""
    elsewhere = {"_CHANGES", "_COMPARED", "_OBSERVATIONS", "_SOURCE", "_SOURCE_", "_TYPED", "_VALUES"}
    found: set[str] = set()
    for room in ("batch", "engine", "pipeline", "warehouse"):
        for path in (Path(pipeline_assets.__file__).parent / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found |= set(re.findall(r"(?<![\w{$])_[A-Z][A-Z_]*(?![\w(])", node.value))
    assert found - elsewhere - set(names._PLATFORM.split()) == set()
