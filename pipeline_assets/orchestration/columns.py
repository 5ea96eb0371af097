"""Columns and column lineage of a contract, as metadata of assets and of their materializations.

The description of a column ends with its origin: the field of a landed file, or the columns that its SELECT reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import PROVENANCE, SOURCE_ETAG, target_table
from pipeline_assets.engine.interface import INPUT_COLUMNS
from pipeline_assets.orchestration.keys import source_key, table_key
from pipeline_assets.orchestration.markdown import code, plain
from pipeline_assets.pipeline.resolved import FileTable, LakeCopy, MartTable, ResolvedPipeline, ViewTable
from pipeline_assets.pipeline.selects import Select
from pipeline_assets.pipeline.value import Table

Output = FileTable | MartTable | ViewTable | LakeCopy
_INTERNAL = (*PROVENANCE, *INPUT_COLUMNS, SOURCE_ETAG[0])
_NAME = re.compile(r'[\w."]+')
_EXPRESSION = 160  # characters of an expression in the description of a column; its SELECT has the rest


def assets_of_relations(pipeline: ResolvedPipeline) -> dict[str, dg.AssetKey]:
    """The asset behind each relation that SELECTs of a pipeline read: landed files, tables and views."""
    files = {
        relation: source_key(source, pipeline.name) for source in pipeline.sources for relation in source.relations
    }
    published: list[FileTable | MartTable | ViewTable] = [*pipeline.tables, *pipeline.marts, *pipeline.views]
    return files | {t.qualified: table_key(pipeline, t.contract) for t in published}


def column_metadata(output: Output, assets: Mapping[str, dg.AssetKey]) -> dict[str, Any]:
    """The column schema and the column lineage of an output; a table also has the columns that the platform adds."""
    contract = output.contract
    origins = {name: _computed_from(output.select, name, assets) for name in contract.column_names}
    schema = column_schema(contract, unique_key=_is_unique(output), origins=origins)
    return {
        "dagster/column_schema": dg.TableSchema([*schema.columns, *_added_columns(output)]),
        "dagster/column_lineage": column_lineage(output.select, contract, assets),
    }


def column_schema(
    contract: Contract, *, unique_key: bool = True, origins: Mapping[str, str] | None = None
) -> dg.TableSchema:
    """A contract's columns for the UI; columns with a classification have a tag.

    Without `unique_key` a key is only required: files may deliver a record more than once. `origins` are sentences.
    """
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.physical_type,
                description=f"{plain(column.description)} {(origins or {}).get(column.name, '')}".strip(),
                constraints=dg.TableColumnConstraints(
                    nullable=not column.required, unique=unique_key and contract.key == (column.name,)
                ),
                tags={"classification": column.classification} if column.classification else {},
            )
            for column in contract.columns
        ]
    )


def column_lineage(select: Select, contract: Contract, assets: Mapping[str, dg.AssetKey]) -> dg.TableColumnLineage:
    """Column lineage of a SELECT, read from the SQL; `assets` maps its relations to the assets behind them."""
    return dg.TableColumnLineage(
        {
            column: [
                dg.TableColumnDep(asset_key=assets[relation], column_name=name)
                for relation, name in select.sources_of(column)
                if name not in _INTERNAL
            ]
            for column in contract.column_names
        }
    )


def same_columns(names: Iterable[str], of: dg.AssetKey) -> dg.TableColumnLineage:
    """The lineage of columns that repeat those of another asset."""
    return dg.TableColumnLineage({name: [dg.TableColumnDep(asset_key=of, column_name=name)] for name in names})


def _computed_from(select: Select, column: str, assets: Mapping[str, dg.AssetKey]) -> str:
    """The column that another repeats, or its expression with all columns that it is computed from."""
    sources = select.sources_of(column)
    named = ", ".join(
        code(f"{assets[relation].path[-1]}.{name}") for relation, name in sources if name not in _INTERNAL
    )
    internal = ", ".join(code(name) for _, name in sources if name in _INTERNAL)
    read = " and ".join([*filter(None, [named]), *([f"{internal}, which the platform sets"] if internal else [])])
    if select.copy_of(column):
        return f"From {read}."
    expressions = [step.expression for step in select.steps_of(column)]
    # Of a subquery's column its own expression says more than its name.
    expression = next((text for text in expressions if not _NAME.fullmatch(text)), expressions[0])
    cut = expression if len(expression) <= _EXPRESSION else f"{expression[:_EXPRESSION]}…"
    return f"Computed as {code(cut)}" + (f" from {read}." if read else ".")


def _added_columns(output: Output) -> list[dg.TableColumn]:
    """The columns that the platform adds to a table of the warehouse: where a row came from, and when."""
    if isinstance(output, FileTable) and isinstance(output.declared, Table):
        table = output.target
    elif isinstance(output, MartTable):
        table = target_table(output.contract)
    else:
        return []
    added = [column for column in table.columns if column[0] not in output.contract.column_names]
    return [
        dg.TableColumn(name, kind, description=plain(f"{comment} Set by the platform."))
        for name, kind, _, comment in added
    ]


def _is_unique(output: Output) -> bool:
    """Whether the key of the contract alone identifies a row of an output."""
    return not isinstance(output, FileTable) or output.row_key == output.contract.key
