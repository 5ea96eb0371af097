"""What is new in a zone is what the ledger does not know: exactly, whatever the keys, etags and sizes are."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.errors import LakeError
from pipeline_assets.lake import KnownObjects, Lake, LandedObject, LocalLake, S3Lake, Zone, new_objects
from pipeline_assets_tests.support.object_stores import BUCKET, Put

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
EVERYTHING = Zone(BUCKET, "in/", "**/*")


class Listed(Lake):
    """A lake that is a listing, in pages of two; `fails` is raised after the first."""

    scheme = "made-up"
    store = fetch = publish = stage_url = None  # type: ignore[assignment]

    def __init__(self, objects: Sequence[LandedObject], fails: BaseException | None = None) -> None:
        self.objects, self.fails, self.listed = objects, fails, []

    def list_batches(self, bucket: str, prefix: str, after: str | None = None) -> Iterator[pa.RecordBatch]:
        self.listed.append((bucket, prefix))
        objects = [o for o in self.objects if o.bucket == bucket and o.key.startswith(prefix)]
        for start in range(0, len(objects), 2):
            some = objects[start : start + 2]
            yield pa.record_batch(
                {
                    "path": [o.key for o in some],
                    "last_modified": pa.array([o.modified for o in some], pa.timestamp("us", "UTC")),
                    "size": pa.array([o.size for o in some], pa.uint64()),
                    "e_tag": [o.etag for o in some],
                }
            )
            if self.fails:
                raise self.fails


Listed.__abstractmethods__ = frozenset()


def landed(name: str, etag: str = "1", size: int = 1, minutes: int = 0) -> LandedObject:
    return LandedObject(f"made-up://{BUCKET}/in/{name}", etag, size, NOON + timedelta(minutes=minutes))


def fingerprints(dataset: str, identities: Iterable[tuple[str, str, int]]) -> pa.Table:
    texts = [f"{dataset} {size} {etag} {uri}" for uri, etag, size in identities]
    return pa.table({"f": pa.array([hashlib.md5(text.encode()).hexdigest() for text in texts], pa.string())})


@pytest.fixture
def known(tmp_path: Path) -> Iterator[KnownObjects]:
    with KnownObjects(tmp_path / "discovery") as known:
        yield known


# Few of each, so that the same key comes with another etag, and the same etag with another size; no surrogates, which
# are no text, and no blanks in etags, which HTTP does not allow.
keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1, max_size=5)
names = st.one_of(st.sampled_from(["a", "b", "a b", "a\nb", "%", "é", "e\u0301", "'", "x/y", "\\"]), keys)
etags = st.one_of(st.sampled_from(["", "1", '1"', 'W/"1', "1-2"]), st.text("abc\"'-é", max_size=3))
objects = st.builds(landed, names, etags, st.sampled_from([0, 1, 12, 2**40]), st.integers(0, 3))
listings = st.lists(objects, max_size=12, unique_by=lambda o: o.uri)


@settings(deadline=None, max_examples=200)
@given(listings, st.lists(objects, max_size=12), st.lists(objects, max_size=3), st.data())
def test_what_is_new_is_the_difference_of_listing_and_ledger(
    listing: list[LandedObject], other: list[LandedObject], retaken: list[LandedObject], data: st.DataObject
) -> None:
    ledger = [o.identity for o in other]
    ledger += [o.identity for o in listing if data.draw(st.booleans())]
    again = {(o.uri, o.etag) for o in retaken} | {(o.uri, o.etag) for o in listing if data.draw(st.booleans())}
    belonging = [o for o in listing if o in EVERYTHING]
    expected = [o for o in belonging if o.identity not in set(ledger) or (o.uri, o.etag) in again]

    with KnownObjects(Path("unused")) as known:
        known.add([fingerprints("d", ledger)])
        arrived = known.arrivals(Listed(listing), {"d": EVERYTHING}, again)

    assert arrived.new == {"d": sorted(expected, key=lambda o: o.version)}
    assert arrived.known == len(belonging) - len(expected)


def test_a_dataset_does_not_know_what_another_took(known: KnownObjects) -> None:
    """Two zones may share objects, and a ledger row belongs to one dataset."""
    shared = landed("a")
    known.add([fingerprints("first", [shared.identity])])

    arrived = known.arrivals(Listed([shared]), {"first": EVERYTHING, "second": EVERYTHING})

    assert arrived.new == {"first": [], "second": [shared]}
    assert arrived.known == 1


def test_a_prefix_is_listed_once_for_all_its_datasets(known: KnownObjects) -> None:
    lake = Listed([landed("customers.csv"), landed("bookings.csv"), landed("notes.txt")])
    zones = {name: Zone(BUCKET, "in/", f"{name}*.csv") for name in ("customers", "bookings")}

    arrived = known.arrivals(lake, zones)

    assert {name: [o.key for o in found] for name, found in arrived.new.items()} == {
        "customers": ["in/customers.csv"],
        "bookings": ["in/bookings.csv"],
    }
    assert (arrived.known, lake.listed) == (0, [(BUCKET, "in/")])


def test_a_key_that_is_listed_twice_counts_once_in_its_newest_version(known: KnownObjects) -> None:
    """A file that is replaced while its folder is read may be seen under both of its versions, in any order."""
    older, newer = landed("a", "1"), landed("a", "2", minutes=1)

    for listing in ([older, newer], [newer, older], [newer, newer]):
        assert known.arrivals(Listed(listing), {"d": EVERYTHING}) == new_objects.Arrivals({"d": [newer]}, 0)


@pytest.mark.parametrize("fault", [LakeError("the store refused"), KeyboardInterrupt(), MemoryError()])
def test_what_goes_wrong_in_the_listing_comes_out_as_it_was(known: KnownObjects, fault: BaseException) -> None:
    """DuckDB, which reads the listing, would keep the text of it."""
    with pytest.raises(type(fault)) as raised:
        known.arrivals(Listed([landed("a")], fails=fault), {"d": EVERYTHING})

    assert raised.value is fault


def test_more_known_objects_than_memory_holds_go_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_objects, "MEMORY", "30MB")
    listing = [landed(f"{number:06}") for number in range(500)]
    with KnownObjects(tmp_path / "spilled") as known:
        for start in range(0, 500_000, 50_000):
            more = [(f"made-up://{BUCKET}/in/{number:06}", "1", 1) for number in range(start, start + 50_000)]
            known.add([fingerprints("d", more)])
        arrived = known.arrivals(Listed([*listing, landed("new")]), {"d": EVERYTHING})
        spilled = list((tmp_path / "spilled").iterdir())

    assert spilled
    assert (arrived.new["d"], arrived.known) == ([landed("new")], 500)


# --- over real stores --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [False, True])
def test_the_version_that_a_listing_gives_is_the_one_of_the_object(
    store: Lake, put: Put, known: KnownObjects, again: bool
) -> None:
    """Etags come quoted from S3 in every form; the ledger has them bare."""
    found = [put("in/a b.csv", b"one"), put("in/é%20#'.csv", b"two"), put("in/deep/c.csv", b"")]
    if again:
        known.add([fingerprints("d", (o.identity for o in found))])

    arrived = known.arrivals(store, {"d": EVERYTHING})

    expected = sorted(found, key=lambda o: o.version)
    assert (arrived.new["d"], arrived.known) == (([], 3) if again else (expected, 0))
    assert sorted(store.list_objects(BUCKET, "in/"), key=lambda o: o.version) == expected


def test_folders_made_in_the_console_are_neither_new_nor_known(s3: Any, s3_url: str, known: KnownObjects) -> None:
    """They are listed as empty objects named like the folder; an empty file is one too, and is there."""
    for key in ("in/", "in/sub/", "in/sub/deeper/", "in/sub/empty.csv"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"")
    lake = S3Lake(region="eu-west-1", endpoint_url=s3_url)

    arrived = known.arrivals(lake, {"d": EVERYTHING})

    assert [o.key for o in arrived.new["d"]] == ["in/sub/empty.csv"]
    assert arrived.known == 0


def test_files_that_come_and_go_while_they_are_listed_disturb_nothing(tmp_path: Path) -> None:
    """What lies there all the time is found every time; what is deleted under the listing is no error."""
    folder = tmp_path / BUCKET / "in"
    folder.mkdir(parents=True)
    for number in range(300):
        (folder / f"stays-{number}").write_text("x")
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            for number in range(100):
                (folder / f".goes-{number}").write_text("x")
                os.replace(folder / f".goes-{number}", folder / f"goes-{number}")
            for number in range(100):
                (folder / f"goes-{number}").unlink()

    writer = threading.Thread(target=come_and_go)
    writer.start()
    try:
        for _ in range(30):
            with KnownObjects(tmp_path / "discovery") as known:
                found = known.arrivals(LocalLake(tmp_path), {"d": EVERYTHING}).new["d"]
            assert len({o.key for o in found}) == len(found)
            assert sum("stays" in o.key for o in found) == 300
    finally:
        done.set()
        writer.join()
