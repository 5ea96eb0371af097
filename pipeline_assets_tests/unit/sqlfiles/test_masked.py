"""SELECTs of people: nothing but reading, and masks wherever a column is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.sqlfiles import transpile
from pipeline_assets.sqlfiles.masked import Readable, masked, require_select
from pipeline_assets.sqlfiles.transpile import parsed

READABLE = {
    "S.PEOPLE": Readable(
        {
            "ID": "ID",
            "NAME": "CASE WHEN NAME IS NULL THEN NULL ELSE '•••' END",
            "BORN": "CASE WHEN FALSE THEN BORN END",
        }
    ),
    "S.VISITS": Readable({"ID": "ID", "PERSON": "PERSON"}),
    "S.GREETED": Readable({"ID": "ID", "GREETING": "GREETING"}, "SELECT ID, 'Dear ' || NAME AS GREETING FROM S.PEOPLE"),
}
SECRET = ("Ada", "Bob", "1815", "1999")


def rows(con: duckdb.DuckDBPyConnection, sql: str) -> Counter[str]:
    return Counter(map(str, con.execute(transpile(sql, "duckdb")).fetchall()))


@pytest.fixture(scope="module")
def databases() -> Iterator[tuple[duckdb.DuckDBPyConnection, duckdb.DuckDBPyConnection]]:
    """One with personal data, and one in which the masks were stored in its place."""
    with duckdb.connect() as real, duckdb.connect() as stored:
        for con, people in (
            (real, "(1, 'Ada', DATE '1815-12-10'), (2, 'Bob', DATE '1999-01-01'), (3, NULL, NULL), (4, 'Ada', NULL)"),
            (stored, "(1, '•••', NULL::DATE), (2, '•••', NULL), (3, NULL, NULL), (4, '•••', NULL)"),
        ):
            con.execute("ATTACH ':memory:' AS X; USE X; CREATE SCHEMA S")
            con.execute("CREATE TABLE S.VISITS AS SELECT * FROM (VALUES (7, 1), (8, 1), (9, 2)) v(ID, PERSON)")
            con.execute(f"CREATE TABLE S.PEOPLE AS SELECT * FROM (VALUES {people}) v(ID, NAME, BORN)")
            con.execute(f"CREATE VIEW S.GREETED AS {READABLE['S.GREETED'].select}")
            con.execute("CREATE TABLE PEOPLE AS SELECT * FROM S.PEOPLE")  # in the schema that the session is in
        yield real, stored


PERSON = st.sampled_from(
    ("P.NAME", "UPPER(P.NAME)", "P.BORN", "P.ID", "P.NAME || P.ID", "COALESCE(P.BORN, DATE '2000-01-01')")
)
CONDITION = st.sampled_from(
    (
        *("TRUE", "P.NAME LIKE 'A%'", "P.BORN IS NULL", "P.NAME = 'Ada'", "P.ID IN (SELECT PERSON FROM S.VISITS)"),
        "EXISTS (SELECT 1 FROM S.PEOPLE AS Q WHERE Q.NAME = P.NAME)",
        "P.NAME > (SELECT MIN(NAME) FROM S.PEOPLE)",
    )
)
RELATION = st.sampled_from(
    (
        *("S.PEOPLE AS P", "X.S.PEOPLE P", '"S"."PEOPLE" AS P', "(SELECT * FROM S.PEOPLE) AS P", "s.people p"),
        "S.PEOPLE AS P JOIN S.PEOPLE AS Q ON P.NAME = Q.NAME",
        "S.PEOPLE AS P LEFT JOIN S.VISITS AS V ON V.PERSON = P.ID",
        "(S.PEOPLE AS P JOIN S.VISITS AS V ON V.PERSON = P.ID)",
        "S.PEOPLE AS P, S.VISITS AS V",
        "(SELECT G.ID, G.GREETING AS NAME, NULL::DATE AS BORN FROM S.GREETED AS G) AS P",
    )
)


@st.composite
def selects(draw: st.DrawFn, depth: int = 1) -> str:
    """A SELECT of one text, in many forms."""
    kind = draw(
        st.sampled_from(["plain", "grouped", "window", *(["union", "with", "nested", "shadow"] if depth else [])])
    )
    value, condition, relation = draw(PERSON), draw(CONDITION), draw(RELATION)
    if kind == "plain":
        return f"SELECT {value}::VARCHAR AS V FROM {relation} WHERE {condition}"
    if kind == "grouped":
        return f"SELECT MAX({value})::VARCHAR || COUNT(*) AS V FROM {relation} WHERE {condition} GROUP BY P.NAME"
    if kind == "window":
        return f"SELECT (FIRST_VALUE({value}) OVER (PARTITION BY P.ID ORDER BY P.NAME))::VARCHAR AS V FROM {relation}"
    first, second = draw(selects(depth - 1)), draw(selects(depth - 1))
    if kind == "union":
        return f"SELECT V FROM ({first} UNION ALL {second}) AS U"
    if kind == "with":
        return f"WITH A AS ({first}), B AS (SELECT V FROM A UNION {second}) SELECT V FROM B"
    if kind == "nested":
        return f"SELECT (SELECT MIN(V) FROM ({first}) AS I) || V AS V FROM ({second}) AS O"
    return f"WITH PEOPLE AS ({first}) SELECT V FROM PEOPLE WHERE V IN ({second})"


@settings(max_examples=60)
@given(selects())
def test_a_select_gives_what_it_would_give_if_the_masks_were_stored(databases, sql: str) -> None:
    real, stored = databases

    found = rows(real, masked(sql, "X", READABLE))

    assert found == rows(stored, sql)
    assert not any(secret.upper() in row.upper() for row in found for secret in SECRET)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM S.PEOPLE",
        "SELECT PEOPLE.* FROM S.PEOPLE",
        "SELECT S.PEOPLE.NAME, PEOPLE.BORN FROM S.PEOPLE",
        "SELECT PEOPLE FROM S.PEOPLE",  # DuckDB: the whole row
        "SELECT * EXCLUDE (ID) FROM S.PEOPLE",
        "SELECT A, B, C FROM S.PEOPLE AS T(A, B, C)",
        "SELECT * FROM S.PEOPLE SAMPLE (100)",
        "SELECT * FROM S.PEOPLE PIVOT(COUNT(BORN) FOR NAME IN ('Ada', 'Bob')) AS P",
        "SELECT * FROM S.PEOPLE NATURAL JOIN S.GREETED",
        "SELECT P.*, F.V FROM S.PEOPLE AS P, LATERAL (SELECT P.NAME AS V) AS F",
        "FROM S.PEOPLE",
        "SELECT STATS(NAME), STATS(BORN) FROM S.PEOPLE",  # DuckDB: the least and the greatest value
        "SELECT NAME FROM S.PEOPLE QUALIFY ROW_NUMBER() OVER (ORDER BY NAME DESC) = 1",
        "WITH RECURSIVE N AS (SELECT 1 AS I, NAME FROM S.PEOPLE UNION ALL SELECT I + 1, NAME FROM N WHERE I < 3) "
        "SELECT * FROM N",
    ],
)
def test_no_form_of_naming_a_table_shows_personal_data(databases, sql: str) -> None:
    found = rows(databases[0], masked(sql, "X", READABLE))

    assert found
    assert not any(secret in row for row in found for secret in SECRET)


@pytest.mark.parametrize(
    "sql",
    [
        *(
            "DELETE FROM S.PEOPLE",
            "UPDATE S.PEOPLE SET ID = 1",
            "INSERT INTO S.PEOPLE SELECT * FROM S.PEOPLE",
            "SHOW TABLES",
        ),
        *("MERGE INTO S.PEOPLE USING S.VISITS ON TRUE WHEN MATCHED THEN DELETE", "TRUNCATE TABLE S.PEOPLE", "COMMIT"),
        *("CREATE TABLE S.X AS SELECT * FROM S.PEOPLE", "DROP TABLE S.PEOPLE", "ALTER TABLE S.PEOPLE ADD COLUMN X INT"),
        *("COPY INTO S.PEOPLE FROM @S.STAGE", "COPY INTO @S.STAGE FROM S.PEOPLE", "PUT file:///etc/passwd @S.STAGE"),
        *(
            "GET @S.STAGE file:///tmp",
            "ATTACH 'x.db'",
            "CALL SYSTEM$WAIT(1)",
            "EXECUTE IMMEDIATE 'DROP TABLE S.PEOPLE'",
        ),
        *("USE ROLE PIPELINE_LOADER", "SET X = 1", "GRANT SELECT ON TABLE S.PEOPLE TO ROLE R", "EXPLAIN SELECT 1"),
        *(
            "WITH A AS (DELETE FROM S.PEOPLE) SELECT 1",
            "SELECT 1 INTO X FROM S.PEOPLE",
            "SELECT * FROM S.PEOPLE FOR UPDATE",
        ),
        *(
            "SELECT 1; DROP TABLE S.PEOPLE",
            "SELECT 1; SELECT 2",
            "",
            "-- nothing",
            "SELECT SYSTEM$CANCEL_ALL_QUERIES(1)",
        ),
        "BEGIN DELETE FROM S.PEOPLE; END",
    ],
)
def test_what_does_not_only_read_is_refused_in_one_line(sql: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        require_select(sql)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "sql",
    [
        *(
            "SELECT * FROM OPS.QUARANTINE",
            "SELECT ID FROM S.PEOPLE START WITH ID = 1 CONNECT BY PRIOR ID = ID",
            "SELECT * FROM PEOPLE",
            "SELECT * FROM Y.S.PEOPLE",
            'SELECT * FROM s."people"',
        ),
        *(
            "SELECT * FROM read_csv('/etc/passwd')",
            "SELECT * FROM TABLE(read_text('/etc/passwd'))",
            "SELECT * FROM 'x.csv'",
        ),
        *('SELECT * FROM "/etc/passwd"', "SELECT * FROM LATERAL read_csv('x')", "SELECT * FROM query('SELECT 1')"),
        *("SELECT $1 FROM @S.STAGE/x.csv", "SELECT * FROM IDENTIFIER('S.PEOPLE')", "SELECT * FROM TABLE('S.PEOPLE')"),
        *("SELECT * FROM DIRECTORY(@S.STAGE)", "SELECT * FROM TABLE(RESULT_SCAN(LAST_QUERY_ID()))", "SELECT * FROM $X"),
        *(
            "SELECT (SELECT MAX(RAW_RECORD) FROM OPS.QUARANTINE)",
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM OPS.QUARANTINE)",
        ),
        *(
            "SELECT * FROM S.PEOPLE AT(OFFSET => -60)",
            "SELECT * FROM S.PEOPLE CHANGES(INFORMATION => DEFAULT) AT(OFFSET => -1)",
        ),
        # Common tables that are out of sight: these name the table in the schema of the session.
        "WITH PEOPLE AS (SELECT * FROM PEOPLE) SELECT * FROM PEOPLE",
        "SELECT * FROM PEOPLE WHERE EXISTS (WITH PEOPLE AS (SELECT 1) SELECT 1)",
        "WITH A AS (SELECT * FROM PEOPLE), PEOPLE AS (SELECT 1) SELECT * FROM A",
        "WITH RECURSIVE A AS (SELECT * FROM PEOPLE), PEOPLE AS (SELECT 1) SELECT * FROM A",
        "SELECT * FROM (WITH PEOPLE AS (SELECT 1) SELECT 1) AS X, PEOPLE",
        # A recursive definition does not know its own name before its last SELECT.
        "WITH RECURSIVE PEOPLE AS (SELECT * FROM PEOPLE) SELECT * FROM PEOPLE",
        "WITH RECURSIVE PEOPLE AS (SELECT ID FROM PEOPLE UNION SELECT ID FROM PEOPLE) SELECT * FROM PEOPLE",
        "WITH RECURSIVE PEOPLE AS (SELECT 1 AS ID EXCEPT SELECT ID FROM PEOPLE) SELECT * FROM PEOPLE",
        'WITH RECURSIVE "x.csv" AS (SELECT * FROM "x.csv") SELECT * FROM "x.csv"',
        # DuckDB ignores the case of ASCII alone.
        'WITH "\u017f.csv" AS (SELECT 1) SELECT * FROM "S.CSV"',
        'WITH "F\u0131LES" AS (SELECT 1) SELECT * FROM FILES',
        'WITH "f\u0131les" AS (SELECT 1) SELECT * FROM f\u0131les',
    ],
)
def test_only_readable_tables_can_be_read(sql: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read here|refused"):
        masked(sql, "X", READABLE)


@given(st.text(), st.text(min_size=1))
def test_no_text_or_name_gets_out_of_its_quotes(text: str, name: str) -> None:
    """Nor a comment out of its own: the statement is written anew after the masks were put in."""
    literal, quoted = text.replace("\\", "\\\\").replace("'", "''"), name.replace('"', '""')
    sql = f"SELECT '{literal}' AS \"{quoted}\" FROM S.PEOPLE"

    (made,) = parsed(masked(sql, "X", READABLE)).selects

    assert (made.this.this, made.alias) == (text, name)


@pytest.mark.parametrize(
    "comment",
    ["-- */ UNION SELECT RAW_RECORD FROM OPS.QUARANTINE --\n", "/* -- */", "// */ , OPS.QUARANTINE\n", "/*+ */ "],
)
def test_comments_are_left_out(comment: str) -> None:
    made = masked(f"SELECT {comment} ID {comment} FROM S.PEOPLE {comment}", "X", READABLE)

    assert made == masked("SELECT ID FROM S.PEOPLE", "X", READABLE)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS A",
        "(SELECT 1 AS A)",
        "SELECT A FROM VALUES (1) AS V(A)",
        "SELECT VALUE FROM TABLE(FLATTEN(INPUT => [1, 2]))",
        "SELECT COUNT(*) FROM TABLE(GENERATOR(ROWCOUNT => 3))",
        "WITH A AS (SELECT 1 AS N), B AS (SELECT N FROM A) SELECT N FROM B UNION ALL SELECT N FROM A",
        "SELECT ID FROM X.S.VISITS;",
    ],
)
def test_other_selects_are_taken(sql: str) -> None:
    masked(sql, "X", READABLE)
