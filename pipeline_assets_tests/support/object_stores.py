"""The two stores, each with one empty bucket: plain files, and S3 over HTTP (moto)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline_assets.lake import Lake, LandedObject, LocalLake, S3Lake
from pipeline_assets_tests.support.moto_aws import REGION, buckets_in

BUCKET = "landing-bucket"


@pytest.fixture(scope="session")
def s3_url(moto_url: str) -> str:
    return moto_url


@pytest.fixture
def s3(moto_url: str, aws_keys: None) -> Iterator[object]:
    """A boto3 client of that server, with the bucket; what it holds is gone afterwards."""
    with buckets_in(moto_url, BUCKET) as client:
        yield client


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
