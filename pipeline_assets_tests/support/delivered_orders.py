"""Orders as a shop delivers them, and what a session makes of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline_assets.engine import BadRecord, FileOutcome, RejectPolicy
from pipeline_assets_tests.support.engine_session import NEVER, landed, opened, rows
from pipeline_assets_tests.support.orders_lake import contract

ORDERS = contract("orders")
ORDER_COLUMNS = (*ORDERS.column_names, "_RESCUED")
LINE_COLUMNS = ("ORDER_ID", "_POSITION", *ORDERS.items.column_names, "_RESCUED") if ORDERS.items else ()
LEFT_OUT: Any = ...


def customer(**changes: object) -> dict:
    return changed({"customer_id": 7, "name": "Ada", "email": "ada@example.org", "address": " 1 Row "}, changes)


def product(**changes: object) -> dict:
    known = {"product_id": "p1", "name": "Pen", "category": "desk", "price": 1.5, "quantity": 2}
    return changed(known, changes)


def order(order_id: object = 1, **changes: object) -> dict:
    """An order without fault; `LEFT_OUT` takes a key away."""
    known = {
        "order_id": order_id,
        "order_date": "2026-01-02",
        "total_amount": 25,
        "customer": customer(),
        "products": [product()],
    }
    return changed(known, changes)


def changed(record: dict, changes: dict) -> dict:
    return {key: value for key, value in {**record, **changes}.items() if value is not LEFT_OUT}


def text(record: object, **replaced: str) -> str:
    """A record as JSON text; a value that reads `@name` is replaced by the text given for that name, as it stands."""
    written = json.dumps(record)
    for name, raw in replaced.items():
        assert f'"@{name}"' in written
        written = written.replace(f'"@{name}"', raw)
    return written


@dataclass(frozen=True)
class LandedFileReader:
    """What became of files: rows by order, and what was reported."""

    orders: list[dict]
    lines: list[dict]
    bad: list[BadRecord]
    outcomes: list[FileOutcome]

    @property
    def ids(self) -> list[str]:
        return [row["ORDER_ID"] for row in self.orders]

    @property
    def outcome(self) -> FileOutcome:
        (outcome,) = self.outcomes
        return outcome

    @property
    def reported(self) -> list[tuple[int | None, str]]:
        return [(bad.line, bad.code) for bad in self.bad]


def delivered(
    *contents: str | bytes, policy: RejectPolicy = NEVER, waiting: Sequence[tuple[str, int | None]] = ()
) -> LandedFileReader:
    """Read and deduplicate files of orders; every file's records must add up."""
    with tempfile.TemporaryDirectory() as folder, opened(policy) as session:
        files = [
            landed(Path(folder) / f"{number}.json", content, days=number, waiting=waiting)
            for number, content in enumerate(contents)
        ]
        session.read("orders", ORDERS, files)
        session.deduplicate("orders")
        outcomes = session.outcomes("orders")
        for outcome in outcomes:
            assert outcome.read == outcome.loaded + outcome.superseded + outcome.quarantined
        found = LandedFileReader(
            [dict(zip(ORDER_COLUMNS, row, strict=True)) for row in rows(session, selecting("ORDERS", ORDER_COLUMNS))],
            [
                dict(zip(LINE_COLUMNS, row, strict=True))
                for row in rows(session, selecting("ORDERS_PRODUCTS", LINE_COLUMNS))
            ],
            list(session.bad_records("orders")),
            outcomes,
        )
        assert len(found.orders) == sum(outcome.loaded for outcome in outcomes)
        return found


def selecting(relation: str, columns: Sequence[str]) -> str:
    return f"SELECT {', '.join(columns)} FROM {relation}"


def name(uri: str) -> int:
    """The number of the file among those that were delivered."""
    return int(Path(uri).stem)


def bad_of(found: LandedFileReader) -> dict[int, list[tuple[int | None, str, str | None]]]:
    """Line, code and text of the bad records of each file."""
    bad: dict[int, list[tuple[int | None, str, str | None]]] = {}
    for record in found.bad:
        bad.setdefault(name(record.landed.uri), []).append((record.line, record.code, record.raw))
    return bad
