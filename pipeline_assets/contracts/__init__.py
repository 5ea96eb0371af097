"""Data contracts: the one place where columns are listed.

`model` reads ODCS documents, `ddl` turns them into Snowflake tables, `validation` into the predicates that
tell good rows from bad, `masking` hides personal data in previews. Nothing here runs SQL or knows Dagster.
"""

from pipeline_assets.contracts.model import Column, Contract, Reference, load_contract

__all__ = ["Column", "Contract", "Reference", "load_contract"]
