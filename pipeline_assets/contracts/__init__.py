"""Data contracts: the one place where columns are listed.

`odcs` reads ODCS documents into the values of `model`, `properties` lists what they may say. `ddl` turns contracts into
Snowflake tables, `validation` into the predicates that tell good rows from bad, `masking` hides personal data in
previews. Nothing here runs SQL or knows Dagster.
"""

from pipeline_assets.contracts.model import Column, Contract, Dialect, QualityRule, Reference
from pipeline_assets.contracts.odcs import load_contract

__all__ = ["Column", "Contract", "Dialect", "QualityRule", "Reference", "load_contract"]
