"""A producer under a test's control: the test says what its stream accepts, and acts between two polls.

`WatchedFiles.session` runs one producer until its actions are used up, then stops or kills it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_assets.commerce.producer import Progress, open_producer
from pipeline_assets.lake.delivery import Delivery
from pipeline_assets.pipeline import DeliveryStream, Pipeline

SHOP = Pipeline("shop", bucket="shop-stream", streams=[DeliveryStream("customers", "in/")])


class Killed(Exception):
    """Stands for SIGKILL: nothing is delivered or saved any more."""


@dataclass
class StoringWriter:
    """Accepts `to_accept` records at the next occasion; the rest is a buffer that dies with the producer."""

    stored: list[bytes]
    to_accept: int = 0
    accepted: int = 0
    buffer: list[bytes] = field(default_factory=list)

    def put(self, records: Sequence[bytes]) -> None:
        self.buffer += records

    def deliver_due(self) -> None:
        self._accept(self.to_accept)

    def flush(self) -> None:
        self._accept(len(self.buffer))

    def _accept(self, count: int) -> None:
        taken = self.buffer[:count]
        self.stored += taken
        self.accepted += len(taken)
        self.to_accept -= min(self.to_accept, len(taken))
        del self.buffer[:count]


@dataclass
class WatchedFiles:
    """A folder of watched files; `skew` are seconds by which the producer's clock is ahead."""

    folder: Path
    pattern: str = "customers*.csv"
    stored: list[bytes] = field(default_factory=list)
    skew: float = 0.0
    writer: StoringWriter | None = None
    progress: dict[str, Progress] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files.mkdir(parents=True, exist_ok=True)

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def delivery(self) -> Delivery:
        def open_writer(bucket: str, prefix: str, stream: str) -> StoringWriter:
            self.writer = StoringWriter(self.stored)
            return self.writer

        return Delivery({"customers": str(self.files / self.pattern)}, self.folder / "producer", open_writer)

    def clock(self) -> float:
        return time.time() + self.skew

    def append(self, text: str | bytes, name: str = "customers.csv") -> None:
        with open(self.files / name, "ab") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    def session(self, actions: Iterable[Callable[[], object] | None], *, stop: bool = True) -> None:
        """Run a producer; each action happens between two polls, None is only a poll. Then stop it, or kill it."""
        left = iter(actions)

        def wait(_: float) -> bool:
            try:
                action = next(left)
            except StopIteration:
                if not stop:
                    raise Killed from None
                return True
            if action:
                action()
            return False

        try:
            with open_producer(self.delivery, SHOP, clock=self.clock) as producer:
                producer.follow(wait, lambda _: None)
                self.progress = producer.progress()
        except Killed:
            pass

    def deliver(self, *, polls: int = 8) -> list[bytes]:
        """Poll a few times, stop; everything that is stored."""
        self.session([None] * polls)
        return self.stored

    def deliver_once(self) -> list[bytes]:
        with open_producer(self.delivery, SHOP, once=True, clock=self.clock) as producer:
            producer.deliver_available()
            self.progress = producer.progress()
        return self.stored
