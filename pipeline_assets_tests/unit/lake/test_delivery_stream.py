"""The local delivery stream: when a buffer becomes an object, under which key, and what counts as accepted."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

import pytest

from pipeline_assets.errors import LakeError
from pipeline_assets.lake import LocalLake
from pipeline_assets.lake.delivery import build_delivery
from pipeline_assets.lake.delivery_stream import BufferingHints, LocalStreamWriter, StreamWriter
from pipeline_assets.lake.firehose import CALL_BYTES, CALL_RECORDS, FirehoseWriter, calls
from pipeline_assets.settings import load_settings

START = 1_709_251_199.5  # 2024-02-29 23:59:59.5 UTC
ID = "6f1c2f34-0000-4000-8000-000000000001"


class Clock:
    now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def writer(tmp_path: Path, clock: Clock, *, seconds: float = 60, mib: float = 1, root: str = "lake") -> StreamWriter:
    return LocalStreamWriter(
        LocalLake(tmp_path / root),
        "shop-stream",
        "in/customers/",
        "stack-customers",
        part=tmp_path / "part",
        hints=BufferingHints(seconds, mib),
        clock=clock,
    )


def objects(tmp_path: Path) -> dict[str, bytes]:
    bucket = tmp_path / "lake" / "shop-stream"
    return {path.relative_to(bucket).as_posix(): path.read_bytes() for path in bucket.rglob("*") if path.is_file()}


def test_a_key_has_the_time_of_the_first_record_in_utc_as_firehose_writes_it(tmp_path: Path, clock: Clock) -> None:
    stream = LocalStreamWriter(
        LocalLake(tmp_path / "lake"),
        "shop-stream",
        "in/customers/",
        "stack-customers",
        part=tmp_path / "part",
        hints=BufferingHints(60, 1),
        clock=clock,
        random_id=lambda: uuid.UUID(ID),
    )
    stream.put([b"1,a"])
    clock.now += 10
    stream.put([b"2,b"])
    stream.flush()
    key = f"in/customers/2024/02/29/23/stack-customers-1-2024-02-29-23-59-59-{ID}"
    assert objects(tmp_path) == {key: b"1,a\n2,b\n"}


def test_a_buffer_is_delivered_when_its_first_record_is_old_enough(tmp_path: Path, clock: Clock) -> None:
    stream = writer(tmp_path, clock)
    stream.deliver_due()
    for seconds, record in ((0, b"1"), (30, b"2"), (29.9, b"3")):
        clock.now += seconds
        stream.put([record])
        stream.deliver_due()
        assert (stream.accepted, objects(tmp_path)) == (0, {})
    clock.now += 0.1
    stream.deliver_due()
    assert list(objects(tmp_path).values()) == [b"1\n2\n3\n"]
    assert stream.accepted == 3
    stream.put([b"4"])
    clock.now += 59
    stream.deliver_due()
    assert stream.accepted == 3


def test_a_clock_that_is_set_back_delays_nothing(tmp_path: Path, clock: Clock) -> None:
    stream = writer(tmp_path, clock)
    stream.put([b"1"])
    clock.now -= 3600
    stream.deliver_due()
    assert stream.accepted == 1


def test_the_times_in_keys_never_go_back(tmp_path: Path, clock: Clock) -> None:
    """They decide which version of a record is newer."""
    stream = writer(tmp_path, clock, seconds=0)
    for seconds in (0, -3600, 1800):
        clock.now += seconds
        stream.put([b"1"])
        stream.deliver_due()
    assert {key.rpartition("-1-")[2][:19] for key in objects(tmp_path)} == {"2024-02-29-23-59-59"}
    assert stream.accepted == 3


@pytest.mark.parametrize("batches", [[20], [1] * 20, [7, 7, 6]])
def test_a_buffer_is_delivered_at_its_size_and_never_larger(tmp_path: Path, clock: Clock, batches: list[int]) -> None:
    stream = writer(tmp_path, clock, mib=1000 / (1 << 20))
    record = b"x" * 149  # 150 with its line end, so six fit
    for count in batches:
        stream.put([record] * count)
    assert sorted(map(len, objects(tmp_path).values())) == [900, 900, 900]
    assert stream.accepted == 18
    stream.flush()
    assert stream.accepted == 20


def test_a_record_above_the_buffer_size_is_an_object_of_its_own(tmp_path: Path, clock: Clock) -> None:
    stream = writer(tmp_path, clock, mib=10 / (1 << 20))
    stream.put([b"1", b"2" * 50, b"3"])
    stream.flush()
    assert sorted(objects(tmp_path).values()) == [b"1\n", b"2" * 50 + b"\n", b"3\n"]


def test_an_empty_buffer_delivers_no_object(tmp_path: Path, clock: Clock) -> None:
    stream = writer(tmp_path, clock)
    stream.put([])
    stream.flush()
    assert objects(tmp_path) == {}


def test_a_failed_delivery_accepts_nothing_and_can_be_repeated(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = writer(tmp_path, clock)
    stream.put([b"1"])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(LakeError, match="No space left"):
            stream.flush()
    assert (stream.accepted, objects(tmp_path)) == (0, {})
    stream.flush()
    assert (stream.accepted, list(objects(tmp_path).values())) == (1, [b"1\n"])


def test_each_profile_has_its_streams_named_after_the_stack(tmp_path: Path) -> None:
    local = load_settings(home=tmp_path, stack_name="acme", stream_buffer_seconds=0)
    stream = build_delivery(local).open_writer("shop-stream", "in/", "orders")
    (tmp_path / "sources" / "commerce" / "producer").mkdir(parents=True)
    stream.put([b"1"])
    stream.deliver_due()
    (key,) = objects(tmp_path)
    assert key.rpartition("/")[2].startswith("acme-orders-1-")
    firehose = build_delivery(load_settings(home=tmp_path, profile="aws")).open_writer("shop-stream", "in/", "orders")
    assert isinstance(firehose, FirehoseWriter)


def test_calls_respect_the_limits_of_firehose() -> None:
    small = [b"%d" % number for number in range(1201)]
    large = [b"x" * (1000 * 1024 - 1)] * 9
    assert [len(batch) for batch in calls(small)] == [CALL_RECORDS, CALL_RECORDS, 201]
    assert [len(batch) for batch in calls(large)] == [4, 4, 1]
    assert CALL_BYTES >= 4 * 1000 * 1024
    assert list(calls([])) == []
    mixed = [*small, *large, *small]
    assert [record for batch in calls(mixed) for record in batch] == mixed
