"""What each pipeline did on each day, UTC, from the tables of schema OPS."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_assets.warehouse.schema import ops_sql
from pipeline_assets.warehouse.transaction import Transaction


def batches_by_day(transaction: Transaction, pipelines: Sequence[str]) -> list[tuple]:
    """(pipeline, day, published batches, seconds of engines, seconds of the warehouse); seconds None if unknown."""
    return transaction.rows(ops_sql("batches_by_day"), {"pipelines": pipelines})


def rows_by_day(transaction: Transaction, pipelines: Sequence[str]) -> list[tuple]:
    """(pipeline, day, rows read, loaded, superseded, quarantined) of the objects that were processed last on a day."""
    return transaction.rows(ops_sql("rows_by_day"), {"pipelines": pipelines})


def arrivals_by_day(transaction: Transaction, pipelines: Sequence[str]) -> list[tuple]:
    """(pipeline, dataset, day, last arrival, median seconds from an object's time to its arrival)."""
    return transaction.rows(ops_sql("arrivals_by_day"), {"pipelines": pipelines})


def quarantine_by_day(transaction: Transaction, pipelines: Sequence[str]) -> list[tuple]:
    """(pipeline, day, records and objects that came into quarantine, those that were closed)."""
    return transaction.rows(ops_sql("quarantine_by_day"), {"pipelines": pipelines})
