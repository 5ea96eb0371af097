"""What a batch reports to Dagster: materializations of what it changed, observations of everything else.

Freshness follows data: a table of which no row was written or removed is observed, so that its latest materialization,
its plots and its freshness stay those of the last batch that changed it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

import dagster as dg

from pipeline_assets.batch.platform import Platform
from pipeline_assets.batch.report import BatchReport
from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.contracts.masking import mask_row
from pipeline_assets.contracts.names import bindable, sql_names
from pipeline_assets.errors import one_line
from pipeline_assets.lake import LakeTable
from pipeline_assets.orchestration.columns import Output, assets_of_relations, column_metadata
from pipeline_assets.orchestration.keys import source_key, table_key
from pipeline_assets.orchestration.plots import Rows, plot_metadata, plot_rows
from pipeline_assets.pipeline.resolved import FileTable, PlotQuery, ResolvedPipeline, ViewTable
from pipeline_assets.warehouse import Transaction, ledger

PREVIEW_ROWS = 5
CELL = 60  # characters of a value in a preview
NEWEST = 20  # landed objects of a source that an observation lists

Event = dg.MaterializeResult | dg.AssetObservation


def batch_events(report: BatchReport, pipeline: ResolvedPipeline, platform: Platform) -> list[Event]:
    """A materialization of each changed output, an observation of every other one and of the landed files.

    A batch that was interrupted after its commit and finished by this run counts as part of this run.
    """
    batches = [*report.recovered, *([report.batch_id] if report.batch_id else [])]
    written: dict[str, dict[str, Any]] = {}
    arrivals: list[Event] = []
    view_rows: dict[str, int] = {}
    changed: set[str] = set()
    plots: dict[PlotQuery, Rows] = {}
    if batches or pipeline.views:
        with platform.warehouse.read_only() as transaction:
            view_rows = {
                v.qualified: int(transaction.scalar(f"SELECT COUNT(*) FROM {v.qualified}")) for v in pipeline.views
            }
            if batches:
                written = {contract.name: _written(transaction, contract, batches) for contract in pipeline.targets}
                arrivals = list(_arrivals(transaction, pipeline, batches))
                changed = _changed(report, pipeline, written)
                plots = plot_rows(transaction, pipeline, changed)  # last: a SELECT that fails may end the transaction
    for name, pictures in plot_metadata(plots, datetime.now(UTC).replace(tzinfo=None)).items():
        written.setdefault(name, {}).update(pictures)
    columns = _learnt_columns(pipeline)
    results = [
        _table_event(
            report, pipeline, contract, changed, columns.get(contract.name, {}) | written.get(contract.name, {})
        )
        for contract in pipeline.targets
    ]
    results += [_view_event(report, pipeline, view, changed, view_rows, written) for view in pipeline.views]
    counts = {output.contract.name: _lake_row_count(report, pipeline, output) for output in pipeline.lake_outputs}
    counts |= {
        copy.contract.name: {"dagster/row_count": report.table_rows.get(copy.select.relations[0], 0)}
        for copy in pipeline.lake_copies
    }
    results += [
        _lake_event(report, pipeline, table, counts[table.contract.name], platform) for table in pipeline.lake_tables
    ]
    results += [_export_event(report, pipeline, export.declared.name) for export in pipeline.exports]
    return [*arrivals, *results]


def batch_metadata(report: BatchReport) -> dict[str, Any]:
    """What a run did, never totals of a table; all names begin with `batch_`, but for notes and engine.

    If it found nothing new, it has no counts: zeros would hide those of the last batch in plots.
    """
    notes = {"notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in report.notes))} if report.notes else {}
    name = {"batch_name": report.name} if report.name else {}
    if not report.batch_id:
        return {"batch_objects_known": report.known, **name, **notes}
    return {
        **name,
        "batch_id": report.batch_id,
        "engine": report.engine,
        "batch_objects_new": report.new,
        "batch_objects_known": report.known,
        "batch_objects_loaded": report.loaded,
        "batch_objects_rejected": report.rejected,
        "batch_objects_requeued": dg.MetadataValue.json(report.requeued),
        "batch_bytes_read": report.bytes_read,
        **{f"batch_rows_{name}": count for name, count in report.rows.items()},
        "batch_rows_released_from_quarantine": report.released,
        **_latency(report.latencies),
        "batch_engine_seconds": round(report.engine_seconds, 3),
        "batch_warehouse_seconds": round(report.warehouse_seconds, 3),
        **notes,
    }


def _latency(seconds: Sequence[float]) -> dict[str, float]:
    """How long new objects took from their delivery to the commit, in seconds; empty if their keys contain no time."""
    if not seconds:
        return {}
    return {"batch_latency_seconds_median": median(seconds), "batch_latency_seconds_max": seconds[-1]}


def _written(transaction: Transaction, contract: Contract, batches: Sequence[str]) -> dict[str, Any]:
    """The number of rows of a table that batches wrote, and a masked preview; empty if they wrote none."""
    table, columns = bindable(target_table(contract).qualified), contract.column_names
    of_batches = f"FROM {table} WHERE _BATCH_ID IN ({', '.join(['%s'] * len(batches))})"
    rows_written = int(transaction.scalar(f"SELECT COUNT(*) {of_batches}", tuple(batches)))
    if not rows_written:
        return {}
    rows = transaction.rows(f"SELECT {bindable(sql_names(columns))} {of_batches} LIMIT {PREVIEW_ROWS}", tuple(batches))
    preview = _as_markdown_table(columns, [mask_row(contract, columns, row) for row in rows])
    return {"rows_written": rows_written, "preview": dg.MetadataValue.md(preview)}


def _learnt_columns(pipeline: ResolvedPipeline) -> dict[str, dict[str, Any]]:
    """The columns of each table whose contract was made for this run: the asset does not show them."""
    assets = assets_of_relations(pipeline)
    tables: list[Output] = [*pipeline.tables, *pipeline.marts]
    made = [table for table in tables if table.contract.name in pipeline.value.contracts]
    return {table.contract.name: column_metadata(table, assets) for table in made}


def _changed(report: BatchReport, pipeline: ResolvedPipeline, written: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The tables of which a row was written or removed, and the views that read one of them; their qualified names."""
    tables = {target_table(contract).qualified: contract.name for contract in pipeline.targets}
    changed = {
        table
        for table, name in tables.items()
        if written[name] or report.table_rows.get(table, 0) != report.rows_before.get(table, 0)
    }
    for view in pipeline.views:
        if not changed.isdisjoint(view.select.relations):
            changed.add(view.qualified)
    return changed


def _table_event(
    report: BatchReport,
    pipeline: ResolvedPipeline,
    contract: Contract,
    changed: Collection[str],
    written: Mapping[str, Any],
) -> Event:
    """`written` is the metadata of a changed table: its written rows, a preview, pictures and learnt columns."""
    table = target_table(contract).qualified
    metadata = batch_metadata(report) | {"dagster/row_count": report.table_rows.get(table, 0)}
    if table not in changed:
        return dg.AssetObservation(table_key(pipeline, contract), metadata=metadata)
    sql = {"sql": dg.MetadataValue.md(_as_markdown_sql(report.statements))} if report.statements else {}
    return dg.MaterializeResult(
        asset_key=table_key(pipeline, contract), metadata={**metadata, "rows_written": 0, **sql, **written}
    )


def _view_event(
    report: BatchReport,
    pipeline: ResolvedPipeline,
    view: ViewTable,
    changed: Collection[str],
    rows: Mapping[str, int],
    written: Mapping[str, Mapping[str, Any]],
) -> Event:
    key = table_key(pipeline, view.contract)
    metadata = batch_metadata(report) | {"dagster/row_count": rows[view.qualified]}
    if view.qualified not in changed:
        return dg.AssetObservation(key, metadata=metadata)
    return dg.MaterializeResult(asset_key=key, metadata={**metadata, **written.get(view.contract.name, {})})


def _lake_event(
    report: BatchReport, pipeline: ResolvedPipeline, table: LakeTable, row_count: dict[str, int], platform: Platform
) -> Event:
    name, uri = table.contract.name, platform.lake.uri(table.bucket, table.prefix)
    metadata = batch_metadata(report) | {"dagster/uri": uri, **row_count}
    recovered = [file for files in report.recovered.values() for file in files if file.startswith(uri)]
    partitions = report.lake_partitions.get(name, 0) + report.copied_partitions.get(name, 0)
    if not (recovered or partitions):
        return dg.AssetObservation(table_key(pipeline, table.contract), metadata=metadata)
    files = report.lake_files.get(name, 0) + report.copied_partitions.get(name, 0) + len(recovered)
    return dg.MaterializeResult(
        asset_key=table_key(pipeline, table.contract),
        metadata={
            **metadata,
            "files_written": files,
            "partitions_touched": partitions,
        },
    )


def _lake_row_count(report: BatchReport, pipeline: ResolvedPipeline, output: FileTable) -> dict[str, int]:
    """The rows of a lake table: as many as a table of the warehouse has of the same records, if there is one."""
    same = [
        table.qualified
        for table in pipeline.tables
        if (table.grain, table.of_items) == (output.grain, output.of_items)
        and (table.write, table.filtered) == (output.write, output.filtered)
    ]
    return {"dagster/row_count": report.table_rows.get(same[0], 0)} if same else {}


def _export_event(report: BatchReport, pipeline: ResolvedPipeline, name: str) -> Event:
    key = [pipeline.name, name]
    if uri := report.exported.get(name):
        return dg.MaterializeResult(asset_key=key, metadata=batch_metadata(report) | {"dagster/uri": uri})
    return dg.AssetObservation(key, metadata=batch_metadata(report))


def _arrivals(
    transaction: Transaction, pipeline: ResolvedPipeline, batches: Sequence[str]
) -> Iterator[dg.AssetObservation]:
    """An observation of each source with loaded files: totals, and the newest objects with their row counts."""
    rows = ledger.newest_of_batches(transaction, pipeline.name, batches, NEWEST)
    for source in pipeline.sources:
        newest = [row[1:] for row in rows if row[0] == source.name]
        if newest:
            objects, rejected, size, records = map(int, newest[0][8:])
            yield dg.AssetObservation(
                source_key(source, pipeline.name),
                metadata={
                    "objects": objects,
                    "objects_rejected": rejected,
                    "bytes": size,
                    "records": records,
                    "newest_object": dg.MetadataValue.timestamp(newest[0][2].replace(tzinfo=UTC)),
                    "newest_objects": dg.MetadataValue.table([_object_record(*row[:8]) for row in newest]),
                },
            )


def _object_record(
    uri: str,
    size: int,
    modified: datetime,
    status: str,
    read: int,
    loaded: int,
    superseded: int,
    quarantined: int,
) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "object": uri,
            "bytes": int(size),
            "modified": modified.isoformat(sep=" ", timespec="seconds"),
            "status": status,
            "records": int(read),
            "loaded": int(loaded),
            "superseded": int(superseded),
            "quarantined": int(quarantined),
        }
    )


def _as_markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table whose cells are cut: the UI gives a column a few words, so a long text would fill the page."""

    def line(cells: Iterable[object]) -> str:
        texts = ("" if cell is None else one_line(cell) for cell in cells)
        cut = (text if len(text) <= CELL else f"{text[:CELL]}…" for text in texts)
        return "| " + " | ".join(text.replace("|", "\\|") for text in cut) + " |"

    return "\n".join([line(columns), line("---" for _ in columns), *(line(row) for row in rows)])


def _as_markdown_sql(statements: Sequence[str]) -> str:
    return "\n\n".join(f"```sql\n{statement}\n```" for statement in statements)
