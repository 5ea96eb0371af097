"""The Dagster assets of a pipeline, and the metadata that each batch adds to them.

Columns, owners, tags and descriptions come from the contracts; dependencies and column lineage from the SELECTs that
run.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dagster as dg

from pipeline_assets.batch.platform import Platform
from pipeline_assets.batch.report import BatchReport, Request
from pipeline_assets.batch.run import run_batch
from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import PROVENANCE, target_table
from pipeline_assets.contracts.masking import mask_row
from pipeline_assets.engine.interface import INPUT_COLUMNS
from pipeline_assets.errors import PipelineError
from pipeline_assets.lake import LakeTable
from pipeline_assets.orchestration.pipes import reports_to
from pipeline_assets.pipeline.resolved import Export, FileTable, MartTable, ResolvedPipeline, Source
from pipeline_assets.pipeline.selects import Select

PREVIEW_ROWS = 5


class RunRequestConfig(dg.Config):
    """What a run does besides processing new objects; see `batch.report.Request`."""

    reprocess: bool = False
    replay: bool = False
    replay_ids: list[str] | None = None
    engine: str | None = None
    extract: bool = False


def take_batch(
    context: dg.AssetExecutionContext, config: RunRequestConfig, platform: Platform, pipeline: ResolvedPipeline
) -> BatchReport:
    """Run one batch as this Dagster run is configured. Only transient errors are retried."""
    ids = tuple(config.replay_ids) if config.replay_ids else None
    request = Request(config.reprocess, config.replay, ids, config.engine, config.extract)  # type: ignore[arg-type]
    try:
        with reports_to(context, platform):
            return run_batch(platform, pipeline, context.run.run_id, request)
    except PipelineError as error:
        if not error.transient or not platform.retries:
            raise
        # Doubles with each retry; the random factor keeps two machines from retrying at the same time.
        wait = platform.retry_seconds * 2**context.retry_number * random.uniform(0.7, 1.3)
        raise dg.RetryRequested(max_retries=platform.retries, seconds_to_wait=wait) from error


def column_schema(contract: Contract) -> dg.TableSchema:
    """A contract's columns for the UI; columns with a classification have a tag."""
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


def pipeline_assets(pipeline: ResolvedPipeline, freshness_hours: float) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """The assets of a pipeline: its landed files, and the outputs of its batch."""
    return [
        *(source_spec(source, pipeline.name) for source in pipeline.sources),
        _batch_assets(pipeline, freshness_hours),
    ]


def _batch_assets(pipeline: ResolvedPipeline, freshness_hours: float) -> dg.AssetsDefinition:
    """The assets of a pipeline that one step writes: a batch from landed files to tables."""

    # Dagster evaluates annotations when it decorates, so they must not be strings.
    def batch(context, config, platform):
        report = take_batch(context, config, platform, pipeline)
        yield from batch_results(report, pipeline, platform)

    batch.__annotations__ = {
        "context": dg.AssetExecutionContext,
        "config": RunRequestConfig,
        "platform": dg.ResourceParam[Platform],
        "return": Iterator[dg.MaterializeResult],
    }
    batch.__doc__ = f"Take every landed file of {pipeline.name} that the ledger does not know, transform, publish."
    decorate = dg.multi_asset(
        name=f"{pipeline.name}_batch", specs=output_specs(pipeline, freshness_hours), pool=pipeline.name
    )
    return decorate(batch)


def output_specs(pipeline: ResolvedPipeline, freshness_hours: float) -> list[dg.AssetSpec]:
    """Tables, marts, lake tables and exports; each depends on what its SELECT reads."""
    files = {
        relation: source_key(source, pipeline.name) for source in pipeline.sources for relation in source.relations
    }
    published: list[FileTable | MartTable] = [*pipeline.tables, *pipeline.marts]
    tables = {t.qualified: table_key(pipeline, t.contract) for t in published}
    outputs: list[FileTable | MartTable] = [*pipeline.tables, *pipeline.marts, *pipeline.lake_outputs]
    specs = {
        output.contract.name: _output_spec(pipeline, output, files | tables, freshness_hours) for output in outputs
    }
    listed = [*(contract.name for contract in pipeline.targets), *(o.contract.name for o in pipeline.lake_outputs)]
    return [*(specs[name] for name in listed), *(_export_spec(pipeline, export, files) for export in pipeline.exports)]


def source_key(source: Source, pipeline: str) -> dg.AssetKey:
    return dg.AssetKey([pipeline, f"{source.name}_files"])


def table_key(pipeline: ResolvedPipeline, contract: Contract) -> dg.AssetKey:
    return dg.AssetKey([pipeline.name, contract.name])


def source_spec(source: Source, pipeline: str) -> dg.AssetSpec:
    """The landed files of a source; no run writes them."""
    zone, contract = source.zone, source.contract
    if contract.items:
        contract = replace(contract, columns=(*contract.columns, *contract.items.columns))
    return dg.AssetSpec(
        source_key(source, pipeline),
        group_name=pipeline,
        description=f"{contract.description} Landed as `{zone.bucket}/{source.declared.pattern}`, plain or packed.",
        kinds={"s3", "json" if contract.form == "json" else "csv"},
        owners=[f"team:{contract.owner}"],
        tags=classification_tags(contract),
        metadata={"dagster/column_schema": column_schema(contract)},
    )


def _output_spec(
    pipeline: ResolvedPipeline, output: FileTable | MartTable, assets: Mapping[str, dg.AssetKey], freshness_hours: float
) -> dg.AssetSpec:
    """A table of the warehouse or of the lake that a batch writes."""
    contract = output.contract
    metadata: dict = {
        "dagster/column_schema": column_schema(contract),
        "dagster/table_name": target_table(contract).qualified,
        "dagster/column_lineage": column_lineage(output.select, contract, assets),
        "contract": f"{contract.name} {contract.version}",
    }
    return dg.AssetSpec(
        table_key(pipeline, contract),
        deps=list(dict.fromkeys(assets[relation] for relation in output.select.relations)),
        group_name=pipeline.name,
        description=f"{contract.description}\n\nGrain: {contract.grain}",
        kinds={"s3", "parquet"} if contract.form == "parquet" else {"snowflake", "table"},
        owners=[f"team:{contract.owner}"],
        tags=classification_tags(contract),
        metadata=metadata,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=freshness_hours)),
    )


def _export_spec(pipeline: ResolvedPipeline, export: Export, files: Mapping[str, dg.AssetKey]) -> dg.AssetSpec:
    """A CSV of a table's rows; a batch without such rows writes none."""
    select, contract = export.table.select, export.table.contract
    which = "added or changed" if export.declared.only_changed else "wrote"
    return dg.AssetSpec(
        [pipeline.name, export.declared.name],
        deps=list(dict.fromkeys(files[relation] for relation in select.relations)),
        skippable=True,
        group_name=pipeline.name,
        description=f"The rows of {export.table.qualified} that a run {which}, as one CSV.\n\nGrain: {contract.grain}",
        kinds={"s3", "csv"},
        owners=[f"team:{contract.owner}"],
        tags=classification_tags(contract),
        metadata={
            "dagster/column_schema": column_schema(contract),
            "dagster/column_lineage": column_lineage(select, contract, files),
        },
    )


def classification_tags(contract: Contract) -> dict[str, str]:
    return {"personal_data": "yes"} if any(column.personal for column in contract.columns) else {}


def batch_metadata(report: BatchReport) -> dict[str, Any]:
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
        **({"notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in report.notes))} if report.notes else {}),
    }


def batch_results(
    report: BatchReport, pipeline: ResolvedPipeline, platform: Platform
) -> Iterator[dg.MaterializeResult]:
    """The materializations of all tables and lake tables, and of the exports that this batch wrote."""
    for contract in pipeline.targets:
        yield table_result(report, contract, platform)
    for table in pipeline.lake_tables:
        yield lake_result(report, table, platform)
    for name, uri in report.exported.items():
        yield dg.MaterializeResult(
            asset_key=[pipeline.name, name], metadata=batch_metadata(report) | {"dagster/uri": uri}
        )


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
    with platform.warehouse.read_only() as transaction:
        rows = transaction.rows(
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
