"""PutRecordBatch over HTTP: limits, refused records, throttling, the order of a key's records; and the emulator."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from pipeline_assets.aws import Aws
from pipeline_assets.errors import ConfigurationError, LakeError
from pipeline_assets.lake import S3Lake
from pipeline_assets.lake.delivery import build_delivery
from pipeline_assets.lake.firehose import FirehoseWriter
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.deployed_stack import configured, deployed
from pipeline_assets_tests.support.firehose_server import FirehoseServer, firehose_server
from pipeline_assets_tests.support.ministack import CREDENTIALS, REGION, ministack

pytestmark = pytest.mark.usefixtures("aws_keys")


@pytest.fixture
def server() -> Iterator[FirehoseServer]:
    with firehose_server() as running:
        yield running


def writer(server: FirehoseServer, *, patience: float = 30, pauses: list[float] | None = None) -> FirehoseWriter:
    """A writer that does not wait; `pauses` gets the seconds that it would."""
    pauses = [] if pauses is None else pauses
    aws = Aws("eu-west-1", server.url)
    return FirehoseWriter(aws, "stack-orders", patience=patience, sleep=pauses.append, jitter=lambda longest: longest)


def numbered(count: int, keys: int = 7) -> list[bytes]:
    return [f"key {number % keys},version {number}".encode() for number in range(count)]


def lines(records: list[bytes]) -> list[bytes]:
    return [record + b"\n" for record in records]


def test_records_arrive_in_order_each_with_a_line_end(server: FirehoseServer) -> None:
    stream = writer(server)
    stream.put(numbered(1201))
    assert server.arrived == lines(numbered(1201))
    assert server.calls == [500, 500, 201]
    assert stream.accepted == 1201


def test_large_records_are_spread_over_calls(server: FirehoseServer) -> None:
    """The server asserts the limits."""
    stream = writer(server)
    stream.put([b"x" * (1000 * 1024 - 1)] * 5)
    assert server.calls == [4, 1]


@pytest.mark.parametrize("seed", range(5))
def test_refused_records_never_arrive_behind_newer_ones_of_their_key(server: FirehoseServer, seed: int) -> None:
    """The last of all copies of a key is its newest version, and none is lost."""
    drawn = random.Random(seed)
    server.rule = lambda number, records: {index for index in range(len(records)) if drawn.random() < 0.05}
    records = numbered(300)
    writer(server).put(records)
    assert set(server.arrived) == set(lines(records))
    last = {record.split(b",")[0]: record for record in server.arrived}
    assert last == {record.split(b",")[0]: record for record in lines(records)}
    assert len(server.arrived) > len(records)  # some arrived twice, which the load removes


def test_pauses_grow_until_a_record_is_accepted(server: FirehoseServer) -> None:
    pauses: list[float] = []
    server.rule = lambda number, records: set(range(len(records))) if number < 10 else set()
    writer(server, pauses=pauses).put(numbered(3))
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0]


def test_a_throttled_call_is_sent_again_whole(server: FirehoseServer) -> None:
    server.rule = lambda number, records: "ServiceUnavailableException" if number < 3 else set()
    writer(server).put(numbered(5))
    assert server.arrived == lines(numbered(5))


def test_a_stream_that_stays_busy_ends_with_what_was_accepted(server: FirehoseServer) -> None:
    server.rule = lambda number, records: {index for index in range(len(records)) if number > 1 or index > 1}
    stream = writer(server, patience=0)
    with pytest.raises(LakeError, match="stack-orders: it has refused records") as raised:
        stream.put(numbered(5))
    assert raised.value.transient
    assert stream.accepted == 2


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ResourceNotFoundException", "no stream stack-orders in eu-west-1"),
        ("AccessDeniedException", "permission firehose:PutRecordBatch is missing"),
    ],
)
def test_an_error_that_only_a_person_can_clear_names_what_to_correct(
    server: FirehoseServer, code: str, message: str
) -> None:
    server.rule = lambda number, records: code
    with pytest.raises(ConfigurationError, match=message):
        writer(server).put(numbered(1))
    assert len(server.calls) == 1


def test_no_call_is_made_without_records(server: FirehoseServer) -> None:
    stream = writer(server)
    stream.put([])
    stream.deliver_due()
    stream.flush()
    assert server.calls == []


@pytest.mark.aws
def test_the_deployed_streams_deliver_into_the_landing_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with ministack() as aws:
        deployed(configured(aws))
        settings = load_settings(profile="aws", aws_region=REGION, aws_endpoint_url=aws.url)
        stream = build_delivery(settings).open_writer("commerce-stream", "firehose/orders/landing/", "orders")
        stream.put(numbered(600))
        assert stream.accepted == 600
        lake = S3Lake(region=REGION, endpoint_url=aws.url, bucket_prefix="acme-")
        landed = list(lake.list_objects("commerce-stream", "firehose/orders/landing/"))
        contents = b"".join(aws.path("acme-commerce-stream", each.key).read_bytes() for each in landed)
        assert sorted(contents.splitlines()) == sorted(numbered(600))
