"""Patches for fakesnow 0.12, the emulator below the embedded warehouse, applied while it is in use."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def patched_emulator() -> Iterator[None]:
    """Have the emulator patched_emulator for as long as this is open."""
    with _exact_sums(), _quoted_comments(), _one_copy(), _arrow_batches():
        yield


@contextmanager
def _exact_sums() -> Iterator[None]:
    """Let SUM keep exact decimals, and SUM and COUNT the column names that Snowflake gives them.

    fakesnow 0.12.0 casts the argument of every SUM to DOUBLE, in case it is text: a sum of money then comes back as
    67406.55999999223. Without the cast a sum over text is refused, which is the lesser evil.
    """
    from unittest import mock

    import fakesnow.transforms
    from sqlglot import exp

    theirs = fakesnow.transforms.numeric_agg_implicit_cast

    def ours(expression: exp.Expression) -> exp.Expression:
        if not isinstance(expression, (exp.Sum, exp.Count)):
            return theirs(expression)
        if isinstance(expression.parent, exp.Select):
            return exp.alias_(expression, expression.sql(dialect="snowflake").upper(), quoted=True)
        return expression

    with mock.patch.object(fakesnow.transforms, "numeric_agg_implicit_cast", ours):
        yield


@contextmanager
def _quoted_comments() -> Iterator[None]:
    """Quote the comments of tables: fakesnow 0.12.0 pastes them into its own SQL, where an apostrophe ends them."""
    from unittest import mock

    import fakesnow.info_schema

    theirs = fakesnow.info_schema.insert_table_comment_sql

    def ours(catalog: str, schema: str, table: str, comment: str) -> str:
        return theirs(catalog, schema, table, comment.replace("'", "''"))

    with mock.patch.object(fakesnow.info_schema, "insert_table_comment_sql", ours):
        yield


@contextmanager
def _one_copy() -> Iterator[None]:
    """Let fakesnow copy a statement once instead of before each of its 77 transformations, most of a small run's time.

    fakesnow 0.12.0 chains `Expression.transform`, which copies the tree first; in place it comes to the same.
    """
    from unittest import mock

    from fakesnow.cursor import FakeSnowflakeCursor

    theirs = FakeSnowflakeCursor._transform

    def ours(self: FakeSnowflakeCursor, expression: Any, params: Any) -> Any:
        return theirs(self, _InPlace(expression.copy()), params).expression

    with mock.patch.object(FakeSnowflakeCursor, "_transform", ours):
        yield


@contextmanager
def _arrow_batches() -> Iterator[None]:
    """Give cursors `fetch_arrow_batches` as the driver has it: fakesnow 0.12.0 keeps each result as one Arrow table."""
    from unittest import mock

    from fakesnow.cursor import FakeSnowflakeCursor

    def ours(self: FakeSnowflakeCursor) -> Iterator[Any]:
        yield self._arrow_table

    with mock.patch.object(FakeSnowflakeCursor, "fetch_arrow_batches", ours, create=True):
        yield


class _InPlace:
    """A statement whose `transform` makes no copy, and answers with itself so that calls can be chained."""

    def __init__(self, expression: Any) -> None:
        self.expression = expression

    def transform(self, change: Callable[..., Any], *args: object, **kwargs: object) -> _InPlace:
        replaced = False

        def noting(node: Any) -> Any:
            nonlocal replaced
            new = change(node, *args, **kwargs)
            replaced = replaced or new is not node
            return new

        changed = self.expression.transform(noting, copy=False)
        # What came in may be a constant of theirs, or stand in two places: the next change must not reach both.
        self.expression = changed.copy() if replaced or _is_tangled(changed) else changed
        return self


def _is_tangled(root: Any) -> bool:
    """Whether a node of a tree stands in two places, or thinks that it hangs elsewhere."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        for child in node.iter_expressions():
            if child.parent is not node or id(child) in seen:
                return True
            seen.add(id(child))
            waiting.append(child)
    return False


def silence_warnings() -> None:
    """Silence what the stand-in says about itself on every statement; it is nobody's concern here."""
    warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")
    logger = logging.getLogger("sqlglot")
    if not any(isinstance(known, _OnlyInSnowflake) for known in logger.filters):
        logger.addFilter(_OnlyInSnowflake())


def leave_no_folder() -> None:
    """Remove the folder for internal stages that fakesnow makes on import and forgets; nothing here uses them."""
    from fakesnow.transforms import stage

    with suppress(OSError):
        os.rmdir(stage.LOCAL_BUCKET_PATH)


class _OnlyInSnowflake(logging.Filter):
    """DuckDB's DDL has neither column comments nor grants; Snowflake's has, and ours is for Snowflake."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not any(word in record.getMessage() for word in ("CommentColumnConstraint", "copygrantsproperty"))
