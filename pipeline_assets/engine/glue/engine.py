"""Spark as a Glue job; plans, responses and results are exchanged through the artifacts bucket.

A plan is stored under a digest of all that it depends on: landed object versions, contracts, statements, and the
published rows that were fetched. So an attempt after a killed one makes the same plan, and finds its run, its response,
or at least the rows that were read already. A session that ends well deletes its objects; the bucket's lifecycle
deletes those of all others.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pipeline_assets.aws import Aws, aws_errors
from pipeline_assets.engine.distributed.plan import Plan
from pipeline_assets.engine.distributed.session import PlannedSession
from pipeline_assets.engine.glue.job import GlueJob
from pipeline_assets.engine.interface import RejectPolicy, SourceFile
from pipeline_assets.errors import EngineError
from pipeline_assets.lake.store import Lake

logger = logging.getLogger("pipeline_assets")
PART_BYTES = 128 << 20
_FOLDER = "{plan}"  # placeholder for the session's folder, which depends on the plan's digest


class GlueEngine:
    """Opens sessions whose steps a Glue job runs. `bucket` is the full name of the artifacts bucket."""

    name = "glue"
    fetches = False  # the job reads landed objects in place

    def __init__(
        self, *, job: GlueJob, lake: Lake, s3: Aws, bucket: str, memory_limit: str, split_bytes: int = PART_BYTES
    ) -> None:
        self.job = job
        self._lake = lake
        self._s3 = s3
        self.bucket = bucket
        self._memory_limit = memory_limit
        self._split_bytes = split_bytes

    @contextmanager
    def session(self, scratch: Path, policy: RejectPolicy) -> Iterator[PlannedSession]:
        """Open a session; its results are downloaded to `scratch`."""
        scratch.mkdir(parents=True, exist_ok=True)
        runner = _GlueRunner(self.job, self._lake, self.s3_client, self.bucket, policy, self._split_bytes)
        yield PlannedSession(runner, scratch, policy, self._memory_limit)
        runner.clear()

    def s3_client(self) -> Any:
        """An S3 client for the artifacts bucket; made once, because each takes time and connections of its own."""
        return self._client

    @cached_property
    def _client(self) -> Any:
        return self._s3.client("s3")


class _GlueRunner:
    """See `pipeline_assets.engine.distributed.session.Runner`."""

    folder = _FOLDER

    def __init__(
        self,
        job: GlueJob,
        lake: Lake,
        client: Callable[[], Any],
        bucket: str,
        policy: RejectPolicy,
        split_bytes: int,
    ) -> None:
        self._job, self._lake, self._client, self._bucket = job, lake, client, bucket
        self._policy, self._split_bytes = policy, split_bytes
        self._steps: list[Mapping[str, Any]] = []
        self._prefix: str | None = None
        self._uploads: dict[str, Path] = {}

    def upload(self, path: Path, name: str) -> str:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        self._uploads[f"{name}-{digest}{path.suffix}"] = path
        return f"{_FOLDER}/{name}-{digest}{path.suffix}"

    def source(self, file: SourceFile, name: str) -> str:
        if file.path is not None:  # replayed records, written to a local file
            return self.upload(file.path, name)
        stored = file.place or file.landed
        return self._lake.stage_url(stored.bucket) + stored.key

    def run(self, steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        # A later plan repeats the earlier steps, as relations end with their job; results are not written again.
        self._steps = [step for step in self._steps if step["do"] != "write"] + list(steps)
        plan = Plan(_FOLDER, self._policy, self._split_bytes, self._steps)
        digest = blake2b(plan.dump().encode(), digest_size=12).hexdigest()
        if self._prefix is None:
            self._prefix = f"runs/{digest}"
        for name, path in self._uploads.items():
            with aws_errors(f"writing s3://{self._bucket}/{self._prefix}/{name}", "s3:PutObject"):
                self._client().upload_file(str(path), self._bucket, f"{self._prefix}/{name}")
        self._uploads.clear()
        folder = f"s3://{self._bucket}/{self._prefix}"
        name = f"response-{digest}.json"
        response = self._response(name)
        if response is None:
            final_steps = [_with_folder(step, folder) for step in self._steps]
            final_plan = Plan(folder, self._policy, self._split_bytes, final_steps)
            self._send(final_plan.dump().encode(), f"plan-{digest}.json")
            run_id = self._job.run(f"{folder}/plan-{digest}.json", f"{folder}/{name}")
            response = self._response(name)
            if response is None:
                raise EngineError(
                    f"The Glue run {run_id} succeeded and left no response at {folder}/{name}.",
                    remedy="Run `pipeline-assets deploy aws` again; the deployed script may be another version.",
                )
        else:
            logger.warning("An earlier attempt has run this plan; using its results.")
        return response

    def _response(self, name: str) -> dict[str, Any] | None:
        """The response of a job, if all files that it names exist; a lifecycle rule may have deleted some."""
        content = self._receive(name)
        if content is None:
            return None
        response = json.loads(content)
        if "changed" in response:  # valid for this attempt only: the next one runs the job again
            with aws_errors(f"clearing {name}", "s3:DeleteObject"):
                self._client().delete_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}")
            return response
        files = [file for written in response["writes"].values() for file in written["files"]]
        files += [file for result in response["inputs"].values() for file in result["bad"]]
        return response if all(map(self._exists, files)) else None

    def _exists(self, uri: str) -> bool:
        bucket, key = uri.split("/", 3)[2:4]
        with aws_errors(f"looking for {uri}", "s3:GetObject", expected=("404", "NoSuchKey")):
            self._client().head_object(Bucket=bucket, Key=key)
            return True
        return False

    def download(self, uri: str, folder: Path) -> Path:
        bucket, key = uri.split("/", 3)[2:4]
        path = folder / key.rpartition("/")[2]
        with aws_errors(f"reading {uri}", "s3:GetObject"):
            self._client().download_file(bucket, key, str(path))
        return path

    def clear(self) -> None:
        """Delete the objects of the session."""
        if self._prefix is None:
            return
        client = self._client()
        with aws_errors(f"clearing s3://{self._bucket}/{self._prefix}", "s3:DeleteObject"):
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix + "/")
            for page in pages:
                if keys := [{"Key": entry["Key"]} for entry in page.get("Contents", ())]:
                    response = client.delete_objects(Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True})
                    for error in response.get("Errors", ()):  # the bucket's lifecycle deletes the rest
                        logger.warning("s3://%s/%s was not deleted: %s", self._bucket, error["Key"], error["Code"])

    def _send(self, content: bytes, name: str) -> None:
        with aws_errors(f"writing s3://{self._bucket}/{self._prefix}/{name}", "s3:PutObject"):
            self._client().put_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}", Body=content)

    def _receive(self, name: str) -> bytes | None:
        """The content of an object in the session's folder, or None when it is not there."""
        doing = f"reading s3://{self._bucket}/{self._prefix}/{name}"
        with aws_errors(doing, "s3:GetObject", expected=("NoSuchKey",)):
            return self._client().get_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}")["Body"].read()
        return None


def _with_folder(step: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """A step with the session's folder in place of the placeholder, but not inside object keys that contain one."""

    def resolved(uri: str) -> str:
        return folder + uri.removeprefix(_FOLDER) if uri.startswith(f"{_FOLDER}/") else uri

    result = dict(step)
    if "where" in result:
        result["where"] = resolved(result["where"])
    if "files" in result:
        result["files"] = [
            {**file, "split": {**file["split"], "where": resolved(file["split"]["where"])}} for file in result["files"]
        ]
    return result
