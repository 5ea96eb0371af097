"""FAULTS 35: a foreign object in a zone is rejected once, with one alert, and everything else loads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline_assets.batch.report import BatchReport
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.foreign_objects import FOREIGN, make_foreign
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product

RECORDS = "SELECT SOURCE_URI, LINE_NUMBER, REASON_CODE, REASON FROM OPS.QUARANTINE ORDER BY 1"
LEDGER = "SELECT STATUS, COUNT(*) FROM OPS.FILE_LEDGER GROUP BY 1 ORDER BY 1"


@pytest.fixture
def lake(tmp_path: Path) -> BookingsLake:
    lake = BookingsLake.with_tables(tmp_path / "home")
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    return lake


def alerts(lake: BookingsLake | OrdersLake) -> list[dict]:
    return [json.loads(line) for line in (lake.home / "alerts.jsonl").read_text().splitlines()]


def counts(report: BatchReport) -> tuple[int, int, int]:
    return report.new, report.loaded, report.rejected


def test_each_foreign_object_is_rejected_once_and_everything_else_loads(lake: BookingsLake) -> None:
    for kind in FOREIGN:
        make_foreign(lake.landing_folder, kind, "booking_details_")

    report = lake.run()

    assert counts(report) == (2 + len(FOREIGN), 2, len(FOREIGN))
    assert lake.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMER_BOOKINGS") == [(1,)]
    assert lake.rows(LEDGER) == [("loaded", 2), ("rejected", len(FOREIGN))]
    records = lake.rows(RECORDS)
    assert len({uri for uri, *_ in records}) == len(FOREIGN)
    for uri, line, code, reason in records:
        assert (line, code) == (None, "unreadable_object")
        assert uri in reason
        assert reason.isprintable()
    assert sorted(alert["facts"]["object"] for alert in alerts(lake)) == [uri for uri, *_ in records]

    again = lake.run()
    assert (counts(again), again.known) == ((0, 0, 0), 2 + len(FOREIGN))
    assert len(alerts(lake)) == len(FOREIGN)


def test_a_zone_with_foreign_objects_alone_is_reported_once(tmp_path: Path) -> None:
    lake = BookingsLake.with_tables(tmp_path / "home")
    lake.landing_folder.mkdir(parents=True)
    make_foreign(lake.landing_folder, "pipe", "booking_details_")
    assert counts(lake.run()) == (1, 0, 1)
    assert counts(lake.run()) == (0, 0, 0)
    assert len(alerts(lake)) == 1


def test_a_foreign_object_that_matches_no_pattern_is_nobodys_business(lake: BookingsLake) -> None:
    for kind in FOREIGN:
        make_foreign(lake.landing_folder, kind, "README_")
    assert counts(lake.run()) == (2, 2, 0)
    assert lake.rows(RECORDS) == []


def test_a_corrected_object_loads(lake: BookingsLake) -> None:
    kinds = ["line feed", "latin-1", "dangling link", "pipe"]
    made = [make_foreign(lake.landing_folder, kind, "booking_details_") for kind in kinds]
    assert counts(lake.run()) == (2 + len(kinds), 2, len(kinds))

    for number, path in enumerate(made, 2):
        os.unlink(path)
        lake.bookings(f"_corrected_{number}", booking(number, 1))

    assert counts(lake.run()) == (len(kinds), len(kinds), 0)
    loaded = lake.rows("SELECT BOOKING_ID FROM BOOKINGS.CUSTOMER_BOOKINGS ORDER BY 1")
    assert loaded == [(str(number),) for number in range(1, 2 + len(kinds))]


def test_a_link_loads_as_soon_as_its_file_exists(lake: BookingsLake) -> None:
    (lake.landing_folder / "booking_details_link.csv").symlink_to("elsewhere.txt")
    assert counts(lake.run()) == (3, 2, 1)
    (lake.landing_folder / "booking_details.csv").rename(lake.landing_folder / "elsewhere.txt")
    assert counts(lake.run()) == (1, 1, 0)


def test_a_replay_reads_a_foreign_object_again_and_changes_nothing(lake: BookingsLake) -> None:
    make_foreign(lake.landing_folder, "pipe", "booking_details_")
    lake.run()
    before = lake.rows(RECORDS)
    lake.run(replay=True)
    lake.run(reprocess=True)
    assert lake.rows(RECORDS) == before
    assert lake.rows(LEDGER) == [("loaded", 2), ("rejected", 1)]


def test_a_folder_that_cannot_be_listed_is_reported_where_the_zone_has_folders(tmp_path: Path) -> None:
    lake = OrdersLake.with_tables(tmp_path / "home")
    lake.write("2024/a.json", json.dumps(order(1, product(1))))
    (lake.landing_folder / "2024" / "up").symlink_to("..")

    assert counts(lake.run()) == (2, 1, 1)

    ((uri, _, _, reason),) = lake.rows(RECORDS)
    assert uri.endswith("/2024/up")
    assert "contains it" in reason
    assert counts(lake.run()) == (0, 0, 0)


def test_a_file_that_vanishes_between_listing_and_reading_leaves_the_rest_alone(
    lake: BookingsLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = lake.bookings("_gone", booking(9, 1))
    fetch_all = lake.platform.lake.fetch_all

    def fetch_after_deletion(objects: list, folder: Path) -> list[Path]:
        paths = fetch_all(objects, folder)
        gone.unlink(missing_ok=True)
        return paths

    monkeypatch.setattr(lake.platform.lake, "fetch_all", fetch_after_deletion)

    report = lake.run()

    assert (report.loaded, report.rejected) == (2, 0)
    assert [Path(uri).name for uri in report.requeued] == [gone.name]
    assert lake.rows("SELECT BOOKING_ID FROM BOOKINGS.CUSTOMER_BOOKINGS") == [("1",)]


STATES = "SELECT SOURCE_URI, CLOSED_AS, CLOSED_BECAUSE FROM OPS.QUARANTINE ORDER BY 1"


def test_a_foreign_object_that_is_gone_is_closed_by_the_next_run(lake: BookingsLake) -> None:
    made = [make_foreign(lake.landing_folder, kind, "booking_details_") for kind in FOREIGN]
    lake.write("booking_details_broken.csv", "NAME\nAda\n")  # rejected too, but not as foreign
    lake.run()
    for path in made:
        os.unlink(path)
    os.unlink(lake.path("booking_details_broken.csv"))

    assert counts(lake.run()) == (0, 0, 0)

    states = {uri.rpartition("/")[2]: tuple(state) for uri, *state in lake.rows(STATES)}
    assert states.pop("booking_details_broken.csv") == (None, None)
    assert len(states) == len(FOREIGN)
    assert states == dict.fromkeys(states, ("gone", "It is no longer in the landing zone."))


def test_a_foreign_object_that_returns_is_reported_again(lake: BookingsLake) -> None:
    link, kept = lake.landing_folder / "booking_details_link.csv", lake.home / "kept"
    link.symlink_to("elsewhere.csv")
    assert counts(lake.run()) == (3, 2, 1)
    for returned in range(2):
        link.rename(kept)
        assert counts(lake.run()) == (0, 0, 0)
        assert [state for _, *state in lake.rows(STATES)] == [["gone", "It is no longer in the landing zone."]]
        kept.rename(link)  # with its inode, so with the same identity
        assert counts(lake.run()) == (1, 0, 1)
        assert [state for _, *state in lake.rows(STATES)] == [[None, None]]
        assert len(alerts(lake)) == 2 + returned
    assert lake.rows(LEDGER) == [("loaded", 2), ("rejected", 1)]


def test_another_fault_at_the_same_name_closes_the_first(lake: BookingsLake) -> None:
    link = lake.landing_folder / "booking_details_link.csv"
    link.symlink_to("elsewhere.csv")
    lake.run()
    link.unlink()
    os.mkfifo(link)
    assert counts(lake.run()) == (1, 0, 1)
    assert sorted(str(state) for _, state, _ in lake.rows(STATES)) == ["None", "gone"]


def test_what_is_below_a_folder_that_cannot_be_listed_is_not_taken_for_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for root, who may list every folder."""
    lake = OrdersLake.with_tables(tmp_path / "home")
    lake.write("2024/a.json", json.dumps(order(1, product(1))))
    (lake.landing_folder / "2024" / "link.json").symlink_to("nowhere")
    lake.run()
    scandir = os.scandir

    def refused(path: str) -> object:
        if str(path).rstrip("/").endswith("2024"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", refused)
            assert counts(lake.run()) == (1, 0, 1), "the folder is reported each time that the right to it is lost"
        assert counts(lake.run()) == (0, 0, 0)
    closed = {uri.rpartition("/")[2]: state for uri, state, _ in lake.rows(STATES)}
    assert closed == {"2024": "gone", "link.json": None}
