"""Delivery streams: a producer puts records, and the stream delivers them as objects into a landing zone.

`LocalStreamWriter` writes files with the keys and buffering hints of Amazon Data Firehose; `lake.firehose` implements
the same interface with Firehose itself. Which streams a pipeline has is declared in `pipeline.value`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from pipeline_assets.lake.store import Lake, store_errors

MAX_RECORD_BYTES = 1000 * 1024  # Firehose's limit, with the line end


class StreamWriter(Protocol):
    """Writes records to one stream, in order. A record has no line end; the writer adds one."""

    @property
    def accepted(self) -> int:
        """How many records are stored durably since the writer was opened; they are the first that were put."""

    def put(self, records: Sequence[bytes]) -> None:
        """Write records of at most MAX_RECORD_BYTES, with the line end; they may be buffered.

        Raises:
            ConfigurationError: the stream does not exist, or a permission is missing.
            LakeError: they could not be written; `accepted` says how many were.
        """

    def deliver_due(self) -> None:
        """Deliver what is buffered if it is old enough. Raises what `put` raises."""

    def flush(self) -> None:
        """Deliver all that is buffered. Raises what `put` raises."""


@dataclass(frozen=True)
class BufferingHints:
    """A buffer is delivered when its first record is `seconds` old, or when it has `mib` MiB."""

    seconds: float = 300
    mib: float = 5

    @property
    def bytes(self) -> int:
        return int(self.mib * 1024 * 1024)


class LocalStreamWriter:
    """A stream of the local lake: each delivery is one object, whole or absent.

    `part` is a file for the object that is written; one writer at a time may use it. `clock` returns Unix time and
    `random_id` the uuid in a key.
    """

    def __init__(
        self,
        lake: Lake,
        bucket: str,
        prefix: str,
        name: str,
        *,
        part: Path,
        hints: BufferingHints,
        clock: Callable[[], float] = time.time,
        random_id: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        self._lake, self._bucket, self._prefix, self._name = lake, bucket, prefix, name
        self._part, self._hints, self._clock, self._random_id = part, hints, clock, random_id
        self._buffer: list[bytes] = []
        self._bytes = 0
        self._since = 0.0  # when the buffer received its first record
        self.accepted = 0

    def put(self, records: Sequence[bytes]) -> None:
        if self._bytes + sum(map(len, records)) + len(records) < self._hints.bytes:
            self._add(records)
            return
        for record in records:
            if self._buffer and self._bytes + len(record) + 1 > self._hints.bytes:
                self.flush()
            self._add((record,))
        if self._bytes >= self._hints.bytes:
            self.flush()

    def deliver_due(self) -> None:
        # A clock that was set back must not delay a delivery by as much.
        if self._buffer and not 0 <= self._clock() - self._since < self._hints.seconds:
            self.flush()

    def flush(self) -> None:
        if not self._buffer:
            return
        with store_errors(f"writing {self._part}"), open(self._part, "wb") as file:
            file.write(b"\n".join(self._buffer) + b"\n")
        self._lake.publish(self._part, self._bucket, self._key())
        self.accepted += len(self._buffer)
        self._buffer, self._bytes = [], 0

    def _add(self, records: Sequence[bytes]) -> None:
        if not self._buffer:
            # Never back: the time in the key decides which version of a record is newer.
            self._since = max(self._since, self._clock())
        self._buffer += records
        self._bytes += sum(map(len, records)) + len(records)

    def _key(self) -> str:
        at = datetime.fromtimestamp(self._since, UTC)
        return f"{self._prefix}{at:%Y/%m/%d/%H}/{self._name}-1-{at:%Y-%m-%d-%H-%M-%S}-{self._random_id()}"
