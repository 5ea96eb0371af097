"""What runs have learnt of the listed tables so far: their columns, and how far each has been extracted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.contracts import Contract
from pipeline_assets.reviews.metadata import TableList
from pipeline_assets.reviews.tables import NAME, declared_contract, learnt_contract, parts_of
from pipeline_assets.reviews.watermark import TableState, read_state
from pipeline_assets.warehouse import ledger

if TYPE_CHECKING:
    from pipeline_assets.batch.platform import Platform
    from pipeline_assets.warehouse import Transaction


def learnt_contracts(listed: TableList, folder: Path, platform: Platform) -> dict[str, Contract]:
    """By name, of the tables that a run has loaded and that have no contract file in `folder`.

    Raises:
        WarehouseError: the warehouse cannot be read, or has no table of watermarks yet.
    """
    with platform.warehouse.read_only() as transaction:
        states = _states(listed, transaction)
    contracts: dict[str, Contract] = {}
    for table in listed.tables:
        shape = states[table.name].shape
        if shape.columns and declared_contract(listed, table, folder) is None:
            made = parts_of(listed, table, learnt_contract(listed, table, shape)).contracts
            contracts |= {contract.name: contract for contract in made}
    return contracts


def watermarks(listed: TableList, transaction: Transaction) -> dict[str, str]:
    """The cursor of each table's watermark or, if it has none or a personal one, the time of its snapshot (UTC)."""
    states, found = _states(listed, transaction), {}
    for table in listed.tables:
        watermark = states[table.name].watermark
        shows_cursor = watermark and watermark.position and table.cursor and table.cursor[0] not in table.personal
        text = "" if watermark is None else watermark.position[0] if shows_cursor else watermark.snapshot_at
        found[listed.names[table.name].dataset] = text
    return found


def _states(listed: TableList, transaction: Transaction) -> dict[str, TableState]:
    return {t.name: read_state(ledger.watermark(transaction, NAME, t.name)) for t in listed.tables}
