"""What is patched in the emulator: sums stay exact, and a statement transformed in place is the one made by copies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import fakesnow.cursor
import pytest
import sqlglot
from fakesnow.copy_into import _params
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.instance import FakeSnow
from sqlglot import exp

from pipeline_assets.settings import PROJECT_ROOT
from pipeline_assets.warehouse.emulator import _InPlace, patched_emulator

FILES = sorted(path for path in (PROJECT_ROOT / "sql").rglob("*.sql") if path.parent.name != "platform")
# One for each kind of rewriting that the emulator does, the ones that put a node into two places among them.
STATEMENTS = [
    "SELECT SUM(a), COUNT(*), AVG(b), MIN(c) FROM t WHERE d > 1 GROUP BY e HAVING SUM(a) > 2 ORDER BY 1",
    "SELECT f.value:name::VARCHAR AS n, f.index FROM t, LATERAL FLATTEN(INPUT => t.payload:items) f",
    "SELECT PARSE_JSON('{\"a\": [1, 2]}'):a[0]::INT, TRY_PARSE_JSON(x), GET_PATH(v, 'a.b'), ARRAY_SIZE(v:b) FROM t",
    "SELECT TO_DATE(a), TO_TIMESTAMP(b), TO_TIMESTAMP_NTZ(c), TO_DECIMAL(d, 10, 2), TRY_TO_DATE(e) FROM t",
    "SELECT DATEADD(day, 3, '2024-01-31'), DATEADD(month, 1, a::DATE), DATEDIFF(hour, '2024-01-01', b) FROM t",
    "SELECT REGEXP_REPLACE(a, 'x+', 'y'), REGEXP_SUBSTR(a, '[0-9]+', 1, 2), SPLIT(a, ','), TRIM(b::VARCHAR) FROM t",
    "SELECT OBJECT_CONSTRUCT('a', 1, 'b', c), ARRAY_CONSTRUCT(1, d), ARRAY_AGG(e) WITHIN GROUP (ORDER BY f) FROM t",
    "SELECT HAVERSINE(a, b, c, d), SHA2(e), RANDOM(), x.a + 1 AS y FROM t AS x WHERE y > 1",
    "SELECT a AS z FROM t JOIN u ON z = u.b QUALIFY ROW_NUMBER() OVER (PARTITION BY a ORDER BY b DESC) = 1",
    "SELECT COLUMN1, COLUMN2 FROM VALUES (1, 'a'), (2, 'b')",
    "SELECT * FROM t SAMPLE (10)",
    "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'OPS'",
    "SELECT CAST(a AS NUMBER(10, 2)), a::FLOAT, b::INTEGER, CAST(c AS VARCHAR(5)), d::VARIANT FROM t",
    "INSERT INTO t (a, b) SELECT a, %s FROM u WHERE c = %s",
    "UPDATE t SET a = a + 1, b = %s WHERE c = %s",
    "DELETE FROM t USING u WHERE t.a = u.a",
    "MERGE INTO t USING (SELECT a, b FROM u) AS s ON t.a = s.a WHEN MATCHED THEN UPDATE SET t.b = s.b "
    "WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.a, s.b)",
    "CREATE TABLE IF NOT EXISTS n (a NUMBER(10, 0) NOT NULL, b VARCHAR(3) COMMENT 'x', PRIMARY KEY (a)) COMMENT = 'y'",
    "CREATE TABLE n AS SELECT 1 AS a, 'b' AS b",
    "CREATE TABLE n CLONE t",
    "ALTER TABLE t CLUSTER BY (a)",
    "SHOW TABLES",
    "SHOW SCHEMAS",
    "SHOW PRIMARY KEYS",
    "DROP SCHEMA s CASCADE",
    "ALTER SESSION SET AUTOCOMMIT = TRUE",
    "CREATE WAREHOUSE w",
    "SET v = 3",
]


@pytest.fixture(scope="module")
def cursor() -> FakeSnowflakeCursor:
    connection = FakeSnow().connect(database="PIPELINE", schema="OPS")
    for sql in ("CREATE TABLE T (A INT, B INT, C INT, D INT, E INT, F INT, PAYLOAD VARIANT)", "CREATE TABLE U (A INT)"):
        connection.cursor().execute(sql)
    return connection.cursor()


@pytest.mark.parametrize("sql", [*STATEMENTS, *FILES], ids=lambda sql: sql.name if isinstance(sql, Path) else sql[:40])
def test_a_statement_transformed_in_place_is_the_one_that_copies_make(
    cursor: FakeSnowflakeCursor, sql: str | Path
) -> None:
    text = sql.read_text(encoding="utf-8") if isinstance(sql, Path) else sql
    with _only_exact_sums():
        theirs = _made(cursor, text)
    with patched_emulator():
        assert _made(cursor, text) == theirs
        assert _made(cursor, text) == theirs, "a constant of theirs was changed"


def _made(cursor: FakeSnowflakeCursor, text: str) -> list[tuple[str, dict]]:
    """Each statement that is sent to DuckDB, with what the emulator notes on its root."""
    parsed = fakesnow.cursor.parse_one(re.sub(r"%(\(\w+\))?s", "?", text))
    made = []
    for statement in cursor._transform_explode(parsed):
        before = statement.sql()
        result = cursor._transform(statement, [1, 2])
        assert statement.sql() == before, "the caller's own statement was changed"
        noted = {
            name: str(value) for name, value in result.args.items() if not isinstance(value, exp.Expression | list)
        }
        made.append((result.sql(dialect="duckdb"), noted))
    return made


@contextmanager
def _only_exact_sums() -> Iterator[None]:
    from pipeline_assets.warehouse.emulator import _exact_sums

    with _exact_sums():
        yield


@pytest.mark.parametrize("sql", ["SELECT A, SUM(B) FROM T GROUP BY A", "INSERT INTO U (A) SELECT A FROM T", "BEGIN"])
def test_a_statement_that_comes_again_is_parsed_and_transformed_once(
    cursor: FakeSnowflakeCursor, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with patched_emulator():
        first = _sent(cursor, sql)
    monkeypatch.setattr(sqlglot, "parse_one", pytest.fail)
    monkeypatch.setattr(FakeSnowflakeCursor, "_transform", pytest.fail)
    with patched_emulator():
        assert _sent(cursor, sql) is first


# What a value may hold: quotes, both escapes, a line's end, a variable's sign, and what stands for a value in the text.
VALUES = [
    "",
    "it's",
    'a "b"',
    "\\",
    "\\'",
    "a\r\nb",
    "$1 %s",
    "\ue0000\ue001",
    datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    date(2026, 1, 2),
]
# One of each way in which the connector writes a value.
KINDS = ["".join(map(str, VALUES)), VALUES[-1], None, Decimal("1.50"), ["b'"]]


@pytest.mark.parametrize(
    "file", [file for file in FILES if "%(" in file.read_text(encoding="utf-8")], ids=lambda f: f.name
)
def test_a_statement_that_was_sent_with_other_values_is_the_one_made_for_these(
    cursor: FakeSnowflakeCursor, file: Path
) -> None:
    text = file.read_text(encoding="utf-8")
    names = re.findall(r"%\((\w+)\)s", text)
    for value in KINDS:
        params = dict.fromkeys(names, value)
        with _only_exact_sums():
            alone = _alone(cursor, text, params)
        with patched_emulator():
            assert _with_values(cursor, text, params) == alone


def test_a_copy_of_other_files_is_transformed_once_and_is_the_one_made_for_these(
    cursor: FakeSnowflakeCursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "COPY INTO T FROM @S FILES = (%s, %s) FILE_FORMAT = (TYPE = PARQUET)"
    names = [*map(str, VALUES), "a/b.parquet"]
    with _only_exact_sums():
        theirs = [_with_values(cursor, sql, (name, "b")) for name in names]
    with patched_emulator():
        ours = [_copied_files(cursor, sql, (name, "b")) for name in names[:1]]
    monkeypatch.setattr(FakeSnowflakeCursor, "_transform", pytest.fail)
    with patched_emulator():
        ours += [_copied_files(cursor, sql, (name, "b")) for name in names[1:]]
        assert [_with_values(cursor, sql, (name, "b")) for name in names] == theirs
    assert ours == [[name, "b"] for name in names]


def _copied_files(cursor: FakeSnowflakeCursor, sql: str, names: tuple[str, ...]) -> list[str] | None:
    """The files that the emulator reads from the tree of a COPY."""
    command, rest = cursor._rewrite_with_params(sql, names)
    return _params(cursor._transform(fakesnow.cursor.parse_one(command), rest)).files


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_as_it_was_sent(cursor: FakeSnowflakeCursor, value: object) -> None:
    with patched_emulator():
        for sent in (value, "another"):
            cursor.execute("SELECT %s AS A, %s AS B, %s AS C", (sent, 1, "c"))
            assert cursor.fetchall() == [(str(sent), 1, "c")]


def _with_values(cursor: FakeSnowflakeCursor, text: str, params: dict[str, object] | tuple[str, ...]) -> list[str]:
    command, rest = cursor._rewrite_with_params(text, params)
    parsed = fakesnow.cursor.parse_one(command)
    return [cursor._transform(part, rest).sql(dialect="duckdb") for part in cursor._transform_explode(parsed)]


def _alone(cursor: FakeSnowflakeCursor, text: str, params: dict[str, object]) -> list[str]:
    """As if nothing was sent before. In place, as the test above compares that with the copies, which take longer."""
    command, rest = cursor._rewrite_with_params(text, params)
    parts = cursor._transform_explode(fakesnow.cursor.parse_one(command))
    made: list[Any] = [cursor._transform(_InPlace(part), rest) for part in parts]  # type: ignore[arg-type]
    return [each.expression.sql(dialect="duckdb") for each in made]


def _sent(cursor: FakeSnowflakeCursor, sql: str) -> Any:
    statement = fakesnow.cursor.parse_one(sql)
    cursor.check_db_and_schema(statement)
    return cursor._transform(statement, None)


def test_a_node_put_into_two_places_is_changed_in_both() -> None:
    """In place the second would stay as it was, as a node knows one parent only."""

    def doubled(node: Any) -> Any:
        return exp.Tuple(expressions=[node, node]) if isinstance(node, exp.Column) else node

    def renamed(node: Any) -> Any:
        return exp.column("b") if isinstance(node, exp.Column) and node.name == "a" else node

    made = _InPlace(sqlglot.parse_one("SELECT a")).transform(doubled).transform(renamed).expression
    assert made.sql() == "SELECT (b, b)"


def test_a_constant_that_was_put_in_stays_as_it_is() -> None:
    constant = sqlglot.parse_one("SELECT a")

    def replaced(node: Any) -> Any:
        return constant if isinstance(node, exp.Select) and node is not constant else node

    def renamed(node: Any) -> Any:
        return exp.column("b") if isinstance(node, exp.Column) and node.name == "a" else node

    made = _InPlace(sqlglot.parse_one("SELECT 1")).transform(replaced).transform(renamed).expression
    assert (made.sql(), constant.sql()) == ("SELECT b", "SELECT a")


def test_a_node_hung_into_two_places_without_being_replaced_is_noticed() -> None:
    def hung(node: Any) -> Any:
        if isinstance(node, exp.EQ):
            node.set("expression", node.this)
        return node

    def renamed(node: Any) -> Any:
        return exp.column("b") if isinstance(node, exp.Column) and node.name == "a" else node

    made = _InPlace(sqlglot.parse_one("a = 1")).transform(hung).transform(renamed).expression
    assert made.sql() == "b = b"


@pytest.mark.parametrize("table", ["wider", '"Wider; DROP"', "OPS.wider", 'PIPELINE.OPS."wi""der"'])
def test_the_type_of_a_key_column_is_changed_and_the_key_stays(cursor: FakeSnowflakeCursor, table: str) -> None:
    """As in Snowflake; DuckDB refuses it."""
    with patched_emulator():
        cursor.execute(
            f'CREATE OR REPLACE TABLE {table} (id NUMBER(10,0) NOT NULL, "two words" VARCHAR(3), n NUMBER(3,0), '
            'PRIMARY KEY (id, "two words"))'
        )
        cursor.execute(f"INSERT INTO {table} VALUES (1, 'a', 1), (2, 'b', NULL)")
        cursor.execute(f"ALTER TABLE {table} ALTER COLUMN id SET DATA TYPE NUMBER(19,0)")
        cursor.execute(f"ALTER TABLE {table} ALTER COLUMN n SET DATA TYPE NUMBER(20,0)")
        cursor.execute(f"INSERT INTO {table} VALUES (1234567890123456789, 'c', 12345678901234567890)")
        cursor.execute(f"SELECT * FROM {table} ORDER BY id")
        assert cursor.fetchall() == [(1, "a", 1), (2, "b", None), (1234567890123456789, "c", 12345678901234567890)]
        for wrong in ("(1, 'a', 2)", "(NULL, 'a', 2)"):
            with pytest.raises(duckdb.ConstraintException):
                cursor.execute(f"INSERT INTO {table} VALUES {wrong}")
        cursor.execute(f"DROP TABLE {table}")
