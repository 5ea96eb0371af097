"""What kind of statement this is, and what it is called elsewhere."""

from __future__ import annotations

import re

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.sqlfiles import statement_kind, transpile


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT 1", "SELECT"),
        ("select 1;", "SELECT"),
        ("\n\n  SELECT 1 ; ; \n", "SELECT"),
        ("-- a comment; with a semicolon\nSELECT 1", "SELECT"),
        ("/* DROP TABLE X; */ SELECT 1 /* ; */ -- ;", "SELECT"),
        ("// Snowflake's own comment; too\nSELECT 1", "SELECT"),
        ("SELECT ';' AS A, 'it''s; x', 'a\\';b'", "SELECT"),
        ('SELECT 1 AS "a;b"', "SELECT"),
        ("SELECT $$ text; with ' anything $$", "SELECT"),
        ("WITH A AS (SELECT 1 AS X) SELECT X FROM A", "WITH"),
        ("insert into T select 1", "INSERT"),
        ("MERGE INTO T USING S ON T.A = S.A WHEN MATCHED THEN DELETE", "MERGE"),
        ("COPY INTO T FROM @S", "COPY"),
        ("create or replace temporary table T (A NUMBER(1,0))", "CREATE"),
        ("TRUNCATE TABLE T", "TRUNCATE"),
        ("COMMENT ON TABLE T IS 'x;y'", "COMMENT"),
        ("GRANT SELECT ON TABLE T TO ROLE R", "GRANT"),
        ("EXECUTE IMMEDIATE 'DROP TABLE T'", "EXECUTE"),
        ("CALL P()", "CALL"),
        ("BEGIN", "BEGIN"),
        ("COMMIT", "COMMIT"),
    ],
)
def test_the_kind_of_a_statement_is_its_first_word(sql: str, kind: str) -> None:
    assert statement_kind(sql) == kind


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1; SELECT 2", "SELECT 1;DROP TABLE T;", "SELECT ''; DROP TABLE T --'", "BEGIN; DROP TABLE T; END"],
)
def test_several_statements_are_refused(sql: str) -> None:
    with pytest.raises(ConfigurationError, match="One statement at a time"):
        statement_kind(sql)


@pytest.mark.parametrize("sql", ["", "  \n", ";", " ; ;", "-- only a comment", "/* nothing */"])
def test_no_statement_is_refused(sql: str) -> None:
    with pytest.raises(ConfigurationError, match="There is no statement to run"):
        statement_kind(sql)


@pytest.mark.parametrize("sql", ["SELECT 'no end", 'SELECT "no end', "/* no end"])
def test_a_text_without_end_is_refused(sql: str) -> None:
    with pytest.raises(ConfigurationError):
        statement_kind(sql)


def test_a_cast_that_may_fail_stays_a_decimal_everywhere() -> None:
    """TRY_TO_DECIMAL became a DOUBLE for Spark; TRY_CAST does not."""
    sql = "SELECT TRY_CAST(A AS NUMBER(18,4)) AS B FROM T"

    assert transpile(sql, "duckdb") == "SELECT TRY_CAST(A AS DECIMAL(18, 4)) AS B FROM T"
    assert transpile(sql, "spark") == "SELECT TRY_CAST(A AS DECIMAL(18, 4)) AS B FROM T"


def spark_pattern(pattern: str) -> re.Pattern[str]:
    """What Spark looks for anywhere in a text when Snowflake's REGEXP_LIKE is asked for `pattern`."""
    sql = transpile(f"SELECT REGEXP_LIKE(A, '{pattern}') AS B FROM T", "spark")
    (found,) = sqlglot.parse_one(sql, read="spark").find_all(exp.RegexpLike)
    return re.compile(found.expression.name.replace("\\z", "\\Z"))  # what Python calls the very end


@pytest.mark.parametrize("pattern", ["[0-9]+", "^[0-9]+$", "a|[0-9]+|b", "^([0-9]+|a)$"])
@pytest.mark.parametrize(("text", "matches"), [("12", True), ("12\n", False), ("x12", False), ("12x", False)])
def test_a_pattern_matches_whole_texts_on_spark_as_in_snowflake(pattern: str, text: str, matches: bool) -> None:
    assert bool(spark_pattern(pattern).search(text)) is matches


def test_a_pattern_that_is_no_literal_is_refused_for_spark() -> None:
    with pytest.raises(ConfigurationError, match="not a literal"):
        transpile("SELECT REGEXP_LIKE(A, B) AS C FROM T", "spark")


@pytest.mark.parametrize("sql", ["SELECT FROM WHERE", "SELECT (1", "SELECT 'no end"])
def test_what_does_not_parse_is_refused_on_one_line(sql: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^Not Snowflake SQL: ") as refused:
        transpile(sql, "duckdb")
    assert "\n" not in str(refused.value)


def test_one_statement_is_transpiled_at_a_time() -> None:
    with pytest.raises(ConfigurationError, match="One statement expected, 2 found"):
        transpile("SELECT 1; SELECT 2", "duckdb")


@pytest.mark.parametrize("text", ["a-b-c", "", "-", "abc"])
@pytest.mark.parametrize("separator", ["'-'", "''", "S"])
@pytest.mark.parametrize("number", ["1", "2", "-1", "0", "N"])
def test_a_part_of_a_text_is_what_snowflake_says_whether_its_place_is_constant_or_not(
    text: str, separator: str, number: str
) -> None:
    """https://docs.snowflake.com/en/sql-reference/functions/split_part: part 0 is the first, '' splits nothing."""
    index = (0 if number == "N" else int(number)) or 1
    parts = [text] if separator == "''" else text.split("-")
    expected = parts[index - (index > 0)] if index <= len(parts) else ""

    with duckdb.connect(config={"threads": 1}) as database:
        database.execute("CREATE TABLE X AS SELECT ?::VARCHAR AS T, '-' AS S, 0 AS N", [text])
        sql = transpile(f"SELECT SPLIT_PART(T, {separator}, {number}) FROM X", "duckdb")
        assert database.execute(sql).fetchall() == [(expected,)]


@pytest.mark.parametrize(("length", "expected"), [("2", "ab"), ("0", ""), ("-1", ""), ("N", "")])
def test_the_beginning_of_a_text_is_what_snowflake_says_whether_its_length_is_constant_or_not(
    length: str, expected: str
) -> None:
    with duckdb.connect(config={"threads": 1}) as database:
        sql = transpile(f"SELECT LEFT(T, {length}) FROM (SELECT 'abc' AS T, -1 AS N)", "duckdb")
        assert database.execute(sql).fetchall() == [(expected,)]


@pytest.mark.parametrize(
    "expression", ["SPLIT_PART(T, '-', 2)", "SPLIT_PART(T, '-', -1)", "LEFT(T, 10)", "RIGHT(T, 0)"]
)
def test_constants_are_translated_without_cases(expression: str) -> None:
    """A statement with all dates of a contract takes longer to plan than to read a small file."""
    assert transpile(f"SELECT {expression} FROM X", "duckdb") == f"SELECT {expression} FROM X"
