"""AWS as moto plays it over HTTP, for the tests of every room: a server a process, buckets that go with their test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

REGION = "eu-west-1"
SECRET = "not-to-be-shown-anywhere"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET}


@contextmanager
def moto_server() -> Iterator[str]:
    """A server on a free port of 127.0.0.1; its url."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def buckets_in(url: str, *names: str) -> Iterator[Any]:
    """A client of S3 there, with some buckets; what they hold is gone afterwards."""
    client = boto3.client("s3", endpoint_url=url, region_name=REGION)
    for name in names:
        client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    try:
        yield client
    finally:
        for name in names:
            for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
                for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                    client.delete_object(Bucket=name, Key=entry["Key"], VersionId=entry["VersionId"])
            client.delete_bucket(Bucket=name)
