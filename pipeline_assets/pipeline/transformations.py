"""How a SELECT uses the columns that it reads, in the terms of OpenLineage's column lineage.

A direct input gives a value: unchanged (IDENTITY), computed (TRANSFORMATION) or of many rows (AGGREGATION). An indirect
one decides which value is taken (CONDITIONAL, WINDOW) or which rows there are (FILTER, JOIN, GROUP_BY, SORT).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.lineage import Node
    from sqlglot.optimizer.scope import Scope

Leaf = tuple[str, str]  # (relation, column)


@dataclass(frozen=True, order=True)
class Use:
    """One way in which a column is used; see the module."""

    type: Literal["DIRECT", "INDIRECT"]
    subtype: str


_DIRECT = [Use("DIRECT", subtype) for subtype in ("IDENTITY", "TRANSFORMATION", "AGGREGATION")]
IDENTITY, TRANSFORMATION, AGGREGATION = _DIRECT
_CONDITIONAL, _WINDOW = Use("INDIRECT", "CONDITIONAL"), Use("INDIRECT", "WINDOW")


def column_uses(node: Node, leaf_of: Callable[[Node], Leaf | None]) -> dict[Leaf, set[Use]]:
    """The ways in which each column of a relation is used on the way to a column of a statement."""
    uses: dict[Leaf, set[Use]] = {}
    seen: set[tuple[int, Use]] = set()
    waiting = [(node, IDENTITY)]
    while waiting:
        current, use = waiting.pop()
        if (id(current), use) in seen:
            continue
        seen.add((id(current), use))
        if leaf := leaf_of(current):
            uses.setdefault(leaf, set()).add(use)
            continue
        waiting.extend((below, _joined(use, hop)) for below, hop in _hops(current))
    return uses


def row_uses(root: Scope, relation_of: Callable[[object], str | None]) -> dict[Leaf, set[Use]]:
    """The columns that decide which rows a qualified statement has, or in which order."""
    from sqlglot import exp

    uses: dict[Leaf, set[Use]] = {}
    for scope in root.traverse():
        if not isinstance(scope.expression, exp.Select):
            continue
        for subtype, clause in _clauses(scope.expression):
            for column in clause.find_all(exp.Column):
                for leaf in _leaves(scope, column, relation_of, frozenset()):
                    uses.setdefault(leaf, set()).add(Use("INDIRECT", subtype))
    return uses


def _joined(before: Use, hop: Use) -> Use:
    """The use of a column by way of another: indirect if either is, else the stronger of both."""
    if "INDIRECT" in (before.type, hop.type):
        return before if before.type == "INDIRECT" else hop
    return max(before, hop, key=_DIRECT.index)


def _hops(node: Node) -> Iterator[tuple[Node, Use]]:
    """What the expression of a node reads, each with its uses there."""
    from sqlglot import exp

    if isinstance(node.source, exp.SetOperation):
        yield from ((below, IDENTITY) for below in node.downstream)
        return
    by_name: dict[str, set[Use]] = {}
    for column in node.expression.find_all(exp.Column):
        # A column of a relation is a node with its SQL as name, one of another scope has no quotes.
        for name in (column.sql(comments=False), f"{column.table}.{column.name}"):
            by_name.setdefault(name, set()).add(_use_of(column, node.expression))
    for below in node.downstream:
        # What a scalar subquery or FLATTEN reads is not named in the expression itself.
        for use in by_name.get(below.name, {TRANSFORMATION}):
            yield below, use


def _use_of(column: exp.Column, select: exp.Expr) -> Use:
    """The use of one column in an expression of a SELECT."""
    from sqlglot import exp

    if select.unalias() is column:
        return IDENTITY
    use, below = TRANSFORMATION, column
    while below is not select:
        above: Any = below.parent
        if isinstance(above, (exp.If, exp.Case)) and below.arg_key == "this":
            return _CONDITIONAL
        if isinstance(above, exp.Window) and below.arg_key != "this":
            return _WINDOW
        if isinstance(above, exp.AggFunc) and not isinstance(above, _one_row()):
            use = AGGREGATION
        below = above
    return use


def _one_row() -> tuple[type, ...]:
    """Window functions whose value is that of one row."""
    from sqlglot import exp

    return (exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue)


def _clauses(select: exp.Select) -> Iterator[tuple[str, exp.Expr]]:
    for subtype, name in (("FILTER", "where"), ("FILTER", "having"), ("FILTER", "qualify"), ("GROUP_BY", "group")):
        if clause := select.args.get(name):
            yield subtype, clause
    if order := select.args.get("order"):
        yield "SORT", order
    for join in select.args.get("joins") or []:
        if condition := join.args.get("on"):
            yield "JOIN", condition


def _leaves(
    scope: Scope, column: exp.Column, relation_of: Callable[[object], str | None], seen: frozenset[tuple[int, str]]
) -> Iterator[Leaf]:
    """The columns of relations behind a column of a scope; none if it belongs to another scope."""
    source = scope.sources.get(column.table)
    if relation := relation_of(source):
        yield relation, column.name.upper()
    elif source is not None and hasattr(source, "expression") and (id(source), column.name) not in seen:
        yield from _leaves_of_output(source, column.name, relation_of, seen | {(id(source), column.name)})


def _leaves_of_output(
    scope: Any, name: str, relation_of: Callable[[object], str | None], seen: frozenset[tuple[int, str]]
) -> Iterator[Leaf]:
    from sqlglot import exp

    tree = scope.expression
    if isinstance(tree, exp.SetOperation):
        number = tree.named_selects.index(name)
        for part in scope.set_operation_scopes:
            yield from _leaves_of_output(part, part.expression.named_selects[number], relation_of, seen)
        return
    if isinstance(tree, exp.Select):
        read: Any = next((select for select in tree.selects if select.alias_or_name == name), None)
    else:
        read = tree if isinstance(tree, exp.UDTF) else None
    for column in read.find_all(exp.Column) if read else ():
        yield from _leaves(scope, column, relation_of, seen)
