"""What the command line says about checks that did not pass: the facts, and whose data they are about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline_assets.commands import demo
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


def test_the_demo_separates_findings_in_other_files_from_those_in_its_samples(tmp_path: Path) -> None:
    lake = BookingsLake.at(tmp_path / "home")
    clean = process(lake.home, "demo", "--scale", "0.02").stdout
    assert "0 found something else" in clean
    assert "every bad record is in quarantine" in clean

    lake.customers("_mine", customer(9001))
    lake.write("customer_details_broken.csv", "NAME\nAda\n")
    lake.bookings("_mine", booking(9001, 9001), booking(9002, 9001, "x"), booking(9003, 9001, "y"))
    lines = process(lake.home, "demo", "--scale", "0.02").stdout.splitlines()
    own = [line for line in lines if line.startswith(("  WARN", "  ERROR"))]
    assert own == [
        "  WARN: quarantine on bookings/customers: "
        "lake://customer-booking-data-pipeline/raw-data/booking_details_mine.csv: 2 not_a_number",
        "  ERROR: rejected_objects on bookings/customers: "
        "lake://customer-booking-data-pipeline/raw-data/customer_details_broken.csv: missing_column",
    ]
    assert any("2 found something else" in line for line in lines)
    assert any(line.startswith("  quarantine: bad records") and "orders" in line for line in lines)


def test_the_demos_last_sentence_says_what_failed() -> None:
    succeeded = {"pipeline": "orders", "success": True, "checks": []}
    failed = {"pipeline": "bookings", "success": False, "checks": []}
    assert "every bad record is in quarantine" in demo._conclusion([succeeded])
    assert demo._conclusion([succeeded, failed]).startswith("bookings failed: nothing of that run was published")
    check = {"asset": "orders/order_headers", "name": "row_accounting", "passed": False, "severity": "ERROR"}
    assert "row_accounting" in demo._conclusion([succeeded | {"checks": [check]}])
