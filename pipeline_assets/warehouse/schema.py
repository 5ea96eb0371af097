"""The tables that the platform itself keeps in schema OPS.

The contracts in this folder define them. The statements over them are in sql/ops/, except those whose columns follow
from contracts.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pipeline_assets.contracts import load_contract
from pipeline_assets.contracts.ddl import Table
from pipeline_assets.sqlfiles import load_sql

_CONTRACTS = Path(__file__).resolve().parent / "contracts"


@cache
def ops_table(name: str) -> Table:
    """A table of schema OPS, for example `FILE_LEDGER`; `STAGE_FILE_LEDGER` is the staging table of it.

    A staging table has the same columns, free of constraints.

    Raises:
        ContractError: there is no such contract, or it is wrong.
    """
    path = _CONTRACTS / f"{name.lower()}.yaml"
    if name.startswith("STAGE_") and not path.exists():
        target = ops_table(name.removeprefix("STAGE_"))
        columns = tuple((column, kind, False, comment) for column, kind, _, comment in target.columns)
        return Table("OPS", name, f"Rows of one batch on their way to {target.name}.", columns)
    contract = load_contract(path)
    columns = tuple((c.name, c.physical_type, c.required, c.description) for c in contract.columns)
    return Table(contract.domain.upper(), contract.table, contract.grain, columns)


@cache
def ops_tables() -> tuple[Table, ...]:
    """Every table of schema OPS that does not belong to a pipeline."""
    return tuple(
        ops_table(name)
        for name in (
            "FILE_LEDGER",
            "QUARANTINE",
            "BATCHES",
            "PIPELINES",
            "LAKE_PARTITIONS",
            "MARTS",
            "WATERMARKS",
            "STAGE_RELEASED",
            "STAGE_FILE_LEDGER",
            "STAGE_QUARANTINE",
        )
    )


def ops_sql(name: str) -> str:
    """The statement of `sql/ops/<name>.sql`, without its opening comment; values are bound by name: `%(pipeline)s`."""
    return load_sql(f"ops/{name}").statement
