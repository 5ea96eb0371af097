"""A lease lets one machine at a time work on a pipeline, whatever dies, is slow or loses an answer."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.errors import ConfigurationError, WarehouseBusyError
from pipeline_assets.lake import S3Lake
from pipeline_assets.lake.lease import Lease, installation_id
from pipeline_assets_tests.support.object_stores import BUCKET, REGION

KEY = "locks/bookings.json"


@pytest.fixture
def lake(s3: object, s3_url: str) -> S3Lake:
    return S3Lake(region=REGION, endpoint_url=s3_url)


def lease(lake: S3Lake, home: str, ttl: float = 30.0) -> Lease:
    return Lease(lake, BUCKET, KEY, home, ttl=ttl, poll=0.02)


@contextmanager
def died(lake: S3Lake, home: str) -> Iterator[Lease]:
    """A holder that gives no sign of life and never gives the lease back."""
    found = lease(lake, home)
    found._acquire(1)
    yield found


def test_one_at_a_time_however_many_want_it(lake: S3Lake) -> None:
    inside, most, done = 0, 0, []

    def machine(name: str) -> None:
        nonlocal inside, most
        with lease(lake, name).held(30) as held:
            inside += 1
            most = max(most, inside)
            held.confirm()
            inside -= 1
        done.append(name)

    machines = [threading.Thread(target=machine, args=(f"host-{number}",)) for number in range(6)]
    for thread in machines:
        thread.start()
    for thread in machines:
        thread.join(30)
    assert (len(done), most) == (6, 1)
    assert lake.head(f"s3://{BUCKET}/{KEY}") is None


def test_two_containers_of_one_name_and_path_are_two_homes(tmp_path: Path) -> None:
    """Taken for one another, one would take over the lease of another that lives."""
    locks = tmp_path / "locks"
    with ThreadPoolExecutor(8) as pool:
        (first,) = set(pool.map(lambda _: installation_id(locks), range(16)))
    shutil.move(locks, tmp_path / "in the other container")
    assert installation_id(locks) != first
    assert installation_id(locks) == installation_id(locks)


def test_a_bucket_that_is_not_there_is_named_and_not_waited_for(s3: object, s3_url: str) -> None:
    """It looked as if another machine held the lease, so a first run before `deploy aws` sat there for ten minutes."""
    nowhere = S3Lake(region=REGION, endpoint_url=s3_url, bucket_prefix="nobodys-")
    with pytest.raises(ConfigurationError, match=f"there is no bucket nobodys-{BUCKET}"):
        lease(nowhere, "one")._acquire(30)


def test_who_waits_too_long_is_reported(lake: S3Lake) -> None:
    with (
        lease(lake, "one").held(1),
        pytest.raises(WarehouseBusyError, match=r"Another machine has held locks/bookings\.json"),
        lease(lake, "two").held(0.2),
    ):
        pytest.fail("two at once")


def test_a_holder_that_died_is_taken_over_when_it_gave_no_sign_of_life(lake: S3Lake) -> None:
    with died(lake, "dead"):
        started = time.monotonic()
        with lease(lake, "alive", ttl=0.5).held(20) as held:
            assert 0.5 < time.monotonic() - started < 10
            held.confirm()


def test_a_holder_that_died_on_this_machine_is_not_waited_for(lake: S3Lake) -> None:
    """The file lock of the home is ours, so it cannot be alive."""
    with died(lake, "home"):
        started = time.monotonic()
        with lease(lake, "home").held(20):
            assert time.monotonic() - started < 5


def test_a_holder_that_lives_keeps_it_for_longer_than_it_would_last_alone(lake: S3Lake) -> None:
    with lease(lake, "slow", ttl=0.4).held(1) as slow:
        with pytest.raises(WarehouseBusyError), lease(lake, "hasty", ttl=0.4).held(1.5):
            pytest.fail("taken from a holder that is alive")
        slow.confirm()


def test_a_holder_that_was_cut_off_finds_it_gone_before_it_publishes(lake: S3Lake) -> None:
    with died(lake, "cut off") as cut_off, lease(lake, "other", ttl=0.2).held(10) as other:
        with pytest.raises(WarehouseBusyError, match=r"took locks/bookings\.json over"):
            cut_off.confirm()
        other.confirm()


def test_a_write_whose_answer_got_lost_is_known_as_ours(lake: S3Lake) -> None:
    """The store repeats a request by itself, and the repetition meets what the first one wrote."""
    mine = lease(lake, "one")
    assert mine._write()
    mine._etag = ""  # as if the first answer had never come
    assert mine._write()
    mine.confirm()


OTHER = b'{"holder": "other", "home": "elsewhere"}'


def stored(s3: Any) -> bytes:
    return s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()


@pytest.mark.parametrize("notices", [True, False])
def test_who_lets_go_of_a_lease_that_another_one_took_leaves_it_alone(lake: S3Lake, s3: Any, notices: bool) -> None:
    """Deleted, it would let a third one in beside the one that holds it."""
    with lease(lake, "cut off").held(1) as cut_off:
        s3.put_object(Bucket=BUCKET, Key=KEY, Body=OTHER)
        if notices:
            with pytest.raises(WarehouseBusyError):
                cut_off.confirm()

    assert stored(s3) == OTHER


def test_who_did_not_get_the_lease_leaves_it_alone(lake: S3Lake, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=OTHER)

    with pytest.raises(WarehouseBusyError), lease(lake, "one").held(0.1):
        pytest.fail("two at once")

    assert stored(s3) == OTHER


@pytest.mark.parametrize("then", [OTHER, None], ids=["taken over", "deleted"])
def test_a_lease_that_was_lost_is_lost_for_good(lake: S3Lake, s3: Any, then: bytes | None) -> None:
    """Somebody else may have worked meanwhile; that the place is free again by now proves nothing."""
    with lease(lake, "cut off").held(1) as cut_off:
        s3.put_object(Bucket=BUCKET, Key=KEY, Body=OTHER)
        with pytest.raises(WarehouseBusyError):
            cut_off.confirm()
        s3.put_object(Bucket=BUCKET, Key=KEY, Body=then) if then else s3.delete_object(Bucket=BUCKET, Key=KEY)

        with pytest.raises(WarehouseBusyError, match="over"):
            cut_off.confirm()


def test_a_lease_that_is_gone_is_not_ours(lake: S3Lake, s3: Any) -> None:
    """Another one may have taken it over, worked, and let go of it since."""
    with lease(lake, "cut off").held(1) as cut_off:
        s3.delete_object(Bucket=BUCKET, Key=KEY)

        with pytest.raises(WarehouseBusyError):
            cut_off.confirm()
