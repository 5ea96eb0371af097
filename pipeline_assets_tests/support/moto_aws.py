"""AWS as moto plays it over HTTP: buckets that go with their test, and an account that every test file finds empty.

All servers of a process share one account, whatever their ports, so that what one file leaves there another one finds.
What has to outlive a file lives in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.moto_api._internal import moto_api_backend
from moto.server import ThreadedMotoServer

from pipeline_assets.deploy.aws.glue_artifacts import delete_versions

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
def moto_process() -> Iterator[str]:
    """A server in a process of its own, which shares nothing with any other; its url."""
    program = (
        "from moto.server import ThreadedMotoServer\n"
        "server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)\n"
        "server.start()\n"
        "print(server.get_host_and_port()[1], flush=True)\n"
        "input()\n"  # until we close it, or are gone
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def forget_everything() -> None:
    """Empty the account of this process: buckets, queues, topics, secrets, catalogs."""
    moto_api_backend.reset()


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
            delete_versions(client, name, "")
            client.delete_bucket(Bucket=name)
