"""Patches for fakesnow 0.12, the emulator below the embedded warehouse, applied while it is in use."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from string import Template
from typing import Any


@contextmanager
def patched_emulator() -> Iterator[None]:
    """Patch fakesnow for the duration of the context."""
    with _exact_sums(), _quoted_texts(), _cached_statements(), _wider_keys(), _arrow_batches(), _errors_of_the_driver():
        yield


# Statements whose transformation depends on parameters, variables, chance, or what ran before; CURRENT_URI is a column.
_DEPENDS_ON_MORE = re.compile(r"IDENTIFIER\(|\$|RANDOM|SAMPLE|RESULT_SCAN|NEXTVAL|CURRENT_(?!URI\b)", re.IGNORECASE)
_STATEMENTS_LIMIT = 500
# The placeholder of a string value in the text of a cached statement.
_MARK = re.compile("'\ue000([0-9]+)\ue001'")


@dataclass
class _Statement:
    """What fakesnow makes of a text: its tree, whether it lacks a database or a schema, its form in each schema."""

    parsed: Any
    unqualified: tuple[bool, bool]
    transformed: dict[tuple[str | None, str | None], Any] = field(default_factory=dict)


_statements: dict[str, _Statement] = {}
_MISSING = object()


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Have another attribute in an object for as long as this is open."""
    before = vars(owner).get(name, _MISSING)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is _MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


@contextmanager
def _exact_sums() -> Iterator[None]:
    """Keep decimals exact in SUM, and give SUM and COUNT the column names of Snowflake.

    fakesnow 0.12.0 casts the argument of every SUM to DOUBLE, in case it is text: a sum of money then becomes
    67406.55999999223. Without the cast a sum over text fails, which is the lesser fault.
    """
    import fakesnow.transforms
    from sqlglot import exp

    original = fakesnow.transforms.numeric_agg_implicit_cast

    def patched(expression: exp.Expr) -> exp.Expr:
        if not isinstance(expression, (exp.Sum, exp.Count)):
            return original(expression)
        if isinstance(expression.parent, exp.Select):
            return exp.alias_(expression, expression.sql(dialect="snowflake").upper(), quoted=True)
        return expression

    with replaced(fakesnow.transforms, "numeric_agg_implicit_cast", patched):
        yield


@contextmanager
def _quoted_texts() -> Iterator[None]:
    """Quote comments and names: fakesnow 0.12.0 pastes them into its own SQL, where an apostrophe ends a text."""
    import fakesnow.cursor
    import fakesnow.info_schema

    comment_sql = fakesnow.info_schema.insert_table_comment_sql
    lengths_sql = fakesnow.info_schema.insert_text_lengths_sql

    def quoted_comment(*texts: str) -> str:
        return comment_sql(*map(_escaped, texts))

    def quoted_lengths(catalog: str, schema: str, table: str, lengths: list[tuple[str, int]]) -> str:
        return lengths_sql(catalog, schema, _escaped(table), [(_escaped(name), size) for name, size in lengths])

    with ExitStack() as patches:
        patches.enter_context(replaced(fakesnow.info_schema, "insert_table_comment_sql", quoted_comment))
        patches.enter_context(replaced(fakesnow.info_schema, "insert_text_lengths_sql", quoted_lengths))
        for answer in ("SQL_CREATED_TABLE", "SQL_CREATED_VIEW", "SQL_DROPPED"):
            template = _QuotedAnswer(vars(fakesnow.cursor)[answer].template)
            patches.enter_context(replaced(fakesnow.cursor, answer, template))
        yield


class _QuotedAnswer(Template):
    """A SELECT of fakesnow with the name of a table in a text."""

    def substitute(self, *, name: str) -> str:  # type: ignore[override]
        return super().substitute(name=_escaped(name))


def _escaped(text: str) -> str:
    return text.replace("'", "''")


@contextmanager
def _cached_statements() -> Iterator[None]:
    """Let fakesnow parse, check and transform a statement once per process, and copy its tree once instead of 77 times.

    fakesnow 0.12.0 chains `Expression.transform`, which copies the tree before each of its transformations; that is
    most of the time of a small batch. In place the result is the same, and so it is for the same text later.
    """
    import fakesnow.checks
    import fakesnow.cursor
    from fakesnow.cursor import FakeSnowflakeCursor
    from sqlglot import exp

    parse, qualified = fakesnow.cursor.parse_one, fakesnow.checks.is_unqualified_table_expression
    rewrite: Any = FakeSnowflakeCursor._rewrite_with_params
    transform: Any = FakeSnowflakeCursor._transform
    # The text is all that the result of these depends on: they set nothing, and name their parameters by place.
    kinds = (exp.Select, exp.Insert, exp.Delete, exp.Update, exp.Copy, exp.Transaction, exp.Commit, exp.Rollback)

    def parse_once(command: str) -> Any:
        if (statement := _statements.get(command)) is None:
            parsed = parse(command)
            if not isinstance(parsed, kinds) or parsed.args.get("overwrite") or _DEPENDS_ON_MORE.search(command):
                return parsed
            if len(_statements) >= _STATEMENTS_LIMIT:
                _statements.pop(next(iter(_statements)))
            statement = _statements[command] = _Statement(parsed, qualified(parsed))
            vars(parsed)["cached"] = statement  # an attribute that copies of the tree lack
        return statement.parsed

    def qualified_once(parsed: Any) -> tuple[bool, bool]:
        statement = getattr(parsed, "cached", None)
        return statement.unqualified if statement else qualified(parsed)

    def rewrite_with_marks(self: Any, command: str, params: Any = None) -> Any:
        # With its values the text of a statement would seldom occur again.
        self.values = []

        def mark(value: Any) -> Any:
            if not isinstance(text := self._converter.to_snowflake(value), str):
                return value
            self.values.append(text)
            return f"\ue000{len(self.values) - 1}\ue001"

        if params:
            each = {k: mark(v) for k, v in params.items()} if isinstance(params, dict) else tuple(map(mark, params))
            marked = rewrite(self, command, each)
            parsed = parse_once(marked[0])
            if hasattr(parsed, "cached") and "\ue000" not in _MARK.sub("", once(self, parsed).sql(dialect="duckdb")):
                return marked
            self.values = []
        return rewrite(self, command, params)

    def once(self: Any, parsed: Any) -> Any:
        place, made = (self._conn.database, self._conn.schema), parsed.cached.transformed
        if place not in made:
            made[place] = transform(self, _InPlace(parsed.copy()), None).expression
            made[place].sql = cache(made[place].sql)  # DuckDB's text is generated once
            made[place].find = cache(made[place].find)  # fakesnow searches the tree several times per execution
        return made[place]

    def transform_once(self: Any, parsed: Any, params: Any) -> Any:
        if not hasattr(parsed, "cached"):
            return transform(self, _InPlace(parsed.copy()), params).expression
        made, values = once(self, parsed), getattr(self, "values", [])
        if isinstance(made, exp.Copy):  # the emulator reads the tree of it
            made = made.copy()
            for name in made.find_all(exp.Literal):
                if values and (found := _MARK.fullmatch(f"'{name.this}'")):
                    name.set("this", values[int(found[1])])
        elif values:
            text = made.sql(dialect="duckdb")
            made = copy(made)  # a shallow copy
            made.sql = lambda dialect: _MARK.sub(
                lambda found: exp.Literal.string(values[int(found[1])]).sql(dialect=dialect), text
            )
        return made

    with (
        replaced(fakesnow.cursor, "parse_one", parse_once),
        replaced(fakesnow.checks, "is_unqualified_table_expression", qualified_once),
        replaced(FakeSnowflakeCursor, "_rewrite_with_params", rewrite_with_marks),
        replaced(FakeSnowflakeCursor, "_transform", transform_once),
    ):
        yield


@contextmanager
def _wider_keys() -> Iterator[None]:
    """Let the type of a column in a primary key be changed, which DuckDB refuses: the table is copied to a new one."""
    from fakesnow.cursor import FakeSnowflakeCursor
    from sqlglot import exp, parse_one

    transform = FakeSnowflakeCursor._transform

    def patched(self: Any, parsed: Any, params: Any) -> Any:
        made = transform(self, parsed, params)
        change = next(iter(made.args["actions"]), None) if isinstance(made, exp.Alter) else None
        if not isinstance(change, exp.AlterColumn) or not change.args.get("dtype"):
            return made
        database, schema = made.this.catalog or self._conn.database, made.this.db or self._conn.schema
        found = self._duck_conn.execute(
            "SELECT t.sql FROM duckdb_tables() t JOIN duckdb_constraints() c USING (table_oid, database_name) "
            "WHERE c.constraint_type = 'PRIMARY KEY' AND lower(database_name) = lower(?) "
            "AND lower(t.schema_name) = lower(?) AND lower(t.table_name) = lower(?) "
            "AND list_contains(list_transform(c.constraint_column_names, lambda name: lower(name)), lower(?))",
            (database, schema, made.this.name, change.this.name),
        ).fetchone()
        if not found:
            return made
        create, name = parse_one(found[0], dialect="duckdb"), f"{made.this.name}__WIDER"
        wider = exp.table_(name, db=schema, catalog=database, quoted=True)
        create.this.set("this", wider)
        for column in create.find_all(exp.ColumnDef):
            if column.name.lower() == change.this.name.lower():
                column.set("kind", change.args["dtype"].copy())
        old, new = made.this.sql(dialect="duckdb"), wider.sql(dialect="duckdb")
        statements = [
            *("BEGIN", create.sql(dialect="duckdb"), f"INSERT INTO {new} SELECT * FROM {old}", f"DROP TABLE {old}"),
            *(f"ALTER TABLE {new} RENAME TO {made.this.this.sql(dialect='duckdb')}", "COMMIT"),
        ]
        rebuilt: Any = copy(made)  # a shallow copy
        rebuilt.sql = lambda dialect: "; ".join(statements)
        return rebuilt

    with replaced(FakeSnowflakeCursor, "_transform", patched):
        yield


@contextmanager
def _errors_of_the_driver() -> Iterator[None]:
    """Let SQL that fakesnow 0.12.0 cannot rewrite fail as the driver does: it asserts what it did not expect."""
    from fakesnow.cursor import FakeSnowflakeCursor
    from snowflake.connector.errors import NotSupportedError

    transform = FakeSnowflakeCursor._transform

    def patched(self: FakeSnowflakeCursor, parsed: Any, params: Any) -> Any:
        try:
            return transform(self, parsed, params)
        except (AssertionError, AttributeError, LookupError, NotImplementedError, TypeError) as error:
            what = str(error) or type(error).__name__
            raise NotSupportedError(f"the embedded warehouse cannot run this SQL ({what})") from error

    with replaced(FakeSnowflakeCursor, "_transform", patched):
        yield


@contextmanager
def _arrow_batches() -> Iterator[None]:
    """Add the driver's `fetch_arrow_batches` to cursors: fakesnow 0.12.0 keeps each result as one Arrow table."""
    from fakesnow.cursor import FakeSnowflakeCursor

    def patched(self: FakeSnowflakeCursor) -> Iterator[Any]:
        yield self._arrow_table

    with replaced(FakeSnowflakeCursor, "fetch_arrow_batches", patched):
        yield


class _InPlace:
    """A statement whose `transform` changes it in place and returns it, so that calls can be chained.

    It visits the nodes in the order of `Expression.transform`, and like that it leaves out what a new node contains.
    Its own loop takes less time, and the emulator needs it 77 times for each new statement.
    """

    def __init__(self, expression: Any) -> None:
        self.expression = expression

    def transform(self, change: Callable[..., Any], *args: object, **kwargs: object) -> _InPlace:
        root, visited, waiting = self.expression, set(), [self.expression]
        # An inserted node may be a constant of fakesnow, be in the tree twice, or refer to another parent: then the
        # next change must work on a copy, to reach each of its places and nothing else.
        copied = False
        while waiting:
            node = waiting.pop()
            parent, key, index = node.parent, node.arg_key, node.index
            new = change(node, *args, **kwargs)
            if new is node:
                children = _children(node)
                for child in children:
                    copied = copied or child.parent is not node or id(child) in visited
                    visited.add(id(child))
                waiting += children[::-1]
                continue
            copied = True
            if node is root:
                root = new
            elif parent and key:
                parent.set(key, new, index)
        self.expression = root.copy() if copied else root
        return self


def _children(node: Any) -> list[Any]:
    found = []
    for value in node.args.values():
        kind = type(value)
        if kind is list:
            found += [each for each in value if hasattr(each, "args")]
        elif kind is not str and kind is not bool and hasattr(value, "args"):
            found.append(value)
    return found


def silence_warnings() -> None:
    """Silence warnings of the emulator that it repeats for every statement; they do not matter here."""
    warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")
    logger = logging.getLogger("sqlglot")
    if not any(isinstance(installed, _SnowflakeOnlyClauses) for installed in logger.filters):
        logger.addFilter(_SnowflakeOnlyClauses())


@cache
def leave_no_folder() -> None:
    """Remove the folder for internal stages that fakesnow creates on import and never deletes; it is not used here."""
    from fakesnow.transforms import stage

    with suppress(OSError):
        os.rmdir(stage.LOCAL_BUCKET_PATH)


class _SnowflakeOnlyClauses(logging.Filter):
    """Drops warnings about column comments and grants: Snowflake's DDL has both, DuckDB's has neither."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not any(word in record.getMessage() for word in ("CommentColumnConstraint", "copygrantsproperty"))
