"""Translate Snowflake SQL for the engine that runs it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipeline_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlglot.expressions import Expr


@lru_cache(maxsize=512)
def transpile(sql: str, dialect: str) -> str:
    """One Snowflake statement in `dialect` (`duckdb` or `spark`).

    Raises:
        ConfigurationError: it does not parse, or is more than one statement.
    """
    tree = parsed(sql)
    if dialect == "spark":
        _match_whole_texts(tree)
    return tree.sql(dialect=dialect)


def parsed(sql: str) -> Any:
    """The tree of one Snowflake statement.

    Raises:
        ConfigurationError: it does not parse, or is more than one statement.
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        statements = [statement for statement in sqlglot.parse(sql, read="snowflake") if statement is not None]
    except SqlglotError as error:
        raise ConfigurationError(f"Not Snowflake SQL: {str(error).splitlines()[0]}") from None
    if len(statements) != 1:
        raise ConfigurationError(f"One statement expected, {len(statements)} found.")
    return statements[0]


def _match_whole_texts(tree: Expr) -> None:
    """Anchor patterns for Spark: RLIKE matches any part of a text, and `$` also before a last line end."""
    from sqlglot import exp

    for match in list(tree.find_all(exp.RegexpLike, exp.RegexpFullMatch)):
        pattern = match.expression
        if not isinstance(pattern, exp.Literal):
            raise ConfigurationError("A pattern that is not a literal cannot be translated for Spark.")
        match.replace(exp.RegexpLike(this=match.this, expression=exp.Literal.string(f"\\A(?:{pattern.this})\\z")))


@lru_cache(maxsize=512)
def statement_kind(sql: str) -> str:
    """The first word of the only statement in `sql`, upper case, e.g. `SELECT` or `CREATE`.

    Raises:
        ConfigurationError: no statement, or more than one (Snowflake runs one per call).
    """
    from sqlglot.dialects.snowflake import Snowflake
    from sqlglot.errors import SqlglotError
    from sqlglot.tokens import TokenType

    try:
        tokens = Snowflake.Tokenizer().tokenize(sql)
    except SqlglotError as error:
        raise ConfigurationError(f"Not Snowflake SQL: {str(error).splitlines()[0]}") from None
    while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
        tokens.pop()
    if not tokens:
        raise ConfigurationError("There is no statement to run.")
    if any(token.token_type == TokenType.SEMICOLON for token in tokens):
        raise ConfigurationError("One statement at a time.", remedy="Run them one after the other.")
    return tokens[0].text.upper().split()[0]
