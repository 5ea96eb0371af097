"""Hide personal data where people look at samples of it: previews in the UI, quarantine listings."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_assets.contracts.model import Contract

MASK = "•••"


def mask_row(contract: Contract, columns: Sequence[str], row: Sequence[object]) -> list[object]:
    """Replace each value of a personal column by a mask; NULL stays NULL, as it reveals nothing.

    `columns` names the values of `row`; a column that is not in the contract is masked too, because it may be personal.
    """
    visible = {column.name for column in contract.columns if not column.personal}
    visible |= {name for name in columns if name.startswith("_SOURCE") and name not in contract.column_names}
    return [value if value is None or name in visible else MASK for name, value in zip(columns, row, strict=True)]
