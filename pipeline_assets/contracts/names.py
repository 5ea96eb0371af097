"""Names of tables and columns in generated SQL; they may come from a database that nobody here has named.

A contract's names are in upper case, as Snowflake stores names without quotes, and are raw: quotes are added where SQL
is made. DuckDB and Spark do not tell names apart by case, so two that differ in it only are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

# Words that are no names in Snowflake, DuckDB, Spark or sqlglot's Snowflake dialect; a test compares.
_RESERVED = """
    ACCOUNT ALL ALTER ANALYSE ANALYZE AND ANTI ANY ARRAY AS ASC ASOF ASYMMETRIC AT AUTHORIZATION BETWEEN BINARY BOTH
    BY CASE CAST CHECK COLLATE COLLATION COLUMN COLUMNS CONCURRENTLY CONNECT CONNECTION CONNECT_BY_ROOT CONSTRAINT
    CREATE CROSS CUBE CURRENT CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DATABASE DEFAULT DEFERRABLE
    DELETE DESC DESCRIBE DISTINCT DO DROP ELSE END EXCEPT EXISTS FALSE FETCH FOLLOWING FOR FOREIGN FREEZE FROM FULL
    GENERATED GLOB GRANT GROUP GSCLUSTER HAVING IF ILIKE IN INCREMENT INITIALLY INNER INSERT INTERSECT INTERVAL INTO
    IS ISNULL ISSUE JOIN LAMBDA LATERAL LEADING LEFT LIKE LIMIT LOCALTIME LOCALTIMESTAMP LOCK MAP MATCH_RECOGNIZE
    MINUS NATURAL NOT NOTNULL NULL OF OFFSET ON ONLY OR ORDER ORGANIZATION OUTER OVERLAPS PARTITIONED_BY PIVOT
    PIVOT_LONGER PIVOT_WIDER PLACING POSITIONAL PRIMARY QUALIFY REFERENCES REGEXP RETURNING REVOKE RIGHT RLIKE
    ROLLUP ROW ROWS SAMPLE SCHEMA SELECT SEMI SET SETMINUS SHOW SIMILAR SOME START STRUCT SUMMARIZE SYMMETRIC TABLE
    TABLESAMPLE THEN TO TOP TRAILING TRIGGER TRUE TRY_CAST TUPLE UNCACHE UNDROP UNION UNIQUE UNPACK UNPIVOT UPDATE
    USING VALUES VARIADIC VERBOSE VIEW WHEN WHENEVER WHERE WINDOW WITH XOR
"""
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PART = re.compile(r'"(?:[^"]|"")*"|[^."]+')


def sql_name(name: str) -> str:
    """A name in Snowflake's and DuckDB's SQL: as it is if it is a plain identifier, else in quotes."""
    return name if _is_plain(name) else '"' + name.replace('"', '""') + '"'


def spark_name(name: str) -> str:
    """A name in Spark's SQL; see `sql_name`."""
    return name if _is_plain(name) else "`" + name.replace("`", "``") + "`"


def sql_names(names: Iterable[str], alias: str = "") -> str:
    """Names with commas between them, each behind the alias of its relation if there is one."""
    return ", ".join(f"{alias}.{sql_name(name)}" if alias else sql_name(name) for name in names)


def name_parts(qualified: str) -> list[str]:
    """The raw names in a name of SQL such as `SHOP."ORDER"`."""
    return [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in _PART.findall(qualified)]


def lake_name(name: str) -> str:
    """The name of a column in files of the lake: DuckDB finds `a` by `A`, but not `ä` by `Ä`."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def free_alias(wanted: str, table: str) -> str:
    """An alias for a relation beside a table whose columns are named by its name, which may be the same."""
    return f"_{wanted}" if table == wanted else wanted


def bindable(sql: str) -> str:
    """SQL that is part of a statement with bound values, for which drivers read `%` as the start of a placeholder."""
    return sql.replace("%", "%%")


@cache
def _reserved() -> frozenset[str]:
    return frozenset(_RESERVED.split())


def _is_plain(name: str) -> bool:
    return _PLAIN.fullmatch(name) is not None and name.upper() not in _reserved()
