"""Object stores behind one interface, through obstore: what all have in common, and local files. `s3` has S3.

A bucket of the local lake is a folder and a key is a plain file in it, so a person can drop a file in and look
at results with ordinary tools. The surprising part is reading: the local lake hands out the file itself, not a
copy, so whoever read it asks `changed` afterwards and throws the work away when somebody wrote meanwhile.
"""

from __future__ import annotations

import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.errors import ConfigurationError, LakeError, ObjectChangedError, PipelineError
from pipeline_assets.lake.objects import LandedObject

if TYPE_CHECKING:
    import pyarrow as pa
    from obstore.store import ObjectStore

PAGES_AT_A_TIME = 50_000  # objects; what is done for each batch of a long listing costs less than the listing


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

        with self.errors(f"listing {self.uri(bucket, prefix)}", bucket, "s3:ListBucket"):
            for page in obstore.list(self.store(bucket), prefix or None, offset=after, chunk_size=1000):
                for meta in page:
                    yield self._landed(bucket, meta)

    def batches(self, bucket: str, prefix: str, after: str | None = None) -> Iterator[pa.RecordBatch]:
        """The same listing as Arrow batches of path, last_modified, size and e_tag, for zones of a million objects.

        Etags stand there as in `LandedObject`, without quotes. S3's folder markers are in it, as objects named like the
        folder; `without_markers` knows them.
        """
        import obstore
        import pyarrow as pa
        import pyarrow.compute as pc

        with self.errors(f"listing {self.uri(bucket, prefix)}", bucket, "s3:ListBucket"):
            listing = obstore.list(
                self.store(bucket), prefix or None, offset=after, chunk_size=PAGES_AT_A_TIME, return_arrow=True
            )
            for page in listing:
                batch = pa.record_batch(page)
                etags = pc.ascii_trim(pc.fill_null(pc.coalesce(batch["e_tag"], batch["version"]), ""), '"')
                columns = [batch["path"], batch["last_modified"], batch["size"], etags]
                yield pa.record_batch(columns, ["path", "last_modified", "size", "e_tag"])

    def without_markers(self, objects: Sequence[LandedObject]) -> list[LandedObject]:
        """Those of `objects` that are no folder markers; a store that has none returns all."""
        return list(objects)

    def head(self, uri: str) -> LandedObject | None:
        """The version that lies there now, or None."""
        import obstore

        bucket, key = uri.split("/", 3)[2:4]
        with self.errors(f"reading {uri}", bucket, "s3:GetObject"):
            try:
                return self._landed(bucket, obstore.head(self.store(bucket), key))
            except FileNotFoundError:
                return None

    def fetch_all(self, objects: Sequence[LandedObject], folder: Path) -> list[Path]:
        """`fetch` each of them; where that goes over a network, several at a time."""
        return [self.fetch(landed, folder) for landed in objects]

    def changed(self, objects: Iterable[LandedObject]) -> list[LandedObject]:
        """Those of `objects` that are no longer the version that was listed."""
        return [landed for landed in objects if self._is_changed(landed)]

    def move(self, bucket: str, source: str, target: str) -> str:
        """Move an object within its bucket; it appears under the new key whole. Returns the new uri."""
        import obstore

        uri = self.uri(bucket, key_of(bucket, target))
        with self.errors(f"moving {self.uri(bucket, source)} to {uri}", bucket, "s3:PutObject"):
            obstore.rename(self.store(bucket), source, target)
        return uri

    def delete(self, uris: Iterable[str]) -> None:
        """Delete objects; one that is gone already is no error."""
        import obstore

        for uri in uris:
            bucket, key = uri.split("/", 3)[2:4]
            with self.errors(f"deleting {uri}", bucket, "s3:DeleteObject"):
                try:
                    obstore.delete(self.store(bucket), key)
                except FileNotFoundError:
                    continue

    def delete_prefix(self, bucket: str, prefix: str) -> int:
        """Delete everything below a prefix; returns how many objects that were."""
        uris = [landed.uri for landed in self.list(bucket, prefix)]
        self.delete(uris)
        return len(uris)

    def _is_changed(self, landed: LandedObject) -> bool:
        now = self.head(landed.uri)
        return now is None or now.identity != landed.identity

    def errors(self, doing: str, bucket: str, action: str) -> AbstractContextManager[None]:
        """Errors in our words; `action` is the permission that S3 asks for."""
        return store_errors(doing)

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

        folder = self.root / bucket_name(bucket)
        folder.mkdir(parents=True, exist_ok=True)
        return LocalStore(folder)

    def fetch(self, landed: LandedObject, folder: Path) -> Path:
        if self.changed([landed]):
            raise ObjectChangedError(landed.uri)
        return self.path(landed.uri)

    def publish(self, source: Path, bucket: str, key: str) -> str:
        uri = self.uri(bucket, key)
        target = self.path(uri)
        with store_errors(f"writing {uri}"):
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
        return f"file://{self.root / bucket_name(bucket)}/"

    def path(self, uri: str) -> Path:
        """The plain file behind a uri."""
        bucket, key = uri.split("/", 3)[2:4]
        return self.root / bucket_name(bucket) / key_of(bucket, key)


def copy_into_lake(lake: Lake, source: Path, bucket: str, key: str, scratch: Path) -> str:
    """Publish a copy of `source`, which stays where it is."""
    scratch.mkdir(parents=True, exist_ok=True)
    copy = scratch / f".copy-{os.getpid()}-{source.name}"
    shutil.copyfile(source, copy)
    return lake.publish(copy, bucket, key)


def bucket_name(bucket: str) -> str:
    """The name itself, when it is one."""
    if not bucket or "/" in bucket or bucket.startswith("."):
        raise ConfigurationError(f"{bucket!r} is no bucket name.")
    return bucket


def key_of(bucket: str, key: str) -> str:
    """The key itself; `..` would leave the bucket, and stores drop the other parts or list them under another key."""
    if {"", ".", ".."} & set(key.split("/")):
        raise ConfigurationError(f"{key!r} is no key of {bucket}: a part of it is empty, `.` or `..`.")
    return key


class store_errors:
    """Turn the store's errors into ours, keeping what the store said and leaving our own alone.

    `explain` may know better: it gets the error and what was said on one line, and gives our error or None.
    """

    def __init__(
        self, doing: str, explain: Callable[[Exception, str], PipelineError | None] = lambda error, said: None
    ) -> None:
        self.doing, self.explain = doing, explain

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from obstore.exceptions import BaseError

        if isinstance(error, BaseError | ValueError) and ("invalid path" in str(error) or "parse path" in str(error)):
            remedy = "Rename that object: parts of a key are UTF-8 text and not empty, `.` or `..`."
            raise LakeError(f"Failed {self.doing}: {_said(error)}.", remedy=remedy) from None
        if isinstance(error, BaseError | OSError):
            if explained := self.explain(error, _said(error)):
                raise explained from None
            raise LakeError(f"Failed {self.doing}: {_said(error)}.", remedy="The state is intact; run again.") from None


def _said(error: Exception) -> str:
    """One line of what the store said: obstore appends a dump of its inner state, S3 answers in XML."""
    text = str(error).partition("\n\nDebug source:")[0]
    answer = re.findall("<(?:Code|Message)>([^<]*)<", text)
    return ": ".join([" ".join(text.partition(": <?xml")[0].split()) or type(error).__name__, *answer])
