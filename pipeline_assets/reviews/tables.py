"""The source, the warehouse tables and the contracts of one listed table.

An scd2 table is a history over its observations, which are appended to a table of their own. A contract file, named
like the dataset, replaces what is learnt; it is in `contracts/` beside the list of tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline_assets.contracts import Column, Contract, load_contract
from pipeline_assets.contracts.ddl import literal, target_table
from pipeline_assets.contracts.model import QualityRule
from pipeline_assets.errors import ConfigurationError, ContractError
from pipeline_assets.pipeline import Examined, History, LandedFiles, Table
from pipeline_assets.reviews.landed import prefix_of
from pipeline_assets.reviews.metadata import DELETED, HISTORY_COLUMNS, OBSERVATIONS, ListedTable, TableList
from pipeline_assets.reviews.reconcile import PublishedRows
from pipeline_assets.reviews.schema import Shape, column_name

NAME = "reviews"
_LOGICAL = {"VARCHAR": "string", "FLOAT": "number", "DATE": "date", "TIMESTAMP_NTZ": "timestamp", "BOOLEAN": "boolean"}
_SURROGATE = "VARCHAR(32)"  # an MD5


@dataclass(frozen=True)
class TableParts:
    """What a listed table adds to the pipeline's value."""

    source: LandedFiles
    tables: tuple[Table | History, ...]
    contracts: tuple[Contract, ...]


def parts_of(
    listed: TableList,
    table: ListedTable,
    contract: Contract,
    examine: Callable[[Any, Sequence[Any]], Examined] | None = None,
    database: str = "",
) -> TableParts:
    """The parts of a table whose records have this contract.

    Raises:
        ContractError: a column of an scd2 table has the name of one of its history.
    """
    prefix = prefix_of(listed.source, table)
    source = LandedFiles(
        contract.name,
        f"{prefix}**/*.parquet|{prefix}**/*.csv",
        examine=examine,
        beside=f"{prefix}**/*.json",
        watched=table.schedule is None,
        database="" if table.event else database,
    )
    if table.strategy != "scd2":
        return TableParts(source, (Table(contract.name, write=table.strategy),), (contract,))
    history = _history_contract(listed, table, contract)
    tables = (Table(contract.name, write="append"), History(history.name, of=contract.name))
    return TableParts(source, tables, (contract, history))


def dataset_of(listed: TableList, table: ListedTable) -> str:
    """The name of the source of a table, and of the table that its rows are loaded into."""
    dataset = listed.names[table.name].dataset
    return f"{dataset}{OBSERVATIONS.lower()}" if table.strategy == "scd2" else dataset


def published_rows(listed: TableList, table: ListedTable, contract: Contract) -> PublishedRows:
    """The rows of a table that analysts take for those of its source."""
    target = target_table(parts_of(listed, table, contract).contracts[-1]).qualified
    if table.strategy == "scd2":
        return PublishedRows(contract, target, HISTORY_COLUMNS[-1])
    return PublishedRows(contract, target, f"NOT COALESCE({DELETED}, FALSE)" if table.marks_deleted else "TRUE")


def open_contract(listed: TableList, table: ListedTable, folder: Path) -> Contract:
    """The contract of a table for definitions: that of its file or, without one, the columns that the list names.

    Raises:
        ContractError: the file is wrong.
    """
    if declared := declared_contract(listed, table, folder):
        return declared
    named = dict.fromkeys(name.strip().upper() for name in (*table.key, *table.cursor, *table.personal))
    columns = tuple(_column(name, "VARCHAR", "", table) for name in named)
    return replace(_contract(listed, table, columns), is_open=True)


def learnt_contract(listed: TableList, table: ListedTable, shape: Shape) -> Contract:
    """The contract of a table with the columns that it has learnt."""
    columns = tuple(_column(column_name(c), c.physical_type, c.source_type, table) for c in shape.columns)
    return _contract(listed, table, columns)


def declared_contract(listed: TableList, table: ListedTable, folder: Path) -> Contract | None:
    """The contract in the file of a table, if there is one.

    Raises:
        ContractError: it is wrong, or has another name, domain, table or key.
    """
    dataset = dataset_of(listed, table)
    path = folder / f"{dataset}.yaml"
    if not path.is_file():
        return None
    contract = load_contract(path)
    wanted = _contract(listed, table, ())
    key = tuple(name.strip().upper() for name in table.key) if table.is_keyed else ()
    found = {
        "name": (contract.name, wanted.name),
        "domain": (contract.domain, wanted.domain),
        "physicalName": (contract.table, wanted.table),
        "the key": (", ".join(contract.key), ", ".join(name for name in contract.column_names if name in key)),
    }
    for what, (actual, expected) in found.items():
        if actual != expected:
            raise ContractError(
                f"{path.name}: {what} is {actual or 'missing'}.",
                remedy=f"The list of tables says {expected or 'none'}.",
            )
    role = "deleted" if table.strategy == "scd2" else ""
    if table.marks_deleted and not any(
        (column.name, column.logical_type, column.history) == (DELETED, "boolean", role) for column in contract.columns
    ):
        raise ContractError(
            f"{path.name}: {DELETED} is missing, or has another type or history, but {table.name} has deletes: soft.",
            remedy=f"Add it with logicalType boolean{', history: deleted' if role else ''}, or leave deletes out.",
        )
    return contract


def _contract(listed: TableList, table: ListedTable, columns: tuple[Column, ...]) -> Contract:
    names = listed.names[table.name]
    is_history = table.strategy == "scd2"
    if table.marks_deleted:
        columns = (*columns, _deleted_column("deleted" if is_history else ""))
    return Contract(
        name=dataset_of(listed, table),
        table=f"{names.target}{OBSERVATIONS}" if is_history else names.target,
        version="1.0.0",
        domain=NAME,
        description=_description(listed, table, ", as it was observed" if is_history else ""),
        grain=_grain(table),
        owner=table.owner,
        columns=columns,
        quality=(_dropped_columns(table), *([_refused_deletes(table)] if _may_refuse(table) else [])),
    )


def _deleted_column(history: str) -> Column:
    description = "Whether the source no longer has the row; NULL is not deleted."
    return Column(DELETED, "boolean", "BOOLEAN", description=description, history=history)


def _dropped_columns(table: ListedTable) -> QualityRule:
    """A warning about the columns that the source no longer delivers; they are NULL in newer rows."""
    of_table = f"PIPELINE = '{NAME}' AND NAME = {literal(table.name)}"
    return QualityRule(
        "dropped_columns",
        "The source delivers every column of the table.",
        f"SELECT COALESCE(MAX(ARRAY_SIZE(PARSE_JSON(VALUE):dropped)), 0) FROM OPS.WATERMARKS WHERE {of_table}",
        "mustBe",
        0,
        "warning",
        "SELECT DROPPED.VALUE::VARCHAR AS COLUMN_NAME FROM OPS.WATERMARKS AS STATES, "
        f"LATERAL FLATTEN(INPUT => PARSE_JSON(STATES.VALUE):dropped) AS DROPPED WHERE {of_table}",
    )


def _may_refuse(table: ListedTable) -> bool:
    return table.marks_deleted or table.strategy == "full_refresh"


def _refused_deletes(table: ListedTable) -> QualityRule:
    """A warning about rows that are kept though the source lacks them, as they were too many at once."""
    return QualityRule(
        "refused_deletes",
        "No rows are kept although the source lacks them.",
        "SELECT COALESCE(MAX(PARSE_JSON(VALUE):refused::INTEGER), 0) FROM OPS.WATERMARKS "
        f"WHERE PIPELINE = '{NAME}' AND NAME = {literal(table.name)}",
        "mustBe",
        0,
        "warning",
    )


def _description(listed: TableList, table: ListedTable, how: str) -> str:
    return f"{table.description or f'The table {table.name} of {listed.source}'.rstrip('.')}{how}."


def _grain(table: ListedTable) -> str:
    key = ", ".join(table.key)
    return {
        "upsert": f"One row per {key}, the newest version.",
        "scd2": f"One row per {key} and object.",
        "append_distinct": "One row per row of the source; equal rows are kept apart.",
        "full_refresh": "One row per row of the newest extract.",
    }[table.strategy]


def _column(name: str, physical_type: str, source_type: str, table: ListedTable) -> Column:
    match = re.fullmatch(r"([A-Z_]+)(?:\(([0-9]+)(?:,([0-9]+))?\))?", physical_type)
    assert match is not None, physical_type  # of our own mapping
    base, size, scale = match.groups()
    logical = ("number" if int(scale or 0) else "integer") if base == "NUMBER" else _LOGICAL[base]
    is_key = table.is_keyed and name in {column.strip().upper() for column in table.key}
    return Column(
        name,
        logical,
        physical_type,
        description=f"{source_type} in the source." if source_type else "",
        required=is_key,
        key=is_key,
        max_length=int(size) if logical == "string" and size else None,
        input_formats=("YYYY-MM-DD",) if logical == "date" else (),
        keep_blanks=logical == "string",
        classification="personal" if name in {column.strip().upper() for column in table.personal} else None,
    )


def _history_contract(listed: TableList, table: ListedTable, observed: Contract) -> Contract:
    names = listed.names[table.name]
    surrogate = f"{names.target}_SK"
    if taken := sorted({surrogate, *HISTORY_COLUMNS} & set(observed.column_names)):
        raise ConfigurationError(
            f"{table.name} has columns named like those of a history: {', '.join(taken)}.",
            remedy="Rename them in a view of the source and list the view, or choose another strategy.",
        )
    columns = [
        replace(column, key=False, required=column.key, history="" if column.key else "version")
        for column in observed.columns
        if column.history != "deleted"
    ]
    valid_from, valid_to, is_current = HISTORY_COLUMNS
    columns += [
        Column(surrogate, "string", _SURROGATE, required=True, key=True, history="surrogate_key"),
        Column(valid_from, "timestamp", "TIMESTAMP_NTZ(6)", required=True, history="valid_from"),
        Column(valid_to, "timestamp", "TIMESTAMP_NTZ(6)", history="valid_to"),
        Column(is_current, "boolean", "BOOLEAN", required=True, history="is_current"),
    ]
    return replace(
        observed,
        name=names.dataset,
        table=names.target,
        description=_description(listed, table, ", with its history"),
        grain=f"One row per {', '.join(table.key)} and interval.",
        columns=tuple(columns),
        quality=(),
    )
