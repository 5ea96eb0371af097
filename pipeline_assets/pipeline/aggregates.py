"""The columns of a SELECT that are computed from inner aggregates or windows, and so depend on more than one row.

A mart is refreshed by the values that touched rows alone give. An inner `MAX(…)` over touched rows differs from the one
over all rows, so such a column cannot tell which rows of the mart are outdated, and must not decide which rows exist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.optimizer.scope import Scope

_FLATTENED = ("SEQ", "KEY", "PATH", "INDEX", "VALUE", "THIS")  # the columns of FLATTEN
_FILTERS = ("having", "qualify", "limit", "offset")


def measures(root: Scope) -> set[str] | None:
    """The columns that a qualified statement computes from inner aggregates or windows.

    None if such a value, a limit or a set operation decides which rows exist, or if a common
    table expression is read twice.
    """
    from sqlglot import exp

    measures_of: dict[int, set[str]] = {}
    read_counts: Counter[int] = Counter()
    for scope in root.traverse():
        tree = scope.expression
        if scope.is_udtf:
            measured = {column.name.upper() for column in scope.columns if _measured(column, scope, measures_of)}
            measures_of[id(tree)] = set(_FLATTENED) if measured else set()
            continue
        inner = [source for source in scope.sources.values() if not isinstance(source, exp.Expression)]
        read_counts.update(id(source.expression) for name, source in scope.sources.items() if source in inner)
        if isinstance(tree, exp.SetOperation):
            if not isinstance(tree, exp.Union):
                return None
            measures_of[id(tree)] = _union_measures(tree, measures_of)
            continue
        if not isinstance(tree, exp.Select):
            return None
        aggregates = _aggregates(tree)
        if scope is not root:
            if any(tree.args.get(clause) for clause in _FILTERS) or (aggregates and scope.is_subquery):
                return None
            if aggregates and not tree.args.get("group"):
                return None
        measuring = {id(column) for column in scope.columns if _measured(column, scope, measures_of)}
        if any(id(column) in measuring for column in _condition_columns(tree)):
            return None
        measures_of[id(tree)] = {
            select.alias_or_name.upper()
            for select in tree.selects
            if any(id(column) in measuring for column in select.find_all(exp.Column))
            or (scope is not root and select.find(exp.AggFunc, exp.Window))
        }
    if any(count > 1 for count in read_counts.values()):
        return None
    return measures_of[id(root.expression)] if isinstance(root.expression, exp.Select) else None


def _measured(column: exp.Column, scope: Scope, measures_of: Mapping[int, set[str]]) -> bool:
    """Whether a column of a scope is a measure of what it is read from."""
    source = scope.sources.get(column.table)
    return column.name.upper() in measures_of.get(id(getattr(source, "expression", None)), set())


def _aggregates(tree: object) -> bool:
    from sqlglot import exp

    assert isinstance(tree, exp.Select)
    return any(select.find(exp.AggFunc) for select in tree.selects)


def _condition_columns(tree: object) -> list:
    """The columns in the conditions of a SELECT: in WHERE and in joins."""
    from sqlglot import exp

    assert isinstance(tree, exp.Select)
    conditions = [tree.args.get("where"), *(join.args.get("on") for join in tree.args.get("joins") or [])]
    return [column for condition in conditions if condition for column in condition.find_all(exp.Column)]


def _union_measures(tree: object, measures_of: dict[int, set[str]]) -> set[str]:
    """The measures of a UNION: columns that are a measure in either side; sides match by position."""
    from sqlglot import exp

    assert isinstance(tree, exp.Union)
    names = [name.upper() for name in tree.named_selects]
    measured: set[str] = set()
    for side in (tree.left.unnest(), tree.right.unnest()):
        assert isinstance(side, exp.Query)
        side_names = [name.upper() for name in side.named_selects]
        measured |= {
            column for column, name in zip(names, side_names, strict=True) if name in measures_of.get(id(side), set())
        }
    return measured
