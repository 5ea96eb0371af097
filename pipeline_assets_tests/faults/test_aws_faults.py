"""The rows of the fault table that S3 has a part in, over HTTP through a proxy that misbehaves; each names its row.

One invariant for all: source rows = loaded + superseded + quarantined, the tables are those of an undisturbed run,
nothing is left in staging, and the next run finishes without help.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.errors import (
    ConfigurationError,
    LakeError,
    PipelineError,
    PublicationConflictError,
    WarehouseBusyError,
)
from pipeline_assets_tests.support import fault_proxy
from pipeline_assets_tests.support.bookings_lake import BUCKET, LANDING, BookingsLake, booking
from pipeline_assets_tests.support.fault_proxy import EXPIRED, SLOW_DOWN, Call, Fault, FaultProxy, first, share, since
from pipeline_assets_tests.support.moto_aws import SECRET, buckets_in
from pipeline_assets_tests.support.s3_lake import SOURCE_ROWS, S3BookingsLake, land


@pytest.fixture
def client(moto_url: str, aws_keys: None) -> Iterator[Any]:
    with buckets_in(moto_url, BUCKET) as client:
        yield client


@pytest.fixture
def proxy(moto_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(moto_url) as proxy:
        yield proxy


Home = Callable[..., S3BookingsLake]


@pytest.fixture
def home(proxy: FaultProxy, client: Any, tmp_path: Path) -> Home:
    """A home with nine rows landed; arguments are those of `S3Lake`."""

    def home(**options: float) -> S3BookingsLake:
        lake = S3BookingsLake.behind(proxy.url, tmp_path / "home", client, **options)
        land(lake)
        return lake

    return home


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The tables of one clean run over plain files."""
    lake = BookingsLake.at(tmp_path_factory.mktemp("undisturbed"))
    land(lake)
    lake.run()
    return lake.tables()


@pytest.fixture
def settled(proxy: FaultProxy, undisturbed: dict) -> Callable[[S3BookingsLake], None]:
    """The invariant, after the faults have ended: the next run finishes without help."""

    def settled(lake: S3BookingsLake) -> None:
        proxy.reset()
        lake.run()
        assert lake.tables() == undisturbed
        assert lake.rows("SELECT SUM(ROWS_READ) FROM OPS.FILE_LEDGER") == [(SOURCE_ROWS,)]
        assert lake.rows(
            "SELECT COUNT(*) FROM OPS.FILE_LEDGER WHERE ROWS_READ <> ROWS_LOADED + ROWS_SUPERSEDED + ROWS_QUARANTINED"
        ) == [(0,)]
        assert lake.rows("SELECT COUNT(*) FROM OPS.QUARANTINE") == [(2,)]
        assert lake.keys("staging/") == []
        assert len(lake.keys("processed-data/")) == 1

    return settled


def nothing_published(lake: S3BookingsLake) -> bool:
    return not any(lake.tables().values()) and lake.rows("SELECT COUNT(*) FROM OPS.FILE_LEDGER") == [(0,)]


def error_of(lake: S3BookingsLake) -> PipelineError:
    """What a run fails with."""
    with pytest.raises(PipelineError) as failed:
        lake.run()
    return failed.value


def is_read(call: Call) -> bool:
    return call.method == "GET" and call.key.startswith(LANDING)


def is_upload(call: Call) -> bool:
    return call.method == "PUT" and call.key.startswith("staging/")


# --- busy and broken -------------------------------------------------------------------------------------------


def each_first(fault: Fault, when: Callable[[Call], bool]) -> fault_proxy.Rule:
    """The first request about each object of those that `when` is about."""
    seen: set[str] = set()

    def rule(call: Call) -> Fault | None:
        if not when(call) or call.key in seen:
            return None
        seen.add(call.key)
        return fault

    return rule


# Those of the requests of a run, in their order, from which on a fault lasts.
MOMENTS: dict[str, Callable[[Call], bool]] = {
    "listing": lambda call: not call.key,
    "reading": is_read,
    "staging": lambda call: call.method == "HEAD" and call.key.startswith("staging/"),
    "after publication": lambda call: not call.key and "release" in call.path,
}


def once(begins: Callable[[Call], bool], fault: Fault) -> fault_proxy.Rule:
    """Every request from the first of those that `begins` is about."""
    begun: list[Call] = []

    def rule(call: Call) -> Fault | None:
        if not begun and begins(call):
            begun.append(call)
        return fault if begun else None

    return rule


# The rule, and how many requests meet a fault.
OUTLASTED = {
    "row 16, slow down on a third of all calls": (share(0.3, SLOW_DOWN, seed=1), range(6, 999)),
    "row 16, slow down on all calls within the patience": (first(6, SLOW_DOWN), range(6, 7)),
    "reset": (share(0.2, fault_proxy.reset, seed=3), range(4, 999)),
    "reply lost": (share(0.2, fault_proxy.lose_reply, seed=3), range(4, 999)),
    "body cut": (share(0.2, fault_proxy.truncate(0.5), seed=3), range(4, 999)),
    "internal error": (share(0.2, fault_proxy.refuse(500, "InternalError"), seed=3), range(4, 999)),
    "a bit that flips on the way here is noticed and read again": (
        each_first(fault_proxy.damage, is_read),
        range(4, 5),
    ),
}


def test_calls_that_are_refused_for_a_while_or_break_only_take_longer(
    home: Home, proxy: FaultProxy, client: Any, settled: Callable, undisturbed: dict
) -> None:
    """A deletion whose reply is lost and a page of a listing that breaks off are what obstore does not repeat.

    Each run but the first loads the same objects again, into empty tables.
    """
    lake = home()
    for number, (case, (rule, faults)) in enumerate(OUTLASTED.items()):
        with lake.platform.warehouse.transaction() as transaction:
            for table in lake.tables_sql:
                transaction.execute(f"DELETE FROM BOOKINGS.{table}")
        for exported in lake.keys("processed-data/"):
            client.delete_object(Bucket=BUCKET, Key=exported)
        proxy.reset(rule)
        assert lake.run(reprocess=number > 0).loaded == 4, case
        assert proxy.faults in faults, case
        assert lake.tables() == undisturbed, case
        assert len(lake.keys("processed-data/")) == 1, case
    settled(lake)


def test_row_16_slow_down_beyond_the_patience_fails_with_the_state_intact(
    home: Home, proxy: FaultProxy, settled: Callable
) -> None:
    """Whether it begins before, within or after publication."""
    lake = home(patience=0.3)
    for moment, begins in MOMENTS.items():
        proxy.reset(once(begins, SLOW_DOWN))
        error = error_of(lake)
        assert isinstance(error, LakeError), moment
        assert re.search("SlowDown|503", str(error)), moment
        assert error.transient, moment
        assert nothing_published(lake) == (moment != "after publication"), moment
    settled(lake)


def test_an_answer_that_does_not_come_is_asked_for_again(home: Home, proxy: FaultProxy, settled: Callable) -> None:
    lake = home(timeout=0.3)
    proxy.reset(share(0.1, fault_proxy.slow(0.8), seed=4))

    assert lake.run().loaded == 4
    assert proxy.faults > 1
    settled(lake)


# --- damaged ---------------------------------------------------------------------------------------------------


def spoiler() -> Fault:
    """One byte of each answer is another one, drawn with a seed."""
    spoil = random.Random(5)

    def spoiled(handler: Any, call: Call) -> None:
        reply = handler.forward(call)
        at = spoil.randrange(len(reply.body))
        reply.body = reply.body[:at] + bytes([reply.body[at] ^ (1 + spoil.randrange(255))]) + reply.body[at + 1 :]
        handler.answer(reply)

    return spoiled


DAMAGED = {
    "bytes that are damaged again and again": (first(99, spoiler(), is_read), "does not match its checksum"),
    "a bit that flips on the way there": (first(1, fault_proxy.damage_upload, is_upload), r"writing .*staging/"),
    "an upload that is confirmed and is not there": (
        first(1, fault_proxy.refuse(200, ""), is_upload),
        r"writing|bytes were written and nothing found",
    ),
}


def test_what_is_damaged_on_its_way_is_noticed_and_nothing_of_it_is_loaded(
    home: Home, proxy: FaultProxy, settled: Callable
) -> None:
    lake = home()
    for case, (rule, says) in DAMAGED.items():
        proxy.reset(rule)
        error = error_of(lake)
        assert isinstance(error, LakeError), case
        assert re.search(says, str(error)), case
        assert nothing_published(lake), case
    settled(lake)


# --- refused ---------------------------------------------------------------------------------------------------


def test_credentials_that_expire_in_the_middle_of_a_run_are_named_and_the_state_is_intact(
    home: Home, proxy: FaultProxy, settled: Callable
) -> None:
    lake = home()
    for moment, begins in MOMENTS.items():
        proxy.reset(once(begins, EXPIRED))
        error = error_of(lake)
        assert isinstance(error, ConfigurationError), moment
        told = str(error)
        assert "\n" not in told, moment
        assert SECRET not in told, moment
        assert "expired" in told or "Renew the AWS credentials" in told, f"{moment}: a HEAD has no body to say why"
        assert nothing_published(lake) == (moment != "after publication"), moment
    settled(lake)


def test_row_24_an_existence_check_that_fails_for_a_moment_creates_and_loads_nothing(
    home: Home, proxy: FaultProxy, settled: Callable
) -> None:
    """A bucket that seems gone must not look like a zone in which nothing landed, nor an object like a deleted one."""
    lake = home(patience=0.3)
    lake.run()
    before = lake.tables()
    for fault in (fault_proxy.refuse(404, "NoSuchBucket"), SLOW_DOWN, fault_proxy.refuse(403, "AccessDenied")):
        proxy.reset(since(1, fault))
        with pytest.raises(PipelineError):
            lake.run()
        assert lake.tables() == before
    settled(lake)


# --- two at once, and overwritten ------------------------------------------------------------------------------


def test_row_5_an_object_overwritten_between_listing_and_reading_is_left_to_the_next_run(
    home: Home, proxy: FaultProxy
) -> None:
    lake = home()
    overwrite = [lambda: lake.bookings("_1", booking(1, 1, "99.00"))]

    def rule(call: Call) -> Fault | None:
        if is_read(call) and call.key.endswith("booking_details_1.csv") and overwrite:
            overwrite.pop()()
        return None

    proxy.reset(rule)
    report = lake.run()

    assert [uri.rpartition("/")[2] for uri in report.requeued] == ["booking_details_1.csv"]
    assert lake.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMER_BOOKINGS WHERE BOOKING_ID = '1'") == [(0,)]
    assert lake.run().loaded == 1
    assert lake.rows("SELECT AMOUNT_SPENT::VARCHAR FROM BOOKINGS.CUSTOMER_BOOKINGS WHERE BOOKING_ID = '1'") == [
        ("99.0000",)
    ]
    assert lake.keys("staging/") == []


def test_row_19_a_run_on_another_machine_that_publishes_first_wins(
    home: Home, proxy: FaultProxy, settled: Callable, tmp_path: Path
) -> None:
    """Another machine shares neither lock nor disk, only S3 and the warehouse."""
    lake = home(timeout=100)
    elsewhere = lake.with_platform(locks=tmp_path / "other-locks", scratch=tmp_path / "other-scratch")
    reports: list = []

    def meanwhile(handler: Any, call: Call) -> None:
        reports.append(elsewhere.run())
        handler.answer(handler.forward(call))

    proxy.reset(first(1, meanwhile, is_last_upload))
    with pytest.raises(PublicationConflictError):
        lake.run()

    assert reports[0].loaded == 4
    settled(lake)


LEASE = "locks/bookings.json"
OTHER = b'{"holder": "other", "home": "elsewhere"}'


def is_last_upload(call: Call) -> bool:
    return is_upload(call) and call.key.endswith("/released.parquet")


def test_row_19_a_run_that_lost_its_lease_publishes_nothing_and_leaves_the_lease_alone(
    home: Home, proxy: FaultProxy, client: Any, settled: Callable
) -> None:
    """The ledger would notice a publication of the other one, and not one that is still under way."""
    lake = home(timeout=100).with_platform(shared=True)
    moments = {"while reading": is_read, "before publishing": is_last_upload}
    for (when, moment), lease in product(moments.items(), [OTHER, None]):
        case = f"{when}, {'taken over' if lease else 'gone'}"

        def meanwhile(handler: Any, call: Call, lease: bytes | None = lease) -> None:
            if lease:
                client.put_object(Bucket=BUCKET, Key=LEASE, Body=lease)
            else:
                client.delete_object(Bucket=BUCKET, Key=LEASE)
            handler.answer(handler.forward(call))

        proxy.reset(first(1, meanwhile, moment))
        error = error_of(lake)
        assert isinstance(error, WarehouseBusyError), case
        assert f"took {LEASE} over" in str(error), case
        assert nothing_published(lake), case
        assert lake.keys("processed-data/") == [], case
        assert lake.keys(LEASE) == ([LEASE] if lease else []), case
        if lease:
            assert client.get_object(Bucket=BUCKET, Key=LEASE)["Body"].read() == lease, case
            client.delete_object(Bucket=BUCKET, Key=LEASE)
    settled(lake)
    assert lake.keys(LEASE) == [], "who has finished lets go"


def test_row_41_an_export_that_arrives_cut_short_is_copied_again_by_the_next_run(
    home: Home, proxy: FaultProxy, client: Any, settled: Callable
) -> None:
    lake = home()

    def cut_short(handler: Any, call: Call) -> None:
        reply = handler.forward(call)
        client.put_object(Bucket=BUCKET, Key=call.key, Body=b"BOOKING_ID")
        handler.answer(reply)

    proxy.reset(first(1, cut_short, lambda call: call.method == "PUT" and call.key.startswith("processed-data/")))
    with pytest.raises(LakeError, match="bytes were written and 10 bytes found"):
        lake.run()

    settled(lake)
    (key,) = lake.keys("processed-data/")
    exported = client.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode().splitlines()
    assert len(exported) == 1 + len(lake.tables()["CUSTOMER_BOOKINGS"])


# What it is about, and how many requests of a run there are at most.
FORBIDDEN = {"listing": (lambda call: not call.key, 1), "reading": (is_read, 4), "staging": (is_upload, 8)}


def test_what_only_a_person_can_clear_ends_a_run_without_a_second_try(
    home: Home, proxy: FaultProxy, settled: Callable
) -> None:
    """Several objects are read or written at once, and each of them once."""
    lake = home()
    for case, (about, faults) in FORBIDDEN.items():
        proxy.reset(first(999, fault_proxy.refuse(403, "AccessDenied"), about))
        error = error_of(lake)
        assert isinstance(error, ConfigurationError), case
        assert "permission" in str(error), case
        assert not error.transient, case
        asked = [(call.method, call.path) for call in proxy.calls if about(call)]
        assert 1 <= len(asked) == len(set(asked)) <= faults, case
        assert nothing_published(lake), case
    settled(lake)


# --- the warehouse, with the objects in S3 ---------------------------------------------------------------------


def test_row_28_a_load_history_that_was_forgotten_changes_nothing(home: Home, settled: Callable) -> None:
    """Snowflake forgets after 64 days, and at once when a pipe is made anew; our ledger decides."""
    lake = home()
    lake.run()
    with lake.platform.warehouse.connect() as connection:
        database = connection._duck_conn
        histories = database.execute(
            "SELECT table_catalog, table_schema, table_name FROM information_schema.tables "
            "WHERE table_name ILIKE '%load_history%' AND table_type = 'BASE TABLE'"
        ).fetchall()
        assert histories
        for catalog, schema, table in histories:
            database.execute(f'DELETE FROM "{catalog}"."{schema}"."{table}"')

    assert lake.run().new == 0
    settled(lake)
