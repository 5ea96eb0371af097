"""Names that a pipeline, its tables and its columns can have without quotes."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from functools import cache

COLUMN_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
# Up to this length, no line of a rendered file is longer than 120 characters.
LONGEST_NAME = 30
_PIPELINE_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_ADDRESSABLE = re.compile(r"[A-Za-z0-9_-]+")
# Existing schemas, words that Dagster reserves, and what a batch stages besides its tables.
_TAKEN = {
    *("ops", "public", "information_schema", "analytics", "account_usage"),
    *("any", "none", "root", "default"),
    *("ledger", "quarantine", "released", "staging"),
}
# Snowflake's reserved and limited keywords, as its reference lists them.
_SNOWFLAKE = """
    ACCOUNT ALL ALTER AND ANY AS BETWEEN BY CASE CAST CHECK COLUMN CONNECT CONNECTION CONSTRAINT CREATE CROSS CURRENT
    CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DATABASE DELETE DISTINCT DROP ELSE EXISTS FALSE FOLLOWING
    FOR FROM FULL GRANT GROUP GSCLUSTER HAVING ILIKE IN INCREMENT INNER INSERT INTERSECT INTO IS ISSUE JOIN LATERAL LEFT
    LIKE LOCALTIME LOCALTIMESTAMP MINUS NATURAL NOT NULL OF ON OR ORDER ORGANIZATION QUALIFY REGEXP REVOKE RIGHT RLIKE
    ROW ROWS SAMPLE SCHEMA SELECT SET SOME START TABLE TABLESAMPLE THEN TO TRIGGER TRUE TRY_CAST UNION UNIQUE UPDATE
    USING VALUES VIEW WHEN WHENEVER WHERE WITH
"""


@cache
def is_reserved(word: str) -> bool:
    """Whether a word needs quotes as a column name, in Snowflake, the embedded engine or the SQL parser."""
    import duckdb
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError

    if word in _SNOWFLAKE.split():
        return True
    try:
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TABLE T ({word} INTEGER)")
            connection.execute(f"SELECT {word}, T.{word}, {word} + 1 FROM T WHERE {word} IS NULL ORDER BY {word}")
            # Transpiled SELECTs alias some columns without AS.
            connection.execute(f"SELECT 1 {word}")
        tree = parse_one(f"SELECT {word}, T.{word} FROM T", read="snowflake")
    except (duckdb.Error, SqlglotError):
        return True
    assert isinstance(tree, exp.Select)
    return not all(isinstance(column, exp.Column) and column.name == word for column in tree.selects)


def pipeline_name_problem(name: str) -> str | None:
    """What is wrong with the name of a pipeline, or None."""
    if not _PIPELINE_NAME.fullmatch(name) or not 1 < len(name) <= LONGEST_NAME:
        return f"Use 2 to {LONGEST_NAME} small letters, digits and single _ between them, a letter first."
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "It is a keyword of Python."
    if is_reserved(name.upper()):
        return "It is a reserved word of SQL."
    return "It has another meaning already." if name in _TAKEN else None


def is_column_name(name: str) -> bool:
    return bool(COLUMN_NAME.fullmatch(name)) and not is_reserved(name)


def addressable(key: str) -> bool:
    """Whether a contract can name a JSON key."""
    return bool(_ADDRESSABLE.fullmatch(key))


def column_name(key: str, parents: Iterable[str], taken: set[str], prefix: str = "") -> str:
    """A name for the column of a JSON key; it is added to `taken`.

    Keys of an object are prefixed with its name (`customer.name` is CUSTOMER_NAME), a name that is taken with `prefix`.
    """
    name = _upper(key)
    for parent in reversed([_upper(parent) for parent in parents]):
        if not name.startswith((f"{parent}_", f"{parent.removesuffix('S')}_")):
            name = f"{parent}_{name}"
    if name[0].isdigit():
        name = f"COLUMN_{name}"
    if is_reserved(name):
        name = f"{name}_VALUE"
    if name in taken and prefix:
        name = f"{prefix}_{name}"
    chosen, number = name, 1
    while chosen in taken:
        number += 1
        chosen = f"{name}_{number}"
    taken.add(chosen)
    return chosen


def words_of(name: str) -> list[str]:
    return [word for word in name.split("_") if word]


def _upper(key: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key)
    return re.sub(r"[^A-Z0-9]+", "_", spaced.upper()).strip("_") or "COLUMN"
