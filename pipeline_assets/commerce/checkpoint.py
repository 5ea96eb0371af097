"""The checkpoint of the producer: up to where the stream has accepted each file. One producer at a time may use it.

A file is known by its inode and by digests of its first bytes and of those before the position: an inode is reused
after a deletion, and a truncated file keeps its own. It is written to a new file that replaces the old one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline_assets.errors import ConfigurationError, LakeError

MARK_BYTES = 1024


class ProducerRunningError(ConfigurationError):
    """Another process uses the checkpoint."""


@dataclass(frozen=True)
class Mark:
    """`length` bytes of a file, as a digest."""

    length: int = 0
    digest: str = ""

    @classmethod
    def of(cls, data: bytes) -> Mark:
        return cls(len(data), hashlib.sha256(data).hexdigest() if data else "")


@dataclass(frozen=True)
class Position:
    """An offset in a file, with marks of the first bytes of the file and of the bytes before the offset."""

    offset: int = 0
    head: Mark = Mark()
    tail: Mark = Mark()

    def is_in(self, file: int) -> bool:
        """Whether an open file has these bytes: it is the same file or a copy, maybe with more behind the offset."""
        return (
            Mark.of(os.pread(file, self.head.length, 0)) == self.head
            and Mark.of(os.pread(file, self.tail.length, self.offset - self.tail.length)) == self.tail
        )


@dataclass(frozen=True)
class KnownFile:
    """A file in the checkpoint; `missing_since` is Unix time, or None if the file was there."""

    path: str
    inode: int
    position: Position
    missing_since: float | None = None


class Checkpoint:
    """The known files of each stream, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "checkpoint.json"
        self._files: dict[str, list[KnownFile]] = {}

    @contextmanager
    def locked(self) -> Iterator[Checkpoint]:
        """Use the checkpoint; it is read, and written once, so that a folder without rights is an error at the start.

        Raises:
            ProducerRunningError: another process uses it.
            ConfigurationError: it cannot be read or written.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / "producer.lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise ProducerRunningError(
                f"Another producer uses the checkpoint in {self.folder}.",
                remedy="Stop it, or let it deliver: each installation (PIPELINE_HOME) has one.",
            ) from None
        except OSError as error:
            raise self._unusable(os.strerror(error.errno or 0)) from None
        try:
            self._files = self._read()
            try:
                self._write()
            except OSError as error:
                raise self._unusable(os.strerror(error.errno or 0)) from None
            yield self
        finally:
            lock.release()

    def files(self, stream: str) -> list[KnownFile]:
        """The known files of a stream, oldest first."""
        return self._files.get(stream, [])

    def save(self, files: Mapping[str, list[KnownFile]]) -> None:
        """Replace the known files of some streams; those of others stay.

        Raises:
            LakeError: it cannot be written; the old one stays.
        """
        self._files |= files
        try:
            self._write()
        except OSError as error:
            raise LakeError(
                f"Failed writing the producer's checkpoint {self._path}: {os.strerror(error.errno or 0)}.",
                remedy="Records since the last checkpoint are delivered again at the next start.",
            ) from None

    def _read(self) -> dict[str, list[KnownFile]]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable(os.strerror(error.errno or 0)) from None
        try:
            return {
                stream: [_known_file(file) for file in files] for stream, files in json.loads(text)["files"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigurationError(
                f"The producer's checkpoint {self._path} is damaged.",
                remedy="Restore it; if it is deleted, every watched file is delivered again from its start.",
            ) from None

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        with open(new, "w", encoding="utf-8") as file:
            files = {stream: [asdict(file) for file in known] for stream, known in self._files.items()}
            json.dump({"version": 1, "files": files}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._path)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _unusable(self, reason: str) -> ConfigurationError:
        return ConfigurationError(
            f"The producer's checkpoint in {self.folder} cannot be used: {reason}.",
            remedy="Give this user the right to that folder, or choose another PIPELINE_HOME.",
        )


def _known_file(file: dict[str, Any]) -> KnownFile:
    position = file["position"]
    head, tail = (Mark(int(mark["length"]), str(mark["digest"])) for mark in (position["head"], position["tail"]))
    return KnownFile(
        str(file["path"]), int(file["inode"]), Position(int(position["offset"]), head, tail), file["missing_since"]
    )
