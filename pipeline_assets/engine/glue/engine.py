"""Spark as a Glue job: plans, results and all between travel through the artifacts bucket.

A plan lies under a name that is the digest of all that it depends on: landed object versions, contracts, statements,
the published rows that were fetched. So an attempt that follows a killed one makes the same plan and finds the run that
is under way, or its response, or at least the files that were read already. What a session left is deleted when it ends
well, and by the bucket's lifecycle otherwise.
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
_PLACE = "{plan}"  # stands for the session's folder until it is known


class GlueEngine:
    """Opens sessions whose steps one Glue job does. `bucket` is the artifacts bucket as S3 knows it."""

    name = "glue"
    fetches = False  # the job reads landed objects where they lie

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
        """Open a session; results come to `scratch`."""
        scratch.mkdir(parents=True, exist_ok=True)
        runner = _GlueRunner(self.job, self._lake, self.s3_client, self.bucket, policy, self._split_bytes)
        yield PlannedSession(runner, scratch, policy, self._memory_limit)
        runner.clear()

    def s3_client(self) -> Any:
        """A client of the store that has the artifacts bucket; made once, as each takes a while and its connections."""
        return self._client

    @cached_property
    def _client(self) -> Any:
        return self._s3.client("s3")


class _GlueRunner:
    """See `pipeline_assets.engine.distributed.session.Runner`."""

    folder = _PLACE

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
        self._offered: dict[str, Path] = {}

    def upload(self, path: Path, name: str) -> str:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        self._offered[f"{name}-{digest}{path.suffix}"] = path
        return f"{_PLACE}/{name}-{digest}{path.suffix}"

    def source(self, file: SourceFile, name: str) -> str:
        if file.path is not None:  # records that waited, written to a file of ours
            return self.upload(file.path, name)
        place = file.place or file.landed
        return self._lake.stage_url(place.bucket) + place.key

    def run(self, steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        # A later plan repeats what came before, as relations do not outlive a job; results are not written again.
        self._steps = [step for step in self._steps if step["do"] != "write"] + list(steps)
        plan = Plan(_PLACE, self._policy, self._split_bytes, self._steps)
        digest = blake2b(plan.dump().encode(), digest_size=12).hexdigest()
        if self._prefix is None:
            self._prefix = f"runs/{digest}"
        for name, path in self._offered.items():
            with aws_errors(f"writing s3://{self._bucket}/{self._prefix}/{name}", "s3:PutObject"):
                self._client().upload_file(str(path), self._bucket, f"{self._prefix}/{name}")
        self._offered.clear()
        place = f"s3://{self._bucket}/{self._prefix}"
        name = f"response-{digest}.json"
        response = self._response(name)
        if response is None:
            placed = Plan(place, self._policy, self._split_bytes, [_placed(step, place) for step in self._steps])
            self._send(placed.dump().encode(), f"plan-{digest}.json")
            run_id = self._job.run(f"{place}/plan-{digest}.json", f"{place}/{name}")
            response = self._response(name)
            if response is None:
                raise EngineError(
                    f"The Glue run {run_id} succeeded and left no response at {place}/{name}.",
                    remedy="Run `pipeline-assets deploy aws` again, its script may be another one.",
                )
        else:
            logger.warning("An earlier attempt has had this plan done; taking its results.")
        return response

    def _response(self, name: str) -> dict[str, Any] | None:
        """What a job answered, if all that it speaks of is there; a lifecycle may have taken some of it."""
        found = self._receive(name)
        if found is None:
            return None
        response = json.loads(found)
        if "changed" in response:  # an response for once: the next attempt asks again
            with aws_errors(f"clearing {name}", "s3:DeleteObject"):
                self._client().delete_object(Bucket=self._bucket, Key=f"{self._prefix}/{name}")
            return response
        files = [file for written in response["writes"].values() for file in written["files"]]
        files += [file for entry in response["inputs"].values() for file in entry["bad"]]
        return response if all(map(self._is_there, files)) else None

    def _is_there(self, where: str) -> bool:
        bucket, key = where.split("/", 3)[2:4]
        with aws_errors(f"looking for {where}", "s3:GetObject", expected=("404", "NoSuchKey")):
            self._client().head_object(Bucket=bucket, Key=key)
            return True
        return False

    def download(self, where: str, folder: Path) -> Path:
        bucket, key = where.split("/", 3)[2:4]
        path = folder / key.rpartition("/")[2]
        with aws_errors(f"reading {where}", "s3:GetObject"):
            self._client().download_file(bucket, key, str(path))
        return path

    def clear(self) -> None:
        """Delete what the session left."""
        if self._prefix is None:
            return
        client = self._client()
        with aws_errors(f"clearing s3://{self._bucket}/{self._prefix}", "s3:DeleteObject"):
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix + "/")
            for page in pages:
                if keys := [{"Key": entry["Key"]} for entry in page.get("Contents", ())]:
                    response = client.delete_objects(Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True})
                    for error in response.get("Errors", ()):  # the bucket's lifecycle takes what stays
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


def _placed(step: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A step with the session's folder where its stand-in was; a key that looks like one stays what it is."""

    def there(where: str) -> str:
        return place + where.removeprefix(_PLACE) if where.startswith(f"{_PLACE}/") else where

    found = dict(step)
    if "where" in found:
        found["where"] = there(found["where"])
    if "files" in found:
        found["files"] = [
            {**file, "split": {**file["split"], "where": there(file["split"]["where"])}} for file in found["files"]
        ]
    return found
