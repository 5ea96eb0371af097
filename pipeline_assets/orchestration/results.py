"""What a batch reports to Dagster: materializations of what it changed, observations of everything else.

Freshness follows data: a table of which no row was written or removed is observed, so that its latest materialization,
its plots and its freshness stay those of the last batch that changed it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
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
from pipeline_assets.lake import LakeTable
from pipeline_assets.orchestration.columns import Output, assets_of_relations, column_metadata
from pipeline_assets.orchestration.keys import processed_key, source_key, table_key
from pipeline_assets.orchestration.lake_metadata import lake_metadata, location, tables_of_same_rows
from pipeline_assets.orchestration.markdown import PREVIEW_ROWS, as_sql, as_table, code, readable
from pipeline_assets.orchestration.plots import Rows, plot_metadata, plot_rows
from pipeline_assets.pipeline.resolved import PROCESSED, FileTable, PlotQuery, ResolvedPipeline, Source, ViewTable
from pipeline_assets.warehouse import Transaction, ledger

NEWEST = 20  # landed objects of a source that an observation lists
_RECORDS = ("records", "records_loaded", "records_superseded", "records_quarantined")

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
                arrivals = list(_arrivals(transaction, pipeline, batches, platform))
                changed = _changed(report, pipeline, written)
                for view in pipeline.views:
                    if view.qualified in changed:
                        written[view.contract.name] = _preview(transaction, view.contract, view.qualified)
                plots = plot_rows(transaction, pipeline, changed)  # last: a SELECT that fails may end the transaction
    for name, pictures in plot_metadata(plots, datetime.now(UTC).replace(tzinfo=None)).items():
        written.setdefault(name, {}).update(pictures)
    for name, columns in _learnt_columns(pipeline).items():
        written.setdefault(name, {}).update(columns)
    sql = _statements(report, pipeline)
    results = [_table_event(report, pipeline, c, changed, written.get(c.name, {}), sql) for c in pipeline.targets]
    results += [_view_event(report, pipeline, view, changed, view_rows, written, sql) for view in pipeline.views]
    counts = {output.contract.name: _lake_row_count(report, pipeline, output) for output in pipeline.lake_outputs}
    counts |= {
        copy.contract.name: {"dagster/row_count": report.table_rows.get(copy.select.relations[0], 0)}
        for copy in pipeline.lake_copies
    }
    results += [
        _lake_event(report, pipeline, table, counts[table.contract.name], platform, sql)
        for table in pipeline.lake_tables
    ]
    results += [_export_event(report, pipeline, export.declared.name, platform) for export in pipeline.exports]
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
    table = bindable(target_table(contract).qualified)
    of_batches = f"{table} WHERE _BATCH_ID IN ({', '.join(['%s'] * len(batches))})"
    rows_written = int(transaction.scalar(f"SELECT COUNT(*) FROM {of_batches}", tuple(batches)))
    if not rows_written:
        return {}
    return {"table_rows_written": rows_written, **_preview(transaction, contract, of_batches, tuple(batches))}


def _preview(
    transaction: Transaction, contract: Contract, rows_of: str, values: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Masked rows of a relation and its conditions, whose bound `values` these are."""
    columns = contract.column_names
    names = bindable(sql_names(columns)) if values else sql_names(columns)
    rows = transaction.rows(f"SELECT {names} FROM {rows_of} LIMIT {PREVIEW_ROWS}", values or None)
    return {"preview": dg.MetadataValue.md(as_table(columns, [mask_row(contract, columns, row) for row in rows]))}


def _statements(report: BatchReport, pipeline: ResolvedPipeline) -> dict[str, dict[str, Any]]:
    """The SQL of each output: its own SELECT, and behind it the statements of the batch in the order in which they ran.

    A batch that loaded nothing has none.
    """
    if not report.statements:
        return {}
    batch = as_sql(*map(readable, report.statements))
    outputs: list[Output] = [
        *pipeline.tables,
        *pipeline.marts,
        *pipeline.views,
        *pipeline.lake_outputs,
        *pipeline.lake_copies,
    ]
    return {
        output.contract.name: {
            "sql": dg.MetadataValue.md(
                f"**The SELECT of {code(output.contract.name)}**\n\n{as_sql(readable(output.select.text))}\n\n"
                f"**All statements of the batch, in the order in which they ran**\n\n{batch}"
            )
        }
        for output in outputs
    }


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
    sql: Mapping[str, Mapping[str, Any]],
) -> Event:
    """`written` is the metadata of a changed table: its written rows, a preview, pictures and learnt columns."""
    table = target_table(contract).qualified
    rows = {"dagster/row_count": report.table_rows.get(table, 0)}
    key, batch = table_key(pipeline, contract), batch_metadata(report)
    if table not in changed:
        return dg.AssetObservation(key, metadata=rows | batch)
    counts = _row_counts(report, table, written.get("table_rows_written", 0))
    return dg.MaterializeResult(
        asset_key=key, metadata={**rows, **counts, **written, **sql.get(contract.name, {}), **batch}
    )


def _row_counts(report: BatchReport, table: str, written: int) -> dict[str, int]:
    """How a batch changed the rows of a table: before + written - deleted = `dagster/row_count`.

    A row that is written again is deleted first. After an interrupted batch, the rows before both are not known.
    """
    if report.recovered:
        return {"table_rows_written": written}
    before = report.rows_before.get(table, 0)
    deleted = before + written - report.table_rows.get(table, 0)
    return {"table_rows_before": before, "table_rows_written": written, "table_rows_deleted": deleted}


def _view_event(
    report: BatchReport,
    pipeline: ResolvedPipeline,
    view: ViewTable,
    changed: Collection[str],
    rows: Mapping[str, int],
    written: Mapping[str, Mapping[str, Any]],
    sql: Mapping[str, Mapping[str, Any]],
) -> Event:
    key, name = table_key(pipeline, view.contract), view.contract.name
    count = {"dagster/row_count": rows[view.qualified]}
    if view.qualified not in changed:
        return dg.AssetObservation(key, metadata=count | batch_metadata(report))
    metadata = {**count, **written.get(name, {}), **sql.get(name, {}), **batch_metadata(report)}
    return dg.MaterializeResult(asset_key=key, metadata=metadata)


def _lake_event(
    report: BatchReport,
    pipeline: ResolvedPipeline,
    table: LakeTable,
    row_count: dict[str, int],
    platform: Platform,
    sql: Mapping[str, Mapping[str, Any]],
) -> Event:
    name, uri = table.contract.name, platform.lake.uri(table.bucket, table.prefix)
    place: dict[str, Any] = {"location": location(platform.lake, table.bucket, table.prefix), "dagster/uri": uri}
    key, batch = table_key(pipeline, table.contract), batch_metadata(report)
    recovered = [file for files in report.recovered.values() for file in files if file.startswith(uri)]
    partitions = report.lake_partitions.get(name, 0) + report.copied_partitions.get(name, 0)
    if not (recovered or partitions):
        return dg.AssetObservation(key, metadata={**row_count, **place, **batch})
    files = report.lake_files.get(name, 0) + report.copied_partitions.get(name, 0) + len(recovered)
    return dg.MaterializeResult(
        asset_key=key,
        metadata={
            **row_count,
            "table_files_written": files,
            "table_partitions_touched": partitions,
            **lake_metadata(platform.lake, table),
            **place,
            **sql.get(name, {}),
            **batch,
        },
    )


def _lake_row_count(report: BatchReport, pipeline: ResolvedPipeline, output: FileTable) -> dict[str, int]:
    """The rows of a lake table: as many as a table of the warehouse has of the same records, if there is one."""
    same = tables_of_same_rows(pipeline, output)
    return {"dagster/row_count": report.table_rows.get(same[0].qualified, 0)} if same else {}


def _export_event(report: BatchReport, pipeline: ResolvedPipeline, name: str, platform: Platform) -> Event:
    key, batch = [pipeline.name, name], batch_metadata(report)
    if not (uri := report.exported.get(name)):
        return dg.AssetObservation(key, metadata=batch)
    bucket, object_key = uri.split("/", 3)[2:4]
    file: dict[str, Any] = {
        "dagster/row_count": report.exported_rows.get(name, 0),
        "location": location(platform.lake, bucket, object_key),
        "dagster/uri": uri,
    }
    return dg.MaterializeResult(asset_key=key, metadata=file | batch)


def _arrivals(
    transaction: Transaction, pipeline: ResolvedPipeline, batches: Sequence[str], platform: Platform
) -> Iterator[dg.AssetObservation]:
    """An observation of each source with loaded files: totals, and the newest objects with their row counts.

    One of the zone that its objects are in after the commit follows, if it has one.
    """
    rows = ledger.newest_of_batches(transaction, pipeline.name, batches, NEWEST)
    for source in pipeline.sources:
        newest = [row[1:] for row in rows if row[0] == source.name]
        if not newest:
            continue
        objects, rejected, size, *records = map(int, newest[0][8:])
        counts = dict(zip(_RECORDS, records, strict=True))
        yield dg.AssetObservation(
            source_key(source, pipeline.name),
            metadata={
                "objects": objects,
                "objects_rejected": rejected,
                "bytes": size,
                **counts,
                "newest_object": dg.MetadataValue.timestamp(newest[0][2].replace(tzinfo=UTC)),
                "newest_objects": dg.MetadataValue.table([_object_record(*row[:8]) for row in newest]),
                "location": location(platform.lake, source.zone.bucket, source.zone.prefix),
            },
        )
        if objects > rejected and (zone := _processed_zone(source, batches[-1])):
            yield dg.AssetObservation(
                processed_key(source, pipeline.name),
                metadata={
                    "objects_loaded": objects - rejected,
                    "location": location(platform.lake, *zone),
                    "dagster/uri": platform.lake.uri(*zone),
                },
            )


def _processed_zone(source: Source, batch: str) -> tuple[str, str] | None:
    """The bucket and the prefix of what a batch has loaded of a moved or archived source."""
    if source.list_column:
        return None
    if archive := source.declared.archive:
        return archive.bucket, f"{archive.prefix}{batch}/"
    return (source.zone.bucket, source.zone_prefix(PROCESSED, batch)) if source.declared.moved else None


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
