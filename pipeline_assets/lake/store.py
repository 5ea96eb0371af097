"""The interface of object stores, and what they share through obstore. `s3` implements S3, `local` plain files."""

from __future__ import annotations

import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.errors import ConfigurationError, LakeError, PipelineError
from pipeline_assets.lake.objects import LandedObject

if TYPE_CHECKING:
    import pyarrow as pa
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

PAGES_AT_A_TIME = 50_000  # objects of a batch; so large that the work for each batch costs less than the listing


class Lake(ABC):
    """Buckets of objects. Keys never start with a slash; prefixes end with one or are empty."""

    scheme: str

    @abstractmethod
    def store(self, bucket: str) -> ObjectStore:
        """The obstore store of one bucket.

        Raises:
            ConfigurationError: this is not a bucket name.
        """

    @abstractmethod
    def fetch(self, landed: LandedObject, folder: Path) -> Path:
        """A local file with exactly this version's bytes; `folder` is the caller's scratch folder.

        Raises:
            ObjectChangedError: the object was overwritten or deleted.
        """

    @abstractmethod
    def publish(self, source: Path, bucket: str, key: str) -> str:
        """Publish a finished file: readers see all of it or nothing. Returns its uri.

        The file may be moved away from `source`.
        """

    @abstractmethod
    def stage_url(self, bucket: str) -> str:
        """The url of the bucket for the warehouse's external stage, with a trailing slash."""

    def uri(self, bucket: str, key: str) -> str:
        return f"{self.scheme}://{bucket}/{key}"

    def location(self, bucket: str, key: str) -> str:
        """What a person opens to see an object, or those below a prefix: a path, or a page of S3's console."""
        return self.uri(bucket, key)

    def list_objects(self, bucket: str, prefix: str = "", after: str | None = None) -> Iterator[LandedObject]:
        """Every object below `prefix`, in no particular order; an absent prefix is empty.

        `after` skips keys up to and including that one, if the store can.

        Raises:
            LakeError: the listing failed, or a bucket of S3 does not exist.
        """
        import obstore

        with self.errors(f"listing {self.uri(bucket, prefix)}", bucket, "s3:ListBucket"):
            for page in obstore.list(self.store(bucket), prefix or None, offset=after, chunk_size=1000):
                for meta in page:
                    yield self._landed(bucket, meta)

    def list_batches(self, bucket: str, prefix: str, after: str | None = None) -> Iterator[pa.RecordBatch]:
        """The same listing as Arrow batches of path, last_modified, size and e_tag, for zones of a million objects.

        Etags have no quotes, as in `LandedObject`. The listing includes S3's folder markers, as objects with the name
        of the folder; `without_markers` removes them.
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
        """`objects` without folder markers; only S3 has them."""
        return list(objects)

    def head(self, uri: str) -> LandedObject | None:
        """The current version of an object, or None."""
        import obstore

        bucket, key = uri.split("/", 3)[2:4]
        with self.errors(f"reading {uri}", bucket, "s3:GetObject"):
            try:
                return self._landed(bucket, obstore.head(self.store(bucket), key))
            except FileNotFoundError:
                return None

    def fetch_all(self, objects: Sequence[LandedObject], folder: Path) -> list[Path]:
        """`fetch` each of them, over a network several at a time."""
        return [self.fetch(landed, folder) for landed in objects]

    def changed(self, objects: Iterable[LandedObject]) -> list[LandedObject]:
        """Those of `objects` that were overwritten or deleted since they were listed."""
        return [landed for landed in objects if self._is_changed(landed)]

    def move(self, bucket: str, source: str, target: str) -> str:
        """Move an object within its bucket; readers see all of it under the new key or nothing. Returns the new uri."""
        import obstore

        uri = self.uri(bucket, key_of(bucket, target))
        with self.errors(f"moving {self.uri(bucket, source)} to {uri}", bucket, "s3:PutObject"):
            obstore.rename(self.store(bucket), source, target)
        return uri

    def move_all(self, bucket: str, moves: Sequence[tuple[str, str]]) -> None:
        """`move` each (source, target), over a network several at a time; one that was moved before is left alone.

        Raises:
            LakeError: an object is under neither key.
        """
        for source, target in moves:
            self._move_once(bucket, source, target)

    def _move_once(self, bucket: str, source: str, target: str) -> None:
        if self.head(self.uri(bucket, source)):
            self.move(bucket, source, target)
        elif not self.head(self.uri(bucket, target)):
            raise LakeError(
                f"{self.uri(bucket, source)} is gone, and {self.uri(bucket, target)} does not exist.",
                remedy="Put the object back under one of the two keys, and run again.",
            )

    def delete(self, uris: Iterable[str]) -> None:
        """Delete objects; a missing one is not an error."""
        import obstore

        for uri in uris:
            bucket, key = uri.split("/", 3)[2:4]
            with self.errors(f"deleting {uri}", bucket, "s3:DeleteObject"):
                try:
                    obstore.delete(self.store(bucket), key)
                except FileNotFoundError:
                    continue

    def delete_prefix(self, bucket: str, prefix: str) -> int:
        """Delete everything below a prefix, folders included; returns the number of objects."""
        uris = [landed.uri for landed in self.list_objects(bucket, prefix)]
        self.delete(uris)
        return len(uris)

    def remove_empty_folders(self, bucket: str, prefix: str, keep: str = "") -> None:
        """Remove the empty folders below the folder `prefix`, at it, and above it up to `keep`; S3 has no folders."""
        return

    def _is_changed(self, landed: LandedObject) -> bool:
        current = self.head(landed.uri)
        return current is None or current.identity != landed.identity

    def errors(self, doing: str, bucket: str, action: str) -> AbstractContextManager[None]:
        """Turn errors of the store into ours; `action` is the permission that S3 requires."""
        return store_errors(doing)

    def _landed(self, bucket: str, meta: ObjectMeta) -> LandedObject:
        etag = (meta.get("e_tag") or meta.get("version") or "").strip('"')
        return LandedObject(self.uri(bucket, meta["path"]), etag, meta["size"], meta["last_modified"])


def copy_into_lake(lake: Lake, source: Path, bucket: str, key: str, scratch: Path) -> str:
    """Publish a copy of `source`, which stays where it is."""
    scratch.mkdir(parents=True, exist_ok=True)
    copy = scratch / f".copy-{os.getpid()}"  # without the name, which may be as long as a name can be
    shutil.copyfile(source, copy)
    return lake.publish(copy, bucket, key)


def as_batch(objects: Sequence[LandedObject]) -> pa.RecordBatch:
    """Objects as a batch of `Lake.list_batches`."""
    import pyarrow as pa

    schema = pa.schema(
        {"path": pa.string(), "last_modified": pa.timestamp("us", "UTC"), "size": pa.uint64(), "e_tag": pa.string()}
    )
    columns = [[o.key for o in objects], [o.modified for o in objects], [o.size for o in objects]]
    return pa.record_batch([*columns, [o.etag for o in objects]], schema=schema)


def bucket_name(bucket: str) -> str:
    """The name itself, if it is valid."""
    if not bucket or "/" in bucket or bucket.startswith("."):
        raise ConfigurationError(f"{bucket!r} is not a bucket name.")
    return bucket


def key_of(bucket: str, key: str) -> str:
    """The key itself, if it is valid. `..` would leave the bucket; stores drop empty parts and `.`."""
    if {"", ".", ".."} & set(key.split("/")):
        raise ConfigurationError(f"{key!r} is not a key of {bucket}: a part of it is empty, `.` or `..`.")
    return key


class store_errors:
    """Turn the store's errors into ours with the store's message; our own errors pass unchanged.

    `explain` gets an error and its message on one line; it returns the error to raise, or None for a `LakeError`.
    """

    def __init__(
        self, doing: str, explain: Callable[[Exception, str], PipelineError | None] = lambda error, message: None
    ) -> None:
        self.doing, self.explain = doing, explain

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        from obstore.exceptions import BaseError

        if isinstance(error, BaseError | OSError):
            if explained := self.explain(error, _message(error)):
                raise explained from None
            raise LakeError(
                f"Failed {self.doing}: {_message(error)}.", remedy="The state is intact; run again."
            ) from None


def _message(error: Exception) -> str:
    """The store's message on one line: obstore appends a dump of its internal state, S3 responds in XML."""
    text = str(error).partition("\n\nDebug source:")[0]
    xml_texts = re.findall("<(?:Code|Message)>([^<]*)<", text)
    return ": ".join([" ".join(text.partition(": <?xml")[0].split()) or type(error).__name__, *xml_texts])
