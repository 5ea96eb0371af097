"""The contracts of listed tables with the columns that runs have learnt so far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.contracts import Contract
from pipeline_assets.reviews.metadata import TableList
from pipeline_assets.reviews.tables import NAME, declared_contract, learnt_contract, parts_of
from pipeline_assets.reviews.watermark import read_state
from pipeline_assets.warehouse import ledger

if TYPE_CHECKING:
    from pipeline_assets.batch.platform import Platform


def learnt_contracts(listed: TableList, folder: Path, platform: Platform) -> dict[str, Contract]:
    """By name, of the tables that a run has loaded and that have no contract file in `folder`.

    Raises:
        WarehouseError: the warehouse cannot be read, or has no table of watermarks yet.
    """
    with platform.warehouse.read_only() as transaction:
        states = {t.name: read_state(ledger.watermark(transaction, NAME, t.name)) for t in listed.tables}
    contracts: dict[str, Contract] = {}
    for table in listed.tables:
        shape = states[table.name].shape
        if shape.columns and declared_contract(listed, table, folder) is None:
            made = parts_of(listed, table, learnt_contract(listed, table, shape)).contracts
            contracts |= {contract.name: contract for contract in made}
    return contracts
