"""Read and write files of distributed tasks: a path that all of them share, or s3://bucket/key.

S3 is accessed with boto3, which Glue has, and which takes endpoint, region and credentials from the environment. So a
Spark without a Hadoop library for S3 works as well, and the tests run the same code as Glue.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from pipeline_assets.errors import ArchivedObjectError, LakeError, ObjectChangedError

_BLOCK = 8 * 1024 * 1024


def is_s3(uri: str) -> bool:
    return uri.startswith("s3://")


def joined(folder: str, *names: str) -> str:
    return "/".join((folder.rstrip("/"), *names))


@contextmanager
def scratch_folder(within: str | None = None) -> Iterator[Path]:
    """A temporary folder on the disk of the machine that runs the task, below `within` if given."""
    if within:
        os.makedirs(within, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pipeline-task-", dir=within) as folder:
        yield Path(folder)


def fetch(uri: str, folder: Path, etag: str = "") -> Path:
    """The file itself, or a local copy of the object in the version `etag`.

    Raises:
        ObjectChangedError: the object was overwritten or deleted.
        ArchivedObjectError: the object must be restored from an archive first.
        LakeError: fewer bytes arrived than the object has.
    """
    if not is_s3(uri):
        return Path(uri)
    response = _get(uri, etag)
    target = folder / f"{abs(hash(uri)):x}-{uri.rpartition('/')[2][-50:]}"
    with open(target, "wb") as local:
        shutil.copyfileobj(response["Body"], local, _BLOCK)
    if target.stat().st_size != response["ContentLength"]:
        raise LakeError(
            f"{uri}: {target.stat().st_size} of {response['ContentLength']} bytes arrived.",
            remedy="A retry may clear it.",
        )
    return target


def blocks(uri: str, etag: str, start: int, end: int | None = None) -> Iterator[bytes]:
    """The bytes from `start` to `end` (or to the last one), some megabytes at a time."""
    if not is_s3(uri):
        with open(uri, "rb") as file:
            file.seek(start)
            left = None if end is None else end - start
            while data := file.read(_BLOCK if left is None else min(_BLOCK, left)):
                yield data
                left = None if left is None else left - len(data)
        return
    if end is not None and end <= start:
        return
    body = _get(uri, etag, f"bytes={start}-{'' if end is None else end - 1}")["Body"]
    yield from body.iter_chunks(_BLOCK)


def put(path: Path, uri: str) -> None:
    """Write a finished file to `uri`; readers see all of it or nothing."""
    if is_s3(uri):
        bucket, key = uri.split("/", 3)[2:4]
        _client().upload_file(str(path), bucket, key)
        return
    os.makedirs(os.path.dirname(uri), exist_ok=True)
    temporary = f"{uri}.{os.getpid()}.tmp"
    shutil.copyfile(path, temporary)
    os.replace(temporary, uri)


def exists(uri: str) -> bool:
    """Whether the file exists."""
    if not is_s3(uri):
        return os.path.exists(uri)
    from botocore.exceptions import ClientError

    bucket, key = uri.split("/", 3)[2:4]
    try:
        _client().head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
            return False
        raise
    return True


def read_text(uri: str) -> str:
    """A small text file."""
    return b"".join(blocks(uri, "", 0)).decode("utf-8")


def write_text(text: str, uri: str) -> None:
    with scratch_folder() as folder:
        path = folder / "text"
        path.write_text(text, encoding="utf-8")
        put(path, uri)


def _get(uri: str, etag: str, part: str = "") -> Any:
    from botocore.exceptions import ClientError

    bucket, key = uri.split("/", 3)[2:4]
    options = {"Range": part} if part else {}
    if etag:
        options["IfMatch"] = f'"{etag}"'
    try:
        return _client().get_object(Bucket=bucket, Key=key, **options)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("PreconditionFailed", "412", "NoSuchKey", "404"):
            raise ObjectChangedError(uri) from None
        if error.response["Error"]["Code"] == "InvalidObjectState":
            raise ArchivedObjectError(f"reading {uri}") from None
        raise


@cache
def _client() -> Any:
    """One client per process; made in the process that uses it."""
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(retries={"mode": "standard", "total_max_attempts": 8}))
