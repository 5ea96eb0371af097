"""Statements over the quarantine: query, discard and purge bad records and rejected objects."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

from pipeline_assets.warehouse.schema import ops_sql, ops_table
from pipeline_assets.warehouse.transaction import Transaction

_EVERY_ROW = 10**18
_NAMES_AT_A_TIME = 10_000  # Snowflake takes 16,384 values in a list


@dataclass(frozen=True)
class WaitingRecord:
    """A quarantined record that may be validated again, with the version of its object."""

    quarantine_id: str
    uri: str
    etag: str
    modified: datetime
    line: int
    code: str
    raw: str
    columns: tuple[str, ...]


def quarantine_id(pipeline: str, dataset: str, uri: str, etag: str, line: int | None, code: str) -> str:
    """The id of a record: the same record of the same object has the same id in every run."""
    text = "\n".join((pipeline, dataset, uri, etag, str(line), code))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def quarantined(
    transaction: Transaction, pipeline: str | None, *, closed: bool, limit: int | None
) -> tuple[list[str], list[tuple]]:
    """Column names and rows of quarantined records and objects: waiting ones, with `closed` all."""
    params = {"every_pipeline": pipeline is None, "pipeline": pipeline, "every_state": closed}
    return transaction.described(ops_sql("quarantined"), params | {"limit": _EVERY_ROW if limit is None else limit})


def ids_that_start_with(transaction: Transaction, start: str) -> list[str]:
    """At most three ids of records and objects, waiting or closed."""
    sql = """
        SELECT DISTINCT QUARANTINE_ID FROM OPS.QUARANTINE
        WHERE STARTSWITH(QUARANTINE_ID, %(start)s) ORDER BY QUARANTINE_ID LIMIT 3
    """
    return [key for (key,) in transaction.rows(sql, {"start": start})]


def quarantined_record(transaction: Transaction, key: str) -> dict[str, object]:
    """All columns of the record or object with that whole id by name, and CURRENT_URI if it left landing."""
    names = [name for name, *_ in ops_table("QUARANTINE").columns]
    sql = f"""
        SELECT {", ".join(f"Q.{name}" for name in names)}, L.CURRENT_URI
        FROM OPS.QUARANTINE AS Q
        LEFT JOIN OPS.FILE_LEDGER AS L
            ON L.PIPELINE = Q.PIPELINE AND L.DATASET = Q.DATASET AND L.URI = Q.SOURCE_URI AND L.ETAG = Q.SOURCE_ETAG
        WHERE Q.QUARANTINE_ID = %(key)s
    """
    rows = transaction.rows(sql, {"key": key})
    return dict(zip([*names, "CURRENT_URI"], rows[0], strict=True))


def waiting_records(
    transaction: Transaction,
    pipeline: str,
    dataset: str,
    codes: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
) -> list[WaitingRecord]:
    """Records not loaded yet, by object and line; `codes` and `ids` narrow them.

    Malformed records are left out; `sql/ops/waiting_records.sql` says why.
    """
    rows = transaction.rows(
        ops_sql("waiting_records"),
        {
            "pipeline": pipeline,
            "dataset": dataset,
            "every_code": codes is None,
            "codes": codes or (),
            "every_id": ids is None,
            "ids": ids or (),
        },
    )
    return [
        WaitingRecord(key, uri, etag, modified, int(line), code, raw, tuple(json.loads(columns)))
        for key, uri, etag, modified, line, code, raw, columns in rows
    ]


def rejected_objects(
    transaction: Transaction, pipeline: str, ids: Sequence[str] | None = None, datasets: Sequence[str] | None = None
) -> set[tuple[str, str]]:
    """(uri, etag) of objects that were rejected whole and not loaded since; `ids` and `datasets` narrow them."""
    params = {
        "pipeline": pipeline,
        "every_id": ids is None,
        "ids": ids or (),
        "every_dataset": datasets is None,
        "datasets": datasets or (),
    }
    return set(transaction.rows(ops_sql("rejected_objects"), params))


def rejection_reasons(transaction: Transaction, pipeline: str) -> list[tuple[str, str]]:
    """(uri, reason code) of at most twenty objects that were rejected whole and not loaded since."""
    return transaction.rows(ops_sql("rejection_reasons"), {"pipeline": pipeline})


def waiting_reasons(transaction: Transaction, pipeline: str) -> dict[str, int]:
    """The number of waiting records of a pipeline by reason code; objects are left out."""
    return {code: int(count) for code, count in transaction.rows(ops_sql("waiting_reasons"), {"pipeline": pipeline})}


def waiting_objects(transaction: Transaction, pipeline: str) -> list[tuple[str, str, int]]:
    """(uri, reason code, waiting records) of a pipeline, by uri; no records for an object that was rejected whole."""
    rows = transaction.rows(ops_sql("waiting_objects"), {"pipeline": pipeline})
    return [(uri, code, int(records)) for uri, code, records in rows]


def waiting_totals(transaction: Transaction) -> dict[str, int]:
    """The number of waiting records and objects by pipeline."""
    return {pipeline: int(count) for pipeline, count in transaction.rows(ops_sql("waiting_totals"))}


def unknown_ids(transaction: Transaction, pipeline: str, ids: Sequence[str]) -> list[str]:
    """Those of `ids` that no waiting record or object of the pipeline has."""
    waiting = {key for (key,) in transaction.rows(ops_sql("waiting_ids"), {"pipeline": pipeline, "ids": ids})}
    return [key for key in ids if key not in waiting]


def discard_records(
    transaction: Transaction, pipeline: str, ids: Sequence[str] | None, reason: str, at: datetime
) -> int:
    """Close waiting records and objects of a pipeline without loading them, all or `ids`; returns their number."""
    params = {"pipeline": pipeline, "every_id": ids is None, "ids": ids or (), "reason": reason, "at": at}
    return transaction.execute(ops_sql("discard_records"), params)


def close_gone_objects(
    transaction: Transaction, pipeline: str, objects: Collection[tuple[str, str]], at: datetime
) -> None:
    """Close waiting foreign objects, given as (uri, etag), that no zone lists any more; if one returns, it is new."""
    names = sorted(f"{etag} {uri}" for uri, etag in objects)
    for start in range(0, len(names), _NAMES_AT_A_TIME):
        params = {"pipeline": pipeline, "objects": names[start : start + _NAMES_AT_A_TIME], "at": at}
        transaction.execute(ops_sql("close_gone_objects"), params)
        transaction.execute(ops_sql("forget_gone_objects"), params)


def purge_closed_records(transaction: Transaction, pipeline: str | None, before: datetime) -> int:
    """Delete records and objects that were replayed, or closed otherwise, before a moment, UTC without a zone.

    If an object is read again after that, its discarded records are quarantined again. Returns the number of deleted
    rows.
    """
    params = {"every_pipeline": pipeline is None, "pipeline": pipeline, "before": before}
    return transaction.execute(ops_sql("purge_closed_records"), params)
