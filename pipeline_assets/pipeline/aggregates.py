"""Which columns of a SELECT are made of aggregates or windows below it, and so depend on more rows than their own.

A mart is refreshed by values that touched rows alone give. An inner `MAX(…)` over touched rows is not the one over all,
so no such column can say which rows of the mart are outdated, and none may decide which rows there are.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot.optimizer.scope import Scope

_FILTERS = ("having", "qualify", "limit", "offset")


def measures(root: Scope) -> set[str] | None:
    """The columns that a qualified statement makes of inner aggregates or windows.

    None where such a value, a limit or a set operation decides which rows there are, or where a common table expression
    is read twice.
    """
    from sqlglot import exp

    made: dict[int, set[str]] = {}
    read: Counter[int] = Counter()
    for scope in root.traverse():
        tree = scope.expression
        inner = [source for source in scope.sources.values() if not isinstance(source, exp.Expression)]
        read.update(id(source.expression) for name, source in scope.sources.items() if source in inner)
        if isinstance(tree, exp.SetOperation):
            if not isinstance(tree, exp.Union):
                return None
            made[id(tree)] = _of_union(tree, made)
            continue
        if not isinstance(tree, exp.Select):
            return None
        aggregates = _aggregates(tree)
        if scope is not root:
            if any(tree.args.get(clause) for clause in _FILTERS) or (aggregates and scope.is_subquery):
                return None
            if aggregates and not tree.args.get("group"):
                return None
        measured = {
            id(column)
            for column in scope.columns
            for source in [scope.sources.get(column.table)]
            if source is not None and column.name.upper() in made.get(id(getattr(source, "expression", None)), set())
        }
        if any(id(column) in measured for column in _deciding(tree)):
            return None
        made[id(tree)] = {
            select.alias_or_name.upper()
            for select in tree.selects
            if any(id(column) in measured for column in select.find_all(exp.Column))
            or (scope is not root and select.find(exp.AggFunc, exp.Window))
        }
    if any(count > 1 for count in read.values()):
        return None
    return made[id(root.expression)] if isinstance(root.expression, exp.Select) else None


def _aggregates(tree: object) -> bool:
    from sqlglot import exp

    assert isinstance(tree, exp.Select)
    return any(select.find(exp.AggFunc) for select in tree.selects)


def _deciding(tree: object) -> list:
    """The columns in the conditions of a SELECT: in WHERE and in joins."""
    from sqlglot import exp

    assert isinstance(tree, exp.Select)
    conditions = [tree.args.get("where"), *(join.args.get("on") for join in tree.args.get("joins") or [])]
    return [column for condition in conditions if condition for column in condition.find_all(exp.Column)]


def _of_union(tree: object, made: dict[int, set[str]]) -> set[str]:
    """A column of a UNION is measured where it is in either side; sides match by their place."""
    from sqlglot import exp

    assert isinstance(tree, exp.Union)
    names = [name.upper() for name in tree.named_selects]
    found: set[str] = set()
    for side in (tree.left.unnest(), tree.right.unnest()):
        theirs = [name.upper() for name in side.named_selects]
        found |= {mine for mine, name in zip(names, theirs, strict=True) if name in made.get(id(side), set())}
    return found
