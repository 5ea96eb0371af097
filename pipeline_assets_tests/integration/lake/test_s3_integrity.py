"""S3: what does not arrive whole is never taken for the object, whatever S3 answered and however it is encrypted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.errors import LakeError
from pipeline_assets.lake import LandedObject, S3Lake, s3
from pipeline_assets_tests.support import fault_proxy
from pipeline_assets_tests.support.fault_proxy import Call, Fault, FaultProxy
from pipeline_assets_tests.support.object_stores import BUCKET, REGION

SMALL, IN_PARTS = 100, s3.CHUNK + 1000  # bytes


@pytest.fixture
def proxy(s3_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(s3_url) as proxy:
        yield proxy


@pytest.fixture
def lake(proxy: FaultProxy, s3: object) -> S3Lake:
    return S3Lake(region=REGION, endpoint_url=proxy.url, patience=5, timeout=10)


@pytest.fixture(params=["AES256", "aws:kms", "aws:kms:dsse"])
def encrypted(request: pytest.FixtureRequest, s3: Any) -> str:
    """How the bucket encrypts whatever is put there."""
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": request.param}}
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [rule]})
    return request.param


def landed(lake: S3Lake, key: str) -> LandedObject:
    found = lake.head(f"s3://{BUCKET}/{key}")
    assert found is not None
    return found


def is_download(call: Call) -> bool:
    return call.method == "GET" and bool(call.key)


# --- downloads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [SMALL, IN_PARTS], ids=["small", "in parts"])
@pytest.mark.usefixtures("encrypted")
def test_our_own_object_is_held_against_our_own_checksum_however_its_bucket_is_encrypted(
    lake: S3Lake, proxy: FaultProxy, tmp_path: Path, size: int
) -> None:
    """KMS makes etags of which nothing follows; of our own uploads we know what is in them."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    lake.publish(source, BUCKET, "in/ours")
    found = landed(lake, "in/ours")
    assert lake.fetch(found, tmp_path).read_bytes() == source.read_bytes()
    proxy.reset(lambda call: fault_proxy.damage if is_download(call) else None)

    with pytest.raises(LakeError, match="in/ours does not match its checksum"):
        lake.fetch(found, tmp_path)


def test_one_object_of_a_producer_under_kms_does_not_excuse_ours(
    lake: S3Lake, proxy: FaultProxy, s3: Any, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"content")
    lake.publish(tmp_path / "source", BUCKET, "in/ours")
    s3.put_object(Bucket=BUCKET, Key="in/theirs", Body=b"content", ServerSideEncryption="aws:kms")
    ours, theirs = landed(lake, "in/ours"), landed(lake, "in/theirs")
    proxy.reset(lambda call: fault_proxy.damage if is_download(call) else None)

    lake.fetch(theirs, tmp_path)  # other bytes than the etag's, as KMS gives them

    with pytest.raises(LakeError, match="in/ours does not match its checksum"):
        lake.fetch(ours, tmp_path)


@pytest.mark.usefixtures("encrypted")
def test_our_own_object_that_was_stored_damaged_is_not_taken(lake: S3Lake, s3: Any, tmp_path: Path) -> None:
    """The checksum was made of the file; what S3 has and delivers faithfully is something else."""
    (tmp_path / "source").write_bytes(b"content")
    lake.publish(tmp_path / "source", BUCKET, "in/ours")
    metadata = s3.head_object(Bucket=BUCKET, Key="in/ours")["Metadata"]
    s3.put_object(Bucket=BUCKET, Key="in/ours", Body=b"Content", Metadata=metadata)

    with pytest.raises(LakeError, match="in/ours does not match its checksum"):
        lake.fetch(landed(lake, "in/ours"), tmp_path)


# --- uploads and moves -----------------------------------------------------------------------------------------

Arrives = Callable[[Call], Fault | None]


@pytest.fixture(params=["nothing", "less", "more"])
def arrives(request: pytest.FixtureRequest, s3: Any) -> Arrives:
    """S3 answers that it wrote out/…, and something else lies there than what was to be written."""

    def fault(handler: Any, call: Call) -> None:
        reply = handler.forward(call)
        if request.param == "nothing":
            s3.delete_object(Bucket=BUCKET, Key=call.key)
        else:
            s3.put_object(Bucket=BUCKET, Key=call.key, Body=b"x" * (SMALL + (1 if request.param == "more" else -1)))
        handler.answer(reply)

    return lambda call: fault if call.method in ("PUT", "POST") and call.key.startswith("out/") else None


@pytest.mark.parametrize("copied", ["in one request", "in parts"])
def test_the_source_of_a_move_stays_until_all_of_it_has_arrived(
    lake: S3Lake, proxy: FaultProxy, s3: Any, arrives: Arrives, copied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if copied == "in parts":
        monkeypatch.setattr("pipeline_assets.lake.s3.COPY_LIMIT", SMALL - 1)
    s3.put_object(Bucket=BUCKET, Key="in/a", Body=b"x" * SMALL)
    proxy.reset(arrives)

    with pytest.raises(LakeError, match="out/a: 100 bytes were written and"):
        lake.move(BUCKET, "in/a", "out/a")

    assert s3.get_object(Bucket=BUCKET, Key="in/a")["Body"].read() == b"x" * SMALL


def test_an_upload_of_which_something_else_arrived_is_an_error(
    lake: S3Lake, proxy: FaultProxy, arrives: Arrives, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(b"x" * SMALL)
    proxy.reset(arrives)

    with pytest.raises(LakeError, match="out/a: 100 bytes were written and"):
        lake.publish(tmp_path / "source", BUCKET, "out/a")
