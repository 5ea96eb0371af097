"""Where tasks of a distributed engine find and leave files: a path that all of them see, or s3://bucket/key.

S3 is spoken through boto3, which Glue has and which takes endpoint, region and credentials from the environment; so a
Spark without any Hadoop library for S3 works as well, and what runs in Glue is what the tests run.
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


def is_s3(where: str) -> bool:
    return where.startswith("s3://")


def joined(folder: str, *names: str) -> str:
    return "/".join((folder.rstrip("/"), *names))


@contextmanager
def scratch_folder(within: str | None = None) -> Iterator[Path]:
    """A folder on the disk of whoever runs the task, below `within` if somebody sweeps that."""
    if within:
        os.makedirs(within, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pipeline-task-", dir=within) as folder:
        yield Path(folder)


def fetch(where: str, folder: Path, etag: str = "") -> Path:
    """The file itself, or a local copy of the object; of another version than `etag`, none.

    Raises:
        ObjectChangedError: the object is another version by now, or gone.
        ArchivedObjectError: it is not read until somebody restores it.
        LakeError: fewer bytes arrived than the object has.
    """
    if not is_s3(where):
        return Path(where)
    response = _get(where, etag)
    target = folder / f"{abs(hash(where)):x}-{where.rpartition('/')[2][-50:]}"
    with open(target, "wb") as local:
        shutil.copyfileobj(response["Body"], local, _BLOCK)
    if target.stat().st_size != response["ContentLength"]:
        raise LakeError(
            f"{where}: {target.stat().st_size} of {response['ContentLength']} bytes arrived.",
            remedy="A retry may clear it.",
        )
    return target


def blocks(where: str, etag: str, start: int, end: int | None = None) -> Iterator[bytes]:
    """The bytes from `start` to `end` (or to the last one), some megabytes at a time."""
    if not is_s3(where):
        with open(where, "rb") as file:
            file.seek(start)
            left = None if end is None else end - start
            while data := file.read(_BLOCK if left is None else min(_BLOCK, left)):
                yield data
                left = None if left is None else left - len(data)
        return
    if end is not None and end <= start:
        return
    body = _get(where, etag, f"bytes={start}-{'' if end is None else end - 1}")["Body"]
    yield from body.iter_chunks(_BLOCK)


def put(path: Path, where: str) -> None:
    """Leave a finished file at a place; readers see all of it or nothing."""
    if is_s3(where):
        bucket, key = where.split("/", 3)[2:4]
        _client().upload_file(str(path), bucket, key)
        return
    os.makedirs(os.path.dirname(where), exist_ok=True)
    near = f"{where}.{os.getpid()}.tmp"
    shutil.copyfile(path, near)
    os.replace(near, where)


def exists(where: str) -> bool:
    """Whether a file lies at a place."""
    if not is_s3(where):
        return os.path.exists(where)
    from botocore.exceptions import ClientError

    bucket, key = where.split("/", 3)[2:4]
    try:
        _client().head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
            return False
        raise
    return True


def read_text(where: str) -> str:
    """A small text file."""
    return b"".join(blocks(where, "", 0)).decode("utf-8")


def write_text(text: str, where: str) -> None:
    with scratch_folder() as folder:
        path = folder / "text"
        path.write_text(text, encoding="utf-8")
        put(path, where)


def _get(where: str, etag: str, part: str = "") -> Any:
    from botocore.exceptions import ClientError

    bucket, key = where.split("/", 3)[2:4]
    options = {"Range": part} if part else {}
    if etag:
        options["IfMatch"] = f'"{etag}"'
    try:
        return _client().get_object(Bucket=bucket, Key=key, **options)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("PreconditionFailed", "412", "NoSuchKey", "404"):
            raise ObjectChangedError(where) from None
        if error.response["Error"]["Code"] == "InvalidObjectState":
            raise ArchivedObjectError(f"reading {where}") from None
        raise


@cache
def _client() -> Any:
    """One client a process; made in the process that uses it."""
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(retries={"mode": "standard", "total_max_attempts": 8}))
