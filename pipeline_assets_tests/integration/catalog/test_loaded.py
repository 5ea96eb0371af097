"""What the catalog shows of a home: rows, results and runs of it, nothing of an empty one, and no personal value."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline_assets.catalog.health import DAYS
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.catalog_site import data_of, details_of
from pipeline_assets_tests.support.command_line import process

PERSONAL = "grace@example.org"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> BookingsLake:
    """A home with two runs of bookings; one record is in quarantine."""
    lake = BookingsLake.with_tables(tmp_path_factory.mktemp("catalog") / "home")
    lake.customers("", customer(1, "Grace", "Hopper"), customer(2))
    lake.bookings("", booking(1, 1), booking(2, 2, "x"))
    assert process(lake.home, "run", "bookings").returncode == 0
    lake.bookings("_2", booking(3, 2))
    assert process(lake.home, "run", "bookings").returncode == 0
    return lake


@pytest.fixture(scope="module")
def site(lake: BookingsLake) -> Path:
    made = process(lake.home, "catalog")
    assert (made.returncode, made.stdout) == (0, f"{lake.home / 'catalog' / 'index.html'}\n"), made.stderr
    return lake.home / "catalog"


def test_a_table_shows_its_rows_by_batch_and_when_it_changed(site: Path) -> None:
    loaded = details_of(site, "bookings/customer_bookings")["loaded"]

    assert loaded["rows"] == 2
    assert [batch["rows"] for batch in loaded["written"]] == [1, 1]
    assert loaded["changed"] == loaded["written"][-1]["at"]
    assert [batch["rows"] for batch in loaded["counted"]] == [1, 2]


def test_samples_are_masked(site: Path) -> None:
    sample = details_of(site, "bookings/customer_bookings")["loaded"]["sample"]

    row = dict(zip(sample["columns"], sample["rows"][0], strict=True))
    assert (row["CUSTOMER_ID"], row["EMAIL"], row["LAST_NAME"]) == ("1", "•••", "•••")
    for file in site.rglob("*"):
        assert not file.is_file() or PERSONAL not in file.read_text(encoding="utf-8"), file


def test_a_source_shows_its_batches_and_what_landed_last(site: Path) -> None:
    loaded = details_of(site, "bookings/bookings_files")["loaded"]

    batches = [(batch["read"], batch["loaded"], batch["quarantined"]) for batch in loaded["batches"]]
    assert batches == [(2, 1, 1), (1, 1, 0)]
    assert [Path(each["uri"]).name for each in loaded["objects"]] == ["booking_details_2.csv", "booking_details.csv"]
    assert loaded["batches"][0]["at"] < loaded["arrived"] <= loaded["batches"][-1]["at"]
    assert all(isinstance(count, int) for batch in loaded["batches"] for count in list(batch.values())[1:-1])


def test_an_export_shows_its_last_file(site: Path, lake: BookingsLake) -> None:
    loaded = details_of(site, "bookings/customer_bookings_csv")["loaded"]

    assert loaded["file"].endswith(max(lake.processed(), key=lambda path: path.stat().st_mtime).name)
    assert loaded["changed"] >= details_of(site, "bookings/customer_bookings")["loaded"]["written"][-1]["at"]


def test_checks_show_their_last_result(site: Path) -> None:
    rules = {rule["name"]: rule for rule in details_of(site, "bookings/customer_bookings")["rules"]}
    waiting = {rule["name"]: rule for rule in details_of(site, "bookings/customers")["rules"]}["quarantine"]

    assert rules["unique_key"]["passed"] is True
    assert (waiting["passed"], waiting["severity"], waiting["found"]) == (False, "WARN", "not_a_number: 1")


def test_health_has_the_runs_and_batches_of_each_pipeline(site: Path) -> None:
    health = data_of(site)["pipelines"]["bookings"]
    days = health["days"]

    assert health["lastRun"]["success"] is True
    assert health["waiting"] == {"not_a_number": 1}
    assert len(days) == DAYS
    # Two days, if midnight was between the runs.
    totals = {name: sum(day[name] for day in days) for name in ("runs", "failed", "batches", "read", "quarantined")}
    assert totals == {"runs": 2, "failed": 0, "batches": 2, "read": 5, "quarantined": 1}
    assert (days[-1]["waiting"], days[0]["waiting"], days[0]["age"]) == (1, 0, None)
    assert days[-1]["age"] < 1
    seconds = [day[name] for day in days for name in ("engine", "warehouse") if day["batches"]]
    assert all(0 < each < 600 for each in seconds)
    assert [day["latency"] for day in days] == [None] * DAYS, "files may be copied with an old time"
    assert data_of(site)["pipelines"]["orders"]["lastRun"] is None


def test_a_table_that_cannot_be_read_has_a_note_and_the_others_their_rows(lake: BookingsLake, tmp_path: Path) -> None:
    with lake.platform.warehouse.autocommit() as session:
        session.execute("CREATE TABLE BOOKINGS.KEPT AS SELECT * FROM BOOKINGS.DAILY_SPEND")
        session.execute("DROP TABLE BOOKINGS.DAILY_SPEND")
        session.execute("CREATE VIEW BOOKINGS.DAILY_SPEND AS SELECT BOOKING_DATE, 1 / 0 AS BOOKINGS FROM BOOKINGS.KEPT")
        session.execute("DROP TABLE BOOKINGS.KEPT")
    made = process(lake.home, "catalog", "--out", str(tmp_path / "out"))

    assert made.returncode == 0, made.stderr
    assert (
        "BOOKINGS.DAILY_SPEND could not be read"
        in details_of(tmp_path / "out", "bookings/daily_spend")["loaded"]["note"]
    )
    assert details_of(tmp_path / "out", "bookings/customers")["loaded"]["rows"] == 2


def test_a_home_of_an_earlier_version_has_a_catalog_without_seconds(lake: BookingsLake, tmp_path: Path) -> None:
    shutil.copytree(lake.home / "warehouse", tmp_path / "home" / "warehouse")
    earlier = BookingsLake.at(tmp_path / "home")
    with earlier.platform.warehouse.autocommit() as session:
        for column in ("ENGINE_SECONDS", "WAREHOUSE_SECONDS"):
            session.execute(f"ALTER TABLE OPS.BATCHES DROP COLUMN {column}")
    made = process(earlier.home, "catalog")

    assert made.returncode == 0, made.stderr
    days = data_of(earlier.home / "catalog")["pipelines"]["bookings"]["days"]
    assert sum(day["read"] for day in days) == 5
    assert {day["engine"] for day in days} == {None}


def test_a_fresh_home_has_a_catalog_and_gets_no_warehouse(tmp_path: Path) -> None:
    (tmp_path / "warehouse").mkdir()
    (tmp_path / "warehouse" / "ANOTHER.db").touch()  # of another PIPELINE_DATABASE
    made = process(tmp_path, "catalog", "--out", str(tmp_path / "out"))

    assert made.returncode == 0, made.stderr
    assert {dataset["rows"] for dataset in data_of(tmp_path / "out")["datasets"]} == {None}
    assert details_of(tmp_path / "out", "bookings/customers")["rules"][0]["name"] == "unique_key"
    assert [path.name for path in tmp_path.glob("warehouse/*.db")] == ["ANOTHER.db"]
    assert not (tmp_path / "dagster" / "dagster.yaml").exists()


@pytest.mark.parametrize("out", ["the home itself", "a file"])
def test_a_folder_with_other_files_is_refused_in_one_line(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    made = process(tmp_path, "catalog", "--out", str(tmp_path if out == "the home itself" else tmp_path / "file"))

    assert (made.returncode, made.stdout, made.stderr.count("\n")) == (2, "", 1), made.stderr
    assert "--out" in made.stderr
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"
