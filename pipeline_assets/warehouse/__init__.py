"""The warehouse: connections, transactions, and what is published in them.

`connection` runs one transaction at a time, on Snowflake (`snowflake`, `keys`, `error_messages`; `snowpipe` loads by
pipes) or on the embedded warehouse (`embedded`, `emulator`). `schema` has the platform's own tables, `ledger` and
`quarantine` read them, `publication` writes a batch in one transaction, `catalog` lists the tables of the lake.
"""

from pipeline_assets.warehouse.catalog import WarehouseCatalog
from pipeline_assets.warehouse.connection import Warehouse
from pipeline_assets.warehouse.embedded import EmbeddedWarehouse
from pipeline_assets.warehouse.snowflake import SnowflakeWarehouse
from pipeline_assets.warehouse.transaction import Transaction

__all__ = ["EmbeddedWarehouse", "SnowflakeWarehouse", "Transaction", "Warehouse", "WarehouseCatalog"]
