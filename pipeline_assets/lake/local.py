"""The local lake: a bucket is a folder, and a key is a plain file in it, for ordinary tools to write and read.

`LocalLake.fetch` returns that file, not a copy: its reader must call `changed` afterwards and discard the result if the
file was overwritten meanwhile. Links are followed. Files that cannot be read are listed as foreign objects (`foreign`).
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.errors import ObjectChangedError, PermanentLakeError, PipelineError
from pipeline_assets.lake.foreign import Fault, escaped, foreign_etag, has_foreign_name, rejection
from pipeline_assets.lake.objects import LandedObject
from pipeline_assets.lake.store import PAGES_AT_A_TIME, Lake, as_batch, bucket_name, key_of, store_errors

if TYPE_CHECKING:
    import pyarrow as pa
    from obstore.store import ObjectStore

_GONE = (errno.ENOENT, errno.ENOTDIR)
_FAULTS: dict[int | None, Fault] = {
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.ELOOP: "link",
    errno.ENAMETOOLONG: "length",
}
_PERMANENT = (*_FAULTS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EROFS, errno.EILSEQ, errno.EINVAL)
_ATTEMPTS = 100  # at writing into a folder that another process removes
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What a datetime can hold, in microseconds; a file may have any time.
_EARLIEST, _LATEST = -62_135_596_800_000_000, 253_402_300_799_000_000


class LocalLake(Lake):
    """Buckets are folders below `root`."""

    scheme = "lake"

    def __init__(self, root: Path) -> None:
        self.root = root

    def store(self, bucket: str) -> ObjectStore:
        from obstore.store import LocalStore

        return LocalStore(self.root / bucket_name(bucket), mkdir=True)

    def list_objects(self, bucket: str, prefix: str = "", after: str | None = None) -> Iterator[LandedObject]:
        with self.errors(f"listing {self.uri(bucket, prefix)}", bucket):
            for landed in _walk(self.root / bucket_name(bucket), prefix, self.uri(bucket, "")):
                if after is None or landed.key > after:
                    yield landed

    def list_batches(self, bucket: str, prefix: str, after: str | None = None) -> Iterator[pa.RecordBatch]:
        listing = self.list_objects(bucket, prefix, after)
        while objects := list(islice(listing, PAGES_AT_A_TIME)):
            yield as_batch(objects)

    def head(self, uri: str) -> LandedObject | None:
        with self.errors(f"reading {uri}"):
            return _version(self.path(uri), uri)

    def fetch(self, landed: LandedObject, folder: Path) -> Path:
        if unreadable := rejection(landed):
            raise unreadable
        if self.changed([landed]):
            raise ObjectChangedError(landed.uri)
        return self.path(landed.uri)

    def publish(self, source: Path, bucket: str, key: str) -> str:
        uri = self.uri(bucket, key)
        target = self.path(uri)

        def write() -> None:
            finished = source
            if source.stat().st_dev != target.parent.stat().st_dev:
                # The lake is on another disk, and a rename is atomic only within one file system.
                finished = target.parent / f".{target.name}.{os.getpid()}"
                shutil.copyfile(source, finished)
            with open(finished, "rb") as file:
                os.fsync(file.fileno())
            os.replace(finished, target)

        with self.errors(f"writing {uri}"):
            _into_folder(target.parent, write)
        return uri

    def move(self, bucket: str, source: str, target: str) -> str:
        old, uri = self.uri(bucket, source), self.uri(bucket, key_of(bucket, target))
        with self.errors(f"moving {old} to {uri}"):
            path = self.path(uri)
            _into_folder(path.parent, lambda: os.replace(self.path(old), path))
        return uri

    def delete(self, uris: Iterable[str]) -> None:
        for uri in uris:
            with self.errors(f"deleting {uri}"):
                self.path(uri).unlink(missing_ok=True)

    def delete_prefix(self, bucket: str, prefix: str) -> int:
        deleted = super().delete_prefix(bucket, prefix)
        self.remove_empty_folders(bucket, prefix)
        return deleted

    def remove_empty_folders(self, bucket: str, prefix: str, keep: str = "") -> None:
        root = self.root / bucket_name(bucket)
        top = root / prefix
        with self.errors(f"deleting {self.uri(bucket, prefix)}"):
            folders = [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]
            above = [folder for folder in top.parents if folder.is_relative_to(root)]
            for folder in folders + above:
                if folder in (root, root / keep):
                    break
                try:
                    folder.rmdir()
                except OSError as error:
                    # Some systems report EEXIST for a folder with files.
                    if error.errno not in (*_GONE, errno.ENOTEMPTY, errno.EEXIST):
                        raise

    def stage_url(self, bucket: str) -> str:
        return f"file://{self.root / bucket_name(bucket)}/"

    def location(self, bucket: str, key: str) -> str:
        return str((self.root / bucket_name(bucket) / key).absolute())

    def path(self, uri: str) -> Path:
        """The plain file behind a uri."""
        bucket, key = uri.split("/", 3)[2:4]
        return self.root / bucket_name(bucket) / key_of(bucket, key)

    def errors(self, doing: str, bucket: str = "", action: str = "") -> AbstractContextManager[None]:
        return store_errors(doing, lambda error, message: _permanent_error(doing, error, message))


def _permanent_error(doing: str, error: Exception, message: str) -> PipelineError | None:
    if isinstance(error, OSError) and error.errno in _PERMANENT:
        return PermanentLakeError(
            f"Failed {doing}: {message}.", remedy="Give this user the right to it, or move away the file in its place."
        )
    return None


def _into_folder(folder: Path, write: Callable[[], object]) -> None:
    """Create a folder and write into it; another process may remove it, or one above it, while it is empty."""
    for attempt in range(_ATTEMPTS):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write()
            return
        except (FileNotFoundError, FileExistsError):  # `mkdir` raises both when the folder vanishes meanwhile
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0, 0.001))  # random, or two processes may collide every time


# --- listing -----------------------------------------------------------------------------------------------


def _walk(root: Path, prefix: str, uri: str) -> Iterator[LandedObject]:
    """Every file below a folder of the bucket `root`, also those that cannot be read.

    Raises:
        OSError: the folder itself cannot be listed, or the disk is damaged.
    """
    folders: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(os.path.join(root, prefix), prefix, frozenset())]
    while folders:
        folder, key, above = folders.pop()
        try:
            status = os.stat(folder)
            entries = os.scandir(folder)
        except OSError as error:
            if error.errno == errno.ENOENT or (error.errno in _GONE and key != prefix):
                continue
            if key == prefix or error.errno not in _FAULTS:
                raise  # without its top folder no object of the zone can be found
            yield _foreign("folder-permission", folder, uri + key.rstrip("/"))
            continue
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            entries.close()
            yield _foreign("folder-loop", folder.rstrip("/"), uri + key.rstrip("/"))
            continue
        with entries:
            for entry in entries:
                if _is_folder(entry):
                    folders.append((entry.path, f"{key}{entry.name}/", above | {identity}))
                elif landed := _version(entry, f"{uri}{key}{entry.name}"):
                    yield landed


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # `_version` finds the reason


def _version(path: Path | os.DirEntry[str], uri: str) -> LandedObject | None:
    """The current version of a file; None if there is none."""
    try:
        status = path.stat()
    except OSError as error:
        if error.errno not in (*_GONE, *_FAULTS):
            raise
        if error.errno in _GONE and not os.path.islink(path):
            return None
        return _foreign(_FAULTS.get(error.errno, "link"), os.fspath(path), uri)
    if has_foreign_name(uri.split("/", 3)[3]):
        return _foreign("name", os.fspath(path), uri)
    if not stat.S_ISREG(status.st_mode):
        return None if stat.S_ISDIR(status.st_mode) else _foreign("special", os.fspath(path), uri)
    if not os.access(path, os.R_OK):
        return _foreign("permission", os.fspath(path), uri) if os.path.lexists(path) else None
    microseconds = status.st_mtime_ns // 1000
    # In obstore's format, which existing ledgers contain.
    etag = f"{status.st_ino:x}-{microseconds:x}-{status.st_size:x}"
    return LandedObject(uri, etag, status.st_size, _moment(microseconds))


def _foreign(fault: Fault, path: str, uri: str) -> LandedObject:
    """A foreign object. Its identity, the inode, needs no right to read it and changes when the file is replaced."""
    try:
        status = os.lstat(path)
        inode, modified = status.st_ino, _moment(status.st_mtime_ns // 1000)
    except OSError:
        inode, modified = 0, _EPOCH
    return LandedObject(escaped(uri), foreign_etag(fault, f"{inode:x}"), 0, modified)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=min(max(microseconds, _EARLIEST), _LATEST))
