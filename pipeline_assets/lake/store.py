"""Object stores behind one interface: local files and S3, both through obstore.

A bucket of the local lake is a folder and a key is a plain file in it, so a person can drop a file in and look
at results with ordinary tools. The surprising part is reading: the local lake hands out the file itself, not a
copy, so whoever read it asks `changed` afterwards and throws the work away when somebody wrote meanwhile.
"""

from __future__ import annotations

import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.errors import ConfigurationError, LakeError, ObjectChangedError
from pipeline_assets.lake.objects import LandedObject

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CHUNK = 8 * 1024 * 1024


class Lake(ABC):
    """Buckets of objects. Keys never start with a slash; prefixes end with one or are empty."""

    scheme: str

    @abstractmethod
    def store(self, bucket: str) -> ObjectStore:
        """The obstore store of one bucket.

        Raises:
            ConfigurationError: the bucket name is no bucket name.
        """

    @abstractmethod
    def fetch(self, landed: LandedObject, folder: Path) -> Path:
        """A local file with exactly this version's bytes; `folder` is the caller's scratch folder.

        Raises:
            ObjectChangedError: the object is another version by now, or gone.
        """

    @abstractmethod
    def publish(self, source: Path, bucket: str, key: str) -> str:
        """Put a finished file in place: readers see all of it or nothing. Returns its uri.

        The file may be moved away from `source`.
        """

    @abstractmethod
    def stage_url(self, bucket: str) -> str:
        """The url under which the warehouse's external stage sees the bucket, with a trailing slash."""

    def uri(self, bucket: str, key: str) -> str:
        return f"{self.scheme}://{bucket}/{key}"

    def list(self, bucket: str, prefix: str = "", after: str | None = None) -> Iterator[LandedObject]:
        """Every object below `prefix`, in no particular order; an absent prefix is empty.

        `after` skips keys up to and including that one, where the store can.

        Raises:
            LakeError: the store refused, or a bucket of S3 does not exist.
        """
        import obstore

        with _store_errors(f"listing {self.uri(bucket, prefix)}"):
            for page in obstore.list(self.store(bucket), prefix or None, offset=after, chunk_size=1000):
                for meta in page:
                    yield self._landed(bucket, meta)

    def head(self, uri: str) -> LandedObject | None:
        """The version that lies there now, or None."""
        import obstore

        bucket, key = uri.split("/", 3)[2:4]
        with _store_errors(f"reading {uri}"):
            try:
                return self._landed(bucket, obstore.head(self.store(bucket), key))
            except FileNotFoundError:
                return None

    def changed(self, objects: Iterable[LandedObject]) -> list[LandedObject]:
        """Those of `objects` that are no longer the version that was listed."""
        changed = []
        for landed in objects:
            now = self.head(landed.uri)
            if now is None or now.identity != landed.identity:
                changed.append(landed)
        return changed

    def move(self, bucket: str, source: str, target: str) -> str:
        """Move an object within its bucket; it appears under the new key whole. Returns the new uri."""
        import obstore

        uri = self.uri(bucket, _key(bucket, target))
        with _store_errors(f"moving {self.uri(bucket, source)} to {uri}"):
            obstore.rename(self.store(bucket), source, target)
        return uri

    def delete(self, uris: Iterable[str]) -> None:
        """Delete objects; one that is gone already is no error."""
        import obstore

        for uri in uris:
            bucket, key = uri.split("/", 3)[2:4]
            with _store_errors(f"deleting {uri}"):
                try:
                    obstore.delete(self.store(bucket), key)
                except FileNotFoundError:
                    continue

    def delete_prefix(self, bucket: str, prefix: str) -> int:
        """Delete everything below a prefix; returns how many objects that were."""
        uris = [landed.uri for landed in self.list(bucket, prefix)]
        self.delete(uris)
        return len(uris)

    def _landed(self, bucket: str, meta: dict) -> LandedObject:
        etag = (meta.get("e_tag") or meta.get("version") or "").strip('"')
        return LandedObject(self.uri(bucket, meta["path"]), etag, meta["size"], meta["last_modified"])


class LocalLake(Lake):
    """Buckets are folders below `root`."""

    scheme = "lake"

    def __init__(self, root: Path) -> None:
        self.root = root

    def store(self, bucket: str) -> ObjectStore:
        from obstore.store import LocalStore

        folder = self.root / _bucket_name(bucket)
        folder.mkdir(parents=True, exist_ok=True)
        return LocalStore(folder)

    def fetch(self, landed: LandedObject, folder: Path) -> Path:
        if self.changed([landed]):
            raise ObjectChangedError(landed.uri)
        return self.path(landed.uri)

    def publish(self, source: Path, bucket: str, key: str) -> str:
        uri = self.uri(bucket, key)
        target = self.path(uri)
        with _store_errors(f"writing {uri}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.stat().st_dev != target.parent.stat().st_dev:
                # The lake is a link to another disk: a rename is atomic only within one file system.
                near = target.parent / f".{target.name}.{os.getpid()}"
                shutil.copyfile(source, near)
                source = near
            with open(source, "rb") as finished:
                os.fsync(finished.fileno())
            os.replace(source, target)
        return uri

    def stage_url(self, bucket: str) -> str:
        return f"file://{self.root / _bucket_name(bucket)}/"

    def path(self, uri: str) -> Path:
        """The plain file behind a uri."""
        bucket, key = uri.split("/", 3)[2:4]
        return self.root / _bucket_name(bucket) / _key(bucket, key)


class S3Lake(Lake):
    """Buckets of S3, or of anything that speaks its protocol at `endpoint_url`."""

    scheme = "s3"

    def __init__(self, *, region: str, endpoint_url: str | None = None, bucket_prefix: str = "") -> None:
        self.region = region
        self.endpoint_url = endpoint_url
        self.bucket_prefix = bucket_prefix
        self._stores: dict[str, ObjectStore] = {}

    def store(self, bucket: str) -> ObjectStore:
        from obstore.store import S3Store

        if bucket not in self._stores:
            options: dict = {"region": self.region}
            if self.endpoint_url:
                plain = self.endpoint_url.startswith("http://")
                options |= {"endpoint": self.endpoint_url, "virtual_hosted_style_request": False}
                self._stores[bucket] = S3Store(
                    self.bucket_prefix + _bucket_name(bucket), client_options={"allow_http": plain}, **options
                )
            else:
                self._stores[bucket] = S3Store(self.bucket_prefix + _bucket_name(bucket), **options)
        return self._stores[bucket]

    def list(self, bucket: str, prefix: str = "", after: str | None = None) -> Iterator[LandedObject]:
        for landed in super().list(bucket, prefix, after):
            # A folder made in the console is an empty object `in/sub/`; obstore lists it as `in/sub`: not there.
            if landed.size or self.head(landed.uri):
                yield landed

    def fetch(self, landed: LandedObject, folder: Path) -> Path:
        import obstore
        from obstore.exceptions import PreconditionError

        # A name in S3 may be longer than a file system takes.
        path = folder / f"{abs(hash(landed.identity)):x}-{Path(landed.key).name[-50:]}"
        with _store_errors(f"reading {landed.uri}"):
            try:
                # The header is quoted, the etag in a listing and in our ledger is not.
                answer = obstore.get(self.store(landed.bucket), landed.key, options={"if_match": f'"{landed.etag}"'})
            except (PreconditionError, FileNotFoundError):
                raise ObjectChangedError(landed.uri) from None
            with open(path, "wb") as local:
                for chunk in answer.stream(min_chunk_size=CHUNK):
                    local.write(chunk)
        if path.stat().st_size != landed.size:
            raise LakeError(
                f"{landed.uri}: {path.stat().st_size} of {landed.size} bytes arrived.",
                remedy="A retry may clear it.",
            )
        return path

    def publish(self, source: Path, bucket: str, key: str) -> str:
        import obstore

        uri = self.uri(bucket, _key(bucket, key))
        with _store_errors(f"writing {uri}"), open(source, "rb") as finished:
            # S3 shows an object, multipart or not, only once it is complete.
            obstore.put(self.store(bucket), key, finished)
        return uri

    def stage_url(self, bucket: str) -> str:
        return f"s3://{self.bucket_prefix}{bucket}/"


def copy_into_lake(lake: Lake, source: Path, bucket: str, key: str, scratch: Path) -> str:
    """Publish a copy of `source`, which stays where it is."""
    scratch.mkdir(parents=True, exist_ok=True)
    copy = scratch / f".copy-{os.getpid()}-{source.name}"
    shutil.copyfile(source, copy)
    return lake.publish(copy, bucket, key)


def _bucket_name(bucket: str) -> str:
    if not bucket or "/" in bucket or bucket.startswith("."):
        raise ConfigurationError(f"{bucket!r} is no bucket name.")
    return bucket


def _key(bucket: str, key: str) -> str:
    """The key itself; `..` would leave the bucket, and stores drop the other parts or list them under another key."""
    if {"", ".", ".."} & set(key.split("/")):
        raise ConfigurationError(f"{key!r} is no key of {bucket}: a part of it is empty, `.` or `..`.")
    return key


class _store_errors:
    """Turn the store's errors into ours, keeping what the store said and leaving our own alone."""

    def __init__(self, doing: str) -> None:
        self.doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from obstore.exceptions import BaseError

        if isinstance(error, BaseError | ValueError) and ("invalid path" in str(error) or "parse path" in str(error)):
            remedy = "Rename that object: parts of a key are UTF-8 text and not empty, `.` or `..`."
            raise LakeError(f"Failed {self.doing}: {_said(error)}.", remedy=remedy) from None
        if isinstance(error, BaseError | OSError):
            raise LakeError(f"Failed {self.doing}: {_said(error)}.", remedy="The state is intact; run again.") from None


def _said(error: Exception) -> str:
    """One line of what the store said: obstore appends a dump of its inner state, S3 answers in XML."""
    text = str(error).partition("\n\nDebug source:")[0]
    answer = re.findall("<(?:Code|Message)>([^<]*)<", text)
    return ": ".join([" ".join(text.partition(": <?xml")[0].split()) or type(error).__name__, *answer])
