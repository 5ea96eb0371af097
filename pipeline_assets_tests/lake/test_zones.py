"""Which objects belong to a dataset."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline_assets.lake import LandedObject, LocalLake, Zone

ZONE = Zone("bucket", "raw-data/", "customer_details*.csv*")


def landed(key: str, bucket: str = "bucket") -> LandedObject:
    return LandedObject(f"lake://{bucket}/{key}", "etag", 1, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "name",
    ["customer_details.csv", "CUSTOMER_DETAILS_2.CSV", "Customer_Details [1].csv.gz", "customer_details #2 100%.csv"],
)
def test_a_name_that_fits_belongs_whatever_its_case(name: str) -> None:
    assert landed(f"raw-data/{name}") in ZONE


@pytest.mark.parametrize("name", ["booking_details.csv", "customer_details.json", "my_customer_details.csv"])
def test_a_name_that_does_not_fit_belongs_to_another_dataset(name: str) -> None:
    assert landed(f"raw-data/{name}") not in ZONE


def test_another_bucket_or_prefix_is_another_zone() -> None:
    assert landed("raw-data/customer_details.csv", "bucket-2") not in ZONE
    assert landed("raw-data-2/customer_details.csv") not in ZONE
    assert landed("processed-data/customer_details.csv") not in ZONE


@pytest.mark.parametrize(
    "key",
    [
        "in/.a.csv.part",
        "in/deep/.a.csv",
        "in/.staging/a.csv",
        "in/deep/.staging/deeper/a.csv",
        "in/sub/",
        "in/",
        "in/.",
    ],
)
def test_temporary_files_and_folder_markers_belong_to_no_zone(key: str) -> None:
    assert landed(key) not in Zone("bucket", "in/", "*")


def test_objects_of_a_zone_are_those_that_belong(tmp_path: Path) -> None:
    folder = tmp_path / "bucket" / "raw-data"
    (folder / ".staging").mkdir(parents=True)
    name = "customer_details.csv"
    for path in (name, "booking_details.csv", f".{name}", f".staging/{name}"):
        (folder / path).write_text("x")

    assert [found.key for found in ZONE.objects(LocalLake(tmp_path))] == ["raw-data/customer_details.csv"]


@pytest.mark.parametrize(
    ("name", "belongs"),
    [
        ("x.json", True),
        ("2026/11/20/x.json", True),
        ("shop=a/x.JSON", True),
        ("x.json/part-0", False),
        ("2026/.tmp/x.json", False),
        ("2026/.x.json", False),
        ("2026/x.json.bak", False),
    ],
)
def test_two_stars_stand_for_folders_of_any_depth(name: str, belongs: bool) -> None:
    zone = Zone("bucket", "incoming/", "**/*.json")
    assert (landed(f"incoming/{name}") in zone) is belongs
