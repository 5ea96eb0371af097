"""Deliveries to deduplicate, drawn at random from what is hard, and a plain model of what must become of them.

A `Case` is one input: files, published rows, and how it is settled. `expected` says in Python, without SQL, which rows
stay. Rows are reported apart by the column N, which nothing else looks at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.contracts import Column, Contract, Reference
from pipeline_assets.engine import Session, SourceFile
from pipeline_assets.lake import LandedObject
from pipeline_assets_tests.support.engine_session import PEOPLE, START, landed, rows

# The same value in several spellings, next to one that only looks alike.
SPELLINGS: dict[str, dict[str, Any]] = {
    "WHOLE": {"1": Decimal(1), "01": Decimal(1), "1.0": Decimal(1), "10": Decimal(10), "-1": Decimal(-1)},
    "DAY": {"2026-01-02": date(2026, 1, 2), "02-01-2026": date(2026, 1, 2), "2026-02-01": date(2026, 2, 1)},
    "WORD": {"a": "a", " a ": "a", "A": "A", "a1": "a1", '"a,1"': "a,1"},
    "SEQ": {"": None, "9": Decimal(9), "9.00": Decimal(9), "10": Decimal(10), "-9.5": Decimal("-9.5")},
    "MOMENT": {
        "": None,
        "2026-01-02": datetime.fromisoformat("2026-01-02"),
        "2026-01-02 00:00:00.000": datetime.fromisoformat("2026-01-02"),
        "2026-01-02 00:00:00.000001": datetime.fromisoformat("2026-01-02T00:00:00.000001"),
    },
    "TAG": {"": None, "a": "a", "B": "B", "é": "é", "z": "z"},
    "PERSON_ID": {"": None, "1": "1", "nobody": "nobody"},
}
COLUMNS = (
    Column("WHOLE", "integer", "NUMBER(5,0)"),
    Column("DAY", "date", "DATE", input_formats=("YYYY-MM-DD", "DD-MM-YYYY")),
    Column("WORD", "string", "VARCHAR(9)", max_length=9),
    Column("SEQ", "number", "NUMBER(9,2)"),
    Column("MOMENT", "timestamp", "TIMESTAMP_NTZ(6)"),
    Column("TAG", "string", "VARCHAR"),
    Column("PERSON_ID", "string", "VARCHAR", reference=Reference("people", "ID", "orphan_visit")),
    Column("N", "integer", "NUMBER(9,0)", required=True),
)
KEYS = ((), ("WHOLE",), ("DAY",), ("WORD",), ("WHOLE", "DAY"), ("WHOLE", "DAY", "WORD"))
HEADER = ",".join((*(column.name for column in COLUMNS), "EXTRA"))
_KINDS = {"SEQ": pa.decimal128(9, 2), "MOMENT": pa.timestamp("us"), "WHOLE": pa.decimal128(5, 0), "DAY": pa.date32()}


@dataclass(frozen=True)
class Record:
    """A record as text, and its values where it has none that is bad."""

    text: str
    values: Mapping[str, Any] | None


@dataclass(frozen=True)
class Delivered:
    """A file: `kind` is `broken` when it lacks a column, `waiting` when its records were in quarantine."""

    uri: str
    etag: str
    day: int
    records: tuple[Record, ...]
    kind: Literal["fresh", "waiting", "broken"] = "fresh"
    file_set: str = ""


@dataclass(frozen=True)
class Case:
    """An input and how it is settled; `published` are (values, uri, day)."""

    name: str
    key: tuple[str, ...]
    version: str
    snapshot: bool
    on_missing: Literal["quarantine", "load"]
    files: tuple[Delivered, ...]
    published: tuple[tuple[Mapping[str, Any], str, int], ...]

    @property
    def contract(self) -> Contract:
        known = []
        for column in COLUMNS:
            if column.reference:
                column = replace(column, reference=replace(column.reference, on_missing=self.on_missing))
            is_key = column.name in self.key
            known.append(replace(column, key=is_key, required=column.required or is_key))
        return Contract(self.name, self.name.upper(), "1", "shop", "", "", "", tuple(known))


def drawn(random: Random, name: str) -> Case:
    """Any case; few values and few days, so that much of it is equal."""
    numbers = count(1)
    files = []
    for number in range(random.randint(0, 5)):
        kind = random.choice(["fresh", "fresh", "fresh", "waiting", "broken"])
        etag = "same" if random.random() < 0.3 else f"e{number}"
        records = tuple(_record(random, next(numbers)) for _ in range(random.randint(0, 4)))
        if not records and kind == "waiting":
            kind = "fresh"
        # One version of an object is read once: its records wait, or it is read again.
        file_set = random.choice(["", "", "u", "w"])
        found = Delivered(random.choice("abc"), etag, random.randint(0, 2), records, kind, file_set)
        if (found.uri, etag) not in {(file.uri, file.etag) for file in files}:
            files.append(found)
    published = []
    snapshot = random.random() < 0.5
    key = random.choice(KEYS)
    if random.random() < 0.6:
        for _ in range(random.randint(1, 3)):
            values = {column: random.choice([*texts.values()]) for column, texts in SPELLINGS.items()}
            published.append((values | {"N": Decimal(next(numbers))}, random.choice("abc"), random.randint(0, 2)))
    once: dict[tuple, tuple] = {tuple(row[0][name] for name in key) if key else row[0]["N"]: row for row in published}
    if snapshot and random.random() < 0.3:  # a row that stands for all that is published
        nothing: dict[str, Any] = dict.fromkeys(SPELLINGS)
        once = {"": (nothing | {"N": Decimal(next(numbers))}, random.choice("abc"), random.randint(0, 2))}
    version = random.choice(["", "SEQ", "MOMENT", "TAG"])
    missing: Any = random.choice(["quarantine", "load"])
    return Case(name, key, version, snapshot, missing, tuple(files), tuple(once.values()))


def _record(random: Random, number: int) -> Record:
    chosen = {column: random.choice([*texts]) for column, texts in SPELLINGS.items()}
    values = {column: SPELLINGS[column][text] for column, text in chosen.items()} | {"N": Decimal(number)}
    if random.random() < 0.1:
        chosen, values = chosen | {"SEQ": "x"}, None  # type: ignore[assignment]
    return Record(",".join((*chosen.values(), str(number), "more")), values)


# --- the model -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """`rows` are (N, whether it is new), `versions` (N, etag), `outcomes` by number of the file."""

    rows: set[tuple[int, bool]]
    versions: set[tuple[int, str]]
    outcomes: list[dict[str, Any]]


@dataclass
class _Row:
    values: Mapping[str, Any]
    uri: str
    day: int
    file: int  # -1 is published
    place: tuple[bool, int, int] = (False, 0, 0)

    @property
    def version(self) -> tuple[int, str]:
        return (self.day, self.uri)


def expected(case: Case, people: Sequence[str] = ("1",)) -> Expected:
    """What must become of a case, step by step as the interface says it."""
    broken_units = {file.file_set for file in case.files if file.kind == "broken" and file.file_set}
    codes, loadable = [], []
    outcomes: list[dict[str, Any]] = []
    for number, file in enumerate(case.files):
        code = None
        if file.kind == "broken":
            code = "missing_column"
        elif file.kind != "waiting" and file.file_set in broken_units:
            code = "rejected_with_its_set"
        codes.append(code)
        read = len(file.records)
        outcomes.append({"code": code, "read": read, "loaded": 0, "superseded": 0})
        for place, record in enumerate(file.records):
            if code is None and record.values is not None:
                parent = record.values["PERSON_ID"]
                if case.on_missing == "load" or parent is None or parent in people:
                    ordered = (file.kind == "fresh", number, place)
                    loadable.append(_Row(record.values, file.uri, file.day, number, ordered))
    stay = [*loadable, *(_Row(values, uri, day, -1) for values, uri, day in case.published)]
    if case.snapshot:
        stay = _newest_delivery(case, codes, stay)
    stay = _newest_of_each_key(case, stay)
    for row in loadable:
        outcomes[row.file]["loaded" if row in stay else "superseded"] += 1
    for outcome in outcomes:
        outcome["quarantined"] = outcome["read"] - outcome["loaded"] - outcome["superseded"]
    return Expected(
        {(int(row.values["N"]), row.file >= 0) for row in stay},
        {(int(row.values["N"]), case.files[row.file].etag) for row in loadable},
        outcomes,
    )


def _newest_delivery(case: Case, codes: Sequence[str | None], found: Sequence[_Row]) -> list[_Row]:
    accepted = [(number, file) for number, file in enumerate(case.files) if codes[number] is None]
    if not accepted:
        return list(found)
    number, newest = max(accepted, key=lambda pair: (pair[1].day, pair[1].uri, pair[1].kind == "fresh", pair[0]))
    published = [(day, uri) for _, uri, day in case.published]
    if published and max(published) > (newest.day, newest.uri):
        return [row for row in found if row.file < 0]
    file_set = newest.file_set if newest.kind == "fresh" else ""
    kept = {n for n, file in accepted if file.file_set == file_set and file.kind == "fresh"} if file_set else {number}
    if newest.kind == "waiting" and published and max(published) == (newest.day, newest.uri):
        kept.add(-1)
    return [row for row in found if row.file in kept]


def _newest_of_each_key(case: Case, found: Sequence[_Row]) -> list[_Row]:
    by_key: dict[Any, _Row] = {}
    for row in found:
        key: Any = tuple(row.values[name] for name in case.key)
        if not case.key or None in key:
            key = row.values["N"]
        if key not in by_key or _order(case, row) > _order(case, by_key[key]):
            by_key[key] = row
    return list(by_key.values())


def _order(case: Case, row: _Row) -> tuple:
    declared = row.values[case.version] if case.version else None
    own = (False,) if declared is None else (True, declared)
    return (own, row.day, row.uri, row.file >= 0, row.place)


# --- the session ---------------------------------------------------------------------------------------------


def settled(session: Session, cases: Sequence[Case], folder: Path) -> dict[str, Expected]:
    """What a session makes of cases, all in one."""
    session.read("people", PEOPLE, [landed(folder / "people", "ID,NAME,NOTE\n1,Ada,\n")])
    session.deduplicate("people")
    for case in cases:
        session.read(case.name, case.contract, [_source(case, n, folder) for n in range(len(case.files))])
        if case.published:
            session.table(f"published_{case.name}", _published(case, folder))
            session.add_published(case.name, f"SELECT * FROM published_{case.name}")
        session.deduplicate(case.name, version=case.version, snapshot=case.snapshot)
    selects = []
    for case in cases:
        versions = session.every_version(case.name)
        selects.append(f"SELECT '{case.name}' AS C, CAST(N AS VARCHAR) AS N, _IS_NEW, NULL AS E FROM {case.name}")
        selects.append(f"SELECT '{case.name}', CAST(N AS VARCHAR), NULL, _SOURCE_ETAG FROM {versions}")
    everything = rows(session, " UNION ALL ".join(selects))
    found = {}
    for case in cases:
        outcomes: list[dict[str, Any]] = [{} for _ in case.files]
        for outcome in session.outcomes(case.name):
            rejection = outcome.rejection
            number = next(n for n, file in enumerate(case.files) if (file.uri, file.etag) == _identity(outcome.landed))
            outcomes[number] = {
                "code": rejection.code if rejection else None,
                **{name: getattr(outcome, name) for name in ("read", "loaded", "superseded", "quarantined")},
            }
        mine = [row[1:] for row in everything if row[0] == case.name]
        shown = [(int(n), new) for n, new, _ in mine if new is not None]
        versions_shown = [(int(n), etag) for n, new, etag in mine if new is None]
        assert len(set(shown)) == len(shown)
        assert len(set(versions_shown)) == len(versions_shown)
        assert session.new_rows(case.name) == sum(new for _, new in shown)
        found[case.name] = Expected(set(shown), set(versions_shown), outcomes)
    return found


def _identity(found: LandedObject) -> tuple[str, str]:
    return found.uri.rpartition("/")[2], found.etag


def _source(case: Case, number: int, folder: Path) -> SourceFile:
    file = case.files[number]
    path = folder / f"{case.name}-{number}"
    header = HEADER.replace(",N,", ",M,") if file.kind == "broken" else HEADER
    path.write_text("\n".join([header, *(record.text for record in file.records)]) + "\n", encoding="utf-8")
    when = START + timedelta(days=file.day)
    waiting = tuple((f"q{number}-{n}", n + 2) for n in range(len(file.records))) if file.kind == "waiting" else ()
    found = LandedObject(f"lake://bucket/raw/{file.uri}", file.etag, path.stat().st_size, when)
    return SourceFile(path, found, waiting, file_set=file.file_set and f"{case.name} {file.file_set}")


def _published(case: Case, folder: Path) -> Path:
    named = [column.name for column in COLUMNS]
    columns: dict[str, list] = {name: [values[name] for values, _, _ in case.published] for name in named}
    columns["_SOURCE_URI"] = [f"lake://bucket/raw/{uri}" for _, uri, _ in case.published]
    start = START.replace(tzinfo=None)
    columns["_SOURCE_MODIFIED_AT"] = [start + timedelta(days=day) for _, _, day in case.published]
    columns["_RESCUED"] = [None for _ in case.published]
    kinds = _KINDS | {"N": pa.decimal128(9, 0), "_SOURCE_MODIFIED_AT": pa.timestamp("us")}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in columns])
    path = folder / f"{case.name}-published.parquet"
    pq.write_table(pa.table(columns, schema=schema), path)
    return path
