"""Arrow schemas of contracts and tables, for Parquet files that are loaded into the warehouse or read from it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline_assets.contracts.ddl import Table
from pipeline_assets.contracts.model import LAKE_DECIMAL, Contract
from pipeline_assets.contracts.names import lake_name

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER = re.compile(r"^NUMBER\((\d+),(\d+)\)$")


def arrow_schema(table: Table, names: tuple[str, ...] | None = None) -> pa.Schema:
    """The schema of (some columns of) a table; VARIANT travels as JSON text."""
    import pyarrow as pa

    return pa.schema([(name, _arrow_type(kind)) for name, kind, *_ in table.columns if not names or name in names])


def lake_schema(contract: Contract) -> pa.Schema:
    """The schema of every file of a lake table: lower-case names, without the partition."""
    import pyarrow as pa

    kinds = {
        "STRING": pa.string(),
        "DOUBLE": pa.float64(),
        "BIGINT": pa.int64(),
        "DATE": pa.date32(),
        "BOOLEAN": pa.bool_(),
    }

    def kind(physical_type: str) -> pa.DataType:
        decimal = LAKE_DECIMAL.match(physical_type)
        return pa.decimal128(int(decimal[1]), int(decimal[2])) if decimal else kinds[physical_type]

    return pa.schema([(lake_name(c.name), kind(c.physical_type)) for c in contract.columns if not c.partition])


def _arrow_type(kind: str) -> pa.DataType:
    import pyarrow as pa

    if number := _NUMBER.match(kind):
        return pa.decimal128(int(number[1]), int(number[2]))
    if kind.startswith("TIMESTAMP_NTZ"):
        return pa.timestamp("us")
    return {"DATE": pa.date32(), "BOOLEAN": pa.bool_(), "FLOAT": pa.float64()}.get(kind, pa.string())
