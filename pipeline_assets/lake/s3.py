"""S3, or anything that speaks its protocol: retries, integrity, and errors that name bucket, permission and remedy.

obstore retries transient failures (5xx, 429, 408, lost connections, time-outs) with exponential backoff and jitter, and
resumes an interrupted download. This module adds what obstore does not do: it repeats an interrupted page of a listing
and a deletion without a response, verifies the bytes of a download, and copies more than CopyObject takes. boto3 finds
the credentials; they are not read or kept here.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pipeline_assets.aws import Aws, slices
from pipeline_assets.errors import ConfigurationError, LakeError, ObjectChangedError, PermanentLakeError, PipelineError
from pipeline_assets.lake.foreign import escaped, foreign_etag, has_foreign_name, rejection
from pipeline_assets.lake.objects import LandedObject
from pipeline_assets.lake.s3_errors import permanent_error
from pipeline_assets.lake.store import Lake, as_batch, bucket_name, key_of, store_errors
from pipeline_assets.progress import progress

if TYPE_CHECKING:
    import pyarrow as pa
    from obstore.store import ObjectStore

logger = logging.getLogger("pipeline_assets")
MIB = 1024 * 1024
CHUNK = 8 * MIB  # of a download in memory, and a part of an upload
PARTS_LIMIT = 10_000  # that S3 takes in one upload
COPY_LIMIT = 1024 * MIB  # CopyObject takes up to 5 GB, but that takes longer than one request should
DELETE_LIMIT = 1000  # keys that S3 takes in one DeleteObjects
AT_ONCE = 8  # downloads; each keeps one chunk in memory
HEADS_AT_ONCE = 32
ATTEMPTS = 5  # of a request that obstore does not repeat
# Metadata of our own uploads, as their etag may not be a digest. A producer's `sha256` may have any form (base64, or of
# the archive's content); compared with that, an intact object would count as damaged.
SHA256 = "pipeline-assets-sha256"
_MD5 = re.compile("[0-9a-f]{32}")


class _ConnectionLostError(LakeError):
    """A connection was lost in a request that obstore does not repeat."""


class _UnusableKeyError(PermanentLakeError):
    """A key that obstore cannot represent, in a request or in a listing."""


class S3Lake(Lake):
    """Buckets of S3, or of anything that speaks its protocol at `endpoint_url`.

    `patience` is for how many seconds a throttled request (503 SlowDown) is repeated, `timeout` for how many seconds a
    connection may be silent.
    """

    scheme = "s3"

    def __init__(
        self,
        *,
        region: str,
        endpoint_url: str | None = None,
        bucket_prefix: str = "",
        patience: float = 120,
        timeout: float = 30,
    ) -> None:
        self.region = region
        self.endpoint_url = endpoint_url
        self.bucket_prefix = bucket_prefix
        self.patience = patience
        self.timeout = timeout
        self._stores: dict[str, ObjectStore] = {}
        self._etag_is_no_md5: set[str] = set()

    def store(self, bucket: str) -> ObjectStore:
        from obstore.store import S3Store

        name = self.bucket_prefix + bucket_name(bucket)
        if bucket not in self._stores:
            options: dict = {}
            if self.endpoint_url:
                options = {"endpoint": self.endpoint_url, "virtual_hosted_style_request": False}
            self._stores[bucket] = S3Store(
                name,
                region=self.region,
                credential_provider=_credentials(),
                # S3 verifies each part of an upload, or the whole of a small one, with its SHA-256.
                checksum_algorithm="sha256",
                client_options={
                    "allow_http": (self.endpoint_url or "").startswith("http://"),
                    "connect_timeout": timedelta(seconds=min(10, self.timeout)),
                    "read_timeout": timedelta(seconds=self.timeout),
                    # The default is 30 s for a whole download; a large one takes longer.
                    "timeout": timedelta(hours=1),
                },
                retry_config={
                    "max_retries": 1000,
                    "retry_timeout": timedelta(seconds=self.patience),
                    "backoff": {
                        "init_backoff": timedelta(milliseconds=100),
                        "max_backoff": timedelta(seconds=min(10, max(self.patience / 10, 0.1))),
                        "base": 2,
                    },
                },
                **options,
            )
        return self._stores[bucket]

    # --- reading -------------------------------------------------------------------------------------------

    def list_objects(self, bucket: str, prefix: str = "", after: str | None = None) -> Iterator[LandedObject]:
        def pages(last: str | None) -> Iterator[tuple[LandedObject, str]]:
            return ((landed, landed.key) for landed in super(S3Lake, self).list_objects(bucket, prefix, last))

        for landed in self._resumed(pages, bucket, prefix, after, lambda objects: objects):
            if not self._is_marker(landed):
                yield landed

    def list_batches(self, bucket: str, prefix: str, after: str | None = None) -> Iterator[pa.RecordBatch]:
        def pages(last: str | None) -> Iterator[tuple[pa.RecordBatch, str]]:
            batches = super(S3Lake, self).list_batches(bucket, prefix, last)
            return ((batch, batch["path"][-1].as_py()) for batch in batches if batch.num_rows)

        return self._resumed(pages, bucket, prefix, after, lambda objects: [as_batch(objects)])

    def without_markers(self, objects: Sequence[LandedObject]) -> list[LandedObject]:
        empty = [landed for landed in objects if not landed.size]
        with ThreadPoolExecutor(HEADS_AT_ONCE) as pool:
            markers = set(compress(empty, pool.map(self._is_marker, empty)))
        return [landed for landed in objects if landed not in markers]

    def _is_marker(self, landed: LandedObject) -> bool:
        """S3's console makes a folder an empty object `in/sub/`; obstore lists it as `in/sub`, which does not exist."""
        return not (landed.size or rejection(landed)) and self.head(landed.uri) is None

    def _resumed(
        self,
        pages: Callable[[str | None], Iterator[tuple[Any, str]]],
        bucket: str,
        prefix: str,
        after: str | None,
        converted: Callable[[list[LandedObject]], Iterable[Any]],
    ) -> Iterator[Any]:
        """Resume after the last key when a page is interrupted: S3 lists in the order of the keys.

        obstore fails for a whole page if it cannot represent one of its keys. boto3 then lists up to the end of that
        page, and `converted` makes what `pages` yields of its objects.
        """
        failures = 0
        while True:
            try:
                for listed, last in pages(after):
                    yield listed
                    after, failures = last, 0
                return
            except _ConnectionLostError:
                failures += 1
                if failures == ATTEMPTS:
                    raise
                continue
            except _UnusableKeyError:
                logger.debug("boto3 lists %s after %s", self.uri(bucket, prefix), after)
            for objects, last in self._pages_of_boto3(bucket, prefix, after):
                yield from converted(objects)
                if any(map(rejection, objects)) and not has_foreign_name(last):
                    after = last
                    break
            else:
                return

    def _pages_of_boto3(self, bucket: str, prefix: str, after: str | None) -> Iterator[tuple[list[LandedObject], str]]:
        """Pages of a listing with their last keys; a key that obstore cannot represent makes a foreign object."""
        from botocore.exceptions import BotoCoreError, ClientError

        with self.errors(f"listing {self.uri(bucket, prefix)}", bucket, "s3:ListBucket"):
            pages = self._client().get_paginator("list_objects_v2")
            try:
                for page in pages.paginate(Bucket=self.bucket_prefix + bucket, Prefix=prefix, StartAfter=after or ""):
                    if objects := [self._listed(bucket, each) for each in page.get("Contents", ())]:
                        # The keys of folder markers end with a slash.
                        yield [o for o in objects if not o.key.endswith("/")], page["Contents"][-1]["Key"]
            except (BotoCoreError, ClientError) as error:
                raise OSError(str(error)) from None

    def _listed(self, bucket: str, entry: Mapping[str, Any]) -> LandedObject:
        key, etag, size = entry["Key"], entry["ETag"].strip('"'), entry["Size"]
        if has_foreign_name(key):
            etag, size = foreign_etag("name", etag), 0
        return LandedObject(self.uri(bucket, escaped(key)), etag, size, entry["LastModified"])

    def fetch(self, landed: LandedObject, folder: Path) -> Path:
        if unreadable := rejection(landed):
            raise unreadable
        path = _local_path(landed, folder)
        for _ in range(2):
            expected, digest = self._download(landed, path)
            if expected == digest:
                return path
            # An etag is the MD5 of the bytes, except after a multipart upload or with encryption by KMS, and a listing
            # does not say which. If the object is encrypted by KMS, the etags of its bucket are not compared again;
            # otherwise the download is damaged.
            if expected == landed.etag and self._is_kms_encrypted(landed):
                self._etag_is_no_md5.add(landed.bucket)
                return path
        raise LakeError(
            f"{landed.uri} does not match its checksum: the download or the stored object is damaged.",
            remedy="Run again; if it persists, deliver the object again.",
        )

    def fetch_all(self, objects: Sequence[LandedObject], folder: Path) -> list[Path]:
        paths = [_local_path(landed, folder) for landed in objects]
        with (
            progress(
                f"Downloading {len(objects)} objects",
                "bytes",
                sum(landed.size for landed in objects),
                measure=lambda: sum(path.stat().st_size for path in paths if path.exists()),
            ),
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            return list(pool.map(lambda landed: self.fetch(landed, folder), objects))

    def changed(self, objects: Iterable[LandedObject]) -> list[LandedObject]:
        # Listing the zone again would be cheaper only if most of it is new; it is slow for a million objects.
        objects = list(objects)
        with ThreadPoolExecutor(HEADS_AT_ONCE) as pool:
            return list(compress(objects, pool.map(self._is_changed, objects)))

    def _download(self, landed: LandedObject, path: Path) -> tuple[str | None, str | None]:
        """Download the listed version; returns the expected digest, where there is one, and the actual one."""
        import obstore
        from obstore.exceptions import PreconditionError

        with self.errors(f"reading {landed.uri}", landed.bucket, "s3:GetObject"), open(path, "wb") as local:
            try:
                # The header is quoted; etags in a listing and in the ledger are not.
                response = obstore.get(self.store(landed.bucket), landed.key, options={"if_match": f'"{landed.etag}"'})
            except PreconditionError:
                raise ObjectChangedError(landed.uri) from None
            except FileNotFoundError as missing:
                if "NoSuchBucket" in str(missing):
                    raise
                raise ObjectChangedError(landed.uri) from None
            expected, digest = self._expected(landed, response.attributes)
            for chunk in response.stream(min_chunk_size=CHUNK):
                local.write(chunk)
                if digest:
                    digest.update(chunk)
        if path.stat().st_size != landed.size:
            raise LakeError(
                f"{landed.uri}: {path.stat().st_size} of {landed.size} bytes arrived.",
                remedy="Run again.",
            )
        return expected, digest and digest.hexdigest()

    def _expected(self, landed: LandedObject, attributes: Any) -> tuple[str | None, Any]:
        if SHA256 in attributes:
            return attributes[SHA256], hashlib.sha256()
        if _MD5.fullmatch(landed.etag) and landed.bucket not in self._etag_is_no_md5:
            return landed.etag, hashlib.md5(usedforsecurity=False)
        return None, None

    def _is_kms_encrypted(self, landed: LandedObject) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        with self.errors(f"reading {landed.uri}", landed.bucket, "s3:GetObject"):
            try:
                head = self._client().head_object(Bucket=self.bucket_prefix + landed.bucket, Key=landed.key)
            except (BotoCoreError, ClientError) as error:
                raise OSError(str(error)) from None
        return head.get("ServerSideEncryption", "").startswith("aws:kms")

    def _client(self) -> Any:
        """boto3's client, for what obstore cannot do."""
        return Aws(self.region, self.endpoint_url).client("s3")

    # --- writing -------------------------------------------------------------------------------------------

    def publish(self, source: Path, bucket: str, key: str) -> str:
        import obstore

        uri, size = self.uri(bucket, key_of(bucket, key)), source.stat().st_size
        with self.errors(f"writing {uri}", bucket, "s3:PutObject"), open(source, "rb") as finished:
            digest = hashlib.file_digest(finished, "sha256").hexdigest()
            finished.seek(0)
            # S3 shows an object, multipart or not, only once it is complete.
            obstore.put(
                self.store(bucket),
                key,
                finished,
                attributes={SHA256: digest},
                chunk_size=max(CHUNK, -(-size // PARTS_LIMIT)),
                max_concurrency=4,
            )
        self._check_size(uri, size)
        return uri

    def move(self, bucket: str, source: str, target: str) -> str:
        import obstore

        uri, old = self.uri(bucket, key_of(bucket, target)), self.uri(bucket, source)
        landed = self.head(old)
        with self.errors(f"moving {old} to {uri}", bucket, "s3:PutObject"):
            if landed is None:
                raise FileNotFoundError(f"{old} does not exist")
            if landed.size <= COPY_LIMIT:
                obstore.copy(self.store(bucket), source, target)
            else:
                self._copy_in_parts(bucket, source, target)
        self._check_size(uri, landed.size)
        self.delete([old])
        return uri

    def move_all(self, bucket: str, moves: Sequence[tuple[str, str]]) -> None:
        with ThreadPoolExecutor(HEADS_AT_ONCE) as pool:
            list(pool.map(lambda move: self._move_once(bucket, *move), moves))

    def delete(self, uris: Iterable[str]) -> None:
        by_bucket: dict[str, list[str]] = {}
        for uri in uris:
            bucket, key = uri.split("/", 3)[2:4]
            by_bucket.setdefault(bucket, []).append(key)
        for bucket, keys in by_bucket.items():
            for group in slices(list(dict.fromkeys(keys)), DELETE_LIMIT):
                self._delete(bucket, group)

    def stage_url(self, bucket: str) -> str:
        return f"s3://{self.bucket_prefix}{bucket}/"

    def location(self, bucket: str, key: str) -> str:
        page = "buckets" if key.endswith("/") or not key else "object"
        place = f"{page}/{self.bucket_prefix}{bucket}?region={self.region}&prefix={quote(key)}"
        return f"https://console.aws.amazon.com/s3/{place}"

    def _delete(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete keys, with repeats: a missing key is not an error. obstore does not repeat it, as it is a POST."""
        import obstore

        more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        for attempt in range(ATTEMPTS):
            try:
                with self.errors(f"deleting {self.uri(bucket, keys[0])}{more}", bucket, "s3:DeleteObject"):
                    obstore.delete(self.store(bucket), keys)
                return
            except _ConnectionLostError:
                if attempt == ATTEMPTS - 1:
                    raise

    def _check_size(self, uri: str, size: int) -> None:
        written = self.head(uri)
        if written is None or written.size != size:
            actual = "nothing" if written is None else f"{written.size} bytes"
            raise LakeError(f"{uri}: {size} bytes were written and {actual} found.", remedy="Run again.")

    def _copy_in_parts(self, bucket: str, source: str, target: str) -> None:
        """Let S3 copy ranges of the object, several at a time, without downloading it."""
        from boto3.s3.transfer import TransferConfig
        from botocore.exceptions import BotoCoreError, ClientError

        name = self.bucket_prefix + bucket
        client = self._client()
        parts = TransferConfig(multipart_threshold=COPY_LIMIT, multipart_chunksize=max(COPY_LIMIT // 4, 5 * MIB))
        try:
            head = client.head_object(Bucket=name, Key=source)
            keep = {"Metadata": head["Metadata"], "ContentType": head["ContentType"]}
            client.copy({"Bucket": name, "Key": source}, name, target, ExtraArgs=keep, Config=parts)
        except (BotoCoreError, ClientError) as error:
            raise OSError(str(error)) from None

    def errors(self, doing: str, bucket: str, action: str) -> AbstractContextManager[None]:
        from obstore.exceptions import InvalidPathError

        def explain(error: Exception, message: str) -> PipelineError | None:
            if isinstance(error, InvalidPathError):
                remedy = "Rename that object: parts of a key are UTF-8 text and not empty, `.` or `..`."
                return _UnusableKeyError(f"Failed {doing}: {message}.", remedy=remedy)
            if ("HTTP error" in message or "response body" in message) and "retry_timeout" not in message:
                return _ConnectionLostError(f"Failed {doing}: {message}.", remedy="The state is intact; run again.")
            return permanent_error(doing, self.bucket_prefix + bucket, action, self.region, error, message)

        return store_errors(doing, explain)


def _local_path(landed: LandedObject, folder: Path) -> Path:
    """Where an object is downloaded to: a name in S3 may be longer than a file system takes."""
    return folder / f"{abs(hash(landed.identity)):x}-{Path(landed.key).name[-50:]}"


def _credentials() -> Any:
    """The credentials that boto3 finds; obstore itself does not read profiles."""
    from boto3.session import Session
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        # boto3 renews a role's credentials ten minutes before they expire; if kept longer here, they could expire.
        return Boto3CredentialProvider(Session(), ttl=timedelta(minutes=5))
    except (ValueError, BotoCoreError):
        raise ConfigurationError(
            "There are no AWS credentials.",
            remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose AWS_PROFILE, or give the machine a role.",
        ) from None
