"""Versions and references: the newest row of a key wins, rows without their reference wait, nothing is miscounted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts import Column, Contract, Reference
from pipeline_assets.engine import RejectPolicy, SourceFile
from pipeline_assets.engine.duckdb.engine import DuckDBSession
from pipeline_assets_tests.support.engine_session import (
    NEVER,
    PEOPLE,
    START,
    VISITS,
    landed,
    opened,
    read,
    reported,
    rows,
)

HEADER = "ID,NAME,NOTE"
VISIT_HEADER = "ID,PERSON_ID,DAY,AMOUNT"
NAMES = "SELECT ID, NAME, _IS_NEW FROM people"


def known(folder: Path, *people: tuple[str, str, str, int]) -> Path:
    """Published people: id, name, object and its day."""
    when = START.replace(tzinfo=None)
    columns = {
        "ID": [person[0] for person in people],
        "NAME": [person[1] for person in people],
        "NOTE": [None for _ in people],
        "_SOURCE_URI": [f"lake://bucket/raw/{person[2]}" for person in people],
        "_SOURCE_MODIFIED_AT": [when + timedelta(days=person[3]) for person in people],
        "_RESCUED": ['{"TIER":"gold"}' for _ in people],
    }
    kinds = [(name, pa.timestamp("us") if name == "_SOURCE_MODIFIED_AT" else pa.string()) for name in columns]
    pq.write_table(pa.table(columns, schema=pa.schema(kinds)), folder / "known.parquet")
    return folder / "known.parquet"


def known_visits(folder: Path, *visits: tuple[str, str, int, int]) -> Path:
    """Published visits: id, person, amount and the day of the object that they came in, whose name is `p0`."""
    when = START.replace(tzinfo=None)
    columns = {
        "ID": pa.array([visit[0] for visit in visits], pa.string()),
        "PERSON_ID": pa.array([visit[1] for visit in visits], pa.string()),
        "DAY": pa.nulls(len(visits), pa.date32()),
        "AMOUNT": pa.array([Decimal(visit[2]) for visit in visits], pa.decimal128(18, 4)),
        "_SOURCE_URI": pa.array(["lake://bucket/raw/p0" for _ in visits]),
        "_SOURCE_MODIFIED_AT": pa.array([when + timedelta(days=visit[3]) for visit in visits], pa.timestamp("us")),
        "_RESCUED": pa.nulls(len(visits), pa.string()),
    }
    pq.write_table(pa.table(columns), folder / "known-visits.parquet")
    return folder / "known-visits.parquet"


# --- versions ------------------------------------------------------------------------------------------------


def test_within_a_file_the_last_row_of_a_key_wins(tmp_path: Path) -> None:
    content = f"{HEADER}\n1,first,\n2,only,\n1,second,\n 1 ,third,\n"
    found, _, (outcome,) = read(PEOPLE, landed(tmp_path / "x", content))

    assert [row[:2] for row in found] == [("1", "third"), ("2", "only")]
    assert (outcome.read, outcome.loaded, outcome.superseded) == (4, 2, 2)


@pytest.mark.parametrize("turned", [False, True])
def test_across_files_the_newer_object_wins_whatever_the_order(tmp_path: Path, turned: bool) -> None:
    """Equally new objects are decided by their uri, so that any order of runs decides alike."""
    files = [
        landed(tmp_path / "b", f"{HEADER}\n1,old b,\n2,old b,\n", days=1),
        landed(tmp_path / "a", f"{HEADER}\n1,new a,\n1,newer a,\n3,tie a,\n", days=2),
        landed(tmp_path / "c", "NOTE,ID,NAME\n,3,tie c\n", days=2),
    ]
    found, _, outcomes = read(PEOPLE, *(files[::-1] if turned else files))

    assert [row[:2] for row in found] == [("1", "newer a"), ("2", "old b"), ("3", "tie c")]
    counts = {outcome.landed.uri[-1]: (outcome.loaded, outcome.superseded) for outcome in outcomes}
    assert counts == {"b": (1, 1), "a": (1, 2), "c": (1, 0)}


def test_of_equally_new_versions_a_fresh_one_wins_then_the_one_listed_last_whatever_reads_them(tmp_path: Path) -> None:
    """An object overwritten within the second in which its first version was written, whose bad rows wait.

    Files of several shapes, so that readers take them in another order than the one in which they are listed.
    """
    contents = {
        "waited, other shape": "NAME,ID,NOTE\none,1,\none,2,\none,3,\n",
        "fresh": f"{HEADER}\n3,two,\n",
        "waited, irregular": f'{HEADER}\n1,three,5" disk\n2,three,\n',
        "waited": "NAME,ID,NOTE\nfour,2,\n",
    }
    files = []
    for number, (kind, content) in enumerate(contents.items()):
        ids = [(f"q{number}-{line}", line) for line in range(2, content.count("\n") + 1)]
        file = landed(tmp_path / str(number), content, days=2, waiting=ids if "waited" in kind else ())
        files.append(replace(file, landed=replace(file.landed, uri="lake://bucket/raw/same", etag=str(number))))
    for listed, expected in ((files, ["three", "four", "two"]), (files[::-1], ["one", "one", "two"])):
        found, bad, outcomes = read(PEOPLE, *listed)

        assert ([row[1] for row in found], bad) == (expected, [])
        assert sum(outcome.superseded for outcome in outcomes) == 4


def test_a_bad_row_supersedes_nothing(tmp_path: Path) -> None:
    found, _, (outcome,) = read(PEOPLE, landed(tmp_path / "x", f"{HEADER}\n1,good,\n1,{'x' * 201},\n"))

    assert [row[:2] for row in found] == [("1", "good")]
    assert (outcome.loaded, outcome.superseded, outcome.quarantined) == (1, 0, 1)


def test_published_rows_take_part_and_only_older_ones_give_way(tmp_path: Path) -> None:
    published = known(
        tmp_path,
        ("1", "older", "x", 0),
        ("2", "newer", "x", 9),
        ("3", "same object", "f", 5),
        ("4", "untouched", "x", 9),
    )
    with opened() as session:
        session.read("people", PEOPLE, [landed(tmp_path / "f", f"{HEADER}\n1,fresh,\n2,fresh,\n3,fresh,\n", days=5)])
        session.table("published", published)
        session.add_published("people", "SELECT * FROM PUBLISHED")
        session.deduplicate("people")

        # Of one object processed twice the fresh rows win.
        assert rows(session, NAMES) == [
            ("1", "fresh", True),
            ("2", "newer", False),
            ("3", "fresh", True),
            ("4", "untouched", False),
        ]
        (outcome,) = session.outcomes("people")
        assert (outcome.read, outcome.loaded, outcome.superseded) == (3, 2, 1)


def test_an_input_without_files_still_shows_what_is_known(tmp_path: Path) -> None:
    with opened() as session:
        session.read("people", PEOPLE, [])
        assert rows(session, NAMES) == []
        session.table("published", known(tmp_path, ("1", "Ada", "x", 0)))
        session.add_published("people", "SELECT * FROM PUBLISHED")
        session.deduplicate("people")

        assert rows(session, "SELECT ID, _RESCUED, _IS_NEW FROM people") == [("1", '{"TIER":"gold"}', False)]
        assert (session.outcomes("people"), list(session.bad_records("people"))) == ([], [])


def test_a_dataset_without_a_key_keeps_every_row(tmp_path: Path) -> None:
    lines = Contract("lines", "LINES", "1", "shop", "", "", "", (Column("TEXT", "string", "VARCHAR"),))
    found, _, (outcome,) = read(lines, landed(tmp_path / "x", "TEXT\na\na\n\nb\n"))

    assert found == [("a",), ("a",), ("b",)]
    assert (outcome.read, outcome.loaded, outcome.superseded) == (3, 3, 0)


def test_a_key_of_several_columns_is_one_key(tmp_path: Path) -> None:
    columns = (Column("A", "string", "VARCHAR", key=True), Column("B", "string", "VARCHAR", key=True))
    pairs = Contract("pairs", "PAIRS", "1", "shop", "", "", "", (*columns, Column("N", "integer", "NUMBER(5,0)")))
    found, _, _ = read(pairs, landed(tmp_path / "x", "A,B,N\n1,23,1\n12,3,2\n1,23,3\n"))

    assert found == [("1", "23", Decimal(3)), ("12", "3", Decimal(2))]


# --- references ----------------------------------------------------------------------------------------------


def visits(session: DuckDBSession, people: Sequence[SourceFile], found: Sequence[SourceFile]) -> None:
    session.read("people", PEOPLE, people)
    session.read("visits", VISITS, found)
    session.deduplicate("people")
    session.deduplicate("visits")


def test_a_row_without_its_reference_is_set_aside_and_reported(tmp_path: Path) -> None:
    people = landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n")
    content = f'{VISIT_HEADER}\nv1, 1 ,,1\n\n"v2","2\n",,2\nv3,1,,x\nv4,3,2026-01-01,4\n'
    with opened() as session:
        visits(session, [people], [landed(tmp_path / "v", content)])

        assert rows(session, "SELECT ID FROM visits") == [("v1",)]
        assert reported(session, "visits") == [
            (4, '"v2","2\n",,2', "orphan_visit"),
            (6, "v3,1,,x", "not_a_number"),
            (7, "v4,3,2026-01-01,4", "orphan_visit"),
        ]
        assert list(session.bad_records("visits"))[2].reason == 'PERSON_ID: no people row has "3" yet.'


def test_an_orphan_does_not_count_towards_the_rejection_of_its_file(tmp_path: Path) -> None:
    """Bookings may come before their customers: a file of nothing but orphans is a good file."""
    content = "\n".join([VISIT_HEADER, *(f"v{number},nobody,,1" for number in range(30))])
    with opened(RejectPolicy()) as session:
        visits(session, [], [landed(tmp_path / "v", content)])

        (outcome,) = session.outcomes("visits")
        assert (outcome.rejection, outcome.read, outcome.loaded, outcome.quarantined) == (None, 30, 0, 30)
        assert {code for _, _, code in reported(session, "visits")} == {"orphan_visit"}


def test_an_orphan_supersedes_nothing_and_is_not_superseded(tmp_path: Path) -> None:
    people = landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n")
    content = f"{VISIT_HEADER}\nv1,1,,1\nv1,nobody,,2\nv1,1,,3\nv1,nobody,,4\n"
    with opened() as session:
        visits(session, [people], [landed(tmp_path / "v", content)])

        assert rows(session, "SELECT ID, AMOUNT FROM visits") == [("v1", Decimal(3))]
        (outcome,) = session.outcomes("visits")
        assert (outcome.loaded, outcome.superseded, outcome.quarantined) == (1, 1, 2)


def test_a_row_that_lacks_two_references_is_set_aside_once(tmp_path: Path) -> None:
    host = Column("HOST_ID", "string", "VARCHAR", reference=Reference("people", "ID", "orphan_host"))
    contract = replace(VISITS, columns=(*VISITS.columns, host))
    people = landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n")
    content = f"{VISIT_HEADER},HOST_ID\nv1,1,,1,1\nv2,8,,1,9\nv3,1,,1,9\nv4,1,,1,\n"
    with opened() as session:
        session.read("people", PEOPLE, [people])
        session.read("visits", contract, [landed(tmp_path / "v", content)])
        session.deduplicate("people")
        session.deduplicate("visits")

        assert rows(session, "SELECT ID FROM visits") == [("v1",), ("v4",)]
        assert [(line, code) for line, _, code in reported(session, "visits")] == [
            (3, "orphan_visit"),
            (4, "orphan_host"),
        ]
        (outcome,) = session.outcomes("visits")
        assert (outcome.read, outcome.loaded, outcome.quarantined) == (4, 2, 2)


# --- waiting records -----------------------------------------------------------------------------------------


def waiting(folder: Path, *records: tuple[str, int | None, str], days: int = 0) -> SourceFile:
    """Records released from quarantine: id, line and text."""
    content = "\n".join([VISIT_HEADER, *(raw for _, _, raw in records)]) + "\n"
    return landed(folder / "waiting", content, days=days, waiting=[(key, line) for key, line, _ in records])


def test_a_waiting_record_that_passes_now_is_released_and_the_others_keep_line_and_id(tmp_path: Path) -> None:
    file = waiting(
        tmp_path,
        ("q1", 7, 'v1,1,,"1"'),
        ("q2", 90, "v2,2,,1"),
        ("q3", None, "v3,1,,x"),
        ("q4", 12, 'v4,"1\n",,1'),
        ("q5", 13, "v5,1"),
        ("q6", 14, "v6,1,,1"),
    )
    people = landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n")
    with opened(RejectPolicy(minimum_rows=1, share=0.1)) as session:
        visits(session, [people], [file])

        (outcome,) = session.outcomes("visits")
        assert (outcome.waiting, outcome.rejection, outcome.released) == (True, None, ("q1", "q6"))
        assert (outcome.read, outcome.loaded, outcome.quarantined) == (6, 2, 4)
        kept = [(bad.quarantine_id, bad.line, bad.code) for bad in session.bad_records("visits")]
        assert kept == [
            ("q2", 90, "orphan_visit"),
            ("q3", None, "not_a_number"),
            ("q4", 12, "orphan_visit"),
            ("q5", 13, "malformed_record"),
        ]


def test_waiting_records_are_never_a_rejected_file(tmp_path: Path) -> None:
    file = waiting(tmp_path, *((f"q{number}", number, f"v{number},1,,x") for number in range(40)))
    with opened(RejectPolicy()) as session:
        visits(session, [], [file])

        (outcome,) = session.outcomes("visits")
        assert (outcome.rejection, outcome.released, outcome.quarantined) == (None, (), 40)
        assert [bad.quarantine_id for bad in session.bad_records("visits")] == [f"q{number}" for number in range(40)]


def test_a_waiting_record_that_was_superseded_meanwhile_is_released(tmp_path: Path) -> None:
    """It is right now; that a newer version won does not make it wait any longer."""
    people = landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n")
    fresh = landed(tmp_path / "v", f"{VISIT_HEADER}\nv1,1,,2\n", days=3)
    with opened() as session:
        visits(session, [people], [fresh, waiting(tmp_path, ("q1", 7, "v1,1,,1"))])

        old = next(outcome for outcome in session.outcomes("visits") if outcome.waiting)
        assert (old.released, old.superseded, old.loaded) == (("q1",), 1, 0)
        assert rows(session, "SELECT AMOUNT FROM visits") == [(Decimal(2),)]


def test_waiting_records_that_swallow_each_other_all_keep_waiting(tmp_path: Path) -> None:
    """Two halves of quotes that were apart in the source make one record here: no id can be reported then."""
    file = waiting(tmp_path, ("q1", 3, 'v1,1,,"1'), ("q2", 9, '"'), ("q3", 11, "v3,1,,1"))
    people = landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n")
    with opened() as session:
        visits(session, [people], [file])

        (outcome,) = session.outcomes("visits")
        assert (outcome.released, outcome.loaded, outcome.read) == ((), 0, outcome.quarantined)
        assert rows(session, "SELECT ID FROM visits") == []


def test_waiting_records_that_lack_a_column_that_is_required_by_now_keep_waiting(tmp_path: Path) -> None:
    """A fresh file without it is rejected; a rejection of these would put an object into quarantine that was loaded."""
    stricter = replace(VISITS, columns=(*VISITS.columns, Column("HOST", "string", "VARCHAR", required=True)))
    people = landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n")
    with opened() as session:
        session.read("people", PEOPLE, [people])
        session.read("visits", stricter, [waiting(tmp_path, ("q1", 7, "v1,1,,1"), ("q2", 9, "v2,1,,1"))])
        session.deduplicate("people")
        session.deduplicate("visits")

        (outcome,) = session.outcomes("visits")
        assert (outcome.waiting, outcome.rejection, outcome.released) == (True, None, ())
        assert (outcome.read, outcome.quarantined, outcome.loaded) == (2, 2, 0)
        assert (rows(session, "SELECT ID FROM visits"), list(session.bad_records("visits"))) == ([], [])


# --- accounting ----------------------------------------------------------------------------------------------

ids = st.sampled_from(["v1", "v2", "v3", "v4"])
record = st.one_of(
    st.builds("{},{},,{}".format, ids, st.sampled_from(["1", "2", "nobody"]), st.sampled_from(["1", "2.5", "x", ""])),
    st.builds('"{}","{}",,"1"'.format, ids, st.sampled_from(["1", "nobody"])),
    st.sampled_from([",1,,1", "v1,1", "v2,1,,1,", 'v3,"1,,1', "v4,1,31-02-2026,1"]),
)
headers = st.sampled_from([VISIT_HEADER, "AMOUNT,DAY,PERSON_ID,ID,X"])
landing = st.tuples(st.lists(record, max_size=7), st.integers(0, 2), headers)


@settings(max_examples=60, deadline=None)
@given(batch=st.lists(landing, max_size=4), policy=st.sampled_from([NEVER, RejectPolicy(0.5, 2)]), before=st.booleans())
def test_every_record_is_loaded_superseded_or_quarantined(batch: list, policy: RejectPolicy, before: bool) -> None:
    with TemporaryDirectory() as folder, opened(policy) as session:
        files, versions = [], []
        for number, (lines, days, header) in enumerate(batch):
            # The second header asks for the fields the other way round, and one more.
            turned = [line if header == VISIT_HEADER else ",".join([*line.split(",")[::-1], "x"]) for line in lines]
            files.append(landed(Path(folder) / f"f{number}", "\n".join([header, *turned]), days=days))
        # One that any new row replaces, one that none does, and one of a person who is gone.
        published = [("v1", "1", 70, -1), ("v2", "2", 80, 9), ("v5", "gone", 90, 0)] if before else []
        session.read("people", PEOPLE, [landed(Path(folder) / "p", f"{HEADER}\n1,Ada,\n2,Grace,\n")])
        session.read("visits", VISITS, files)
        session.table("PUBLISHED", known_visits(Path(folder), *published))
        session.add_published("visits", "SELECT * FROM PUBLISHED")
        session.deduplicate("people")
        session.deduplicate("visits")

        outcomes, bad = session.outcomes("visits"), list(session.bad_records("visits"))
        for outcome in outcomes:
            assert outcome.read == outcome.loaded + outcome.superseded + outcome.quarantined
            assert min(outcome.read, outcome.loaded, outcome.superseded, outcome.quarantined) >= 0
            mine = [record for record in bad if record.landed == outcome.landed]
            assert len(mine) == (1 if outcome.rejection else outcome.quarantined)
            assert len({record.line for record in mine}) == len(mine)
        read_ = {outcome.landed.uri[-2:]: outcome.read for outcome in outcomes}
        assert read_ == {f"f{number}": len(lines) for number, (lines, _, _) in enumerate(batch)}
        found = rows(session, "SELECT ID, PERSON_ID, AMOUNT, _SOURCE_URI, _IS_NEW FROM visits")
        assert max(Counter(row[0] for row in found).values(), default=0) <= 1
        assert sum(outcome.loaded for outcome in outcomes) == sum(row[4] for row in found)
        assert {row[1] for row in found if row[4]} <= {"1", "2"}
        assert {row[0] for row in found} >= {visit[0] for visit in published}

        refused = {outcome.landed.uri[-2:] for outcome in outcomes if outcome.rejection}
        set_aside = {(record.landed.uri[-2:], record.line) for record in bad}
        for number, (lines, days, _) in enumerate(batch):
            for line, text in enumerate(lines, 2):
                if f"f{number}" not in refused and (f"f{number}", line) not in set_aside:
                    fields = text.replace('"', "").split(",")
                    versions.append((fields[0], days, number, line, fields[1], Decimal(fields[3])))
        versions += [(key, days, -1, 0, person, Decimal(amount)) for key, person, amount, days in published]
        newest = {version[0]: version for version in sorted(versions)}
        assert [(row[0], row[1], row[2], row[3][-2:], row[4]) for row in found] == sorted(
            [
                (key, person, amount, f"f{number}" if number >= 0 else "p0", number >= 0)
                for key, _, number, _, person, amount in newest.values()
            ],
            key=repr,
        )
