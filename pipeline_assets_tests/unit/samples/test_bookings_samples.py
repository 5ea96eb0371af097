"""What the samples of pipeline `bookings` promise: the same bytes every time, and countable dirt."""

from __future__ import annotations

import csv
import gzip
import io
import re
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from pipeline_assets.samples import SOURCES, SampleFile, write_samples

CUSTOMER_KINDS = {"missing_customer_id", "formula", "embedded_newline", "padded"}
BOOKING_KINDS = {
    "bad_date",
    "bad_amount",
    "missing_booking_id",
    "missing_customer_id",
    "too_many_fields",
    "too_few_fields",
    "duplicate",
    "resent",
    "orphan",
    "padded",
}


def content(file: SampleFile) -> str:
    raw = file.path.read_bytes()
    return (gzip.decompress(raw) if file.key.endswith(".gz") else raw).decode("utf-8-sig")


def parsed(file: SampleFile) -> tuple[list[str], list[list[str]]]:
    """The header in upper case, and the records as lists of fields."""
    header, *records = csv.reader(io.StringIO(content(file), newline=""))
    return [name.upper() for name in header], records


def by_name(files: list[SampleFile]) -> dict[str, SampleFile]:
    return {file.path.name: file for file in files}


def states(directory: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in directory.rglob("*.*")}


def is_date(value: str) -> bool:
    day_first = re.fullmatch(r"(\d\d)-(\d\d)-(\d{4})", value)
    try:
        date.fromisoformat("-".join(reversed(day_first.groups())) if day_first else value)
    except ValueError:
        return False
    return True


def is_amount(value: str) -> bool:
    whole, dot, cents = value.partition(".")
    return bool(dot) and whole.isdigit() and cents.isdigit() and len(cents) == 2


def booking_dirt(file: SampleFile, known_customers: set[str]) -> dict[str, int]:
    """Dirt counted from the file alone."""
    header, records = parsed(file)
    found = Counter(dict.fromkeys(BOOKING_KINDS, 0))
    versions: dict[str, list[tuple[str, ...]]] = {}
    for record in records:
        if len(record) != len(header):
            found["too_many_fields" if len(record) > len(header) else "too_few_fields"] += 1
            continue
        row = dict(zip(header, record, strict=True))
        booking, customer = row["BOOKING_ID"], row["CUSTOMER_ID"]
        found["bad_date"] += not is_date(row["BOOKING_DATE"])
        found["bad_amount"] += not is_amount(row["AMOUNT_SPENT"])
        found["missing_booking_id"] += booking == ""
        found["missing_customer_id"] += customer == ""
        found["orphan"] += bool(customer) and customer.strip() not in known_customers
        found["padded"] += booking != booking.strip()
        if booking:
            earlier = versions.setdefault(booking, [])
            found["duplicate"] += tuple(record) in earlier
            found["resent"] += bool(earlier) and tuple(record) not in earlier
            earlier.append(tuple(record))
    return dict(found)


def customer_dirt(file: SampleFile) -> dict[str, int]:
    """Dirt counted from the file alone."""
    header, records = parsed(file)
    rows = [dict(zip(header, record, strict=True)) for record in records]
    return {
        "missing_customer_id": sum(row["CUSTOMER_ID"] == "" for row in rows),
        "formula": sum(any(value.startswith(("=", "+", "-", "@")) for value in row.values()) for row in rows),
        "embedded_newline": sum("\n" in row["ADDRESS"] for row in rows),
        "padded": sum(row["FIRST_NAME"] != row["FIRST_NAME"].strip() for row in rows),
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SampleFile]:
    return by_name(write_samples("bookings", tmp_path_factory.mktemp("small") / "bucket", scale=0.1))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SampleFile]:
    return by_name(write_samples("bookings", tmp_path_factory.mktemp("usual") / "bucket"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SampleFile]:
    return by_name(write_samples("bookings", tmp_path_factory.mktemp("large") / "bucket", scale=20))


def test_the_four_files_land_under_the_names_that_the_pipeline_watches(usual):
    assert [file.key for file in usual.values()] == [
        "raw-data/customer_details.csv",
        "raw-data/booking_details.csv",
        "raw-data/booking_details_store.csv.gz",
        "raw-data/customer_details_update.csv",
    ]
    for file in usual.values():
        assert file.path.is_absolute()
        assert file.path.as_posix().endswith("/bucket/" + file.key)
        assert file.kind == ("customers" if "customer" in file.key else "bookings")
        assert file.rows == len(parsed(file)[1])


def test_nothing_unfinished_stays_beside_the_bucket(tmp_path):
    write_samples("bookings", tmp_path / "bucket", scale=0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["bucket"]
    assert len(list((tmp_path / "bucket").rglob("*.*"))) == 4


def test_scale_is_linear(usual, large):
    customers = {row[0].strip() for row in parsed(usual["customer_details.csv"])[1]} - {""}
    assert customers == {str(number) for number in range(1, 501)}
    extra = sum(usual[name].dirt[kind] for name in usual if "booking" in name for kind in ("duplicate", "resent"))
    bookings = [usual["booking_details.csv"].rows, usual["booking_details_store.csv.gz"].rows]
    assert sum(bookings) - extra == 4_000
    assert bookings[0] / sum(bookings) == pytest.approx(0.85, abs=0.02)
    assert large["booking_details.csv"].rows == pytest.approx(20 * bookings[0], rel=0.02)
    assert large["customer_details_update.csv"].rows == pytest.approx(0.02 * 20 * 500, rel=0.25)


def test_the_same_scale_and_seed_give_the_same_bytes(tmp_path, usual):
    again = by_name(write_samples("bookings", tmp_path / "elsewhere", scale=1.0, seed=2024))
    assert {name: file.path.read_bytes() for name, file in again.items()} == {
        name: file.path.read_bytes() for name, file in usual.items()
    }


def test_another_seed_gives_other_records(tmp_path, usual):
    other = by_name(write_samples("bookings", tmp_path, seed=7))
    assert all(content(other[name]) != content(usual[name]) for name in usual)


def test_a_larger_scale_starts_with_the_records_of_a_smaller_one(small, usual, large):
    for name in usual:
        assert content(usual[name]).startswith(content(small[name]))
        assert content(large[name]).startswith(content(usual[name]))


def test_chunk_borders_leave_no_trace(tmp_path, monkeypatch, small):
    monkeypatch.setattr("pipeline_assets.samples.records.CHUNK_ENTITIES", 7)
    chunked = by_name(write_samples("bookings", tmp_path, scale=0.1))
    for name, file in chunked.items():
        assert content(file) == content(small[name])
        assert (file.rows, file.dirt) == (small[name].rows, small[name].dirt)


def test_writing_the_same_samples_again_touches_no_file(tmp_path):
    first = write_samples("bookings", tmp_path, scale=0.1)
    before = states(tmp_path)
    assert write_samples("bookings", tmp_path, scale=0.1) == first
    assert states(tmp_path) == before


def test_changed_content_replaces_the_file_whole(tmp_path):
    write_samples("bookings", tmp_path, scale=0.1)
    before = states(tmp_path)
    files = write_samples("bookings", tmp_path, scale=0.2)
    assert all(states(tmp_path)[str(file.path)] != before[str(file.path)] for file in files)


def test_a_write_that_fails_leaves_the_earlier_files_and_no_litter(tmp_path, monkeypatch):
    write_samples("bookings", tmp_path / "bucket", scale=0.1)
    before = states(tmp_path)

    def full_disk(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("pipeline_assets.samples.bookings_rows.lines", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_samples("bookings", tmp_path / "bucket", scale=0.2)
    assert states(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["bucket"]


def test_the_update_arrives_later_and_changes_email_and_address(usual):
    main, update = usual["customer_details.csv"], usual["customer_details_update.csv"]
    assert update.path.stat().st_mtime > main.path.stat().st_mtime
    current = {row[0]: row for row in parsed(main)[1]}
    newer = parsed(update)[1]
    assert newer
    for row in newer:
        changed = [name for name, old, new in zip(parsed(main)[0], current[row[0]], row, strict=True) if old != new]
        assert changed == ["EMAIL", "ADDRESS"]


def test_the_stores_file_differs_in_form(usual):
    store = usual["booking_details_store.csv.gz"]
    raw = gzip.decompress(store.path.read_bytes())
    assert raw.startswith(b"\xef\xbb\xbf")
    assert raw.count(b"\n") == raw.count(b"\r\n") == store.rows + 1
    header, records = parsed(store)
    shop_header, _ = parsed(usual["booking_details.csv"])
    assert set(header) == {*shop_header, "LOYALTY_TIER"}
    assert [name for name in header if name != "LOYALTY_TIER"] != shop_header
    dates = [record[header.index("BOOKING_DATE")] for record in records if len(record) == len(header)]
    assert sum(date[4:5] == "-" for date in dates) >= len(dates) - store.dirt["bad_date"]


@pytest.mark.parametrize("scale", ["small", "usual", "large"])
def test_the_manifest_counts_the_dirt_that_a_reader_finds(request, scale):
    files = request.getfixturevalue(scale)
    known = {row[0].strip() for row in parsed(files["customer_details.csv"])[1]} - {""}
    for name, file in files.items():
        assert file.dirt == (customer_dirt(file) if file.kind == "customers" else booking_dirt(file, known)), name


@pytest.mark.parametrize("scale", ["small", "usual", "large"])
def test_every_kind_of_dirt_occurs_at_every_scale(request, scale):
    files = request.getfixturevalue(scale)
    for dataset, kinds in (("customers", CUSTOMER_KINDS), ("bookings", BOOKING_KINDS)):
        totals = Counter()
        for file in files.values():
            if file.kind == dataset:
                totals.update(file.dirt)
        assert set(totals) == kinds
        assert min(totals.values()) >= 1


def test_dirt_stays_near_three_records_in_a_thousand(large):
    bookings = [file for file in large.values() if file.kind == "bookings"]
    share = sum(sum(file.dirt.values()) for file in bookings) / sum(file.rows for file in bookings)
    assert share == pytest.approx(0.003, rel=0.2)


def test_the_forms_of_each_dirt_all_occur_in_the_smallest_samples(small):
    text = content(small["booking_details.csv"])
    assert all(form in text for form in ("31-02-2024", ",n/a,", '"12,50 EUR"', ",free,"))
    _, customers = parsed(small["customer_details.csv"])
    assert {row[5][0] for row in customers} >= set("=+-@")


def test_an_embedded_newline_and_doubled_quotes_survive_a_round_trip(small):
    _, records = parsed(small["customer_details.csv"])
    (address,) = [row[5] for row in records if "\n" in row[5]]
    first, second = address.split("\n")
    assert first == 'c/o "The Granary"'
    assert second[0].isdigit()
    assert len(content(small["customer_details.csv"]).splitlines()) == len(records) + 2


def test_a_booking_sent_again_comes_later_with_only_its_status_changed(usual):
    header, records = parsed(usual["booking_details.csv"])
    seen: dict[str, list[str]] = {}
    resent = 0
    for record in records:
        earlier = seen.get(record[0]) if record[0] else None
        if earlier and earlier != record:
            assert [n for n, a, b in zip(header, earlier, record, strict=True) if a != b] == ["STATUS"]
            resent += 1
        seen[record[0]] = record
    assert resent == usual["booking_details.csv"].dirt["resent"]


def test_damaged_times_stand_beside_whole_ones(usual):
    header, records = parsed(usual["booking_details.csv"])
    times = [record[header.index("BOOKING_TIME")] for record in records]
    damaged = [time for time in times if time.endswith(".0")]
    assert 0 < len(damaged) < len(times) / 10
    whole = re.compile(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d")
    assert all(re.fullmatch(r"[0-5]\d:[0-5]\d\.0", time) or whole.fullmatch(time) for time in times)


def test_the_smallest_scale_still_has_a_customer_with_bookings(tmp_path):
    files = by_name(write_samples("bookings", tmp_path, scale=0.0001))
    assert files["customer_details.csv"].rows == files["customer_details_update.csv"].rows == 1
    assert files["booking_details.csv"].rows + files["booking_details_store.csv.gz"].rows == 8


def test_an_unknown_pipeline_is_refused_with_the_known_names(tmp_path):
    with pytest.raises(ValueError, match=r"'hotels'.*bookings"):
        write_samples("hotels", tmp_path)
    assert set(SOURCES) >= {"bookings"}


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_that_is_not_a_positive_number_is_refused(tmp_path, scale):
    with pytest.raises(ValueError, match="scale"):
        write_samples("bookings", tmp_path / "bucket", scale=scale)
    assert not (tmp_path / "bucket").exists()


def test_importing_the_samples_loads_no_heavy_library():
    script = (
        "import sys, pipeline_assets.samples\n"
        "print([name for name in ('numpy', 'pyarrow', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
