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


def test_a_check_that_did_not_pass_is_printed_with_its_severity_and_description(home: Path) -> None:
    lines = process(home, "run", "bookings").stdout.splitlines()
    assert "  WARN: quarantine on bookings/customers: not_a_number: 1" in lines
    assert "  WARN: unknown_columns on bookings/customers: Kept in _RESCUED: TIER (1 rows)" in lines
    assert len([line for line in lines if "WARN" in line or "ERROR" in line]) == 2


def test_the_json_of_a_check_is_as_documented(home: Path) -> None:
    checks = json.loads(process(home, "run", "bookings", "--json").stdout)["checks"]
    assert {tuple(check) for check in checks} == {("asset", "name", "passed", "severity")}
