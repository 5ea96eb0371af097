"""The producer: it tails CSV files, like the Kinesis Agent, and delivers each record to its stream in order.

The checkpoint is written after the stream has accepted the records, so a killed producer delivers again what was
accepted since, and loses nothing. `deliver_in_batch` is the extract step of the pipeline.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.commerce.checkpoint import Checkpoint, KnownFile, ProducerRunningError
from pipeline_assets.commerce.tail import Tail
from pipeline_assets.commerce.tailed_file import Chunk
from pipeline_assets.errors import ConfigurationError, LakeError
from pipeline_assets.lake.delivery import Delivery
from pipeline_assets.lake.delivery_stream import MAX_RECORD_BYTES, StreamWriter
from pipeline_assets.progress import progress

if TYPE_CHECKING:
    from pipeline_assets.batch.context import BatchContext
    from pipeline_assets.pipeline import Pipeline

logger = logging.getLogger("pipeline_assets")
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Progress:
    """What a producer has delivered to one stream since it started, and how far it is behind.

    `bytes` are those of the files, line ends and blank lines included; `bytes_behind` those that the stream has not
    accepted. `seconds_behind` is the age of the oldest record that was read and is not accepted.
    """

    records: int = 0
    bytes: int = 0
    rejected: int = 0
    bytes_behind: int = 0
    seconds_behind: float = 0


class _Feed:
    """One stream: its files, its writer, and the chunks that the writer has not accepted yet."""

    def __init__(self, tail: Tail, writer: StreamWriter, rejects: Path, clock: Callable[[], float]) -> None:
        self.tail, self._writer, self._rejects, self._clock = tail, writer, rejects, clock
        self._pending: deque[tuple[Chunk, int]] = deque()  # chunks, and how many of their records are accepted
        self._accepted = self._bytes = self._rejected = 0
        tail.begin_round()

    def put_next(self) -> bool:
        """Put one chunk; False at the end of a round, after which a new one begins."""
        chunk = self.tail.read_chunk()
        if chunk is None:
            self._writer.deliver_due()
            return False
        for start, end in chunk.rejected:
            self._reject(chunk, start, end)
        self._pending.append((chunk, 0))
        self._writer.put(chunk.records)
        self._writer.deliver_due()
        return True

    def flush(self) -> None:
        self._writer.flush()

    @property
    def delivered_bytes(self) -> int:
        return self._bytes

    def advance(self) -> None:
        """Move positions behind the records that the writer has accepted."""
        accepted = self._writer.accepted - self._accepted
        self._accepted += accepted
        while self._pending:
            chunk, done = self._pending[0]
            taken = min(accepted, len(chunk.records) - done)
            accepted -= taken
            is_whole = done + taken == len(chunk.records)
            if taken or is_whole:
                position = chunk.position(done + taken)
                self._bytes += position.offset - chunk.file.accepted.offset
                chunk.file.accepted = position
            if not is_whole:
                self._pending[0] = chunk, done + taken
                break
            self._pending.popleft()

    def progress(self) -> Progress:
        behind = sum(max(0, file.size - file.accepted.offset) for file in self.tail.files)
        seconds = self._clock() - self._pending[0][0].read_at if self._pending else 0.0
        return Progress(self._accepted, self._bytes, self._rejected, behind, seconds)

    def _reject(self, chunk: Chunk, start: int, end: int) -> None:
        """Copy a record that is too long to a file, named by its content, as it may be read again after a crash."""
        line = 1 + sum(data.count(b"\n") for data in chunk.file.bytes_between(0, start))
        part = self._rejects / "part"
        digest = hashlib.sha256()
        try:
            self._rejects.mkdir(mode=0o700, exist_ok=True)
            with open(part, "wb") as copy:
                for data in chunk.file.bytes_between(start, end):
                    digest.update(data)
                    copy.write(data)
                os.fsync(copy.fileno())
            target = part.with_name(f"{digest.hexdigest()[:16]}.csv")
            part.replace(target)
        except OSError as error:
            raise LakeError(
                f"Failed writing a rejected record to {self._rejects}: {os.strerror(error.errno or 0)}.",
                remedy="The state is intact; run again.",
            ) from None
        self._rejected += 1
        logger.warning(
            "%s, line %d: the record has %d bytes, a stream takes %d with the line end; it is not delivered, but kept "
            "in %s.",
            *(chunk.file.path, line, end - start, MAX_RECORD_BYTES, target),
        )


class Producer:
    """A producer that holds its checkpoint; see `open_producer`."""

    def __init__(self, checkpoint: Checkpoint, feeds: Mapping[str, _Feed]) -> None:
        self._checkpoint, self._feeds = checkpoint, feeds
        self._saved: dict[str, list[KnownFile]] = {}

    @property
    def delivered_bytes(self) -> int:
        """The bytes of all streams that were accepted so far; any thread may read it."""
        return sum(feed.delivered_bytes for feed in self._feeds.values())

    def progress(self) -> dict[str, Progress]:
        """By stream."""
        return {stream: feed.progress() for stream, feed in self._feeds.items()}

    def deliver_available(self, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Deliver what the files have now, until the end or until `is_stopped()`.

        Raises:
            ConfigurationError, LakeError: of the streams, files and checkpoint; the state is intact.
        """
        for feed in self._feeds.values():
            while not is_stopped() and feed.put_next():
                self._save()
        self._finish()

    def follow(self, wait: Callable[[float], bool], report: Callable[[dict[str, Progress]], None]) -> None:
        """Deliver what is appended, until `wait(seconds)` returns True; then deliver what is buffered.

        Raises:
            ConfigurationError, LakeError: as above.
        """
        while True:
            is_busy = [feed.put_next() for feed in self._feeds.values()]
            self._save()
            report(self.progress())
            if wait(0.0 if any(is_busy) else POLL_SECONDS):
                break
            for feed, busy in zip(self._feeds.values(), is_busy, strict=True):
                if not busy:
                    feed.tail.begin_round()
        self._finish()

    def _finish(self) -> None:
        for feed in self._feeds.values():
            feed.flush()
        self._save()

    def _save(self) -> None:
        for feed in self._feeds.values():
            feed.advance()
        files = {stream: feed.tail.known_files() for stream, feed in self._feeds.items()}
        if files != self._saved:
            self._checkpoint.save(files)
            self._saved = files


@contextmanager
def open_producer(
    delivery: Delivery, pipeline: Pipeline, *, once: bool = False, clock: Callable[[], float] = time.time
) -> Iterator[Producer]:
    """A producer for the streams of a pipeline, alone on its checkpoint. `once` is as in `Tail`.

    Raises:
        ProducerRunningError: another one uses the checkpoint.
        ConfigurationError: no files are watched, a stream is unknown, or a folder or file cannot be used.
    """
    streams = {stream.name: stream for stream in pipeline.streams}
    if not delivery.watched:
        raise ConfigurationError(
            "PIPELINE_COMMERCE_WATCH is not set: no files are watched.",
            remedy='Set it, e.g. {"customers": "/var/log/shop/customers*.csv"}.',
        )
    if unknown := sorted(set(delivery.watched) - set(streams)):
        raise ConfigurationError(
            f"PIPELINE_COMMERCE_WATCH names unknown streams: {', '.join(unknown)}.",
            remedy=f"The streams are {', '.join(streams)}.",
        )
    with Checkpoint(delivery.folder).locked() as checkpoint:
        feeds: dict[str, _Feed] = {}
        tails: list[Tail] = []
        try:
            for name, pattern in delivery.watched.items():
                tail = Tail(pattern, checkpoint.files(name), clock=clock, once=once)
                tails.append(tail)
                tail.require_readable()
                writer = delivery.open_writer(pipeline.bucket, streams[name].prefix, name)
                feeds[name] = _Feed(tail, writer, delivery.folder / "rejected", clock)
            yield Producer(checkpoint, feeds)
        finally:
            for tail in tails:
                tail.close()


def deliver_once(delivery: Delivery, pipeline: Pipeline) -> dict[str, Progress]:
    """Deliver what the watched files have and no producer has delivered yet; the counts by stream.

    Raises:
        ProducerRunningError: a producer is running, which delivers it.
        ConfigurationError, LakeError: as `open_producer` and `Producer.deliver_available`.
    """
    with open_producer(delivery, pipeline, once=True) as producer:
        waiting = sum(stream.bytes_behind for stream in producer.progress().values())
        with progress("Delivering records", "bytes", waiting, measure=lambda: producer.delivered_bytes):
            producer.deliver_available()
        return producer.progress()


def deliver_in_batch(context: BatchContext) -> None:
    """The extract step: deliver what is not delivered yet, or leave that to a producer that is running.

    Raises:
        ConfigurationError, LakeError: as `deliver_once`.
    """
    delivery = context.platform.delivery
    if delivery is None:
        raise ConfigurationError("This platform has no delivery streams.", remedy="Build it with `build_platform`.")
    try:
        delivered = deliver_once(delivery, context.pipeline.value)
    except ProducerRunningError:
        logger.warning("A producer is running and delivers new records; the run takes what has landed.")
        return
    for stream, each in delivered.items():
        logger.info("%d records of %s were delivered.", each.records, stream)
