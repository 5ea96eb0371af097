"""Any sequence of appends, rotations, truncations, polls and kills: each record once, in the order of its file.

The stream and the checkpoint agree at each kill here; `faults/test_killed_producer.py` kills between them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets_tests.support.watched_files import WatchedFiles

TEXTS = st.sampled_from(["a", '"b\nb"', '"c ""c"", ', "é" * 700, '"\n\n"'])
ACTIONS = st.one_of(
    st.tuples(st.just("append"), st.lists(TEXTS, min_size=1, max_size=4)),
    st.tuples(st.just("begin"), TEXTS),
    st.tuples(st.just("poll"), st.integers(1, 4)),
    st.tuples(st.just("accept"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["wait", "sync", "rename", "rename at once", "copytruncate", "slow copytruncate"])),
    st.tuples(st.sampled_from(["truncate", "replace", "kill", "stop"])),
)


class Shop:
    """Writes `customers.csv` and rotates it; `written` are the whole records of each generation of the file."""

    def __init__(self, watched: WatchedFiles, *, rotated_match: bool) -> None:
        self.watched, self.rotated_match = watched, rotated_match
        self.written: list[list[bytes]] = [[]]
        self.rotations = 0
        self.rest = b""  # of the record that is begun
        self.held: BinaryIO | None = None  # by the program that has begun it
        if rotated_match:
            watched.pattern = "customers*"

    @property
    def file(self) -> Path:
        return self.watched.files / "customers.csv"

    @property
    def all_written(self) -> list[bytes]:
        return [record for generation in self.written for record in generation]

    def record(self, text: str) -> bytes:
        text = text if text.count('"') % 2 == 0 else f'{text}"'
        record = f"{len(self.written)}-{len(self.written[-1])},{text}".encode()
        self.written[-1].append(record)
        return record

    def append(self, texts: list[str]) -> None:
        self.complete()
        self.watched.append(b"".join(self.record(text) + b"\n" for text in texts))

    def begin(self, text: str) -> None:
        """Write a part of a record, as a program does that writes whole blocks; it has the file open meanwhile."""
        self.complete()
        record = self.record(text) + b"\n"
        self.rest = record[len(record) // 2 :]
        self.held = open(self.file, "ab", buffering=0)  # noqa: SIM115 - held open over many actions
        self.held.write(record[: len(record) // 2])

    def complete(self, *, line_end: bool = True) -> None:
        if self.held:
            self.held.write(self.rest if line_end else self.rest[:-1])
            self.held.close()
            self.held = None

    def next_generation(self) -> Path:
        self.rotations += 1
        self.written.append([])
        return self.watched.files / f"customers.csv.{self.rotations}"

    def rename(self, *, line_end: bool = True) -> None:
        self.complete(line_end=line_end)
        if self.file.exists():
            os.rename(self.file, self.next_generation())

    def copy(self) -> None:
        self.complete()
        if self.file.exists():
            shutil.copyfile(self.file, self.next_generation())

    def truncate(self) -> None:
        if self.file.exists():
            os.truncate(self.file, 0)

    def replace(self) -> None:
        self.complete()
        if self.file.exists():
            new = self.watched.files / "new"
            new.write_bytes(self.file.read_bytes() + self.record("r") + b"\n")
            os.replace(new, self.file)


def performed(shop: Shop, action: tuple) -> Iterator[Callable[[], object] | None]:
    """What an action does, poll by poll."""
    watched, (name, *arguments) = shop.watched, action

    def accept(count: int) -> None:
        watched.writer.to_accept += count

    def set_skew(seconds: float) -> None:
        watched.skew = seconds

    def synced() -> Iterator[Callable[[], object] | None]:
        """Everything is delivered; a file whose rotated name does not match must be known when it is renamed."""
        yield shop.complete
        for _ in range(100):
            if sorted(watched.stored) == sorted(shop.all_written):
                break
            yield lambda: accept(100)
        yield None
        yield None

    if name == "append":
        yield lambda: shop.append(arguments[0])
    elif name == "begin":
        yield lambda: shop.begin(arguments[0])
    elif name == "poll":
        yield from [None] * arguments[0]
    elif name == "accept":
        yield lambda: accept(arguments[0])
    elif name == "wait":
        yield lambda: set_skew(100)
        yield from [None] * 3
        yield lambda: set_skew(0)  # or a file that is changed later would look old
    elif name == "sync":
        yield from synced()
    elif name == "replace":
        yield from synced()
        yield shop.replace
    elif name == "truncate":
        yield from synced()

        def truncate() -> None:
            shop.next_generation()
            shop.truncate()

        yield truncate
    else:
        if not shop.rotated_match:
            # A file is found again under such a name only if a record of it was delivered before.
            yield lambda: shop.append(["x"])
            yield from synced()
            yield lambda: shop.append(["y"])
        if name.startswith("rename"):
            yield lambda: shop.rename(line_end=name == "rename")
        elif name == "copytruncate":
            yield lambda: (shop.copy(), shop.truncate())
        else:  # with a poll between
            yield shop.copy
            yield shop.truncate


@contextmanager
def shop_in_a_new_folder(*, rotated_match: bool) -> Iterator[Shop]:
    with tempfile.TemporaryDirectory() as folder:
        yield Shop(WatchedFiles(Path(folder)), rotated_match=rotated_match)


@settings(max_examples=150)
@given(st.lists(ACTIONS, max_size=25), st.booleans())
def test_each_record_is_delivered_once_and_in_the_order_of_its_file(actions: list[tuple], rotated_match: bool) -> None:
    with shop_in_a_new_folder(rotated_match=rotated_match) as shop:
        watched = shop.watched
        left = [*actions, ("wait",), ("sync",)]
        while left:
            ends = [index for index, action in enumerate(left) if action[0] in ("kill", "stop")]
            session, left = (left[: ends[0] + 1], left[ends[0] + 1 :]) if ends else (left, [])
            is_killed = session[-1][0] == "kill"
            steps = [action for action in session if action[0] not in ("kill", "stop")]
            watched.session((do for action in steps for do in performed(shop, action)), stop=not is_killed)
        assert sorted(watched.stored) == sorted(shop.all_written)
        for generation in shop.written:
            records = set(generation)
            assert [record for record in watched.stored if record in records] == generation
