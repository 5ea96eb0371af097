"""What orders versions, which delivery stays, what is accepted together: rules, and any case against a plain model.

`test_spark_deduplicates` has the same rules and cases deduplicated by Spark.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts import Column, Contract, Reference
from pipeline_assets.contracts.validation import REASON_CODES
from pipeline_assets.engine import RejectPolicy, SourceFile
from pipeline_assets.errors import ContractError
from pipeline_assets_tests.integration.engine.test_versions import HEADER, VISIT_HEADER, known, waiting
from pipeline_assets_tests.support.engine_session import NEVER, PEOPLE, START, VISITS, landed, opened, reported, rows
from pipeline_assets_tests.support.random_deliveries import KEYS, drawn, expected, settled

NAMES = "SELECT ID, NAME FROM people"
# Seeds of cases that together have every kind of key, of version and of rejection, and each way in which a published
# delivery meets a new one; most of it is in the first six.
HARD = (3599, 3946, 5311, 18, 27, 3, 7, 8, 33, 77, 0, 2)
VERSIONS = {"SEQ", "MOMENT", "TAG"}
COUNTED = Contract(
    "counted",
    "COUNTED",
    "1",
    "shop",
    "",
    "",
    "",
    (Column("ID", "string", "VARCHAR", required=True, key=True), Column("SEQ", "integer", "NUMBER(9,0)")),
)


@settings(max_examples=20, deadline=None)
@given(random=st.randoms(use_true_random=False))
def test_any_case_is_settled_as_the_plain_model_says(random: Random) -> None:
    case = drawn(random, "settled_case")
    with TemporaryDirectory() as folder, opened() as session:
        found = settled(session, [case], Path(folder))["settled_case"]
    assert found == expected(case)


def test_hard_cases_are_settled_as_the_plain_model_says(tmp_path: Path) -> None:
    compared_with_model(HARD, tmp_path)


def compared_with_model(seeds: Sequence[int], folder: Path) -> None:
    """All in one session, as each step of a Spark job costs time."""
    cases = [drawn(Random(seed), f"settled_{seed}") for seed in seeds]
    with opened() as session:
        found = settled(session, cases, folder)
    for case in cases:
        assert found[case.name] == expected(case), case.name


def test_the_hard_cases_have_all_that_is_hard() -> None:
    cases = [drawn(Random(seed), "case") for seed in HARD]
    assert {case.key for case in cases} == set(KEYS)
    assert {case.version for case in cases if expected(replace(case, version="")) != expected(case)} == VERSIONS
    for change in ({"snapshot": True}, {"snapshot": False}, {"on_missing": "load"}, {"on_missing": "quarantine"}):
        assert any(expected(replace(case, **change)) != expected(case) for case in cases)
    codes = {outcome["code"] for case in cases for outcome in expected(case).outcomes}
    assert codes == {None, "missing_column", "rejected_with_its_set"}


# --- what orders versions ------------------------------------------------------------------------------------


def test_a_declared_version_goes_before_the_time_of_the_object_and_null_is_oldest(tmp_path: Path) -> None:
    newer = landed(tmp_path / "newer", "ID,SEQ\na,9\nb,\nc,\nc,1\nd,2\n", days=5)
    older = landed(tmp_path / "older", "ID,SEQ\na,10\nb,1\nc,\nd,2\n")
    with opened() as session:
        session.read("counted", COUNTED, [newer, older])
        session.deduplicate("counted", version="SEQ")

        found = rows(session, "SELECT ID, SEQ, _SOURCE_URI FROM counted")
    assert [(key, seq, uri.rpartition("/")[2]) for key, seq, uri in found] == [
        ("a", Decimal(10), "older"),
        ("b", Decimal(1), "older"),
        ("c", Decimal(1), "newer"),
        ("d", Decimal(2), "newer"),  # as without a version, when that is the same
    ]


def test_versions_cannot_be_ordered_by_what_is_no_column(tmp_path: Path) -> None:
    with opened() as session:
        session.read("counted", COUNTED, [])
        with pytest.raises(ContractError, match=r"(?s)SEQUENCE.*not one of its columns.*Known: ID, SEQ"):
            session.deduplicate("counted", version="SEQUENCE")


# --- complete deliveries -------------------------------------------------------------------------------------


def test_only_the_newest_accepted_delivery_stays(tmp_path: Path) -> None:
    files = [
        landed(tmp_path / "old", f"{HEADER}\n1,old,\n2,gone,\n", days=1),
        landed(tmp_path / "new", f"{HEADER}\n1,new,\n3,new,\n1,last,\n", days=2),
        landed(tmp_path / "rejected", "NAME\nx\n", days=3),
    ]
    with opened() as session:
        session.read("people", PEOPLE, files)
        session.deduplicate("people", snapshot=True)

        assert rows(session, NAMES) == [("1", "last"), ("3", "new")]
        counts = {o.landed.uri[-3:]: (o.read, o.loaded, o.superseded) for o in session.outcomes("people")}
        assert counts == {"old": (2, 0, 2), "new": (3, 2, 1), "ted": (1, 0, 0)}


def test_an_empty_delivery_supersedes_what_came_before(tmp_path: Path) -> None:
    files = [landed(tmp_path / "old", f"{HEADER}\n1,old,\n"), landed(tmp_path / "new", f"{HEADER}\n", days=1)]
    with opened() as session:
        session.read("people", PEOPLE, files)
        session.deduplicate("people", snapshot=True)

        assert (rows(session, NAMES), session.new_rows("people")) == ([], 0)


@pytest.mark.parametrize(
    ("published", "stays"), [(4, [("1", "new", True)]), (5, [("1", "new", True)]), (6, [("9", "published", False)])]
)
def test_a_published_delivery_gives_way_unless_it_is_newer(tmp_path: Path, published: int, stays: list) -> None:
    """At the same time and uri it is the same object, processed again."""
    with opened() as session:
        session.read("people", PEOPLE, [landed(tmp_path / "f", f"{HEADER}\n1,new,\n", days=5)])
        session.table("published", known(tmp_path, ("9", "published", "f", published)))
        session.add_published("people", "SELECT * FROM PUBLISHED")
        session.deduplicate("people", snapshot=True)

        assert rows(session, "SELECT ID, NAME, _IS_NEW FROM people") == stays
        (outcome,) = session.outcomes("people")
        assert (outcome.loaded, outcome.superseded) == ((0, 1) if published == 6 else (1, 0))


def test_one_row_without_values_stands_for_what_is_published(tmp_path: Path) -> None:
    contract = replace(VISITS, columns=tuple(replace(column, reference=None) for column in VISITS.columns))
    with opened() as session:
        session.read("visits", contract, [landed(tmp_path / "v", f"{VISIT_HEADER}\nv1,1,,1\n")])
        session.add_published(
            "visits",
            "SELECT NULL AS ID, NULL AS PERSON_ID, NULL AS DAY, NULL AS AMOUNT, 'lake://bucket/raw/x' AS _SOURCE_URI, "
            "CAST('2026-01-09' AS TIMESTAMP_NTZ) AS _SOURCE_MODIFIED_AT, NULL AS _RESCUED",
        )
        session.deduplicate("visits", snapshot=True)

        assert (session.new_rows("visits"), session.outcomes("visits")[0].superseded) == (0, 1)


def test_records_that_waited_are_added_to_the_delivery_that_they_were_in(tmp_path: Path) -> None:
    """Two headers make two files of them; nothing of the published delivery may get lost over them."""
    first = landed(tmp_path / "w0", f"{HEADER}\n1,waited,\n2,waited,\n", waiting=[("q1", 2), ("q2", 3)])
    second = landed(tmp_path / "w1", "NAME,ID,NOTE\nwaited,3,\n", waiting=[("q3", 4)])
    old = landed(tmp_path / "w2", f"{HEADER}\n4,older,\n", waiting=[("q4", 4)], days=-1)
    same = [replace(file, landed=replace(first.landed, uri="lake://bucket/raw/f")) for file in (first, second)]
    with opened() as session:
        session.read("people", PEOPLE, [*same, old])
        session.table("published", known(tmp_path, ("1", "published", "f", 0), ("9", "published", "f", 0)))
        session.add_published("people", "SELECT * FROM PUBLISHED")
        session.deduplicate("people", snapshot=True)

        assert rows(session, NAMES) == [("1", "waited"), ("2", "waited"), ("3", "waited"), ("9", "published")]
        assert sorted(key for outcome in session.outcomes("people") for key in outcome.released) == [
            "q1",
            "q2",
            "q3",
            "q4",
        ]


def test_a_unit_of_files_is_one_delivery(tmp_path: Path) -> None:
    contents = {"a": ("old", 0), "b": ("new", 1), "c": ("old", 0), "d": ("new", 2)}
    files = [
        replace(landed(tmp_path / name, f"{HEADER}\n{name},,\n", days=days), file_set=file_set)
        for name, (file_set, days) in contents.items()
    ]
    with opened() as session:
        session.read("people", PEOPLE, files)
        session.deduplicate("people", snapshot=True)

        assert [row[0] for row in rows(session, NAMES)] == ["b", "d"]


# --- every version -------------------------------------------------------------------------------------------


def test_every_version_that_could_be_loaded_is_there_with_the_object_that_it_came_in(tmp_path: Path) -> None:
    people = landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n")
    fresh = landed(tmp_path / "v", f"{VISIT_HEADER},more\nv1,1,,1,x\nv1,1,,2,\nv2,nobody,,1,\nv3,1,,x,\n", days=1)
    broken = landed(tmp_path / "broken", "ID\nv4\n")
    held = waiting(tmp_path, ("q1", 7, "v1,1,,3"), ("q2", 8, "v5,nobody,,1"), days=2)
    held = replace(held, landed=replace(held.landed, uri="lake://bucket/raw/first", etag="first etag"))
    with opened() as session:
        session.read("people", PEOPLE, [people])
        session.read("visits", VISITS, [fresh, broken, held])
        session.deduplicate("people")
        session.deduplicate("visits")
        name = session.every_version("visits")

        found = rows(session, f"SELECT ID, AMOUNT, _SOURCE_URI, _SOURCE_ETAG, _RESCUED FROM {name}")
        assert [(*row[:4], row[4] and json.loads(row[4])) for row in found] == [
            ("v1", Decimal(1), "lake://bucket/raw/v", "etag", {"MORE": "x"}),
            ("v1", Decimal(2), "lake://bucket/raw/v", "etag", None),
            ("v1", Decimal(3), "lake://bucket/raw/first", "first etag", None),
        ]
        (when,) = {row[0] for row in rows(session, f"SELECT _SOURCE_MODIFIED_AT FROM {name} WHERE AMOUNT = 3")}
        assert when == START.replace(tzinfo=None) + timedelta(days=2)
        assert session.count(f"SELECT * FROM {session.every_version('people')}") == 1


def test_of_several_records_of_a_key_in_one_object_the_last_is_kept_with_those_of_other_objects(
    tmp_path: Path,
) -> None:
    first = landed(tmp_path / "first", f"{HEADER}\n1,Ada,a\n2,Bob,\n1,Ada,z\n1,Ada,b\n", days=2)
    second = landed(tmp_path / "second", f"{HEADER}\n1,Ada,c\n1,Ada,d\n", days=1)
    with opened() as session:
        session.read("people", PEOPLE, [first, second])
        session.deduplicate("people")
        name = session.every_version("people", last_of_object=True)
        found = rows(session, f"SELECT ID, NOTE, _SOURCE_URI FROM {name}")
        assert found == [
            ("1", "b", "lake://bucket/raw/first"),
            ("1", "d", "lake://bucket/raw/second"),
            ("2", None, "lake://bucket/raw/first"),
        ]
        assert session.count(f"SELECT * FROM {session.every_version('people')}") == 6


# --- references ----------------------------------------------------------------------------------------------


def test_a_reference_may_be_loaded_without_its_parent_and_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    host = Column("HOST_ID", "string", "VARCHAR", reference=Reference("people", "ID", "orphan_host"))
    columns = list(VISITS.columns)
    columns[1] = replace(columns[1], reference=Reference("nowhere", "ID", "unused", on_missing="load"))
    contract = replace(VISITS, columns=(*columns, host))
    with opened() as session:
        session.read("people", PEOPLE, [landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n")])
        session.read("visits", contract, [landed(tmp_path / "v", f"{VISIT_HEADER},HOST_ID\nv1,9,,1,\nv2,9,,1,8\n")])
        session.deduplicate("people")
        session.deduplicate("visits")

        assert rows(session, "SELECT ID FROM visits") == [("v1",)]
        assert reported(session, "visits") == [(3, "v2,9,,1,8", "orphan_host")]


def test_a_personal_value_that_refers_to_nothing_is_not_in_the_reason(tmp_path: Path) -> None:
    """FAULTS 40: the reason goes to logs, checks and alerts, in which the columns of a table cannot be masked."""
    columns = [replace(c, classification="personal") if c.name == "PERSON_ID" else c for c in VISITS.columns]
    shape = replace(VISITS, columns=tuple(columns))
    with opened() as session:
        session.read("people", PEOPLE, [landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n")])
        session.read("visits", shape, [landed(tmp_path / "v", f"{VISIT_HEADER}\nv1,ada@x.org,,1\n")])
        session.deduplicate("people")
        session.deduplicate("visits")

        (bad,) = session.bad_records("visits")
        assert bad.code == "orphan_visit"
        assert bad.reason == "PERSON_ID: no people row has this value, which is personal data, yet."


def test_a_json_record_without_its_parent_is_reported_like_any_other(tmp_path: Path) -> None:
    columns = (
        Column("ID", "string", "VARCHAR", required=True, key=True, path=("id",)),
        Column("OF", "string", "VARCHAR", path=("of", "id"), reference=Reference("people", "ID", "orphan_visit")),
    )
    contract = Contract("calls", "CALLS", "1", "shop", "", "", "", columns, form="json")
    lines = [{"id": "c1", "of": {"id": "1"}}, {"id": "c2", "of": {"id": " 7"}}, {"id": "c3"}]
    with opened() as session:
        session.read("people", PEOPLE, [landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n")])
        session.read("calls", contract, [landed(tmp_path / "c", "\n".join(map(json.dumps, lines)))])
        session.deduplicate("people")
        session.deduplicate("calls")

        assert rows(session, "SELECT ID FROM calls") == [("c1",), ("c3",)]
        (bad,) = session.bad_records("calls")
        assert (bad.line, bad.code, bad.reason) == (2, "orphan_visit", 'OF: no people row has "7" yet.')


# --- accepted together ---------------------------------------------------------------------------------------


def file_set(name: str, file: SourceFile) -> SourceFile:
    return replace(file, file_set=name)


def test_files_of_a_unit_are_rejected_together_in_every_input(tmp_path: Path) -> None:
    """Rejected for what is in them: a column, bad rows, bytes that are no text; others by their file_set."""
    many = "\n".join([HEADER, *(f"{number:09d},x," for number in range(30))])
    people = [
        file_set("one", landed(tmp_path / "good", f"{HEADER}\n1,Ada,\n{'x' * 9},,\n")),
        file_set("one", landed(tmp_path / "column", "NAME\nAda\n")),
        file_set("one", landed(tmp_path / "column too", "NOTE\n\n")),
        file_set("two", landed(tmp_path / "of two", f"{HEADER}\n2,Bob,\n")),
        file_set("three", landed(tmp_path / "many", many)),
        file_set("four", landed(tmp_path / "of four", f"{HEADER}\n4,Dee,\n")),
        landed(tmp_path / "alone", "NAME\nAda\n"),
        landed(tmp_path / "alone too", f"{HEADER}\n5,Eve,\n"),
    ]
    visits = [
        file_set("one", landed(tmp_path / "empty", "")),
        file_set("two", landed(tmp_path / "cut", b"\x1f\x8b\x08\x00broken")),
        file_set("three", landed(tmp_path / "of three", f"{VISIT_HEADER}\nv1,5,,1\nv2,5\n")),
        file_set("four", landed(tmp_path / "also of four", f"{VISIT_HEADER}\nv4,4,,1\n")),
        file_set("one", waiting(tmp_path, ("q1", 7, "v5,5,,1"))),
    ]
    with opened(RejectPolicy()) as session:
        session.read("people", PEOPLE, people)
        session.read("visits", VISITS, visits)
        session.deduplicate("people")
        session.deduplicate("visits")

        assert rows(session, "SELECT ID FROM people") == [("4",), ("5",)]
        assert rows(session, "SELECT ID FROM visits") == [("v4",), ("v5",)]
        outcomes = {o.landed.uri.rpartition("/")[2]: o for name in ("people", "visits") for o in session.outcomes(name)}
        rejected = {name: outcome.rejection for name, outcome in outcomes.items() if outcome.rejection}
        assert {name: rejection.code for name, rejection in rejected.items()} == {
            "good": "rejected_with_its_set",
            "column": "missing_column",
            "column too": "missing_column",
            "of two": "rejected_with_its_set",
            "many": "too_many_bad_rows",
            "alone": "missing_column",
            "empty": "rejected_with_its_set",
            "cut": "unreadable_object",
            "of three": "rejected_with_its_set",
        }
        # The first of several causes is named, with what is wrong with it.
        causes = {"good": "column", "empty": "column", "of two": "cut", "of three": "many"}
        for name, cause in causes.items():
            found = rejected[cause]
            told_ = f"It was delivered together with {found.landed.uri}, which is rejected as {found.code}: "
            assert rejected[name].reason == told_ + found.reason
        for outcome in outcomes.values():
            assert outcome.read == outcome.loaded + outcome.superseded + outcome.quarantined
        assert (outcomes["good"].read, outcomes["good"].quarantined) == (2, 2)
        for name, files in (("people", people), ("visits", visits)):
            bad = list(session.bad_records(name))
            assert [record.line for record in bad] == [None] * len(bad)
            assert {record.landed for record in bad} == {
                file.landed for file in files if file.landed.uri.rpartition("/")[2] in rejected
            }


def test_a_unit_that_is_rejected_supersedes_nothing(tmp_path: Path) -> None:
    files = [
        landed(tmp_path / "old", f"{HEADER}\n1,old,\n"),
        file_set("u", landed(tmp_path / "new", f"{HEADER}\n1,new,\n", days=2)),
        file_set("u", landed(tmp_path / "rejected", "NAME\nx\n", days=1)),
    ]
    for snapshot in (False, True):
        with opened() as session:
            session.read("people", PEOPLE, files)
            session.deduplicate("people", snapshot=snapshot)

            assert rows(session, NAMES) == [("1", "old")]
            assert session.count(f"SELECT * FROM {session.every_version('people')}") == 1


def test_the_reason_for_a_rejection_with_a_set_has_a_plain_text() -> None:
    assert "another file" in REASON_CODES["rejected_with_its_set"]


# --- identity apart from place -------------------------------------------------------------------------------


def test_the_identity_of_a_file_is_reported_and_not_its_place(tmp_path: Path) -> None:
    file = landed(tmp_path / "f", f"{HEADER}\n1,Ada,\n{'x' * 9},,\n")
    file = replace(file, place=replace(file.landed, uri="lake://bucket/processing/copy", etag="another"))
    with opened(NEVER) as session:
        session.read("people", PEOPLE, [file])
        session.deduplicate("people")

        name = session.every_version("people")
        assert rows(session, f"SELECT _SOURCE_URI, _SOURCE_ETAG FROM {name}") == [("lake://bucket/raw/f", "etag")]
        assert [bad.landed for bad in session.bad_records("people")] == [file.landed]
        assert session.outcomes("people")[0].landed == file.landed
