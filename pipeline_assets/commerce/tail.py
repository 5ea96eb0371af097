"""Follow the files of one stream through rotation and truncation, and read what is appended to them, oldest first.

A file is followed by its inode, whatever its name: a renamed file is read to its end before its successor. If a file
was truncated, a copy of it in the same folder (logrotate's `copytruncate`) is read to its end, then the file from its
start. Nothing is written here; `producer` moves the accepted positions.
"""

from __future__ import annotations

import logging
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from pipeline_assets.commerce.checkpoint import MARK_BYTES, KnownFile
from pipeline_assets.commerce.tailed_file import Chunk, TailedFile
from pipeline_assets.errors import ConfigurationError

logger = logging.getLogger("pipeline_assets")
_MAX_OPEN_FILES = 256
# Until it has not changed for this time, a file that begins like a followed one may be an unfinished copy of it.
_COPY_SECONDS = 5.0
_FORGET_SECONDS = 7 * 24 * 3600.0  # after which a missing file is forgotten
_PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")

Listing = dict[str, os.DirEntry[str]]


class Tail:
    """The files that match `pattern`, a path with wildcards in its last part. `clock` returns Unix time.

    With `once`, files count as complete: a last record without a line end is read unless its file is being written.
    """

    def __init__(
        self, pattern: str, known: Iterable[KnownFile], *, clock: Callable[[], float], once: bool = False
    ) -> None:
        self._folder, self._name = os.path.split(pattern)
        self._clock, self._once = clock, once
        self.files = [
            TailedFile(file.path, file.inode, file.position, file.position, missing_since=file.missing_since)
            for file in known
        ]
        self._round: deque[TailedFile] = deque()
        self._reported: set[str] = set()

    def require_readable(self) -> None:
        """Check the folder and the files in it.

        Raises:
            ConfigurationError: one cannot be read, or the path is that of a folder.
        """
        if os.path.isdir(path := os.path.join(self._folder, self._name)):
            raise ConfigurationError(
                f"The watched file {path} is a folder.",
                remedy=f"Name the files in it, e.g. {os.path.join(path, 'customers*.csv')}.",
            )
        for path, _ in self._watched(self._listing()).values():
            try:
                os.close(os.open(path, os.O_RDONLY))
            except FileNotFoundError:  # renamed or deleted since the listing
                continue
            except OSError as error:
                raise ConfigurationError(
                    f"The watched file {path} cannot be read: {os.strerror(error.errno or 0)}.",
                    remedy="Give this user the right to read it.",
                ) from None

    def known_files(self) -> list[KnownFile]:
        """What the checkpoint keeps."""
        return [KnownFile(file.path, file.inode, file.accepted, file.missing_since) for file in self.files]

    def begin_round(self) -> None:
        """Find new, renamed and missing files. `read_chunk` then returns what they have now.

        Raises:
            ConfigurationError: the folder cannot be listed.
        """
        self._update_files(self._listing())
        self._round = deque(file for file in self.files if not file.missing_since or file.handle is not None)
        for file in self.files:
            file.limit = None

    def read_chunk(self) -> Chunk | None:
        """The next records of this round; None at its end."""
        while self._round:
            file = self._round[0]
            try:
                if chunk := file.next_chunk(self._clock(), once=self._once):
                    return chunk
            except FileNotFoundError:
                pass  # renamed or deleted since it was found; the next round finds it
            except OSError as error:
                self._report(file.path, error)
            self._round.popleft()
        self._close_files()
        return None

    def close(self) -> None:
        for file in self.files:
            file.close()

    def _listing(self) -> Listing:
        try:
            with os.scandir(self._folder) as entries:
                return {entry.name: entry for entry in entries}
        except OSError as error:
            raise ConfigurationError(
                f"The watched folder {self._folder} cannot be read: {os.strerror(error.errno or 0)}.",
                remedy="Create it, give this user the right to read it, or correct PIPELINE_COMMERCE_WATCH.",
            ) from None

    def _watched(self, listing: Listing) -> dict[int, tuple[str, os.stat_result]]:
        """(path, status) of the watched files, by inode."""
        found = {}
        for name, entry in listing.items():
            if not fnmatchcase(name, self._name) or name.endswith(_PACKED_SUFFIXES):
                continue
            try:
                status = entry.stat()
            except FileNotFoundError:  # renamed or deleted since the listing
                continue
            except OSError as error:
                self._report(entry.path, error)
                continue
            if stat.S_ISREG(status.st_mode):
                found[status.st_ino] = entry.path, status
        return found

    def _update_files(self, listing: Listing) -> None:
        """Follow new files, take over new names, and replace files that are no longer what they were."""
        found = self._watched(listing)
        renamed = {entry.inode(): entry.path for entry in listing.values()}
        for file in self.files:
            file.is_rotated = file.inode not in found
            path = renamed.get(file.inode) if file.is_rotated else found[file.inode][0]
            file.path = path or file.path
            file.missing_since = None if path else file.missing_since or self._clock()
        for file in [file for file in self.files if file.is_replaced()]:
            self._follow_copy(file)
        followed = {file.inode for file in self.files}
        new = [(status.st_mtime_ns, path, status) for inode, (path, status) in found.items() if inode not in followed]
        for _, path, status in sorted(new, key=lambda each: each[:2]):
            if status.st_size:
                self._follow_new(path, status)

    def _follow_new(self, path: str, status: os.stat_result) -> None:
        """Follow a file that was not known."""
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # renamed or deleted since the listing; the next round finds it
            return
        except OSError as error:
            self._report(path, error)
            return
        try:
            for file in self.files:
                # Programs that replace a file by a longer one (rsync, editors) give it another inode.
                if file.missing_since and file.path == path and file.read.offset and file.read.is_in(handle):
                    file.follow(path, status.st_ino)
                    return
            first = os.pread(handle, MARK_BYTES, 0)
        finally:
            os.close(handle)
        # The copy that `copytruncate` makes is recognized when the file is truncated, which is after the copy was made.
        is_young = 0 <= self._clock() - status.st_ctime < _COPY_SECONDS
        if is_young and not self._once and any(file.begins_like(first) for file in self.files):
            return
        self.files.append(TailedFile(path, status.st_ino))

    def _follow_copy(self, file: TailedFile) -> None:
        """Follow a copy of what a truncated or replaced file was; the file itself then counts as a new one."""
        if not file.is_rotated:  # else its inode was reused by a file that is not watched
            logger.warning("%s was truncated or replaced; it is read from its start.", file.path)
        followed = {each.inode for each in self.files}
        # The copy may be newer than the listing of this round, but it is older than the truncation.
        for entry in self._listing().values() if file.read.offset else ():
            if entry.inode() in followed or not entry.is_file(follow_symlinks=False):
                continue
            try:
                handle = os.open(entry.path, os.O_RDONLY)
            except OSError:  # what cannot be read cannot be followed
                continue
            try:
                if file.read.is_in(handle):
                    file.follow(entry.path, entry.inode())
                    file.is_rotated = True
                    return
            finally:
                os.close(handle)
        # Its chunks that are not accepted yet keep the old position.
        file.close()
        self.files.remove(file)

    def _close_files(self) -> None:
        """Close missing files that were read to their end and, of too many open ones, those unchanged for longest."""
        for file in self.files:
            if file.missing_since and file.accepted == file.read and not file.is_partial:
                file.close()
        opened = [file for file in self.files if file.handle is not None and not file.missing_since]
        for file in sorted(opened, key=lambda file: file.changed_at)[:-_MAX_OPEN_FILES]:
            file.close()
        oldest = self._clock() - _FORGET_SECONDS
        self.files = [f for f in self.files if not f.missing_since or f.handle is not None or f.missing_since > oldest]

    def _report(self, path: str, error: OSError) -> None:
        """Log once that a file cannot be read; the others are delivered."""
        if path not in self._reported:
            self._reported.add(path)
            logger.warning("%s cannot be read: %s.", path, os.strerror(error.errno or 0))
