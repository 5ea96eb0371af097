"""A broken record over several lines costs no good record before, in or behind it; every line keeps its number."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets_tests.support.broken_records import CASES, Lines
from pipeline_assets_tests.support.engine_session import PEOPLE, landed, opened, reported, rows


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_broken_record_over_several_lines_swallows_no_good_one(tmp_path: Path, case: Lines, end: str) -> None:
    with opened() as session:
        session.read("people", PEOPLE, [landed(tmp_path / "x", case.content(end))])
        session.deduplicate("people")

        assert rows(session, "SELECT ID, NAME, NOTE FROM people") == case.rows(end)
        assert reported(session, "people") == case.reported
        (outcome,) = session.outcomes("people")
        assert (outcome.read, outcome.quarantined) == (2 + len(case.good) + len(case.bad), len(case.bad))


def test_broken_records_of_many_files_are_reported_with_their_own_file(tmp_path: Path) -> None:
    """Files that are read together are kept apart."""
    with opened() as session:
        files = [landed(tmp_path / name, case.content("\n")) for name, case in CASES.items()]
        session.read("people", PEOPLE, files)

        found = {name: [] for name in CASES}
        for bad in session.bad_records("people"):
            found[bad.landed.uri.rpartition("/")[2]].append((bad.line, bad.raw, bad.code))
        assert found == {name: case.reported for name, case in CASES.items()}
