"""Data contracts: the one place where columns are listed.

`odcs` reads ODCS documents into the values of `model`; `properties` lists the properties that it reads. `ddl` turns
contracts into Snowflake tables, `validation` into the predicates that separate good rows from bad ones, `masking` hides
personal data in previews. Nothing here runs SQL or depends on Dagster.
"""

from pipeline_assets.contracts.model import Column, Contract, Dialect, QualityRule, Reference
from pipeline_assets.contracts.odcs import load_contract

__all__ = ["Column", "Contract", "Dialect", "QualityRule", "Reference", "load_contract"]
