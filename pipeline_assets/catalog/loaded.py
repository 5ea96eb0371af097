"""What was loaded into each dataset: rows, bytes, newest objects, masked samples, and what each pipeline did by day.

Only reads. A table that does not exist yet has no rows, and one that cannot be read has a note in their place.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from pipeline_assets.catalog.datasets import Dataset
from pipeline_assets.catalog.health import Daily, read_daily
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.contracts.masking import mask_row
from pipeline_assets.contracts.names import sql_names
from pipeline_assets.errors import WarehouseError
from pipeline_assets.orchestration.checks import plain_value
from pipeline_assets.pipeline.resolved import ResolvedPipeline, Source
from pipeline_assets.warehouse import Transaction, Warehouse, ledger
from pipeline_assets.warehouse.catalog import lake_sizes
from pipeline_assets.warehouse.migration import present_columns
from pipeline_assets.warehouse.quarantine import waiting_reasons

SAMPLE_ROWS = 5
NEWEST_OBJECTS = 10
BATCHES = 60  # of each dataset, the newest
_OBJECT = ("uri", "bytes", "modified", "status", "read", "loaded", "superseded", "quarantined")
_BATCH = ("at", "objects", "rejected", "bytes", "read", "loaded", "superseded", "quarantined", "latency")


@dataclass
class Loaded:
    """What was loaded, as JSON values by the key of a dataset; times are UTC.

    By the name of a pipeline: the records that wait in quarantine by reason code, and what it did by day.
    """

    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    waiting: dict[str, dict[str, int]] = field(default_factory=dict)
    daily: dict[str, Daily] = field(default_factory=dict)


def read_loaded(
    warehouse: Warehouse, pipelines: Sequence[ResolvedPipeline], datasets: Sequence[Dataset], *, in_s3: bool
) -> Loaded:
    """What the warehouse has of some pipelines and their datasets; `in_s3` as in `read_daily`.

    Raises:
        WarehouseError: it cannot be reached.
    """
    loaded = Loaded()
    with warehouse.autocommit() as session:  # not one transaction, which the first table that fails would end
        columns = present_columns(session)
        if "OPS.FILE_LEDGER" in columns:
            for pipeline in pipelines:
                _read_pipeline(session, pipeline, loaded, in_s3)
            has_seconds = "ENGINE_SECONDS" in columns["OPS.BATCHES"]
            loaded.daily = read_daily(session, pipelines, has_seconds=has_seconds, in_s3=in_s3)
        sizes = lake_sizes(session) if "OPS.LAKE_PARTITIONS" in columns else {}
        for dataset in datasets:
            if not dataset.in_warehouse:
                continue
            name = target_table(dataset.contract).qualified
            found = loaded.datasets.setdefault(dataset.key, {})
            if name in columns or name in sizes:
                found |= _table(session, dataset, name, columns.get(name, dataset.contract.column_names))
            if size := sizes.get(name):
                partitions, files, stored, at = size
                found |= {"partitions": partitions, "files": files, "bytes": stored, "changed": _value(at)}
    return loaded


def _read_pipeline(session: Transaction, pipeline: ResolvedPipeline, loaded: Loaded, in_s3: bool) -> None:
    objects = ledger.newest_objects(session, pipeline.name, NEWEST_OBJECTS)
    batches = ledger.objects_by_batch(session, pipeline.name, BATCHES)
    for source in pipeline.sources:
        of_source = [
            dict(zip(_BATCH, (_value(at), *map(int, counts), _latency(source, latency, in_s3)), strict=True))
            for dataset, at, *counts, latency in batches
            if dataset == source.name
        ]
        arrived, modified = ledger.last_arrival(session, pipeline.name, source.name)
        loaded.datasets[f"{pipeline.name}/{source.name}_files"] = {
            "batches": of_source,
            "objects": [
                dict(zip(_OBJECT, (uri, int(size), _value(modified), status, *map(int, counts)), strict=True))
                for dataset, uri, size, modified, status, *counts in objects
                if dataset == source.name
            ],
            "arrived": _value(arrived),
            "modified": _value(modified),
        }
    loaded.waiting[pipeline.name] = waiting_reasons(session, pipeline.name)


def _table(session: Transaction, dataset: Dataset, name: str, existing: Collection[str]) -> dict[str, Any]:
    """Rows by the batch that wrote them, and a masked sample of the columns that the table has already."""
    contract = dataset.contract
    columns = [column for column in contract.column_names if column in existing]
    by_batch = (
        f"SELECT BATCH.PUBLISHED_AT, COUNT(*) FROM {name} AS MADE "
        "LEFT JOIN OPS.BATCHES AS BATCH ON MADE._BATCH_ID = BATCH.BATCH_ID GROUP BY 1 ORDER BY 1"
        if "_BATCH_ID" in existing
        else f"SELECT NULL, COUNT(*) FROM {name}"
    )
    try:
        written = session.rows(by_batch)
        sample = session.rows(f"SELECT {sql_names(columns)} FROM {name} LIMIT {SAMPLE_ROWS}") if columns else []
    except WarehouseError:  # its message may contain a value
        note = f"{name} could not be read. `pipeline-assets query 'SELECT COUNT(*) FROM {name}'` shows the error."
        return {"note": note}
    dated = [(at, int(rows)) for at, rows in written if at is not None]
    return {
        "rows": sum(int(rows) for _, rows in written),
        "changed": _value(max((at for at, _ in dated), default=None)),
        "written": [{"at": _value(at), "rows": rows} for at, rows in dated[-BATCHES:]],
        "sample": {
            "columns": columns,
            "rows": [[_value(cell) for cell in mask_row(contract, columns, row)] for row in sample],
        },
    }


def _latency(source: Source, seconds: object, in_s3: bool) -> float | None:
    """None if the objects have no time of delivery."""
    return float(str(seconds)) if source.has_delivery_time(in_s3) and seconds is not None else None


def _value(cell: object) -> Any:
    """A value for JSON; the warehouse's timestamps are UTC."""
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ", timespec="seconds")
    return f"{cell:f}" if isinstance(cell, Decimal) else plain_value(cell)  # not 0E-10
