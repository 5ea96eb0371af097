"""A new_files_sensor that rings for every change, with a cursor whose size does not grow with the zone.

`dagster_aws`'s get_objects drops an object that shares the second of its watermark and raises when the object under
its cursor was deleted; neither may come back here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.lake import Lake, LocalLake, zone_poll
from pipeline_assets.lake.zone_poll import Cursor, poll_zone
from pipeline_assets_tests.support.object_stores import BUCKET, Put

PREFIX = "in/"


class ListedZone(Lake):
    """A listing made up from a dictionary, key to etag; it counts the objects it had to list."""

    scheme = "made-up"
    store = fetch = publish = stage_url = None  # type: ignore[assignment]

    def __init__(self, objects: dict[str, str] | None = None) -> None:
        self.objects = objects or {}
        self.listed = 0

    def list_batches(self, bucket: str, prefix: str, after: str | None = None) -> Iterator[pa.RecordBatch]:
        keys = [key for key in sorted(self.objects) if key.startswith(prefix) and (after is None or key > after)]
        self.listed += len(keys)
        size = 2 if len(keys) < 10 else 1000
        for start in range(0, len(keys), size):
            some = keys[start : start + size]
            etags = [self.objects[key] for key in some]
            yield pa.record_batch({"path": some, "size": [1] * len(some), "e_tag": etags})


ListedZone.__abstractmethods__ = frozenset()

steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from("abcdefgh"), st.sampled_from("123")),
        st.tuples(st.just("delete"), st.sampled_from("abcdefgh"), st.just("")),
        st.tuples(st.just("poll_zone"), st.just(""), st.just("")),
    ),
    max_size=40,
)


def seen(cursor: Cursor) -> Cursor:
    """The cursor as the next tick reads it back."""
    return Cursor.load(cursor.dump())


@settings(deadline=None)
@given(steps)
def test_a_small_zone_shows_every_change_at_the_next_poll(steps: list[tuple[str, str, str]]) -> None:
    zone = ListedZone()
    cursor, rung_for = poll_zone(zone, BUCKET, PREFIX, Cursor()), {}

    for action, name, etag in [*steps, ("poll_zone", "", "")]:
        if action == "write":
            zone.objects[PREFIX + name] = etag
        elif action == "delete":
            zone.objects.pop(PREFIX + name, None)
        else:
            after = poll_zone(zone, BUCKET, PREFIX, seen(cursor))
            assert (after.digest != cursor.digest) == (zone.objects != rung_for)
            assert after.count == len(zone.objects)
            cursor, rung_for = after, dict(zone.objects)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("123")), st.randoms())
def test_the_same_state_has_the_same_digest_however_it_came_about(state: dict[str, str], random: object) -> None:
    """Its digest is the run key, so the same state rings once."""
    shuffled = list(state.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    zone, cursor = ListedZone(), Cursor()
    for key, etag in shuffled:
        zone.objects[PREFIX + key] = etag
        cursor = poll_zone(zone, BUCKET, PREFIX, cursor)

    at_once = poll_zone(ListedZone({PREFIX + key: etag for key, etag in state.items()}), BUCKET, PREFIX, Cursor())

    assert cursor.digest == at_once.digest


@settings(max_examples=100, deadline=None)
@given(st.lists(steps.filter(len), min_size=1, max_size=4))
def test_a_large_zone_has_rung_for_every_change_by_the_reconcile(rounds: list[list[tuple[str, str, str]]]) -> None:
    """Whatever happened between two reconciles, early keys and deletions too, count and digest are right after one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zone_poll, "SMALL_ZONE", 1)
        patch.setattr(zone_poll, "RECONCILE_EVERY", 4)
        zone = ListedZone({f"{PREFIX}{name}": "1" for name in "bdf"})
        cursor = poll_zone(zone, BUCKET, PREFIX, Cursor())
        for steps in rounds:
            rung_for, digests = dict(zone.objects), {cursor.digest}
            for action, name, etag in steps:
                if action == "write":
                    zone.objects[PREFIX + name] = etag
                elif action == "delete":
                    zone.objects.pop(PREFIX + name, None)
                else:
                    cursor = poll_zone(zone, BUCKET, PREFIX, seen(cursor))
                    digests.add(cursor.digest)
            for _ in range(4):
                cursor = poll_zone(zone, BUCKET, PREFIX, seen(cursor))
                digests.add(cursor.digest)
            whole = poll_zone(zone, BUCKET, PREFIX, Cursor())
            assert (cursor.count, cursor.digest) == (whole.count, whole.digest)
            assert len(digests) > 1 or zone.objects == rung_for


def test_a_large_zone_is_listed_from_its_highest_key_on() -> None:
    zone = ListedZone({f"{PREFIX}2026/{n:06}": "1" for n in range(5000)})
    cursor = poll_zone(zone, BUCKET, PREFIX, Cursor())
    zone.objects[f"{PREFIX}2026/005000"] = "1"
    zone.listed = 0

    after = poll_zone(zone, BUCKET, PREFIX, cursor)

    assert zone.listed == 1
    assert (after.count, after.highest) == (5001, f"{PREFIX}2026/005000")
    assert after.digest != cursor.digest


def test_a_store_that_lists_the_highest_key_again_reports_no_change() -> None:
    """Where a listing begins is a request to the store; what is new is ours to say."""

    class FromThere(ListedZone):
        def list_batches(self, bucket: str, prefix: str, after: str | None = None) -> Iterator[pa.RecordBatch]:
            return super().list_batches(bucket, prefix, after and after[:-1])

    zone = FromThere({f"{PREFIX}{n:06}": "1" for n in range(2000)})
    cursor = poll_zone(zone, BUCKET, PREFIX, Cursor())

    again = poll_zone(zone, BUCKET, PREFIX, cursor)

    assert (again.count, again.digest) == (cursor.count, cursor.digest)


def test_a_large_zone_is_listed_whole_at_every_reconcile() -> None:
    zone = ListedZone({f"{PREFIX}{n:06}": "1" for n in range(2000)})
    cursor = poll_zone(zone, BUCKET, PREFIX, Cursor())
    whole = []
    for number in range(1, 2 * zone_poll.RECONCILE_EVERY + 1):
        zone.listed = 0
        cursor = poll_zone(zone, BUCKET, PREFIX, seen(cursor))
        if zone.listed:
            whole.append(number)

    assert whole == [zone_poll.RECONCILE_EVERY, 2 * zone_poll.RECONCILE_EVERY]


def test_the_cursor_of_50_000_objects_is_small() -> None:
    zone = ListedZone({f"{PREFIX}2026/01/01/{n:06}.csv": f"etag-{n}" for n in range(50_000)})

    assert len(poll_zone(zone, BUCKET, PREFIX, Cursor()).dump()) < 1000


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "not JSON",
        "{",
        "[]",
        "5",
        "null",
        '{"count": "many", "digest": 1, "highest": "", "polls": 0}',
        '{"count": null}',
        '{"count": 5000, "digest": 1.5, "highest": "x", "polls": 0}',
        '{"count": 5000, "highest": 7}',
        '{"a field of another version": 1}',
        '{"Contents": [], "LastModified": "2020-01-01"}',
    ],
)
def test_a_cursor_that_cannot_be_read_costs_one_idle_run(text: str | None) -> None:
    zone = ListedZone({f"{PREFIX}a": "1"})

    assert poll_zone(zone, BUCKET, PREFIX, Cursor.load(text)) == poll_zone(zone, BUCKET, PREFIX, Cursor())


# --- over real stores --------------------------------------------------------------------------------------

Rings = Callable[[Cursor], tuple[bool, Cursor]]


@pytest.fixture
def rings(store: Lake) -> Rings:
    def rings(cursor: Cursor) -> tuple[bool, Cursor]:
        after = poll_zone(store, BUCKET, PREFIX, seen(cursor))
        return after.digest != cursor.digest, after

    return rings


def test_two_objects_of_the_same_second_are_two_changes(put: Put, rings: Rings) -> None:
    """dagster_aws drops the second one."""
    put("in/b")
    _, cursor = rings(Cursor())
    put("in/a")

    requested, _ = rings(cursor)

    assert requested


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every zone counts as large."""
    monkeypatch.setattr(zone_poll, "SMALL_ZONE", 0)


@pytest.mark.usefixtures("large")
def test_a_deleted_highest_key_is_survived(store: Lake, put: Put, rings: Rings) -> None:
    """dagster_aws raises when the object under its cursor is gone."""
    put("in/a")
    highest = put("in/b")
    _, cursor = rings(Cursor())
    store.delete([highest.uri])
    put("in/c")

    requested, cursor = rings(cursor)

    assert requested
    assert rings(cursor)[0] is False


def test_an_overwritten_object_is_a_change(put: Put, rings: Rings) -> None:
    put("in/a", b"one")
    _, cursor = rings(Cursor())
    put("in/a", b"two")

    requested, cursor = rings(cursor)

    assert requested
    assert rings(cursor)[0] is False


@settings(max_examples=20, deadline=None)
@given(st.sets(st.text("abZ09 #%é~", min_size=1, max_size=3), min_size=1, max_size=6))
def test_an_order_of_keys_does_not_hide_one_from_a_large_zone(names: set[str]) -> None:
    """`after` and `highest` have to agree on what sorts first, whatever the characters."""
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(zone_poll, "SMALL_ZONE", 0)
        patch.setattr(zone_poll, "RECONCILE_EVERY", 1000)
        lake, folder = LocalLake(Path(root)), Path(root, BUCKET, PREFIX)
        os.makedirs(folder)
        (folder / "a").write_text("sorts first")
        cursor = poll_zone(lake, BUCKET, PREFIX, Cursor())
        names = {name for name in names if not name.partition("#")[2].isdigit()}  # obstore's own temporary files
        for number, name in enumerate(sorted(names), 2):
            (folder / f"b{name}").write_text("x")
            after = poll_zone(lake, BUCKET, PREFIX, cursor)
            assert (after.count, after.digest != cursor.digest) == (number, True)
            cursor = after
