"""Whatever meets whatever under one key: good, orphaned and bad versions; fresh, waiting and published ones.

The rules are written out once more in plain Python. Every pair of versions that can meet has a key of its own, and all
of them go through one session, so that Spark takes them in one batch as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from itertools import combinations_with_replacement
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.contracts import Column
from pipeline_assets.engine import RejectPolicy, Session, SourceFile
from pipeline_assets.engine.spark import landed_files
from pipeline_assets.engine.spark.engine import SparkEngine
from pipeline_assets_tests.integration.engine.test_versions import HEADER, VISIT_HEADER, known
from pipeline_assets_tests.support.delivered_orders import ORDERS, order, product, text
from pipeline_assets_tests.support.engine_session import PEOPLE, START, VISITS, landed, on_engine, opened, rows

SLOW = [pytest.mark.slow, pytest.mark.timeout(300)]
EMBEDDED = pytest.param(None, id="duckdb")
SPARK = pytest.param(SparkEngine(master="local[2]"), id="spark", marks=SLOW)
SPARK_IN_PARTS = pytest.param(SparkEngine(master="local[2]", split_bytes=900), id="spark in parts", marks=SLOW)
GOOD, ORPHAN, BAD = "good", "orphan", "bad"


@pytest.fixture
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The engine that sessions are opened on; on Spark a task reads a few files."""
    monkeypatch.setattr(landed_files, "_BUNDLE_FILES", 3)
    with on_engine(request.param) if request.param else nullcontext():
        yield


# --- versions and references -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a version of a row can come from: an object of some day, read now, waiting, or published before."""

    name: str
    uri: str
    day: int
    waiting: bool = False
    published: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        # A published row keeps its place even if what it refers to is not there any more.
        return (GOOD, ORPHAN) if self.published else (GOOD, ORPHAN, BAD)


PLACES = (
    Place("old", "old", 1),
    Place("newer", "b", 3),
    Place("as new, lower uri", "a", 3),
    Place("the same object, listed later", "b", 3),
    Place("waiting", "w", 2, waiting=True),
    Place("waiting, of the same object", "b", 3, waiting=True),
    Place("published before", "p", 0, published=True),
    Place("published since", "p", 9, published=True),
    Place("published from the same object", "b", 3, published=True),
)


@dataclass
class Version:
    """A row under a key; `amount` tells it from all others, `record` is its number in its file."""

    key: str
    place: int
    kind: str
    amount: int
    record: int = -1

    @property
    def line(self) -> str:
        """As it stands in a file; an orphan refers to nobody, or to somebody whose own row is bad."""
        person = ("nobody", "toolongid")[self.amount % 2] if self.kind == ORPHAN else "12"[self.amount % 2]
        return f"{self.key},{person},,{self.amount}{'x' * (self.kind == BAD)}"

    @property
    def age(self) -> tuple:
        place = PLACES[self.place]
        return place.day, place.uri, not place.published, not place.waiting, self.place, self.record

    @property
    def takes_part(self) -> bool:
        return self.kind == GOOD or (self.kind == ORPHAN and PLACES[self.place].published)


def every_meeting() -> list[Version]:
    """Each pair of versions under a key of its own, some larger companies, and much that is bad among what waits."""
    random = Random(9)
    single = [(number, kind) for number, place in enumerate(PLACES) for kind in place.kinds]
    together: list[Sequence[tuple[int, str]]] = [[one] for one in single]
    together += combinations_with_replacement(single, 2)
    together += [random.choices(single, k=random.randint(3, 5)) for _ in range(60)]
    together += [[(4, BAD)]] * 100
    versions = []
    for number, company in enumerate(together):
        if sum(PLACES[place].published for place, _ in company) <= 1:  # a key is published once
            for place, kind in company:
                versions.append(Version(f"v{number}", place, kind, 10 * len(versions) + random.randint(0, 9)))
    random.shuffle(versions)
    return versions


def landed_in(folder: Path, number: int, versions: Sequence[Version]) -> SourceFile:
    for record, version in enumerate(versions):
        version.record = record
    held = [(f"q{number}-{record}", 1000 + record) for record in range(len(versions))]
    content = "\n".join([VISIT_HEADER, *(version.line for version in versions)]) + "\n"
    file = landed(folder / str(number), content, waiting=held if PLACES[number].waiting else ())
    uri, when = f"lake://bucket/raw/{PLACES[number].uri}", START + timedelta(days=PLACES[number].day)
    return replace(file, landed=replace(file.landed, uri=uri, etag=str(number), modified=when))


def published_in(folder: Path, versions: Sequence[Version]) -> Path:
    fields = [version.line.split(",") for version in versions]
    places = [PLACES[version.place] for version in versions]
    columns = {
        "ID": pa.array([field[0] for field in fields]),
        "PERSON_ID": pa.array([field[1] for field in fields]),
        "DAY": pa.nulls(len(fields), pa.date32()),
        "AMOUNT": pa.array([Decimal(field[3]) for field in fields], pa.decimal128(18, 4)),
        "_SOURCE_URI": pa.array([f"lake://bucket/raw/{place.uri}" for place in places]),
        "_SOURCE_MODIFIED_AT": pa.array(
            [START.replace(tzinfo=None) + timedelta(days=place.day) for place in places], pa.timestamp("us")
        ),
        "_RESCUED": pa.nulls(len(fields), pa.string()),
    }
    pq.write_table(pa.table(columns), folder / "published.parquet")
    return folder / "published.parquet"


@pytest.mark.parametrize("engine", [EMBEDDED, SPARK_IN_PARTS], indirect=True)
def test_the_newest_good_version_wins_and_what_is_bad_or_orphaned_neither_wins_nor_loses(
    engine: None, tmp_path: Path
) -> None:
    """References are looked up before versions are compared: a newer orphan must not push an older good row out."""
    versions = every_meeting()
    by_place = [[v for v in versions if v.place == number] for number in range(len(PLACES))]
    fresh = [number for number, place in enumerate(PLACES) if not place.published]
    people = landed(tmp_path / "people", f"{HEADER}\n1,Ada,\ntoolongid,Eve,\n")
    with opened(RejectPolicy()) as session:
        session.read("people", PEOPLE, [people])
        session.table("KNOWN_PEOPLE", known(tmp_path, ("2", "Bob", "x", 0)))
        session.add_published("people", "SELECT * FROM KNOWN_PEOPLE")
        session.read("visits", VISITS, [landed_in(tmp_path, number, by_place[number]) for number in fresh])
        session.table("KNOWN_VISITS", published_in(tmp_path, [v for v in versions if PLACES[v.place].published]))
        session.add_published("visits", "SELECT * FROM KNOWN_VISITS")
        session.deduplicate("people")
        session.deduplicate("visits")
        found = rows(session, "SELECT ID, AMOUNT, _SOURCE_URI, _IS_NEW FROM visits")
        outcomes = {int(outcome.landed.etag): outcome for outcome in session.outcomes("visits")}
        bad = sorted(
            (int(b.landed.etag), b.line, b.raw, b.code, b.quarantine_id) for b in session.bad_records("visits")
        )
        new_rows = session.new_rows("visits")

    winners = {v.key: v for v in sorted((v for v in versions if v.takes_part), key=lambda v: v.age)}
    expected = [
        (v.key, Decimal(v.amount), f"lake://bucket/raw/{PLACES[v.place].uri}", not PLACES[v.place].published)
        for v in winners.values()
    ]
    assert found == sorted(expected, key=repr)
    assert new_rows == sum(is_new for *_, is_new in expected)
    codes, reported = {ORPHAN: "orphan_visit", BAD: "not_a_number"}, []
    for number in fresh:
        mine, outcome = by_place[number], outcomes[number]
        waits = PLACES[number].waiting
        loaded = sum(winners.get(v.key) is v for v in mine)
        superseded = sum(v.kind == GOOD for v in mine) - loaded
        assert outcome.rejection is None
        assert (outcome.read, outcome.loaded, outcome.superseded) == (len(mine), loaded, superseded), PLACES[number]
        assert outcome.quarantined == len(mine) - loaded - superseded
        passed = tuple(f"q{number}-{v.record}" for v in mine if v.kind == GOOD)
        assert (outcome.waiting, outcome.released) == (waits, passed if waits else ()), PLACES[number]
        for v in mine:
            if v.kind != GOOD:
                line, waits_as = (1000 + v.record, f"q{number}-{v.record}") if waits else (2 + v.record, None)
                reported.append((number, line, v.line, codes[v.kind], waits_as))
    assert sorted(bad) == sorted(reported)


# --- what waits --------------------------------------------------------------------------------------------------


def held(path: Path, content: str, records: int) -> SourceFile:
    return landed(path, content, waiting=[(f"{path.name}-{number}", 100 + number) for number in range(records)])


@pytest.mark.parametrize("engine", [EMBEDDED, SPARK], indirect=True)
def test_what_waits_is_never_rejected_as_a_file(engine: None, tmp_path: Path) -> None:
    """By no share of bad rows, missing column or broken text: a fresh file of the same content is, beside each."""
    stricter = replace(
        VISITS, name="stricter", columns=(*VISITS.columns, Column("HOST", "string", "VARCHAR", required=True))
    )
    bad_visits = "\n".join([VISIT_HEADER, *(f"v{number},1,,x" for number in range(40)), "good,1,,1"]) + "\n"
    no_column = "\n".join([VISIT_HEADER, *(f"v{number},1,,1" for number in range(25))]) + "\n"
    swallowing = f'{VISIT_HEADER}\nv1,1,,"1\n"\nv3,1,,1\n'
    bad_orders = "".join(text(order(n, products=[product(price="x")])) + "\n" for n in range(30)) + text(order("g"))
    inputs: dict[str, tuple[Any, list[SourceFile]]] = {
        "visits": (
            VISITS,
            [
                held(tmp_path / "share", bad_visits, 41),
                held(tmp_path / "swallowing", swallowing, 3),
                landed(tmp_path / "fresh share", bad_visits),
            ],
        ),
        "stricter": (
            stricter,
            [held(tmp_path / "column", no_column, 25), landed(tmp_path / "fresh", no_column)],
        ),
        "orders": (ORDERS, [held(tmp_path / "documents", bad_orders, 31), landed(tmp_path / "fresh doc", bad_orders)]),
    }
    with opened(RejectPolicy()) as session:
        session.read("people", PEOPLE, [landed(tmp_path / "people", f"{HEADER}\n1,Ada,\n")])
        for name, (contract, files) in inputs.items():
            session.read(name, contract, files)
        session.deduplicate("people")
        for name in inputs:
            session.deduplicate(name)
        found = {name: _told(session, name) for name in inputs}
        loaded = {
            "visits": rows(session, "SELECT ID FROM visits"),
            "stricter": rows(session, "SELECT ID FROM stricter"),
            "orders": rows(session, "SELECT ORDER_ID FROM ORDERS"),
        }

    assert loaded == {"visits": [("good",)], "stricter": [], "orders": [("g",)]}
    assert found["visits"] == {
        "share": (None, ("share-40",), 41, 40, {f"share-{n}": (100 + n, "not_a_number") for n in range(40)}),
        "swallowing": (None, (), 3, 3, {}),
        "fresh share": ("too_many_bad_rows", (), 41, 41, {}),
    }
    assert found["stricter"] == {
        "column": (None, (), 25, 25, {}),
        "fresh": ("missing_column", (), 25, 25, {}),
    }
    assert found["orders"] == {
        "documents": (
            None,
            ("documents-30",),
            31,
            30,
            {f"documents-{n}": (100 + n, "not_a_number") for n in range(30)},
        ),
        "fresh doc": ("too_many_bad_rows", (), 31, 31, {}),
    }


def _told(session: Session, name: str) -> dict[str, tuple]:
    """By file: why it was rejected, who was released, records read and quarantined, and by id who waits on, and why."""
    bad = list(session.bad_records(name))
    found = {}
    for outcome in session.outcomes(name):
        mine = {b.quarantine_id: (b.line, b.code) for b in bad if b.landed == outcome.landed and b.quarantine_id}
        code = outcome.rejection and outcome.rejection.code
        assert outcome.read == outcome.loaded + outcome.superseded + outcome.quarantined
        found[outcome.landed.uri.rpartition("/")[2]] = (code, outcome.released, outcome.read, outcome.quarantined, mine)
    return found
