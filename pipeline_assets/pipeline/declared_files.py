"""The contract and the SELECT of each thing that a pipeline declares, from its value or from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline_assets.contracts import Contract, load_contract
from pipeline_assets.contracts.names import require_usable_names, sql_name
from pipeline_assets.errors import ConfigurationError, ContractError
from pipeline_assets.pipeline.resolved import Source
from pipeline_assets.pipeline.selects import Select
from pipeline_assets.pipeline.value import Pipeline
from pipeline_assets.sqlfiles import load_sql_in, sql_root

_PACKAGE = Path(__file__).resolve().parents[1]


def contract_of(value: Pipeline, name: str) -> Contract:
    """The contract of a source or table of a pipeline.

    Raises:
        ContractError: it is wrong, has another name or domain, or a name that cannot be that of a table or column.
    """
    folder = (value.folder or _PACKAGE / value.name) / "contracts"
    contract = value.contracts.get(name) or load_contract(folder / f"{name}.yaml")
    if contract.name != name or contract.domain != value.name:
        file = name if name in value.contracts else f"{name}.yaml"
        raise ContractError(
            f"{file}: name and domain are {contract.name} and {contract.domain}.",
            remedy=f"Set them to {name} and {value.name}: the file and the pipeline.",
        )
    require_usable_names(contract)
    return contract


def sql_folder(value: Pipeline) -> Path:
    """The folder with the SELECTs of a pipeline."""
    return value.folder / "sql" if value.folder else sql_root() / value.name


def select_of(
    value: Pipeline,
    name: str,
    contract: Contract,
    source: Source | None,
    schema: Mapping[str, Sequence[str]],
) -> Select:
    """The SELECT of a table: its file in `sql/` or, without one, every column of `source`.

    `schema` has the columns of each relation that the SELECT may name.

    Raises:
        ConfigurationError: there is neither a file nor a source.
    """
    folder = sql_folder(value)
    file = folder / f"{name}.sql"
    if file.exists() or source is None:
        return Select(f"sql/{value.name}/{name}.sql", load_sql_in(folder, name, f"sql/{value.name}").statement, schema)
    columns = ",\n    ".join(f"{source.relation}.{sql_name(column)}" for column in contract.column_names)
    return Select(f"the dataset {name}", f"SELECT\n    {columns}\nFROM {source.relation}", schema)


def refuse_missing_columns(select: Select, contract: Contract) -> None:
    """Refuse a SELECT whose columns are not those of the contract.

    Raises:
        ConfigurationError: the message names the columns.
    """
    missing = [name for name in contract.column_names if name not in select.columns]
    unknown = [name for name in select.columns if name not in contract.column_names]
    if missing or unknown:
        missing_text = f"does not select {', '.join(missing)}" if missing else ""
        unknown_text = f"selects {', '.join(unknown)}" if unknown else ""
        raise ConfigurationError(
            f"{select.name} {' and '.join(filter(None, (missing_text, unknown_text)))}; "
            f"its contract {contract.name} says otherwise.",
            remedy="Change the SELECT or the contract.",
        )
