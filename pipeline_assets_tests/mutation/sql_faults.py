"""Faults in a statement of sql/: what a person gets wrong when changing it.

The statement is parsed, changed in one place and written out again. `normalized` is the same without a change: copies
of the checkout are given that text, so that a mutant differs from it by the fault alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from pipeline_assets.sqlfiles import with_bind_variables

Change = Callable[[exp.Expression], exp.Expression | None]


@dataclass(frozen=True)
class SqlFault:
    """`change` gives what stands in the place of a node of one of the kinds, or None when it makes no fault there."""

    name: str
    kinds: tuple[type[exp.Expression], ...]
    change: Change


def normalized(text: str) -> str:
    """The file as it is written out from the parsed statement."""
    return _written(text, _parsed(text))


def sql_mutants(text: str) -> Iterator[tuple[str, str]]:
    """(name of the fault, text of the file with it), each text once."""
    seen = {normalized(text)}
    parsed = _parsed(text)
    for fault in FAULTS:
        for index in range(len(list(parsed.find_all(*fault.kinds)))):
            tree = parsed.copy()
            node = list(tree.find_all(*fault.kinds))[index]
            changed = fault.change(node)
            if changed is None:
                continue
            if node is tree:
                tree = changed
            elif changed is not node:
                node.replace(changed)
            mutant = _written(text, tree)
            if mutant not in seen:
                seen.add(mutant)
                yield fault.name, mutant


def _parsed(text: str) -> exp.Expression:
    return sqlglot.parse_one(with_bind_variables(text), read="snowflake")


def _written(text: str, tree: exp.Expression) -> str:
    opening = [line for line in text.splitlines() if line.startswith("--")]
    bound = tree.transform(lambda node: exp.Var(this=f"%({node.name})s") if isinstance(node, exp.Placeholder) else node)
    return "\n".join([*opening, bound.sql(dialect="snowflake", pretty=True, comments=False), ""])


def _without(name: str) -> Change:
    """The node without one of its clauses."""

    def change(node: exp.Expression) -> exp.Expression | None:
        if not node.args.get(name):
            return None
        node.set(name, None)
        return node

    return change


def _as(kind: type[exp.Expression]) -> Change:
    """The same operands under another operator."""
    return lambda node: kind(**{name: value for name, value in node.args.items() if name in kind.arg_types})


def _left(node: exp.Expression) -> exp.Expression:
    return node.this


def _right(node: exp.Expression) -> exp.Expression:
    return node.expression


def _right_of_two(node: exp.Expression) -> exp.Expression | None:
    """A AND B AND C is (A AND B) AND C: without its left side it would lose two conditions, which is found sooner."""
    return None if isinstance(node.this, type(node)) else node.expression


def _other_join(node: exp.Expression) -> exp.Expression:
    outer = node.args.get("side") == "LEFT"
    node.set("side", None if outer else "LEFT")
    node.set("kind", "INNER" if outer else None)
    return node


def _union_all(node: exp.Expression) -> exp.Expression:
    node.set("distinct", not node.args.get("distinct"))
    return node


def _counted_with_duplicates(node: exp.Expression) -> exp.Expression | None:
    return node.expressions[0] if isinstance(node.parent, exp.AggFunc) else None


def _other_direction(node: exp.Expression) -> exp.Expression:
    node.set("desc", not node.args.get("desc"))
    return node


def _next_column(node: exp.Expression) -> exp.Expression | None:
    """The value of the column that is selected next, under this one's name."""
    if not isinstance(node.parent, exp.Select) or node.arg_key != "expressions":
        return None
    following = node.parent.expressions[node.index + 1 : node.index + 2]
    if (
        not following
        or not isinstance(node.unalias(), exp.Column)
        or not isinstance(following[0].unalias(), exp.Column)
    ):
        return None
    return exp.alias_(following[0].unalias().copy(), node.alias_or_name)


def _is_assignment(node: exp.Expression) -> bool:
    return isinstance(node.parent, exp.Update)


def _unequal(node: exp.Expression) -> exp.Expression | None:
    return None if _is_assignment(node) else _as(exp.NEQ)(node)


def _without_assignment(node: exp.Expression) -> exp.Expression | None:
    """One column of several is not set."""
    return node.pop() if _is_assignment(node) and len(node.parent.expressions) > 1 else None


def _next_value(node: exp.Expression) -> exp.Expression | None:
    """The value that is inserted into the next column."""
    following = node.parent.expressions[node.index + 1 :] if isinstance(node.parent, exp.Tuple) else []
    return following[0].copy() if following else None


def _not_null(node: exp.Expression) -> exp.Expression | None:
    """`IS NOT NULL` for `IS NULL`; the other way is `DropNot`."""
    return None if isinstance(node.parent, exp.Not) else exp.Not(this=node.copy())


def _negated(node: exp.Expression) -> exp.Expression:
    return exp.Not(this=node.copy())


FAULTS = (
    SqlFault("DropDistinct", (exp.Select,), _without("distinct")),
    SqlFault("CountDuplicates", (exp.Distinct,), _counted_with_duplicates),
    SqlFault("DropWhere", (exp.Select, exp.Delete, exp.Update), _without("where")),
    SqlFault("KeepLeftCondition", (exp.And, exp.Or), _left),
    SqlFault("KeepRightCondition", (exp.And, exp.Or), _right_of_two),
    SqlFault("AndToOr", (exp.And,), _as(exp.Or)),
    SqlFault("OrToAnd", (exp.Or,), _as(exp.And)),
    SqlFault("InnerToLeftJoin", (exp.Join,), _other_join),
    SqlFault("UnionDistinctToAll", (exp.Union,), _union_all),
    SqlFault("DropRightBranch", (exp.Union,), _left),
    SqlFault("DropLeftBranch", (exp.Union,), _right),
    SqlFault("EqualToUnequal", (exp.EQ,), _unequal),
    SqlFault("DropAssignment", (exp.EQ,), _without_assignment),
    SqlFault("NullsAreUnequal", (exp.NullSafeEQ, exp.EqualNull), _as(exp.EQ)),
    SqlFault("DropNot", (exp.Not,), _left),
    SqlFault("AddNot", (exp.In,), _negated),
    SqlFault("NullToNotNull", (exp.Is,), _not_null),
    SqlFault("SumToMax", (exp.Sum,), _as(exp.Max)),
    SqlFault("MaxToMin", (exp.Max,), _as(exp.Min)),
    SqlFault("MinToMax", (exp.Min,), _as(exp.Max)),
    SqlFault("OtherDirection", (exp.Ordered,), _other_direction),
    SqlFault("DropCoalesce", (exp.Coalesce,), _left),
    SqlFault("DropFactor", (exp.Mul,), _left),
    SqlFault("DropSummand", (exp.Add,), _left),
    SqlFault("NextColumn", (exp.Column, exp.Alias), _next_column),
    SqlFault("NextValue", (exp.Placeholder,), _next_value),
)
