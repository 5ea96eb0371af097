"""The SQL in sql/: find it, read it, and transpile it; `masked` masks columns in SELECTs that people write.

Files are Snowflake SQL, one statement each, and open with a comment that says what one row is (the grain), or what the
statement makes. Nothing here runs SQL. sqlglot is imported where it is used, so that loading the code location stays
fast.
"""

from pipeline_assets.sqlfiles.files import SqlFile, load_sql, load_sql_in, sql_files, sql_root, with_bind_variables
from pipeline_assets.sqlfiles.transpile import statement_kind, transpile

__all__ = [
    "SqlFile",
    "load_sql",
    "load_sql_in",
    "sql_files",
    "sql_root",
    "statement_kind",
    "transpile",
    "with_bind_variables",
]
