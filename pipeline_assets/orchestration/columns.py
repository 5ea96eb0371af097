"""Columns and column lineage of a contract, as metadata of assets and of their materializations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import PROVENANCE
from pipeline_assets.engine.interface import INPUT_COLUMNS
from pipeline_assets.orchestration.keys import source_key, table_key
from pipeline_assets.pipeline.resolved import FileTable, LakeCopy, MartTable, ResolvedPipeline, ViewTable
from pipeline_assets.pipeline.selects import Select

Output = FileTable | MartTable | ViewTable | LakeCopy


def assets_of_relations(pipeline: ResolvedPipeline) -> dict[str, dg.AssetKey]:
    """The asset behind each relation that SELECTs of a pipeline read: landed files, tables and views."""
    files = {
        relation: source_key(source, pipeline.name) for source in pipeline.sources for relation in source.relations
    }
    published: list[FileTable | MartTable | ViewTable] = [*pipeline.tables, *pipeline.marts, *pipeline.views]
    return files | {t.qualified: table_key(pipeline, t.contract) for t in published}


def column_metadata(output: Output, assets: Mapping[str, dg.AssetKey]) -> dict[str, Any]:
    """The column schema and the column lineage of an output."""
    return {
        "dagster/column_schema": column_schema(output.contract, unique_key=_is_unique(output)),
        "dagster/column_lineage": column_lineage(output.select, output.contract, assets),
    }


def column_schema(contract: Contract, *, unique_key: bool = True) -> dg.TableSchema:
    """A contract's columns for the UI; columns with a classification have a tag.

    Without `unique_key` a key is only required: files may deliver a record more than once.
    """
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.physical_type,
                description=column.description,
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
    internal_columns = (*PROVENANCE, *INPUT_COLUMNS)
    return dg.TableColumnLineage(
        {
            column: [
                dg.TableColumnDep(asset_key=assets[relation], column_name=name)
                for relation, name in select.sources_of(column)
                if name not in internal_columns
            ]
            for column in contract.column_names
        }
    )


def _is_unique(output: Output) -> bool:
    """Whether the key of the contract alone identifies a row of an output."""
    return not isinstance(output, FileTable) or output.row_key == output.contract.key
