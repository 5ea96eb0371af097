"""What is read from a SELECT holds when it runs: generated SELECTs over random rows on DuckDB."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import duckdb
import pytest

from pipeline_assets.pipeline.selects import Select
from pipeline_assets.sqlfiles.transpile import transpile

SCHEMA = {"T": ("ID", "K", "D", "X"), "U": ("K", "N", "X")}
Rows = dict[str, list[tuple]]


def rows_of(rng: random.Random) -> Rows:
    """T has a key of its own, U one row per K; values are few, so that they meet, and some are NULL."""
    t = [(n, rng.choice([1, 2, 3]), rng.choice([1, 2, None]), rng.randint(0, 4)) for n in range(rng.randint(1, 7))]
    return {"T": t, "U": [(k, rng.choice([5, 6, None]), rng.randint(0, 3)) for k in (1, 2)]}


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


@contextmanager
def database(rows: Rows, touched: Rows | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """One database for all, as opening one takes longer than a SELECT."""
    connection = _connection()
    for suffix, content in (("", rows), ("_TOUCHED", touched or {})):
        for name, records in content.items():
            names = ", ".join(SCHEMA[name])
            values = ", ".join(f"({', '.join('NULL' if v is None else str(v) for v in row)})" for row in records)
            kinds = ", ".join(f"{column} INTEGER" for column in SCHEMA[name])
            connection.execute(f"CREATE OR REPLACE TEMP TABLE {name}{suffix} ({kinds})")
            if records:
                connection.execute(f"INSERT INTO {name}{suffix} ({names}) VALUES {values}")
    yield connection


def run(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple]:
    return connection.execute(_duckdb_sql(sql)).fetchall()


@cache
def _duckdb_sql(sql: str) -> str:
    return transpile(sql, "duckdb")


def result(sql: str, rows: Rows) -> Counter[tuple]:
    with database(rows) as connection:
        return Counter(run(connection, sql))


def generated(rng: random.Random) -> str:
    """A SELECT of columns C0, C1, …: joins, table expressions, subqueries, conditions, groups, windows, UNION."""
    with_, alias = "", rng.choice(["T", "A"])
    first = rng.choice(
        [
            f"T AS {alias}",
            f"T AS {alias}",
            f"(SELECT ID, K, D, X FROM T WHERE X > {rng.randint(0, 2)}) AS {alias}",
            f"(SELECT ID, K, D, X FROM T UNION ALL SELECT ID, K, D, X FROM T) AS {alias}",
            "cte",
            "measured",
        ]
    )
    if first == "cte":
        with_, first = "WITH C AS (SELECT Z.ID, Z.K, Z.D, Z.X FROM T AS Z) ", f"C AS {alias}"
    if first == "measured":
        inner = rng.choice(["K, MAX(D) AS D", "K, SUM(X) AS D"])
        with_ = f"WITH C AS (SELECT MIN(ID) AS ID, {inner}, SUM(X) AS X FROM T GROUP BY K) "
        first = f"C AS {alias}"
    joined = rng.choice(["", "", "INNER JOIN", "LEFT JOIN", "self", "comma"])
    other = f"{alias}.K"
    if joined in ("INNER JOIN", "LEFT JOIN"):
        first, other = f"{first} {joined} U AS B ON {alias}.K = B.K", "B.N"
    elif joined == "self":
        first, other = f"{first} INNER JOIN T AS B ON {alias}.K = B.K", "B.D"
    elif joined == "comma":
        first, other = f"{first}, U AS B", "B.N"
    where = rng.choice(
        [
            "",
            "",
            f" WHERE {alias}.X < 3",
            f" WHERE EXISTS (SELECT 1 FROM T AS E WHERE E.K = {alias}.K AND E.ID <> {alias}.ID)",
            f" WHERE {alias}.X >= (SELECT AVG(E.X) FROM T AS E)",
        ]
    )
    columns = [f"{alias}.ID", f"{alias}.K", f"{alias}.D", other, f"{alias}.X + 1", f"COALESCE({alias}.D, 9)"]
    chosen = rng.sample(columns, rng.randint(1, 4))
    tail = rng.choice(["", "", "group", "window", "having", "distinct", "limit"])
    selected = [f"{column} AS C{number}" for number, column in enumerate(chosen)]
    last = f"C{len(chosen)}"
    group = f" GROUP BY {', '.join(chosen)}"
    if tail in ("group", "having"):
        selected.append(f"SUM({alias}.X) AS {last}")
        tail = group + (f" HAVING SUM({alias}.X) > 2" if tail == "having" else "")
    elif tail == "window":
        selected.append(f"SUM({alias}.X) OVER (PARTITION BY {rng.choice(chosen)}) AS {last}")
        tail = ""
    elif tail == "limit":
        tail = " LIMIT 1"
    distinct = "DISTINCT " if tail == "distinct" else ""
    tail = "" if distinct else tail
    select = f"SELECT {distinct}{', '.join(selected)} FROM {first}{where}{tail}"
    if rng.random() < 0.15:
        select = f"{select} UNION ALL SELECT {', '.join('K' for _ in selected)} FROM U"
    return with_ + select


CASES = [(seed, generated(random.Random(seed))) for seed in range(60)]


@pytest.mark.parametrize("start", range(0, len(CASES), 20))
def test_a_generated_select_is_what_is_read_from_it(start: int) -> None:
    seen: Counter[str] = Counter()
    for seed, text in CASES[start : start + 20]:
        rng = random.Random(-seed)
        select, rows = Select("generated", text, SCHEMA), rows_of(rng)
        whole = result(text, rows)
        try:
            _check(select, rows, whole, rng, seen)
        except AssertionError:
            print(text, rows)
            raise
    assert seen["copies"]
    assert seen["refreshed"]


def _check(select: Select, rows: Rows, whole: Counter[tuple], rng: random.Random, seen: Counter[str]) -> None:
    assert set(select.relations) == {name for name in SCHEMA if f" {name} " in f"{select.text} ".replace(",", " ")}
    _check_columns(select, rows, whole, seen)
    _check_rewritten(select, rows, whole)
    if select.keeps_every_row:
        seen["kept"] += 1
        assert whole.total() == len(rows[select.relations[0]])
    if "LIMIT" not in select.text:
        _check_refreshed(select, rows, whole, rng, seen)


def _check_columns(select: Select, rows: Rows, whole: Counter[tuple], seen: Counter[str]) -> None:
    """A copy has values of its column, and what is not read makes no difference."""
    for number, column in enumerate(select.columns):
        sources = select.sources_of(column)
        assert set(sources) <= select.columns_read
        if copy := select.copy_of(column):
            seen["copies"] += 1
            relation, name = copy
            assert sources == [copy]
            values = {row[SCHEMA[relation].index(name)] for row in rows[relation]}
            assert {row[number] for row in whole} <= values | {None}
    for relation, columns in SCHEMA.items():
        for place, name in enumerate(columns):
            if relation in select.relations and (relation, name) not in select.columns_read:
                other = [(*row[:place], 77, *row[place + 1 :]) for row in rows[relation]]
                assert "LIMIT" in select.text or result(select.text, rows | {relation: other}) == whole


def _check_rewritten(select: Select, rows: Rows, whole: Counter[tuple]) -> None:
    few = [row for row in rows["T"] if row[3] > 1]
    with database(rows) as connection:
        reading = Counter(run(connection, select.over({"T": "SELECT * FROM T WHERE X > 1"})))
        more = select.with_source_columns("T", ["ID"], {})
        added = Counter(run(connection, more)) if more else None
    limited = "LIMIT" in select.text
    assert limited or reading == result(select.text, rows | {"T": few})
    if added is not None and not limited:
        width = len(select.columns)
        assert sum((Counter({row[:width]: n}) for row, n in added.items()), Counter()) == whole
        assert {row[-1] for row in added} <= {row[0] for row in rows["T"]} | {None} or "ID" in select.columns
    if select.starts_from("T") and select.grouping is None:
        one_by_one: Counter[tuple] = Counter()
        for row in rows["T"]:
            one_by_one += result(select.text, rows | {"T": [row]})
        assert one_by_one == whole or "EXISTS" in select.text


def _check_refreshed(select: Select, rows: Rows, whole: Counter[tuple], rng: random.Random, seen: Counter[str]) -> None:
    """Rows with no value that touched rows give are the same before and after a change of those rows."""
    columns = select.columns if select.grouping is None else sorted(select.grouping)
    for column in columns:
        for relation in select.relations:
            old = rng.sample(rows[relation], rng.randint(0, min(2, len(rows[relation]))))
            fresh = [(row[0], *(rng.randint(1, 3) for _ in row[1:])) for row in old]
            if relation == "T":
                fresh.append((99, rng.randint(1, 3), rng.choice([1, None]), 4))
            after = rows | {relation: [row for row in rows[relation] if row not in old] + fresh}
            place, outdated = select.columns.index(column), set[Any]()
            for state, touched in ((rows, old), (after, fresh)):
                with database(state, {relation: touched}) as connection:
                    for values in select.distinct_values([column], relation, f"SELECT * FROM {relation}_TOUCHED"):
                        outdated |= {value for (value,) in run(connection, values)}
            kept = [_without(found, place, outdated) for found in (whole, result(select.text, after))]
            assert kept[0] == kept[1], (column, relation, old, fresh, outdated)
            seen["refreshed"] += 1


def _without(found: Mapping[tuple, int], place: int, values: set[Any]) -> dict[tuple, int]:
    return {row: count for row, count in found.items() if row[place] not in values}


@pytest.mark.parametrize(
    "select",
    [
        "SELECT ID FROM T WHERE X > 1",
        "SELECT T.ID FROM T INNER JOIN U ON T.K = U.K",
        "SELECT T.ID FROM T LEFT JOIN U ON T.K = U.K",
        "SELECT DISTINCT K FROM T",
        "SELECT K FROM T GROUP BY K",
        "SELECT MAX(K) AS K FROM T",
        "SELECT K FROM T QUALIFY ROW_NUMBER() OVER (PARTITION BY K ORDER BY ID) = 1",
        "SELECT ID FROM T LIMIT 3",
        "SELECT TOP 3 ID FROM T",
        "SELECT ID FROM T FETCH FIRST 3 ROWS ONLY",
        "SELECT ID FROM T OFFSET 1",
        "SELECT ID FROM T SAMPLE (10)",
        "SELECT ID FROM T TABLESAMPLE BERNOULLI (10)",
        "SELECT T.ID FROM T, LATERAL FLATTEN(INPUT => T.X) AS F",
        "SELECT T.ID FROM T, TABLE(GENERATOR(ROWCOUNT => 2))",
        "SELECT ID FROM (SELECT ID FROM T WHERE X > 1) AS A",
        "SELECT ID FROM T UNION SELECT K FROM U",
        "SELECT ID FROM T START WITH ID = 1 CONNECT BY PRIOR ID = K",
        "SELECT ID FROM T AT (OFFSET => -60)",
    ],
)
def test_a_select_that_can_lose_or_double_rows_does_not_keep_every_row(select: str) -> None:
    assert not Select("given", select, SCHEMA).keeps_every_row


def test_a_plain_select_keeps_every_row() -> None:
    assert Select("given", "SELECT A.ID, CAST(A.X AS DOUBLE) AS X FROM T AS A ORDER BY 1", SCHEMA).keeps_every_row


def test_a_select_is_rewritten_once_for_the_same_relations() -> None:
    """Every batch of a pipeline asks for the same statements; to rewrite them took a fifth of a small one."""
    select = Select("given", "SELECT T.ID, SUM(T.X) AS X FROM T GROUP BY T.ID", SCHEMA)
    touched = {"T": "SELECT * FROM T WHERE X > 1"}
    assert select.over(touched) is select.over(dict(touched))
    assert select.distinct_values(["ID"], "T", touched["T"]) is select.distinct_values(("ID",), "T", touched["T"])
    assert select.over(touched) != select.over({"T": "U"})
    assert select.with_bounded_sums(9) is select.with_bounded_sums(9) is not select.with_bounded_sums(99)
