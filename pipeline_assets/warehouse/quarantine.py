"""Queries of the quarantine: records and objects that were set aside and not loaded yet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

from pipeline_assets.warehouse.transaction import Transaction


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


def waiting_records(
    transaction: Transaction,
    pipeline: str,
    dataset: str,
    codes: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
) -> list[WaitingRecord]:
    """Records not loaded yet, by object and line; `codes` and `ids` narrow them.

    Malformed records are left out until their object is delivered again: a change of the contract cannot repair them,
    and of bytes that are not UTF-8 only a transcription is kept.
    """
    where, params = "", [pipeline, dataset]
    for column, values in (("REASON_CODE", codes), ("QUARANTINE_ID", ids)):
        if values is not None:
            where += f" AND {column} IN ({', '.join(['%s'] * len(values))})" if values else " AND FALSE"
            params.extend(values)
    rows = transaction.rows(
        "SELECT QUARANTINE_ID, SOURCE_URI, SOURCE_ETAG, SOURCE_MODIFIED_AT, LINE_NUMBER, REASON_CODE, RAW_RECORD, "
        "SOURCE_COLUMNS "
        "FROM OPS.QUARANTINE WHERE PIPELINE = %s AND DATASET = %s AND REPLAYED_AT IS NULL AND CLOSED_AT IS NULL "
        "AND LINE_NUMBER IS NOT NULL AND REASON_CODE <> 'malformed_record'"
        f"{where} ORDER BY SOURCE_URI, SOURCE_ETAG, LINE_NUMBER",
        params,
    )
    return [
        WaitingRecord(key, uri, etag, modified, int(line), code, raw, tuple(json.loads(columns)))
        for key, uri, etag, modified, line, code, raw, columns in rows
    ]


def rejected_objects(transaction: Transaction, pipeline: str, ids: Sequence[str] | None = None) -> set[tuple[str, str]]:
    """(uri, etag) of objects that were rejected whole and not loaded since; `ids` narrow them."""
    narrowed = "" if ids is None else f" AND QUARANTINE_ID IN ({', '.join(['%s'] * len(ids))})"
    rows = transaction.rows(
        "SELECT SOURCE_URI, SOURCE_ETAG FROM OPS.QUARANTINE "
        f"WHERE PIPELINE = %s AND LINE_NUMBER IS NULL AND REPLAYED_AT IS NULL AND CLOSED_AT IS NULL{narrowed}",
        (pipeline, *(ids or ())),
    )
    return set(rows)


def unknown_ids(transaction: Transaction, pipeline: str, ids: Sequence[str]) -> list[str]:
    """Those of `ids` that no waiting record or object of the pipeline has."""
    rows = transaction.rows(
        "SELECT QUARANTINE_ID FROM OPS.QUARANTINE WHERE PIPELINE = %s AND REPLAYED_AT IS NULL AND CLOSED_AT IS NULL "
        f"AND QUARANTINE_ID IN ({', '.join(['%s'] * len(ids))})",
        (pipeline, *ids),
    )
    waiting = {key for (key,) in rows}
    return [key for key in ids if key not in waiting]
