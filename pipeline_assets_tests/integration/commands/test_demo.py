"""`pipeline-assets demo`: what it loads, once, and whose data its findings are about."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline_assets.commands import demo
from pipeline_assets.orchestration.execution import dagster_instance
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.command_line import process
from pipeline_assets_tests.support.demo_home import SCALE, DemoHome


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory, filled: DemoHome) -> tuple[Path, str, str]:
    """A home after two demos, and what each printed; before the second one three files landed, a broken one too."""
    home = filled.copy(tmp_path_factory.mktemp("demo") / "home")
    lake = BookingsLake.at(home)
    lake.customers("_mine", customer(9001))
    lake.write("customer_details_broken.csv", "NAME\nAda\n")
    lake.bookings("_mine", booking(9001, 9001), booking(9002, 9001, "x"), booking(9003, 9001, "y"))
    done = process(home, "demo", *SCALE)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return home, filled.printed, done.stdout


def rows_of_tables(printed: str) -> Counter[str]:
    return Counter({name: int(rows) for name, rows in re.findall(r"([A-Z_]+\.[A-Z_]+) +│ (\d+)", printed)})


def test_a_second_demo_loads_only_what_is_new(demos: tuple[Path, str, str]) -> None:
    _, first, second = demos
    assert "4 new objects (4 loaded, 0 rejected), 0 known" in first
    assert "3 new objects (2 loaded, 1 rejected), 4 known" in second
    before, after = map(rows_of_tables, (first, second))
    assert before.total() > 1_000
    assert after - before == {"BOOKINGS.CUSTOMERS": 1, "BOOKINGS.CUSTOMER_BOOKINGS": 1, "BOOKINGS.DAILY_SPEND": 1}
    assert not before - after


def test_the_runs_of_the_demo_are_tagged_as_such(demos: tuple[Path, str, str]) -> None:
    with dagster_instance(demos[0] / "dagster") as instance:
        tags = [run.tags for run in instance.get_runs()]
    assert {(each["pipeline"], each["started_by"]) for each in tags} >= {("orders", "pipeline-assets demo")}
    assert {each["started_by"] for each in tags} == {"pipeline-assets demo"}


def test_the_demo_separates_findings_in_other_files_from_those_in_its_samples(demos: tuple[Path, str, str]) -> None:
    _, clean, second = demos
    assert "0 found something else" in clean
    assert "every bad record is in quarantine" in clean

    lines = second.splitlines()
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
