"""Read a SELECT of sql/ (which relations it reads, where each column comes from) and rewrite it over other relations.

sqlglot is imported where it is used, so that loading the code location stays fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pipeline_assets.contracts.names import name_parts, sql_name, sql_names
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline.transformations import Use, column_uses, row_uses

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.lineage import Node
    from sqlglot.optimizer.scope import Scope

DIALECT = "snowflake"
PROVENANCE = ("_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_RESCUED")
_Rewrite = TypeVar("_Rewrite", bound=Callable[..., Any])


def _once(rewrite: _Rewrite) -> _Rewrite:
    """Rewrite a SELECT once for the same arguments, as every batch of a pipeline asks for the same statements."""

    @wraps(rewrite)
    def remembered(select: Select, *arguments: Any) -> Any:
        key = (rewrite.__name__, *map(_hashable, arguments))
        if key not in select.rewritten:
            select.rewritten[key] = rewrite(select, *arguments)
        return select.rewritten[key]

    return cast("_Rewrite", remembered)


def _hashable(argument: Any) -> Any:
    if isinstance(argument, Mapping):
        return tuple(argument.items())
    return tuple(argument) if isinstance(argument, list) else argument


@dataclass(frozen=True)
class Step:
    """An expression that a column is computed by: `column` of the table expression or subquery `of`.

    `of` is empty for a column of the statement itself.
    """

    of: str
    column: str
    expression: str


@dataclass(frozen=True, eq=False)
class Select:
    """One SELECT over relations.

    Args:
        name: its name in errors, such as `sql/bookings/daily_spend.sql`.
        text: the statement.
        schema: the columns of each relation that the statement may name; names are upper case.
    """

    name: str
    text: str
    schema: Mapping[str, Sequence[str]] = field(repr=False)

    @cached_property
    def relations(self) -> tuple[str, ...]:
        """The relations it reads, in the order of their first appearance, as `schema` spells them.

        Raises:
            ConfigurationError: one is unknown, or landed files and tables of the warehouse are mixed.
        """
        names = list(dict.fromkeys(_name_of(table) for table in _tables(self._tree)))
        if unknown := [name for name in names if name not in self.schema]:
            raise ConfigurationError(
                f"{self.name} reads {', '.join(unknown)}, which this pipeline does not have.",
                remedy=f"It has {', '.join(self.schema)}; a table of the warehouse is named with its schema.",
            )
        if len({"." in name for name in names}) > 1:
            raise ConfigurationError(
                f"{self.name} reads landed files and tables of the warehouse at once: {', '.join(names)}.",
                remedy="A table is made from landed files, a mart from tables.",
            )
        return tuple(names)

    @cached_property
    def reads_tables(self) -> bool:
        """Whether it reads a table of the warehouse, which is named with its schema."""
        return any("." in _name_of(table) for table in _tables(self._tree))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that it yields."""
        return tuple(name.upper() for name in self._tree.named_selects)

    @cached_property
    def most_rows(self) -> int | None:
        """The LIMIT of its ordered rows; None if it has no ORDER BY or no LIMIT."""
        from sqlglot import exp

        limit = self._tree.args.get("limit")
        number = limit.expression if limit and self._tree.args.get("order") else None
        return int(number.this) if isinstance(number, exp.Literal) and number.is_int else None

    def sources_of(self, column: str) -> list[tuple[str, str]]:
        """The (relation, column) pairs that a column is computed from, sorted; a constant has none."""
        leaves = set()
        for node in self._lineage[column].walk():
            if leaf := self._leaf(node):
                leaves.add(leaf)
        return sorted(leaves)

    def steps_of(self, column: str) -> list[Step]:
        """How a column is computed: its own expression, then those of the table expressions that it reads."""
        steps: dict[Step, None] = {}
        seen, waiting = set(), [self._lineage[column]]
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if step := _step(node):
                steps[step] = None
            # sqlglot keeps the columns of an expression in a set, whose order differs from process to process.
            waiting.extend(sorted(node.downstream, key=lambda below: below.name)[::-1])
        return list(steps)

    def copy_of(self, column: str) -> tuple[str, str] | None:
        """The (relation, column) that a column repeats unchanged, or None if it is an expression."""
        from sqlglot import exp

        node = self._lineage[column]
        while not (leaf := self._leaf(node)):
            if not isinstance(node.expression.unalias(), exp.Column) or len(node.downstream) != 1:
                return None
            (node,) = node.downstream
        return leaf

    def uses_of(self, column: str) -> dict[tuple[str, str], set[Use]]:
        """How each of the (relation, column) pairs of `sources_of` is used."""
        return column_uses(self._lineage[column], self._leaf)

    @cached_property
    def row_uses(self) -> dict[tuple[str, str], set[Use]]:
        """The (relation, column) pairs that decide which rows there are, and how."""
        return row_uses(self._scope, _relation_of)

    @cached_property
    def columns_read(self) -> frozenset[tuple[str, str]]:
        """Every (relation, column) that it names anywhere, conditions included."""
        columns = set()
        for scope in self._scope.traverse():
            for column in scope.columns:
                source = scope.sources.get(column.table)
                if name := _relation_of(source):
                    columns.add((name, column.name.upper()))
        return frozenset(columns)

    def joined_on(self, child: tuple[str, str], parent: tuple[str, str]) -> bool:
        """Whether a condition sets a column of one relation equal to a column of another."""
        from sqlglot import exp

        for scope in self._scope.traverse():
            for equal in scope.find_all(exp.EQ):
                sides = {
                    (_relation_of(scope.sources.get(side.table)), side.name.upper())
                    for side in (equal.left, equal.right)
                    if isinstance(side, exp.Column)
                }
                if sides == {child, parent}:
                    return True
        return False

    @cached_property
    def keeps_every_row(self) -> bool:
        """Whether it reads one relation, without any clause that could lose or double a row."""
        from sqlglot import exp

        tree = self._tree
        if not isinstance(tree, exp.Select) or len(list(tree.find_all(exp.Query))) > 1:
            return False
        (*tables,) = tree.find_all(exp.Table)
        plain = all(not set(_arguments(table)) - {"this", "db", "catalog", "alias"} for table in tables)
        clauses = set(_arguments(tree)) - {"expressions", "from", "from_", "kind", "order"}
        return plain and not clauses and not tree.find(exp.AggFunc, exp.Explode, exp.UDTF)

    @cached_property
    def grouping(self) -> frozenset[str] | None:
        """The columns that every row is grouped or partitioned by; None if a row does not depend on other rows.

        Columns computed from an inner aggregate or window are left out, as their values differ if only some rows are
        read. The set is empty if such a value decides which rows exist.
        """
        from sqlglot import exp

        from pipeline_assets.pipeline.aggregates import measures

        tree = self._scope.expression
        measured = measures(self._scope)
        if not isinstance(tree, exp.Select) or measured is None:
            return frozenset()
        by_text = {select.unalias().sql(): select.alias_or_name.upper() for select in tree.selects}
        named = set(by_text.values())

        def outputs(keys: Sequence[Any]) -> set[str]:
            selected = {by_text[key.sql()] for key in keys if key.sql() in by_text}
            return (
                selected | {key.name.upper() for key in keys if isinstance(key, exp.Column) and not key.table} & named
            )

        limits: list[set[str]] = []
        if group := tree.args.get("group"):
            limits.append(outputs(group.expressions))
        elif any(select.find(exp.AggFunc) and not select.find(exp.Window) for select in tree.selects):
            limits.append(set())
        for window in tree.find_all(exp.Window):
            limits.append(outputs(window.args.get("partition_by") or []))
        if tree.args.get("distinct") or tree.args.get("limit"):
            limits.append(set())
        if measured:
            limits.append(named - measured)
        return frozenset(set.intersection(*limits)) if limits else None

    # --- rewriting -----------------------------------------------------------------------------------------

    @_once
    def over(self, replacements: Mapping[str, str]) -> str:
        """The statement over other relations; each replacement is a `SELECT …` or the name of a relation."""
        return _replaced(self._tree.copy(), replacements).sql(dialect=DIALECT)

    @_once
    def with_bounded_sums(self, most: int) -> Select:
        """The statement with each term of its sums replaced by its absolute value, at most `most`.

        So no sum overflows, and terms of different signs do not cancel out.
        """
        from sqlglot import exp

        tree = self._tree.copy()
        for total in list(tree.find_all(exp.Sum)):
            term = total.this.expressions[0] if isinstance(total.this, exp.Distinct) else total.this
            size, limit = exp.Abs(this=term.copy()), exp.Literal.number(most)
            # Not LEAST: Spark's skips NULL, so that a term without a value would count as `most`.
            term.replace(
                exp.Case(ifs=[exp.If(this=exp.GT(this=size, expression=limit), true=limit)], default=size.copy())
            )
        return replace(self, text=tree.sql(dialect=DIALECT))

    @_once
    def distinct_values(self, columns: Sequence[str], relation: str, replacement: str | None) -> list[str]:
        """SELECT DISTINCT values of some columns before groups are filtered, one statement per reference to a relation.

        Each statement replaces one reference only: in a self-join, a touched row may match any row of the other side.
        Without a replacement there is one statement, over all rows.
        """
        if replacement is None:
            return [self._distinct_values(columns, self._tree.copy())]
        references = sum(_name_of(table) == relation for table in _tables(self._tree))
        return [
            self._distinct_values(columns, _replaced(self._tree.copy(), {relation: replacement}, number))
            for number in range(references)
        ]

    def _distinct_values(self, columns: Sequence[str], tree: Any) -> str:
        from sqlglot import exp

        if isinstance(tree, exp.Select):
            for clause in ("having", "qualify", "order", "limit", "offset", "group"):
                tree.set(clause, None)
            tree.set("expressions", [select for select in tree.selects if select.alias_or_name.upper() in columns])
            return tree.distinct().sql(dialect=DIALECT)
        return f"SELECT DISTINCT {sql_names(columns)} FROM ({tree.sql(dialect=DIALECT)}) AS TOUCHED"

    @_once
    def with_source_columns(self, relation: str, names: Sequence[str], replacements: Mapping[str, str]) -> str | None:
        """The statement with further columns of a relation that it reads, under their own names.

        None if a row of the result is not a row of the relation.
        """
        from sqlglot import exp

        tree = self._tree.copy()
        if not isinstance(tree, exp.Select) or any(tree.args.get(clause) for clause in ("group", "distinct")):
            return None
        from_ = tree.args.get("from_") or tree.args.get("from")
        joined_tables = [from_.this, *(join.this for join in tree.args.get("joins") or [])] if from_ else []
        alias = next(
            (t.alias_or_name for t in joined_tables if isinstance(t, exp.Table) and _name_of(t) == relation), None
        )
        if alias is None or any(select.find(exp.AggFunc) for select in tree.selects):
            return None
        missing = [name for name in names if name not in self.columns]
        for name in missing:
            tree = tree.select(exp.column(_identifier(name), table=_identifier(alias)), copy=False)
        return _replaced(tree, replacements).sql(dialect=DIALECT)

    def starts_from(self, relation: str) -> bool:
        """Whether each row comes from one row of a relation that is read once, so that the relation can be filtered."""
        from sqlglot import exp

        tree = self._tree
        from_ = tree.args.get("from_") or tree.args.get("from") if isinstance(tree, exp.Select) else None
        first = from_.this if from_ else None
        if not isinstance(first, exp.Table) or _name_of(first) != relation:
            return False
        outer = any(str(join.args.get("side") or "").upper() in ("RIGHT", "FULL") for join in tree.find_all(exp.Join))
        return not outer and sum(_name_of(table) == relation for table in _tables(tree)) == 1

    @cached_property
    def rewritten(self) -> dict[tuple, Any]:
        """What its rewriting methods returned, by name and arguments."""
        return {}

    # --- parsed once ---------------------------------------------------------------------------------------

    @cached_property
    def _tree(self) -> exp.Query:
        from sqlglot import exp, parse_one
        from sqlglot.errors import SqlglotError

        try:
            tree = parse_one(self.text, read=DIALECT)
        except SqlglotError as error:
            raise ConfigurationError(f"{self.name} is not Snowflake SQL: {str(error).splitlines()[0]}") from None
        if not isinstance(tree, exp.Query):
            raise ConfigurationError(f"{self.name} is not a SELECT.")
        if any(isinstance(select, exp.Star) or select.is_star for select in tree.selects):
            raise ConfigurationError(f"{self.name} selects *.", remedy="Name its columns, so that they can be traced.")
        return tree

    @cached_property
    def _scope(self) -> Scope:
        from sqlglot.errors import SqlglotError
        from sqlglot.optimizer.qualify import qualify
        from sqlglot.optimizer.scope import build_scope

        try:
            tree = qualify(self._tree.copy(), schema=self._nested_schema, dialect=DIALECT, identify=False)
            scope = build_scope(tree)
        except SqlglotError as error:
            raise ConfigurationError(f"{self.name}: {str(error).splitlines()[0]}") from None
        assert scope is not None
        return scope

    @cached_property
    def _nested_schema(self) -> dict[str, Any]:
        """`schema` as sqlglot needs it: nested by schema and table, without relations of the other kind."""
        nested: dict[str, Any] = {}
        depth = max((len(name_parts(name)) for name in self.relations), default=1)
        for relation, columns in self.schema.items():
            if len(name_parts(relation)) != depth:
                continue
            level = nested
            *parents, name = map(sql_name, name_parts(relation))
            for parent in parents:
                level = level.setdefault(parent, {})
            level[name] = dict.fromkeys(map(sql_name, columns), "TEXT")
        return nested

    @cached_property
    def _lineage(self) -> dict[str, Node]:
        from sqlglot.lineage import lineage

        tree = self._scope.expression
        nodes = lineage(None, tree, self._nested_schema, dialect=DIALECT, scope=self._scope, trim_selects=False)
        return {name.upper(): node for name, node in nodes.items()}

    def _leaf(self, node: Node) -> tuple[str, str] | None:
        from sqlglot import exp

        if not isinstance(node.expression, exp.Table):
            return None
        name = _name_of(node.expression)
        return (name, name_parts(node.name)[-1].upper()) if name in self.schema else None


def is_select(text: str) -> bool:
    """Whether a text is a statement, and not the name of a relation, such as SELECT__TOUCHED."""
    return text.split(maxsplit=1)[0].upper() == "SELECT"


def _step(node: Node) -> Step | None:
    """None for a column of a relation, and for a UNION, whose SELECTs are nodes of their own."""
    from sqlglot import exp

    if isinstance(node.expression, (exp.Table, exp.Placeholder)) or isinstance(node.source, exp.SetOperation):
        return None
    if isinstance(node.source, exp.UDTF):  # each value that FLATTEN yields
        of, _, name = node.name.rpartition(".")
        return Step(of, name, node.source.this.sql(dialect=DIALECT))
    query: Any = node.source
    number = next(number for number, select in enumerate(query.selects) if select is node.expression)
    while isinstance(query.parent, exp.SetOperation):  # its first SELECT names the columns
        query = query.parent
    named = query.find_ancestor(exp.CTE, exp.Subquery)
    expression = node.expression.unalias().sql(dialect=DIALECT)
    return Step(named.alias if named else "", query.selects[number].output_name, expression)


def _tables(tree: exp.Expr) -> Iterator[exp.Table]:
    """The relations of a statement except its common table expressions, in the order of the text."""
    from sqlglot import exp

    defined = {sql_name(cte.alias.upper()) for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table, bfs=False):
        if "." in _name_of(table) or _name_of(table) not in defined:
            yield table


def _identifier(name: str) -> exp.Identifier:
    from sqlglot import exp

    return exp.to_identifier(name, quoted=sql_name(name) != name)


def _arguments(node: exp.Expression) -> list[str]:
    """The clauses that a statement, or a table in it, has."""
    return [name for name, value in node.args.items() if value]


def _name_of(table: exp.Table) -> str:
    return ".".join(sql_name(part.name.upper()) for part in table.parts)


def _relation_of(source: object) -> str | None:
    from sqlglot import exp

    return _name_of(source) if isinstance(source, exp.Table) else None


def _replaced(tree: Any, replacements: Mapping[str, str], number: int | None = None) -> Any:
    """A statement with relations replaced; with `number`, only the reference of that number, from 0."""
    from sqlglot import exp, parse_one

    tables = [table for table in _tables(tree) if _name_of(table) in replacements]
    for table in tables if number is None else [tables[number]]:
        name = _name_of(table)
        alias = table.alias or table.name
        new = replacements[name]
        if is_select(new):
            replacement: Any = exp.Subquery(
                this=parse_one(new, read=DIALECT), alias=exp.TableAlias(this=_identifier(alias))
            )
        else:
            replacement = exp.to_table(new, dialect=DIALECT).as_(_identifier(alias), table=True)
        if joins := table.args.get("joins"):
            replacement.set("joins", joins)
        table.replace(replacement)
    return tree
