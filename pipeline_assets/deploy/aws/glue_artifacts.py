"""The code of the Glue job in the artifacts bucket: its script, and the package as a zip.

The zip has no dates, so the same code gives the same bytes, and a deployment uploads only files that have changed.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pipeline_assets
from pipeline_assets.aws import Aws, aws_errors
from pipeline_assets.deploy.aws.template import JOB_PACKAGE, JOB_SCRIPT

_DIGEST = "sha256"


def job_files() -> dict[str, bytes]:
    """The files of the job by key; the package is uploaded first, as a new script may need its new code."""
    package = Path(pipeline_assets.__file__).resolve().parent
    return {JOB_PACKAGE: package_zip(package), JOB_SCRIPT: (package / "engine" / "spark" / "job.py").read_bytes()}


def package_zip(package: Path) -> bytes:
    """The Python modules of a package below its own name, the same bytes for the same modules."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(package.rglob("*.py")):
            entry = zipfile.ZipInfo(path.relative_to(package.parent).as_posix(), (2000, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return content.getvalue()


def keys_to_upload(s3: Aws, bucket: str, files: dict[str, bytes]) -> list[str]:
    """The keys of files that are missing in the bucket or have other bytes there; all if there is no bucket."""
    client, keys = s3.client("s3"), []
    for key, content in files.items():
        doing = f"checking s3://{bucket}/{key}"
        with aws_errors(doing, "s3:GetObject", expected=("404", "NoSuchKey", "NoSuchBucket"), remedy=_grant("Get")):
            if client.head_object(Bucket=bucket, Key=key).get("Metadata", {}).get(_DIGEST) == _digest(content):
                continue
        keys.append(key)
    return keys


def upload(s3: Aws, bucket: str, files: dict[str, bytes], keys: list[str]) -> None:
    """Upload the files with these keys."""
    client = s3.client("s3")
    for key in keys:
        with aws_errors(f"writing s3://{bucket}/{key}", "s3:PutObject", remedy=_grant("Put")):
            client.put_object(Bucket=bucket, Key=key, Body=files[key], Metadata={_DIGEST: _digest(files[key])})


def delete_uploads(s3: Aws, bucket: str) -> None:
    """Delete every version of the files that `upload` wrote; missing ones are not an error."""
    doing = f"deleting what was deployed to {bucket}"
    with aws_errors(doing, "s3:DeleteObjectVersion", expected=("NoSuchBucket",), remedy=_grant("DeleteVersion of")):
        delete_versions(s3.client("s3"), bucket, JOB_SCRIPT.partition("/")[0] + "/")


def delete_versions(client: Any, bucket: str, prefix: str) -> None:
    """Delete every version below a prefix, delete markers too."""
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        versions = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        if keys := [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in versions]:
            client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _grant(operation: str) -> str:
    return f"Let the user who deploys {operation.lower()} objects of the artifacts bucket."
