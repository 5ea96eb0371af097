"""Names of tables and columns in generated SQL; they may come from a database that nobody here has named.

A contract's names are in upper case, as Snowflake stores names without quotes, and are raw: quotes are added where SQL
is made. DuckDB and Spark do not tell names apart by case, so two that differ in it only are refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache

from pipeline_assets.contracts.model import Contract
from pipeline_assets.errors import ContractError

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
# Columns that the platform adds to those of a contract, in tables or within a batch.
_PLATFORM = """
    ROWID _ALL_FLOATS _BATCH_ID _ENDED_AT _EXISTS _EXPECTED _FAULT _FILE _FIRST_FAULT _FLOATS _FOUND _INDEX
    _IS_DELETED _IS_FRESH _IS_LAST _IS_NEW _IS_OLD _IS_REPEATED _ITEM _ITEMS _ITEMS_MISTYPED _ITEMS_RESCUED
    _ITEM_FAULT _ITEM_FLOATS _KEY _LINE _LOADED_AT _MALFORMED _MISFIT _MISTYPED _NEXT _NUMBER _OBSERVED_AT
    _OCCURRENCE _OTHER_VALUES _PARTITION _PATH _POSITION _RANK _RAW _RECORD _RENAMED _RESCUED _ROW _ROW_HASH
    _ROW_ID _RULE _SOURCE_ETAG _SOURCE_MODIFIED_AT _SOURCE_URI _SPLIT _STATISTICS _TARGET _WANTED
"""
_HELPERS = ("__TEXT", "__CAST", "__DIGITS", "__NEAREST")  # behind the names of columns, while their values are typed
_LONGEST = 255  # characters of a name in Snowflake
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


def require_usable_names(contract: Contract) -> None:
    """Require that every engine and warehouse tells the names of a contract apart, and from those of the platform.

    Raises:
        ContractError: the message names the table or column.
    """
    taken = Counter(name.casefold() for name in contract.column_names)
    faults = [("table", contract.table, _fault(contract.table))]
    faults += [("column", name, _fault(name) or _fault_of_column(name, taken)) for name in contract.column_names]
    for kind, name, fault in faults:
        if fault:
            raise ContractError(
                f"{contract.name}: the {kind} {name!r} {fault}.",
                remedy="Rename it in the source, or leave it out: extract a view of the table without it.",
            )


def _fault(name: str) -> str:
    """Why a name cannot be that of a table or column; empty if it can."""
    if not name or name != name.strip() or len(name) > _LONGEST:
        return f"is empty, has blanks around it, or is longer than {_LONGEST} characters"
    if name != name.upper():
        return f"is not in upper case: write {name.upper()!r}; headers of files match in any case"
    if "$$" in name or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return "has a control character or $$, which ends the text of a task"
    return ""


def _fault_of_column(name: str, taken: Mapping[str, int]) -> str:
    if name in _PLATFORM.split():
        return "has a name of the platform's own columns"
    if taken[name.casefold()] > 1:
        return "is there twice: names that differ in case only are one name"
    if helper := next((name + end for end in _HELPERS if (name + end).casefold() in taken), ""):
        return f"is there beside {helper!r}, which is the name of a value within a batch"
    return ""


@cache
def _reserved() -> frozenset[str]:
    return frozenset(_RESERVED.split())


def _is_plain(name: str) -> bool:
    return _PLAIN.fullmatch(name) is not None and name.upper() not in _reserved()
