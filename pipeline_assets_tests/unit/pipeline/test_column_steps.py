"""The columns and expressions that a column is computed from, on generated SELECTs beside a model of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.pipeline.selects import Select, Step

SCHEMA = {"S.T": ("A", "B", "C", "J"), "S.U": ("A", "E", "F")}


@dataclass(frozen=True)
class Made:
    """What the model says of a column: the columns it reads, and the (table expression, column) pairs on the way."""

    reads: frozenset[tuple[str, str]] = frozenset()
    way: frozenset[tuple[str, str]] = frozenset()

    def __or__(self, other: Made) -> Made:
        return Made(self.reads | other.reads, self.way | other.way)


Columns = dict[str, Made]


class Generator:
    """Writes a SELECT and, beside it, what each of its columns is computed from."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.names = iter(f"N{number}" for number in range(1000))
        self.shared: dict[str, Columns] = {}  # the table expressions of the statement

    def choose(self, *options: str) -> str:
        return self.draw(st.sampled_from(options))

    def statement(self) -> tuple[str, Columns]:
        expressions = []
        for _ in range(self.draw(st.integers(0, 3))):
            name = next(self.names)
            text, columns = self.query(2)
            expressions.append(f"{name} AS ({text})")
            self.shared[name] = self.within(name, columns)
        text, columns = self.query(2)
        return (f"WITH {', '.join(expressions)} " if expressions else "") + text, columns

    @staticmethod
    def within(name: str, columns: Columns) -> Columns:
        return {column: Made(made.reads, made.way | {(name, column)}) for column, made in columns.items()}

    def query(self, depth: int, width: int | None = None) -> tuple[str, Columns]:
        width = width or self.draw(st.integers(1, 3))
        if depth and self.choose("select", "select", "union") == "union":
            first, columns = self.query(depth - 1, width)
            second, others = self.query(0, width)
            merged = {name: made | other for (name, made), other in zip(columns.items(), others.values(), strict=True)}
            return f"{first} {self.choose('UNION ALL', 'UNION', 'EXCEPT')} {second}", merged
        return self.select(depth, width)

    def select(self, depth: int, width: int) -> tuple[str, Columns]:
        source, scope = self.source(depth)
        grouped = self.choose("rows", "groups") == "groups"
        selected, columns = [], {}
        for number in range(width):
            text, made = self.expression(scope, grouped)
            selected.append(f"{text} AS C{number}")
            columns[f"C{number}"] = made
        condition = f" WHERE {self.choose(*scope)} IS NOT NULL" if self.draw(st.booleans()) else ""
        return f"SELECT {', '.join(selected)} FROM {source}{condition}", columns

    def source(self, depth: int) -> tuple[str, Columns]:
        """What stands behind FROM, and its columns with their aliases."""
        text, scope = self.relation(depth)
        kind = self.choose("one", "one", "join", "flatten")
        if kind == "join":
            other, more = self.relation(depth)
            text, scope = f"{text} LEFT JOIN {other} ON {next(iter(scope))} = {next(iter(more))}", scope | more
        if kind == "flatten":
            alias, of = next(self.names), self.choose(*scope)
            made = Made(scope[of].reads, scope[of].way | {(alias, "VALUE")})
            text, scope = f"{text}, LATERAL FLATTEN(INPUT => {of}) AS {alias}", scope | {f"{alias}.VALUE": made}
        return text, scope

    def relation(self, depth: int) -> tuple[str, Columns]:
        alias = next(self.names)
        kind = self.choose("S.T", "S.U", *self.shared, *(["subquery"] if depth else []))
        if kind == "subquery":
            text, columns = self.query(depth - 1)
            text, columns = f"({text})", self.within(alias, columns)
        elif kind in self.shared:
            text, columns = kind, self.shared[kind]
        else:
            text, columns = kind, {column: Made(frozenset({(kind, column)})) for column in SCHEMA[kind]}
        return f"{text} AS {alias}", {f"{alias}.{column}": made for column, made in columns.items()}

    def expression(self, scope: Columns, grouped: bool) -> tuple[str, Made]:
        x, y, z = (self.choose(*scope) for _ in range(3))
        if grouped:
            kind = self.choose(
                "SUM({x})", "COUNT(*)", "MAX({x} + {y})", "COUNT_IF({x} > 0)", "COUNT(DISTINCT {x}, {y})"
            )
        else:
            kind = self.choose(
                *("{x}", "{x} + {y}", "7", "'{{x}}'", "CAST({x} AS NUMBER(18, 2))", "COALESCE({x}, {y}, 0)"),
                *("CASE WHEN {x} > 0 THEN {y} ELSE {z} END", "IFF({x} IS NULL, {y}, {z})"),
                *(
                    "SUM({x}) OVER (PARTITION BY {y} ORDER BY {z})",
                    "LAG({x}) OVER (ORDER BY {y})",
                    "{x}:price.net::TEXT",
                ),
            )
        made = Made()
        for mark, name in (("{x}", x), ("{y}", y), ("{z}", z)):
            if mark in kind and "'" not in kind:
                made |= scope[name]
        return kind.format(x=x, y=y, z=z), made


@st.composite
def statements(draw: st.DrawFn) -> tuple[str, Columns]:
    return Generator(draw).statement()


@settings(max_examples=60)
@given(statements())
def test_a_column_is_computed_from_what_its_expressions_name(statement: tuple[str, Columns]) -> None:
    text, columns = statement
    select = Select("generated", text, SCHEMA)

    for name, made in columns.items():
        assert select.sources_of(name) == sorted(made.reads), text
        steps = select.steps_of(name)
        assert (steps[0].of, steps[0].column) == ("", name), text
        assert {(step.of, step.column) for step in steps if step.of} == made.way, text
        assert steps == Select("again", text, SCHEMA).steps_of(name)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("SELECT A AS X FROM S.T", [Step("", "X", "T.A")]),
        ("SELECT COUNT(*) AS X FROM S.T", [Step("", "X", "COUNT(*)")]),
        (
            "WITH W AS (SELECT SUM(O.A * O.B) AS S FROM S.T AS O) SELECT COALESCE(W.S, 0) AS X FROM W",
            [Step("", "X", "COALESCE(W.S, 0)"), Step("W", "S", "SUM(O.A * O.B)")],
        ),
        (
            "SELECT A AS X FROM S.T UNION ALL SELECT E + 1 FROM S.U",
            [Step("", "X", "T.A"), Step("", "X", "U.E + 1")],
        ),
        (
            "SELECT G.VALUE AS X FROM S.T AS O, LATERAL FLATTEN(INPUT => SPLIT(O.A, ',')) AS G",
            [Step("", "X", "G.VALUE"), Step("G", "VALUE", "FLATTEN(INPUT => SPLIT(O.A, ','))")],
        ),
        (
            "SELECT Q.D AS X FROM (SELECT T.B AS D FROM S.T AS T) AS Q",
            [Step("", "X", "Q.D"), Step("Q", "D", "T.B")],
        ),
    ],
)
def test_each_step_is_an_expression_of_the_statement(text: str, steps: list[Step]) -> None:
    assert Select("one", text, SCHEMA).steps_of("X") == steps
