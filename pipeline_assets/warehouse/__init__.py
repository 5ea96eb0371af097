"""The warehouse: connections, transactions, and what is published in them.

`connection` is one transaction at a time against Snowflake (`snowflake`, `keys`, `refusals`; `snowpipe` loads by pipes)
or its stand-in (`embedded`), `schema` the tables that the platform itself keeps, `ledger` and `quarantine` read them,
`publication` writes everything of a batch at once, `catalog` shows the tables of the lake.
"""

from pipeline_assets.warehouse.catalog import WarehouseCatalog
from pipeline_assets.warehouse.connection import Transaction, Warehouse
from pipeline_assets.warehouse.embedded import EmbeddedWarehouse
from pipeline_assets.warehouse.snowflake import SnowflakeWarehouse

__all__ = ["EmbeddedWarehouse", "SnowflakeWarehouse", "Transaction", "Warehouse", "WarehouseCatalog"]
