"""Helpers around Dagster's asset decorators: specs from contracts, metadata from batches.

Nothing here runs SQL of a pipeline; the columns, owners, tags and descriptions all come from the contracts, and the
column lineage from the SQL.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import dagster as dg

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import PROVENANCE, target_table
from pipeline_assets.contracts.masking import mask_row
from pipeline_assets.engine.interface import INPUT_COLUMNS
from pipeline_assets.errors import PipelineError
from pipeline_assets.lake import LakeTable
from pipeline_assets.operations.landing import run_batch
from pipeline_assets.operations.pipeline import BatchReport, Dataset, Pipeline, Request
from pipeline_assets.operations.pipes import reports_to
from pipeline_assets.operations.platform import Platform
from pipeline_assets.sqlfiles import column_sources, load_sql

PREVIEW_ROWS = 5


class RunRequestConfig(dg.Config):
    """How a run treats what it has seen before."""

    reprocess: bool = False
    replay: bool = False
    replay_ids: list[str] | None = None
    engine: str | None = None


def take_batch(
    context: dg.AssetExecutionContext, config: RunRequestConfig, platform: Platform, pipeline: Pipeline
) -> BatchReport:
    """Run one batch as this Dagster run asks for it; what a retry may clear is tried again, anything else is not."""
    ids = tuple(config.replay_ids) if config.replay_ids else None
    request = Request(config.reprocess, config.replay, ids, config.engine)
    try:
        with reports_to(context, platform):
            return run_batch(platform, pipeline, context.run.run_id, request)
    except PipelineError as error:
        if not error.transient or not platform.retries:
            raise
        # Doubling, and never two machines in step.
        wait = platform.retry_seconds * 2**context.retry_number * random.uniform(0.7, 1.3)
        raise dg.RetryRequested(max_retries=platform.retries, seconds_to_wait=wait) from error


def batch_results(report: BatchReport, pipeline: Pipeline, platform: Platform) -> Iterator[dg.MaterializeResult]:
    """The materializations of everything that a pipeline keeps, in the warehouse and in the lake."""
    for contract in pipeline.targets:
        yield table_result(report, contract, platform)
    for table in pipeline.lake_tables:
        yield lake_result(report, table, platform)


def column_schema(contract: Contract) -> dg.TableSchema:
    """A contract's columns for the UI; personal data carries a tag."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.physical_type,
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=not column.required, unique=contract.key == (column.name,)
                ),
                tags={"classification": column.classification} if column.classification else {},
            )
            for column in contract.columns
        ]
    )


def column_lineage(
    sql: str, contract: Contract, sources: Mapping[str, tuple[dg.AssetKey, Contract]]
) -> dg.TableColumnLineage:
    """Column lineage of one SQL file, read from the SQL.

    `sources` maps the table names in the file to the asset and contract behind them.
    """
    ours = (*PROVENANCE, *INPUT_COLUMNS)
    schema = {name: (*source.column_names, *ours) for name, (_, source) in sources.items()}
    traced = column_sources(load_sql(sql).text, contract.column_names, schema)
    return dg.TableColumnLineage(
        {
            column: [
                dg.TableColumnDep(asset_key=sources[table][0], column_name=name)
                for table, name in deps
                if name not in ours
            ]
            for column, deps in traced.items()
        }
    )


def source_spec(dataset: Dataset, pipeline: str) -> dg.AssetSpec:
    """The landed files of a dataset, delivered by somebody else."""
    zone, whole = dataset.zone, dataset.contract
    if whole.items:
        whole = replace(whole, columns=(*whole.columns, *whole.items.columns))
    return dg.AssetSpec(
        [pipeline, f"{dataset.name}_files"],
        group_name=pipeline,
        description=f"{dataset.contract.description} Landed as {zone.bucket}/{zone.prefix}{zone.pattern}.",
        kinds={"s3", "json" if whole.form == "json" else "csv"},
        owners=[f"team:{whole.owner}"],
        tags=classification_tags(whole),
        metadata={"dagster/column_schema": column_schema(whole)},
    )


def table_spec(
    contract: Contract,
    *,
    deps: Iterable[dg.AssetKey],
    freshness_hours: float,
    lineage: dg.TableColumnLineage | None = None,
) -> dg.AssetSpec:
    """A warehouse table that a batch publishes."""
    metadata: dict = {
        "dagster/column_schema": column_schema(contract),
        "dagster/table_name": target_table(contract).qualified,
        "contract": f"{contract.name} {contract.version}",
    }
    if lineage:
        metadata["dagster/column_lineage"] = lineage
    return dg.AssetSpec(
        [contract.domain, contract.name],
        deps=list(deps),
        group_name=contract.domain,
        description=f"{contract.description}\n\nGrain: {contract.grain}",
        kinds={"snowflake", "table"},
        owners=[f"team:{contract.owner}"],
        tags=classification_tags(contract),
        metadata=metadata,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=freshness_hours)),
    )


def lake_spec(
    table: LakeTable,
    *,
    deps: Iterable[dg.AssetKey],
    freshness_hours: float,
    lineage: dg.TableColumnLineage | None = None,
) -> dg.AssetSpec:
    """A table of the lake that a batch lays out."""
    spec = table_spec(table.contract, deps=deps, freshness_hours=freshness_hours, lineage=lineage)
    return spec.replace_attributes(kinds={"s3", "parquet"})


def classification_tags(contract: Contract) -> dict[str, str]:
    return {"personal_data": "yes"} if any(column.personal for column in contract.columns) else {}


def batch_metadata(report: BatchReport) -> dict[str, object]:
    """What a batch did, for every asset it materialized."""
    return {
        "batch_id": report.batch_id or "none: nothing new",
        "engine": report.engine or "none: nothing new",
        "objects_new": report.new,
        "objects_known": report.known,
        "objects_loaded": report.loaded,
        "objects_rejected": report.rejected,
        "objects_requeued": dg.MetadataValue.json(report.requeued),
        "bytes_read": report.bytes_read,
        **{f"rows_{name}": count for name, count in report.rows.items()},
        "rows_released_from_quarantine": report.released,
    }


def table_result(report: BatchReport, contract: Contract, platform: Platform) -> dg.MaterializeResult:
    """The materialization of one published table, with a masked preview of what the batch wrote."""
    table = target_table(contract).qualified
    metadata = batch_metadata(report) | {"dagster/row_count": report.table_rows.get(table, 0)}
    if report.batch_id:
        metadata["rows_written"] = report.staged_rows.get(table, 0)
        metadata["sql"] = dg.MetadataValue.md(_as_markdown_sql(report.statements))
        if preview := _preview(platform, contract, report.batch_id):
            metadata["preview"] = dg.MetadataValue.md(preview)
    return dg.MaterializeResult(asset_key=[contract.domain, contract.name], metadata=metadata)


def lake_result(report: BatchReport, table: LakeTable, platform: Platform) -> dg.MaterializeResult:
    """The materialization of one lake table."""
    metadata = batch_metadata(report) | {
        "dagster/uri": platform.lake.uri(table.bucket, table.prefix),
        "files_written": report.lake_files.get(table.contract.name, 0),
    }
    return dg.MaterializeResult(asset_key=[table.contract.domain, table.contract.name], metadata=metadata)


def _preview(platform: Platform, contract: Contract, batch_id: str) -> str:
    columns = contract.column_names
    with platform.warehouse.look() as unit:
        rows = unit.rows(
            f"SELECT {', '.join(columns)} FROM {target_table(contract).qualified} WHERE _BATCH_ID = %s "
            f"LIMIT {PREVIEW_ROWS}",
            (batch_id,),
        )
    return _as_markdown_table(columns, [mask_row(contract, columns, row) for row in rows]) if rows else ""


def _as_markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    def line(cells: Iterable[object]) -> str:
        return (
            "| " + " | ".join("" if c is None else str(c).replace("|", "\\|").replace("\n", " ") for c in cells) + " |"
        )

    return "\n".join([line(columns), line("---" for _ in columns), *(line(row) for row in rows)])


def _as_markdown_sql(statements: Sequence[str]) -> str:
    return "\n\n".join(f"```sql\n{statement}\n```" for statement in statements)
