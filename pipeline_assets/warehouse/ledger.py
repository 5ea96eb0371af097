"""Queries of the ledger: which object versions were processed, and which batches were published."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline_assets.lake.objects import FINGERPRINT, LandedObject
from pipeline_assets.warehouse.schema import ops_sql
from pipeline_assets.warehouse.transaction import Transaction

if TYPE_CHECKING:
    import pyarrow as pa

_TEXTS_AT_A_TIME = 10_000  # a statement in Snowflake has at most 1 MiB, compressed


@dataclass(frozen=True)
class StoredObject:
    """An object that left landing: its identity there, and where its bytes are now."""

    landed: LandedObject
    status: str
    sha256: str
    current_uri: str


def fingerprints(transaction: Transaction, pipeline: str, datasets: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The fingerprint of the current object version at each key, of some datasets or all, as tables of one column.

    Replaced versions are left out, so the bytes of an earlier version are new again when they are put back. So are
    objects that left landing: whatever is at their key now was delivered later. The warehouse computes the
    fingerprints and returns them as Arrow: 32 MB for a million objects, not a million tuples.
    """
    columns = {"dataset": "DATASET", "size": "SIZE_BYTES", "etag": "ETAG", "uri": "URI"}
    return transaction.arrow(
        f"SELECT {FINGERPRINT.format(**columns)} AS FINGERPRINT FROM OPS.FILE_LEDGER "
        "WHERE PIPELINE = %(pipeline)s AND REPLACED_AT IS NULL AND CURRENT_URI IS NULL "
        "AND (%(every_dataset)s OR DATASET IN (%(datasets)s))",
        {"pipeline": pipeline, "every_dataset": datasets is None, "datasets": datasets or ()},
    )


def stored_objects(
    transaction: Transaction, pipeline: str, dataset: str, uris: Sequence[str] | None = None
) -> list[StoredObject]:
    """The current version of each object of a moved source; of some uris, or of all."""
    rows: list[tuple] = []
    for some in [None] if uris is None else _groups(uris):
        params = {"pipeline": pipeline, "dataset": dataset, "every_uri": some is None, "uris": some or "[]"}
        rows += transaction.rows(ops_sql("stored_objects"), params)
    return [
        StoredObject(LandedObject(uri, etag, int(size), modified.replace(tzinfo=UTC)), status, sha256, current_uri)
        for uri, etag, size, modified, status, sha256, current_uri in rows
    ]


def loaded_contents(
    transaction: Transaction, pipeline: str, dataset: str, digests: Sequence[str]
) -> dict[str, set[str]]:
    """The uris of loaded archives that had records, by the SHA-256 of their bytes, for those among `digests`."""
    uris: dict[str, set[str]] = {}
    for some in _groups(digests):
        params = {"pipeline": pipeline, "dataset": dataset, "digests": some}
        for digest, uri in transaction.rows(ops_sql("loaded_contents"), params):
            uris.setdefault(digest, set()).add(uri)
    return uris


def last_modified(
    transaction: Transaction, pipeline: str, uris: Sequence[str], *, only_with_records: bool = False
) -> dict[tuple[str, str], datetime]:
    """The time of the newest version in the ledger by (dataset, uri), UTC; objects that it lacks are left out.

    With `only_with_records`, versions of which nothing was loaded are left out, too.
    """
    times: dict[tuple[str, str], datetime] = {}
    for some in _groups(uris):
        params = {"pipeline": pipeline, "uris": some, "only_with_records": only_with_records}
        rows = transaction.rows(ops_sql("last_modified"), params)
        times.update({(dataset, uri): modified.replace(tzinfo=UTC) for dataset, uri, modified in rows})
    return times


def published_batches(transaction: Transaction, pipeline: str) -> int:
    """The number of published batches of a pipeline."""
    return int(transaction.scalar(ops_sql("published_batches"), {"pipeline": pipeline}) or 0)


def is_published(transaction: Transaction, batch_id: str) -> bool:
    """Whether a batch was published."""
    return bool(transaction.scalar(ops_sql("is_published"), {"batch_id": batch_id}))


def register_pipeline(transaction: Transaction, pipeline: str) -> None:
    """Insert the counter row of a pipeline, unless it exists."""
    transaction.execute(ops_sql("register_pipeline"), {"pipeline": pipeline})


def claim_publication(transaction: Transaction, pipeline: str, planned_on: int) -> bool:
    """Count one more publication; False if another run published after the `planned_on` batches.

    The update makes a second publication of the pipeline wait for the end of this transaction. In Snowflake, where an
    UPDATE locks the whole (small) table, the publications of other pipelines wait as well: there all publications run
    one after another.
    """
    claimed = transaction.execute(ops_sql("claim_publication"), {"pipeline": pipeline, "planned_on": planned_on})
    return claimed >= 1


def watermark(transaction: Transaction, pipeline: str, name: str) -> str | None:
    """The last published state of a pipeline under a name."""
    return transaction.scalar(ops_sql("watermark"), {"pipeline": pipeline, "name": name})


def totals(transaction: Transaction, pipelines: Sequence[str]) -> list[tuple]:
    """(pipeline, objects loaded, objects rejected, rows read, loaded, superseded, quarantined, last load)."""
    return transaction.rows(ops_sql("ledger_totals"), {"pipelines": pipelines})


def last_latencies(transaction: Transaction, pipelines: Sequence[str]) -> dict[str, tuple[float, float]]:
    """(Median, most) seconds from delivery to commit, of the new objects of the newest batch that had some."""
    rows = transaction.rows(ops_sql("last_latencies"), {"pipelines": pipelines})
    return {name: (float(median), float(longest)) for name, median, longest in rows}


def rows_read(transaction: Transaction, pipeline: str) -> int:
    """The number of rows that were read of the current objects of a pipeline, without replaced versions."""
    return int(transaction.scalar(ops_sql("rows_read"), {"pipeline": pipeline}) or 0)


def unbalanced_objects(transaction: Transaction, pipeline: str) -> list[str]:
    """URIs of at most twenty object versions whose rows are not all loaded, superseded or quarantined."""
    return [uri for (uri,) in transaction.rows(ops_sql("unbalanced_objects"), {"pipeline": pipeline})]


def current_uris(transaction: Transaction, pipeline: str) -> set[str]:
    """The uris of all objects of a pipeline."""
    return {uri for (uri,) in transaction.rows(ops_sql("current_uris"), {"pipeline": pipeline})}


def newest_of_batches(transaction: Transaction, pipeline: str, batch_ids: Sequence[str], limit: int) -> list[tuple]:
    """The newest objects of some batches, at most `limit` of each dataset, each with the totals of its dataset.

    Returns:
        (dataset; uri, bytes, time, status, rows read, loaded, superseded, quarantined of the object; objects, rejected
        objects, bytes, records of the dataset), newest first.
    """
    params = {"pipeline": pipeline, "batch_ids": batch_ids, "limit": limit}
    return transaction.rows(ops_sql("newest_of_batches"), params)


def last_arrival(transaction: Transaction, pipeline: str, dataset: str) -> tuple[datetime | None, datetime | None]:
    """When an object version was last taken for the first time, and the newest time of one by its store's clock."""
    ((arrived, modified),) = transaction.rows(ops_sql("last_arrival"), {"pipeline": pipeline, "dataset": dataset})
    return arrived, modified


def newest_objects(transaction: Transaction, pipeline: str, limit: int) -> list[tuple]:
    """The object versions of a pipeline that were taken last, at most `limit` of each dataset.

    Returns:
        (dataset, uri, bytes, time, status, rows read, loaded, superseded, quarantined), newest first.
    """
    return transaction.rows(ops_sql("newest_objects"), {"pipeline": pipeline, "limit": limit})


def objects_by_batch(transaction: Transaction, pipeline: str, limit: int) -> list[tuple]:
    """What the newest batches took, at most `limit` of each dataset.

    Returns:
        (dataset, time of publication, objects, rejected objects, bytes, rows read, loaded, superseded, quarantined,
        median seconds from an object's time to its arrival), oldest first.
    """
    return transaction.rows(ops_sql("objects_by_batch"), {"pipeline": pipeline, "limit": limit})


def _groups(texts: Sequence[str]) -> list[str]:
    """Texts as JSON lists: to parse one text takes the embedded warehouse a tenth of the time for thousands."""
    starts = range(0, len(texts), _TEXTS_AT_A_TIME)
    return [json.dumps(texts[start : start + _TEXTS_AT_A_TIME]) for start in starts]
