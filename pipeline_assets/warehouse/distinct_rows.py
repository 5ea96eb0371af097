"""Rows that are identified by all of their values: the k-th equal row of one object is that of any other object.

Equal rows have the same _ROW_HASH and are numbered by _OCCURRENCE within their object. Only rows that the table lacks
are inserted, so of equal rows it has as many as the object with most of them, in any order and however often objects
are loaded. The warehouse computes the hash, as engines differ in how they write values as text.
"""

from __future__ import annotations

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.ddl import DISTINCT_ROW, distinct_key, exact_text, literal
from pipeline_assets.contracts.names import sql_name, sql_names

# Each value has its length in front, so that ('a', 'bc') and ('ab', 'c') differ.
_VALUE = "COALESCE(CONCAT({name}, TO_VARCHAR(LENGTH({text})), ':', {text}, '|'), '')"


def missing_rows(contract: Contract, staged: str, target: str) -> str:
    """SELECT the rows of a staging table that a table lacks, with their hash and occurrence.

    Of equal rows of several objects that of the oldest is selected.
    """
    hashed, number = (name for name, *_ in DISTINCT_ROW)
    key = distinct_key(contract)
    of_object = sql_names((*(name for name in key if name != number), "_SOURCE_URI", "_SOURCE_ETAG"))
    same = " AND ".join(f"EQUAL_NULL(HAS.{name}, NUMBERED.{name})" for name in map(sql_name, key))
    return f"""SELECT NUMBERED.* FROM (
    SELECT HASHED.*, ROW_NUMBER() OVER (PARTITION BY {of_object} ORDER BY _SOURCE_URI) AS {number}
    FROM (SELECT STAGED.*, {_hash(contract)} AS {hashed} FROM {staged} AS STAGED) AS HASHED
) AS NUMBERED
WHERE NOT EXISTS (SELECT 1 FROM {target} AS HAS WHERE {same})
QUALIFY ROW_NUMBER() OVER (PARTITION BY {sql_names(key)} ORDER BY _SOURCE_MODIFIED_AT, _SOURCE_URI, _SOURCE_ETAG) = 1"""


def _hash(contract: Contract) -> str:
    """The hash of a row, the same for any order of its columns, and when a column is added that is NULL."""
    columns = sorted((c for c in contract.columns if not c.is_float), key=lambda column: column.name)
    return f"MD5(CONCAT({', '.join(map(_value, columns))}, ''))"


def _value(column: Column) -> str:
    return _VALUE.format(name=literal(f"{column.name}:"), text=exact_text(column))
