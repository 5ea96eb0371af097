"""The two stores, each with one empty bucket: plain files, and S3 over HTTP (moto)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from pipeline_assets.lake import Lake, LandedObject, LocalLake, S3Lake

BUCKET = "landing-bucket"
SECRET = "not-to-be-shown-anywhere"
REGION = "eu-west-1"


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A boto3 client of that server, with the bucket; what it holds is gone afterwards."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    client = boto3.client("s3", endpoint_url=s3_url, region_name=REGION)
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    yield client
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for entry in page.get("Contents", []):
            client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    client.delete_bucket(Bucket=BUCKET)


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """Each store in turn."""
    if request.param == "local":
        return LocalLake(tmp_path / "lake")
    request.getfixturevalue("s3")
    return S3Lake(region=REGION, endpoint_url=request.getfixturevalue("s3_url"))


Put = Callable[[str, bytes], LandedObject]


@pytest.fixture
def put(store: Lake, tmp_path: Path) -> Put:
    """Publish bytes and say which version they are."""

    def put(key: str, content: bytes = b"content") -> LandedObject:
        source = tmp_path / "to-publish"
        source.write_bytes(content)
        landed = store.head(store.publish(source, BUCKET, key))
        assert landed is not None
        return landed

    return put
