"""Queries of the ledger: which object versions were taken, and which batches were published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline_assets.lake.objects import FINGERPRINT
from pipeline_assets.warehouse.transaction import Transaction

if TYPE_CHECKING:
    import pyarrow as pa


def fingerprints(transaction: Transaction, pipeline: str) -> Iterator[pa.Table]:
    """The fingerprint of every object version that was loaded or rejected, as tables of one column.

    The warehouse computes them, and they arrive as Arrow: 32 MB for a million objects instead of a million tuples.
    """
    columns = {"dataset": "DATASET", "size": "SIZE_BYTES", "etag": "ETAG", "uri": "URI"}
    return transaction.arrow(
        f"SELECT {FINGERPRINT.format(**columns)} AS FINGERPRINT FROM OPS.FILE_LEDGER WHERE PIPELINE = %s", (pipeline,)
    )


def published_batches(transaction: Transaction, pipeline: str) -> int:
    """The number of published batches of a pipeline."""
    return int(transaction.scalar("SELECT PUBLISHED_BATCHES FROM OPS.PIPELINES WHERE PIPELINE = %s", (pipeline,)) or 0)


def is_published(transaction: Transaction, batch_id: str) -> bool:
    """Whether a batch was published."""
    return bool(transaction.scalar("SELECT COUNT(*) FROM OPS.BATCHES WHERE BATCH_ID = %s", (batch_id,)))


def register_pipeline(transaction: Transaction, pipeline: str) -> None:
    """Insert the counter row of a pipeline, unless it exists."""
    transaction.execute(
        "INSERT INTO OPS.PIPELINES (PIPELINE, PUBLISHED_BATCHES) SELECT %s, 0 "
        "WHERE NOT EXISTS (SELECT 1 FROM OPS.PIPELINES WHERE PIPELINE = %s)",
        (pipeline, pipeline),
    )


def claim_publication(transaction: Transaction, pipeline: str, planned_on: int) -> bool:
    """Count one more publication; False if another run published after the `planned_on` batches.

    The update makes a second publication of the pipeline wait for the end of this transaction. In Snowflake, where an
    UPDATE locks the whole (small) table, the publications of other pipelines wait as well: there all publications run
    one after another.
    """
    return (
        transaction.execute(
            "UPDATE OPS.PIPELINES SET PUBLISHED_BATCHES = PUBLISHED_BATCHES + 1 "
            "WHERE PIPELINE = %s AND PUBLISHED_BATCHES = %s",
            (pipeline, planned_on),
        )
        >= 1
    )


def watermark(transaction: Transaction, pipeline: str, name: str) -> str | None:
    """The last published state of a pipeline under a name."""
    return transaction.scalar("SELECT VALUE FROM OPS.WATERMARKS WHERE PIPELINE = %s AND NAME = %s", (pipeline, name))


def totals(transaction: Transaction, pipelines: Sequence[str]) -> list[tuple]:
    """(pipeline, objects loaded, objects rejected, rows read, loaded, superseded, quarantined, last load)."""
    marks = ", ".join(["%s"] * len(pipelines))
    return transaction.rows(
        "SELECT PIPELINE, COUNT_IF(STATUS = 'loaded'), COUNT_IF(STATUS = 'rejected'), SUM(ROWS_READ), "
        "SUM(ROWS_LOADED), SUM(ROWS_SUPERSEDED), SUM(ROWS_QUARANTINED), MAX(LOADED_AT) FROM OPS.FILE_LEDGER "
        f"WHERE PIPELINE IN ({marks}) GROUP BY PIPELINE ORDER BY PIPELINE",
        tuple(pipelines),
    )


def newest_of_batches(transaction: Transaction, pipeline: str, batch_ids: Sequence[str], limit: int) -> list[tuple]:
    """The newest objects that some batches took, at most `limit` of each dataset, and the dataset's totals beside them.

    Returns:
        (dataset, objects, rejected objects, bytes, records; and of the object: uri, bytes, time, status, rows read,
        loaded, superseded, quarantined), newest first.
    """
    marks = ", ".join(["%s"] * len(batch_ids))
    return transaction.rows(
        "SELECT DATASET, COUNT(*) OVER (PARTITION BY DATASET), "
        "SUM(IFF(STATUS = 'rejected', 1, 0)) OVER (PARTITION BY DATASET), "
        "SUM(SIZE_BYTES) OVER (PARTITION BY DATASET), SUM(ROWS_READ) OVER (PARTITION BY DATASET), "
        "URI, SIZE_BYTES, LAST_MODIFIED, STATUS, ROWS_READ, ROWS_LOADED, ROWS_SUPERSEDED, ROWS_QUARANTINED "
        f"FROM OPS.FILE_LEDGER WHERE PIPELINE = %s AND BATCH_ID IN ({marks}) "
        f"QUALIFY ROW_NUMBER() OVER (PARTITION BY DATASET ORDER BY LAST_MODIFIED DESC, URI DESC) <= {limit} "
        "ORDER BY DATASET, LAST_MODIFIED DESC, URI DESC",
        (pipeline, *batch_ids),
    )


def last_arrival(transaction: Transaction, pipeline: str, dataset: str) -> tuple[datetime | None, datetime | None]:
    """When an object of a dataset was last loaded or rejected, and the newest time of one by its store's clock."""
    ((loaded, modified),) = transaction.rows(
        "SELECT MAX(LOADED_AT), MAX(LAST_MODIFIED) FROM OPS.FILE_LEDGER WHERE PIPELINE = %s AND DATASET = %s",
        (pipeline, dataset),
    )
    return loaded, modified
