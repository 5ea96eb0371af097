"""Read one growing file chunk by chunk, and notice when it is no longer the file that it was.

A chunk is compared with what was read before it after it was read, so that bytes of a file that was truncated and
written again meanwhile are never delivered as its continuation.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline_assets.commerce.checkpoint import MARK_BYTES, Mark, Position
from pipeline_assets.commerce.records import split_records
from pipeline_assets.engine.formats.csv.record_parser import RECORD_CHARACTERS
from pipeline_assets.lake.delivery_stream import MAX_RECORD_BYTES

_READ_BYTES = 1 << 20
_LONGEST_READ = RECORD_CHARACTERS + _READ_BYTES
_QUIET_SECONDS = 60.0  # without a change, after which a file counts as complete


@dataclass
class Chunk:
    """Records that follow each other in a file: `data` start at the offset `start`, `ends` are positions in them.

    `rejected` are the (start, end) offsets of records that are too long for a stream.
    """

    file: TailedFile
    start: int
    data: bytes
    records: list[bytes]
    ends: list[int]
    rejected: list[tuple[int, int]]
    read_at: float
    head: bytes = b""

    def position(self, count: int) -> Position:
        """The position behind the first `count` records; behind the last one, behind all data."""
        end = len(self.data) if count == len(self.records) else self.ends[count - 1]
        offset = self.start + end
        tail = Mark.of(self.data[max(0, end - MARK_BYTES) : end])
        return Position(offset, Mark.of(self.head[:offset]), tail)


@dataclass(eq=False)
class TailedFile:
    """A file that is followed. `accepted` is the position that the stream has accepted, `read` is that of the reader.

    `head` are its first bytes, at most MARK_BYTES. `is_partial` says that bytes are left that make no whole record yet.
    """

    path: str
    inode: int
    accepted: Position = field(default_factory=Position)
    read: Position = field(default_factory=Position)
    is_rotated: bool = False
    is_partial: bool = False
    missing_since: float | None = None
    head: bytes = b""
    size: int = 0
    limit: int | None = None
    handle: int | None = None
    _seen: tuple[int, int] | None = None  # (size, modification time) when nothing more could be read

    def open(self) -> int:
        """The open file; it stays open, as it may be renamed or deleted before it is read to its end.

        Raises:
            OSError: it cannot be opened, or was renamed since it was found.
        """
        if self.handle is None:
            handle = os.open(self.path, os.O_RDONLY)
            if os.fstat(handle).st_ino != self.inode:
                os.close(handle)
                raise FileNotFoundError(self.path)
            self.handle = handle
        return self.handle

    def close(self) -> None:
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None

    def follow(self, path: str, inode: int) -> None:
        """Go on in another file, which has the same bytes up to `read`."""
        self.close()
        self.path, self.inode, self.missing_since, self._seen = path, inode, None, None

    def is_replaced(self) -> bool:
        """Whether the file was truncated, or another file has its inode; False if it cannot be read now."""
        try:
            handle = self.open()
        except OSError:
            return False
        status = os.fstat(handle)
        if (status.st_size, status.st_mtime_ns) == self._seen:
            return False
        head = self.head or os.pread(handle, min(self.read.offset, MARK_BYTES), 0)
        if not self.read.is_in(handle):
            return True
        self.head = head
        return False

    def begins_like(self, data: bytes) -> bool:
        """Whether the file and the data have the same first bytes, as far as both go; False if it is empty."""
        try:
            head = self.head or os.pread(self.open(), MARK_BYTES, 0)
        except OSError:
            return False
        length = min(len(head), len(data))
        return bool(length) and head[:length] == data[:length]

    @property
    def changed_at(self) -> int:
        """The modification time at which it was last read to its end, in nanoseconds."""
        return self._seen[1] if self._seen else 0

    def next_chunk(self, now: float, *, once: bool) -> Chunk | None:
        """The next whole records; None if there are none now or up to `limit`, or if the file was replaced.

        The limit is the size that the file had at the first call since it was reset.

        Raises:
            OSError: it cannot be read.
        """
        handle = self.open()
        status = os.fstat(handle)
        self.size = status.st_size
        self.limit = status.st_size if self.limit is None else self.limit
        state = (status.st_size, status.st_mtime_ns)
        # The last record of an unchanged file may have become complete by the time that has passed.
        if state == self._seen and not (self.is_partial and self._is_finished(status, now, once=once)):
            return None
        available = max(0, min(status.st_size, self.limit) - self.read.offset)
        chunk = self._read(handle, available, now, finished=False)
        is_at_end = self.read.offset + available == status.st_size
        if chunk is None and available and is_at_end and self._is_finished(status, now, once=once):
            chunk = self._read(handle, available, now, finished=True)
        if not self.read.is_in(handle):
            return None
        if chunk is None:
            if is_at_end:  # else it has grown since the limit was set
                self._seen, self.is_partial = state, available > 0
            return None
        if len(self.head) == chunk.start:  # not read again, as the file may have been truncated meanwhile
            self.head = (self.head + chunk.data[:MARK_BYTES])[:MARK_BYTES]
        chunk.head = self.head
        self.read = chunk.position(len(chunk.records))
        return chunk

    def bytes_between(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes of the open file between two offsets."""
        while start < end and (data := os.pread(self.open(), min(_READ_BYTES, end - start), start)):
            yield data
            start += len(data)

    def _read(self, handle: int, available: int, now: float, *, finished: bool) -> Chunk | None:
        start = self.read.offset
        for size in (_READ_BYTES, _LONGEST_READ):
            data = os.pread(handle, min(size, available), start)
            is_all = len(data) == available
            split = split_records(data, at_start=start == 0, finished=finished and is_all)
            if split.consumed or is_all:
                break
        if not split.consumed:
            return None if is_all else self._skip_line(handle, start + len(data), available, now, finished=finished)
        records, ends = split.records, split.ends
        rejected: list[tuple[int, int]] = []
        if max(map(len, records), default=0) >= MAX_RECORD_BYTES:
            starts = [0, *ends]
            long = [number for number, record in enumerate(records) if len(record) >= MAX_RECORD_BYTES]
            rejected = [(start + starts[number], start + ends[number]) for number in long]
            records = [record for record in records if len(record) < MAX_RECORD_BYTES]
            ends = [end for number, end in enumerate(ends) if number not in long]
        return Chunk(self, start, data[: split.consumed], records, ends, rejected, now)

    def _skip_line(self, handle: int, position: int, available: int, now: float, *, finished: bool) -> Chunk | None:
        """A line that is longer than what is read at once is rejected when its end is there."""
        first, last = self.read.offset, self.read.offset + available
        end = last if finished else None
        for data in self.bytes_between(position, last):
            if (found := data.find(b"\n")) >= 0:
                end = position + found + 1
                break
            position += len(data)
        if end is None:
            return None
        tail = os.pread(handle, MARK_BYTES, end - MARK_BYTES)
        return Chunk(self, end - len(tail), tail, [], [], [(first, end)], now)

    def _is_finished(self, status: os.stat_result, now: float, *, once: bool) -> bool:
        """Whether a last line without a line end is complete: nobody writes to the file, and nobody will."""
        is_written = is_open_for_writing(self.open())
        is_quiet = now - status.st_mtime >= _QUIET_SECONDS
        may_end = once or self.is_rotated
        if is_written is None:
            return may_end and is_quiet
        return not is_written and (may_end or is_quiet)


def is_open_for_writing(handle: int) -> bool | None:
    """Whether a process has the file open for writing; None if the system does not say.

    Linux grants a read lease only on a file that nobody has open for writing, and only to its owner.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    try:
        # A writer that opens the file before the lease is released waits for that; we would get a signal, which must
        # not be SIGIO, as that ends a process.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False
