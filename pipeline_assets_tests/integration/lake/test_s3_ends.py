"""S3: what only a person can clear ends at the first request, anything else within the patience.

Requests are counted where they arrive, so repetitions by any library are seen.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.aws import Aws
from pipeline_assets.errors import ConfigurationError, LakeError
from pipeline_assets.lake import LandedObject, S3Lake
from pipeline_assets.lake.glue_catalog import GlueCatalog
from pipeline_assets.lake.lease import Lease
from pipeline_assets.lake.notifications import EventQueue
from pipeline_assets_tests.support import fault_proxy
from pipeline_assets_tests.support.fault_proxy import SLOW_DOWN, Call, FaultProxy, first, refuse, refuse_call, since
from pipeline_assets_tests.support.object_stores import BUCKET, REGION
from pipeline_assets_tests.support.orders_lake import lake_table

PATIENCE = 0.3  # seconds
ENOUGH = 60  # requests; whoever asks more often than that does not stop, and is answered to end the test


@pytest.fixture
def proxy(s3_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(s3_url) as proxy:
        yield proxy


@pytest.fixture
def lake(proxy: FaultProxy, s3: object) -> S3Lake:
    return S3Lake(region=REGION, endpoint_url=proxy.url, patience=PATIENCE, timeout=0.5)


@pytest.fixture
def found(lake: S3Lake, s3: Any) -> LandedObject:
    s3.put_object(Bucket=BUCKET, Key="in/a", Body=b"content")
    head = lake.head(f"s3://{BUCKET}/in/a")
    assert head is not None
    return head


Action = Callable[[S3Lake, LandedObject, Path], Any]

READS: dict[str, Action] = {
    "list": lambda lake, found, folder: list(lake.list_objects(BUCKET, "in/")),
    "batches": lambda lake, found, folder: list(lake.list_batches(BUCKET, "in/")),
    "fetch": lambda lake, found, folder: lake.fetch(found, folder),
    "fetch_all": lambda lake, found, folder: lake.fetch_all([found], folder),
    "lease": lambda lake, found, folder: holding(lake, BUCKET),
}
WRITES: dict[str, Action] = {
    "publish": lambda lake, found, folder: lake.publish(written(folder), BUCKET, "out/b"),
    "move": lambda lake, found, folder: lake.move(BUCKET, "in/a", "out/a"),
    "delete": lambda lake, found, folder: lake.delete([found.uri]),
    "delete_prefix": lambda lake, found, folder: lake.delete_prefix(BUCKET, "in/"),
}
HEADS: dict[str, Action] = {
    "head": lambda lake, found, folder: lake.head(found.uri),
    "changed": lambda lake, found, folder: lake.changed([found]),
}


def written(folder: Path) -> Path:
    (folder / "source").write_bytes(b"content")
    return folder / "source"


def holding(lake: S3Lake, bucket: str) -> None:
    with Lease(lake, bucket, "locks/orders.json", "home", poll=0.02).held(5):
        pass


# --- permanent -------------------------------------------------------------------------------------------------

PERMANENT = {
    "no permission": (refuse(403, "AccessDenied", "Access Denied"), "permission s3:"),
    "no bucket": (refuse(404, "NoSuchBucket"), f"there is no bucket {BUCKET}"),
    "other region": (refuse(301, "PermanentRedirect"), "not in the region eu-west-1"),
    "other region, told": (
        refuse(400, "AuthorizationHeaderMalformed", "the region 'eu-west-1' is wrong; expecting 'us-east-2'"),
        "us-east-2",
    ),
    "expired": (fault_proxy.EXPIRED, "expired"),
}
# Of a HEAD only the status is answered.
PERMANENT_OF_HEADS = {name: PERMANENT[name] for name in ("no permission", "other region")}


def is_write(call: Call) -> bool:
    return call.method in ("PUT", "POST", "DELETE")


@pytest.mark.parametrize(
    ("action", "refusal", "told", "about"),
    [
        pytest.param(action, *refusal, about, id=f"{name}-{why}")
        for actions, refusals, about in (
            (READS, PERMANENT, lambda call: True),
            (WRITES, PERMANENT, is_write),
            (HEADS, PERMANENT_OF_HEADS, lambda call: True),
            (
                {name: READS[name] for name in ("fetch", "fetch_all")},
                {"archived": (refuse(403, "InvalidObjectState"), "archived")},
                lambda call: True,
            ),
        )
        for name, action in actions.items()
        for why, refusal in refusals.items()
    ],
)
def test_what_only_a_person_can_clear_is_named_at_once_and_asked_for_once(
    lake: S3Lake,
    proxy: FaultProxy,
    found: LandedObject,
    tmp_path: Path,
    action: Action,
    refusal: fault_proxy.Fault,
    told: str,
    about: Callable[[Call], bool],
) -> None:
    proxy.reset(lambda call: refusal if about(call) else None)

    with pytest.raises(ConfigurationError, match=told) as refused:
        action(lake, found, tmp_path)

    assert not refused.value.transient, "else the run is tried again"
    assert proxy.faults == 1


def test_of_many_objects_that_may_not_be_read_each_is_asked_for_once_at_most(
    lake: S3Lake, proxy: FaultProxy, s3: Any, tmp_path: Path
) -> None:
    for number in range(5):
        s3.put_object(Bucket=BUCKET, Key=f"in/{number}", Body=b"x")
    found = list(lake.list_objects(BUCKET, "in/"))
    proxy.reset(since(1, refuse(403, "AccessDenied")))

    with pytest.raises(ConfigurationError, match="s3:GetObject"):
        lake.fetch_all(found, tmp_path)

    assert max(Counter(call.key for call in proxy.calls).values()) == 1


DENIED = refuse_call(403, "AccessDeniedException", "not authorized")


@pytest.mark.parametrize(
    ("ask", "permission"),
    [
        (lambda aws, lake: EventQueue(aws, f"{aws.endpoint_url}/1/q").poll(), "sqs:ReceiveMessage"),
        (lambda aws, lake: GlueCatalog(lake, aws, "lake").register(lake_table(), ["2024-01-10"]), "glue:GetTable"),
    ],
    ids=["queue", "catalog"],
)
@pytest.mark.usefixtures("aws_keys")
def test_a_service_that_refuses_us_is_asked_once(
    proxy: FaultProxy, lake: S3Lake, ask: Callable[[Aws, S3Lake], Any], permission: str
) -> None:
    proxy.reset(since(1, DENIED))

    with pytest.raises(ConfigurationError, match=f"permission {permission} is missing") as refused:
        ask(Aws(REGION, proxy.url), lake)

    assert not refused.value.transient
    assert len(proxy.calls) == 1


# --- transient, and it does not clear --------------------------------------------------------------------------

NEVER_CLEARS = {
    "slow down": SLOW_DOWN,
    "internal error": refuse(500, "InternalError"),
    "reset": fault_proxy.reset,
    "pages that break off": fault_proxy.truncate(0.5),
    "no answer": fault_proxy.late(0.8),
}


@pytest.mark.parametrize("fault", NEVER_CLEARS.values(), ids=NEVER_CLEARS)
@pytest.mark.parametrize("action", ["list", "batches", "fetch", "delete"])
def test_what_may_clear_and_does_not_ends_within_the_patience(
    lake: S3Lake, proxy: FaultProxy, found: LandedObject, tmp_path: Path, action: str, fault: fault_proxy.Fault
) -> None:
    proxy.reset(first(ENOUGH, fault))
    started = time.monotonic()

    with pytest.raises(LakeError) as failed:
        (READS | WRITES)[action](lake, found, tmp_path)

    assert failed.value.transient
    assert proxy.faults < ENOUGH
    # The patience for each of the few requests that we repeat ourselves, whatever the machine is busy with.
    assert time.monotonic() - started < 20
