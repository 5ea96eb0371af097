"""The tables in an account: those that contracts declare, and those that runs have created for open contracts.

Analysts have no grant on future tables of a schema with an open contract, as nothing has masked what a run creates.
`deploy snowflake` masks the tables that are there, and then grants SELECT on each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline_assets.contracts.ddl import Table, staging_table, target_table
from pipeline_assets.contracts.model import Contract
from pipeline_assets.pipeline.resolved import key_table
from pipeline_assets.sqlfiles.parameters import Name
from pipeline_assets.warehouse.columns import Present
from pipeline_assets.warehouse.schema import ops_tables
from pipeline_assets.warehouse.snowpipe import piped_table

if TYPE_CHECKING:
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings

# Columns of the platform that may hold any part of a record, also personal data.
_MAY_HOLD_ANYTHING = {"_RESCUED", "RAW_RECORD"}


def schemas(settings: Settings, pipelines: Sequence[ResolvedPipeline]) -> dict[str, Name]:
    """The schemas of the platform and of the pipelines, by name without the database."""
    domains = sorted({contract.domain.upper() for pipeline in pipelines for contract in pipeline.targets})
    return {name: Name(f"{settings.database}.{name}") for name in ("OPS", *domains)}


def open_domains(pipelines: Sequence[ResolvedPipeline]) -> list[str]:
    """The schemas, without the database, in which runs create tables."""
    return sorted({contract.domain.upper() for contract in _open_contracts(pipelines)})


def _open_contracts(pipelines: Sequence[ResolvedPipeline]) -> list[Contract]:
    return [contract for pipeline in pipelines for contract in pipeline.targets if contract.is_open]


def tables(settings: Settings, pipelines: Sequence[ResolvedPipeline]) -> list[Table]:
    """Every table that the contracts and the platform declare, with its database."""
    declared = [*ops_tables(), *(table for pipeline in pipelines for table in pipeline.warehouse_tables)]
    if settings.snowflake_load == "snowpipe":
        declared += [piped_table(stage) for pipeline in pipelines for stage in pipeline.load_stages]
    qualified = (replace(table, schema=f"{settings.database}.{table.schema}") for table in declared)
    return list({table.qualified: table for table in qualified}.values())


def personal_columns(
    settings: Settings, pipelines: Sequence[ResolvedPipeline], present: Present
) -> list[tuple[str, str, str]]:
    """(table, column, type) of personal data: columns that contracts mark, and columns that may hold any text.

    Staging tables are included, so that a mistaken grant on them shows no personal data.
    """
    personal: dict[str, set[str]] = {}
    for pipeline in pipelines:
        for source in pipeline.sources:
            personal[f"{settings.database}.{key_table(pipeline, source).qualified}"] = _marked(source.contract)
    for contract in (contract for pipeline in pipelines for contract in pipeline.targets):
        for table in _tables_of(contract):
            personal[f"{settings.database}.{table.qualified}"] = _marked(contract)
    declared = {t.qualified: {name: kind for name, kind, *_ in t.columns} for t in tables(settings, pipelines)}
    return [
        (table, name, kind.partition("(")[0] if kind.startswith("VARCHAR") else kind)
        for table, columns in (declared | _learnt(settings, pipelines, present)).items()
        for name, kind in columns.items()
        if name in personal.get(table, set()) | _MAY_HOLD_ANYTHING
    ]


def readable_tables(
    settings: Settings, pipelines: Sequence[ResolvedPipeline], present: Present
) -> tuple[list[str], list[str]]:
    """The tables in schemas of open contracts that analysts may read, and those that they may not read yet.

    Those lack a personal column of their contract, which a run would add without a mask.
    """
    domains, learnt = open_domains(pipelines), _learnt(settings, pipelines, present)
    readable = [table.qualified for table in tables(settings, pipelines) if table.schema.partition(".")[2] in domains]
    incomplete: list[str] = []
    for contract in _open_contracts(pipelines):
        table = f"{settings.database}.{target_table(contract).qualified}"
        if table in learnt:
            is_complete = _marked(contract) | {"_RESCUED"} <= set(learnt[table])
            (readable if is_complete else incomplete).append(table)
    return readable, incomplete


def _learnt(
    settings: Settings, pipelines: Sequence[ResolvedPipeline], present: Present
) -> dict[str, Mapping[str, str]]:
    """Table -> column -> type of the tables that runs have created for open contracts, staging tables included."""
    made = [table for contract in _open_contracts(pipelines) for table in _tables_of(contract)]
    made += [key_table(p, source) for p in pipelines for source in p.sources if source.contract.is_open]
    return {f"{settings.database}.{t.qualified}": present[t.qualified] for t in made if t.qualified in present}


def _tables_of(contract: Contract) -> tuple[Table, ...]:
    stage = staging_table(contract)
    return target_table(contract), stage, piped_table(stage)


def _marked(contract: Contract) -> set[str]:
    return {column.name for column in contract.columns if column.personal}
