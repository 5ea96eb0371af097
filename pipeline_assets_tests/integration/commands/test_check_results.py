"""What the command line says about checks that did not pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline_assets_tests.support.bookings_lake import CUSTOMER_HEADER, BookingsLake, booking, customer
from pipeline_assets_tests.support.command_line import process


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = BookingsLake.with_tables(tmp_path_factory.mktemp("findings") / "home")
    lake.write("customer_details.csv", f"{CUSTOMER_HEADER},TIER\n{customer(1)},gold\n")
    lake.bookings("", booking(1, 1), booking(2, 1, "x"))
    return lake.home


def test_a_check_that_did_not_pass_is_printed_with_what_it_found_and_the_next_command(home: Path) -> None:
    lines = process(home, "run", "bookings").stdout.splitlines()
    found = [number for number, line in enumerate(lines) if "WARN" in line or "ERROR" in line]
    assert [lines[number] for number in found] == [
        "  WARN: unknown_columns on bookings/customers: Kept in _RESCUED: TIER (1 rows)",
        "  WARN: quarantine on bookings/customers: not_a_number: 1",
    ]
    assert [lines[number + 1] for number in found] == [
        "    pipeline-assets query 'SELECT _SOURCE_URI, _RESCUED FROM BOOKINGS.CUSTOMERS "
        "WHERE _RESCUED IS NOT NULL LIMIT 20'",
        "    pipeline-assets quarantine list bookings",
    ]


def test_the_json_of_a_check_is_as_documented(home: Path) -> None:
    checks = json.loads(process(home, "run", "bookings", "--json").stdout)["checks"]
    known = ("asset", "name", "passed", "severity")
    assert {(check["passed"], tuple(check)) for check in checks} == {(True, known), (False, (*known, "next_command"))}
