"""Faults in Python: Cosmic Ray's operators, as far as they make faults that a person could make, and a few of our own.

Left out of Cosmic Ray's: replacing one arithmetic or comparison operator by each other one (one or two of them tell as
much), RemoveDecorator, VariableReplacer and VariableInserter (they fail at import, or are no fault anybody makes).
Of our own are what it has no operator for: `in`, a forgotten statement, filter or keyword argument, functions that
are easily confused, and SQL in the texts of a module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import get_operator
from parso.tree import NodeOrLeaf

from . import targets

_OF_COSMIC_RAY = (
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Add", "FloorDiv_Mul")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("BitOr_BitAnd", "BitAnd_BitOr", "Mod_Add")),
    *("ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_USub_UAdd", "AddNot"),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak"),
    *("ExceptionReplacer", "NumberReplacer", "ZeroIterationForLoop"),
)


class RemoveStatement(Operator):
    """A call whose result nobody takes, a raise or an augmented assignment is forgotten."""

    def mutation_positions(self, node):
        if node.type == "simple_stmt":
            statement = node.children[0]
            is_call = statement.type == "atom_expr"
            if is_call or statement.type == "raise_stmt" or _is_augmented(statement):
                yield statement.start_pos, statement.end_pos

    def mutate(self, node, index):
        statement = node.children[0]
        prefix = statement.get_first_leaf().prefix
        node.children[0] = parso.parse(f"{prefix}pass")
        return node

    @classmethod
    def examples(cls):
        return Example("f(x)\n", "pass\n"), Example("raise E\n", "pass\n"), Example("x += 1\n", "pass\n")


def _is_augmented(statement: NodeOrLeaf) -> bool:
    if statement.type != "expr_stmt":
        return False
    operator = statement.children[1].get_code().strip()
    return operator.endswith("=") and operator != "="


class SwapMembership(Operator):
    """`in` for `not in` and the other way."""

    def mutation_positions(self, node):
        for at in self._places(node):
            yield node.children[at].start_pos, node.children[at].end_pos

    def mutate(self, node, index):
        at = self._places(node)[index]
        node.children[at] = parso.parse(" in" if node.children[at].get_code().strip() != "in" else " not in")
        return node

    @staticmethod
    def _places(node) -> list[int]:
        if node.type != "comparison":
            return []
        words = [child.get_code().split() for child in node.children]
        return [at for at in range(1, len(words), 2) if words[at] in (["in"], ["not", "in"])]

    @classmethod
    def examples(cls):
        return Example("a in b", "a not in b"), Example("a not in b", "a in b")


class RemoveFilter(Operator):
    """The condition of a comprehension is forgotten."""

    def mutation_positions(self, node):
        if node.type == "comp_if":
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        return None

    @classmethod
    def examples(cls):
        return (Example("[x for x in y if x]", "[x for x in y]"),)


class RemoveKeywordArgument(Operator):
    """The last argument of a call, given by its name, is forgotten."""

    def mutation_positions(self, node):
        if self._is_such(node):
            yield node.children[-1].start_pos, node.children[-1].end_pos

    def mutate(self, node, index):
        node.children = node.children[:-2]
        return node

    @staticmethod
    def _is_such(node) -> bool:
        last = node.children[-1] if node.type == "arglist" else None
        if last is None or last.type != "argument" or last.children[1].get_code().strip() != "=":
            return False
        return last.children[0].value not in targets.QUIET_KEYWORDS

    @classmethod
    def examples(cls):
        return (Example("f(a, b=1)", "f(a)"),)


class SwapFunction(Operator):
    """One function or method is taken for another of the same form."""

    PAIRS = (("min", "max"), ("any", "all"), ("startswith", "endswith"), ("removeprefix", "removesuffix"))
    PAIRS += (("lstrip", "rstrip"), ("partition", "rpartition"), ("find", "rfind"), ("floor", "ceil"))
    OTHER = dict(PAIRS) | {second: first for first, second in PAIRS}

    def mutation_positions(self, node):
        if node.type == "name" and node.value in self.OTHER and node.get_next_leaf().value == "(":
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        node.value = self.OTHER[node.value]
        return node

    @classmethod
    def examples(cls):
        return Example("min(x)", "max(x)"), Example("s.endswith(x)", "s.startswith(x)")


class SqlInText(Operator):
    """A fault in SQL that stands in a text of the module: a word of it is exchanged or missing."""

    WORDS = (
        (r"SELECT DISTINCT\b", "SELECT"),
        (r"UNION ALL\b", "UNION"),
        (r"UNION(?! ALL)(?: DISTINCT)?\b", "UNION ALL"),
        (r"LEFT (?:OUTER )?JOIN\b", "JOIN"),
        (r"(?<!LEFT )(?<!FULL )(?<!ANTI )(?<!SEMI )(?<!CROSS )(?:INNER )?JOIN\b", "LEFT JOIN"),
        (r"FULL (?:OUTER )?JOIN\b", "JOIN"),
        (r"ANTI JOIN\b", "SEMI JOIN"),
        (r"SEMI JOIN\b", "ANTI JOIN"),
        (r"NOT EXISTS\b", "EXISTS"),
        (r"NOT IN\b", "IN"),
        (r"IS NOT DISTINCT FROM\b", "="),
        (r"IS DISTINCT FROM\b", "<>"),
        (r"IS NOT NULL\b", "IS NULL"),
        (r"IS NULL\b", "IS NOT NULL"),
        (r"\bAND\b", "OR"),
        (r"\bOR\b(?! REPLACE)", "AND"),
        (r"\b[Mm][Aa][Xx]\(", "min("),
        (r"\b[Mm][Ii][Nn]\(", "max("),
        (r"\b[Ss][Uu][Mm]\(", "max("),
        (r"\bDESC\b(?! \w)", "ASC"),
        (r"\bASC\b", "DESC"),
        (r"(?<= )=(?= )", "<>"),
        (r"(?<= )<(?= )", "<="),
        (r"(?<= )<=(?= )", "<"),
        (r"(?<= )>(?= )", ">="),
        (r"(?<= )>=(?= )", ">"),
    )
    IS_SQL = re.compile(
        r"\b(SELECT|FROM [A-Z{]|WHERE|JOIN|UNION|GROUP BY|ORDER BY|DELETE FROM|INSERT INTO|COALESCE|CASE WHEN"
        r"|IS (NOT )?NULL|NOT IN|EXISTS|PARTITION BY|regexp_\w+|TRY_CAST|QUALIFY)\b"
    )

    def mutation_positions(self, node):
        for _ in self._changes(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        node.value = self._changes(node)[index]
        return node

    def _changes(self, node) -> list[str]:
        if node.type not in ("string", "fstring_string") or not self.IS_SQL.search(_whole_text(node)):
            return []
        found = []
        for pattern, other in self.WORDS:
            for match in re.finditer(pattern, node.value):
                found.append(node.value[: match.start()] + other + node.value[match.end() :])
        return found

    @classmethod
    def examples(cls):
        return (Example('"SELECT DISTINCT A FROM T"', '"SELECT A FROM T"'),)


def _whole_text(node: NodeOrLeaf) -> str:
    """The text that a piece belongs to: an f-string, or several strings that follow each other."""
    while node.parent is not None and node.parent.type in ("fstring", "strings"):
        node = node.parent
    return node.get_code()


OWN = (RemoveStatement, SwapMembership, RemoveFilter, RemoveKeywordArgument, SwapFunction, SqlInText)


def operators() -> dict[str, Operator]:
    """Every operator by its name."""
    theirs = {name: get_operator(f"core/{name}")() for name in _OF_COSMIC_RAY}
    return theirs | {operator.__name__: operator() for operator in OWN}


@dataclass(frozen=True)
class Place:
    """Where an operator has something to change: its `occurrence` in the module, and the line that stands there."""

    operator: str
    occurrence: int
    line_number: int
    line: str


def places(source: str) -> Iterator[Place]:
    """All places of a module in which a change would be a fault."""
    nodes = list(ast_nodes(get_ast(source)))
    lines = source.splitlines()
    quiet = {id(node) for node in nodes if _is_quiet(node)}
    loud = [(node, not _stands_in(node, quiet)) for node in nodes]
    for name, operator in operators().items():
        occurrence = 0
        for node, counts in loud:
            for (line, _), _ in operator.mutation_positions(node):
                if counts and not (name == "NumberReplacer" and _is_large(node)):
                    yield Place(name, occurrence, line, lines[line - 1].strip())
                occurrence += 1


def mutant(source: str, place: Place) -> str:
    """The module with the fault."""
    return mutate_code(source, operators()[place.operator], place.occurrence)


def _stands_in(node: NodeOrLeaf | None, quiet: set[int]) -> bool:
    while node is not None:
        if id(node) in quiet:
            return True
        node = node.parent
    return False


def _is_large(node: NodeOrLeaf) -> bool:
    return not node.value.isdigit() or int(node.value) > targets.LARGEST_NUMBER


def _is_quiet(node: NodeOrLeaf) -> bool:
    """Whether a change inside of this node is no fault; the reasons are in `targets`."""
    parent = node.parent
    if parent is None:
        return False
    match node.type:
        case "import_name" | "import_from" | "decorator" | "assert_stmt" | "shift_expr":
            return True
        case "if_stmt":
            return node.children[1].get_code().strip() == "TYPE_CHECKING"
        case "string":
            return parent.type == "simple_stmt"  # a docstring
        case "funcdef":
            return node.name.value in targets.QUIET_FUNCTIONS
        case "argument":
            return node.children[0].get_code().strip() in targets.QUIET_KEYWORDS
        case "expr_stmt":
            return node.children[0].get_code().strip() == "__all__"
        case "simple_stmt":
            return targets.LOG_CALL.match(node.get_code().strip()) is not None
    if parent.type == "raise_stmt":
        return node is not parent.children[0]
    if parent.type == "annassign":
        return node is parent.children[1]
    if parent.type == "tfpdef":
        return node is parent.children[2]
    if parent.type == "funcdef":
        before = node.get_previous_sibling()
        return before is not None and before.get_code().strip() == "->"
    return False
