"""Translate Snowflake SQL for the engine that runs it."""

from __future__ import annotations

from functools import lru_cache

from pipeline_assets.errors import ConfigurationError


@lru_cache(maxsize=512)
def transpile(sql: str, dialect: str) -> str:
    """One Snowflake statement in `dialect` (`duckdb` or `spark`).

    Raises:
        ConfigurationError: it does not parse, or is more than one statement.
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        statements = sqlglot.transpile(sql, read="snowflake", write=dialect)
    except SqlglotError as error:
        raise ConfigurationError(f"Not Snowflake SQL: {str(error).splitlines()[0]}") from None
    if len(statements) != 1:
        raise ConfigurationError(f"One statement expected, {len(statements)} found.")
    return statements[0]


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
