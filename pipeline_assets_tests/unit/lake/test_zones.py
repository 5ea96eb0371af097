"""Which objects belong to a dataset."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.errors import ConfigurationError
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


def test_a_pattern_with_brackets_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not a pattern"):
        Zone("bucket", "in/", "[ab]*.csv")


# Characters that regular expressions, cases and UTF-8 make something of.
text = st.text(st.sampled_from("aA.b/\n é\u0130\u017f\u212akKsS+()^$|\\-#{}0"), max_size=8)
patterns = st.lists(
    st.sampled_from(["*", "?", "a", "K", "s", "é", ".", "/", "+", "(", "^", "$", "{0}", "\\", " "]), max_size=5
)


@settings(deadline=None, max_examples=500)
@given(
    st.sampled_from(["", "in/", "a.b+/"]),
    st.sampled_from(["", "**/"]),
    st.lists(patterns, min_size=1, max_size=2),
    st.lists(text, min_size=1, max_size=8),
)
def test_one_object_and_a_batch_of_a_listing_are_asked_alike(
    prefix: str, deep: str, patterns: list[list[str]], names: list[str]
) -> None:
    """Two engines read one regular expression; the shell's patterns are the model, where case is plain."""
    zone = Zone("bucket", prefix, "|".join(deep + "".join(parts) for parts in patterns))
    keys = [prefix + name for name in names] + names

    selected = zone.select(pa.record_batch({"path": keys}))["path"].to_pylist()

    assert selected == [key for key in keys if landed(key) in zone]
    for key in keys:
        plain = key.startswith(prefix) and key.isascii() and zone.pattern.isascii() and "//" not in key
        if plain and not key.endswith("/") and not key.startswith("/"):
            assert (key in selected) == _belongs(key[len(prefix) :], zone.pattern), key


def _belongs(name: str, pattern: str) -> bool:
    hidden = any(part.startswith(".") for part in name.split("/"))
    return not hidden and any(_fits(name.lower(), one.lower()) for one in pattern.split("|"))


def _fits(name: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        pattern = pattern.removeprefix("**/")
        name = "/".join(name.split("/")[-1 - pattern.count("/") :])
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)
