"""The producer dies by SIGKILL at random moments while its files grow and rotate: nothing is lost or out of order."""

from __future__ import annotations

import csv
import io
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_assets_tests.support.producer_processes import ProducerProcesses
from pipeline_assets_tests.support.waiting import until

KILLS = 50


class GrowingFile:
    """`customers.csv`, which a shop appends to and rotates. The first field of a record is "generation-number"."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True)
        self.folder, self.path, self.random = folder, folder / "customers.csv", random.Random(seed)
        self.generation, self.number, self.written = 0, 0, 0

    def append(self) -> None:
        with open(self.path, "ab") as file:
            for _ in range(self.random.randint(1, 40)):
                mark = b"\xef\xbb\xbf" if self.number == 0 else b""
                text = self.random.choice(['"two\nlines"', "x" * 200, '"a ""b"", c"'])
                record = mark + f"{self.generation}-{self.number},{text}\n".encode()
                cut = self.random.randint(0, len(record))
                file.write(record[:cut])
                if self.random.random() < 0.2:
                    file.flush()  # the producer may see a part
                file.write(record[cut:])
                self.number += 1
                self.written += 1

    def rotate(self) -> None:
        """By rename or by copy and truncation, as logrotate does."""
        if not self.path.exists() or not self.path.stat().st_size:
            return
        rotated = self.folder / f"customers-{self.generation}.csv"
        if self.random.random() < 0.5:
            os.rename(self.path, rotated)
        else:
            shutil.copyfile(self.path, rotated)
            os.truncate(self.path, 0)
        self.generation, self.number = self.generation + 1, 0

    def grow_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.append()
            if self.random.random() < 0.15:
                self.rotate()
            time.sleep(0.002)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def producers(home: Path) -> Iterator[ProducerProcesses]:
    processes = ProducerProcesses(home, PIPELINE_STREAM_BUFFER_SECONDS="0.02")
    yield processes
    processes.close()


def delivered(home: Path) -> list[tuple[int, int]]:
    """(generation, number) of each record, in the order of delivery; every object must be whole."""
    objects = [path for path in (home / "lake").rglob("*") if path.is_file()]
    records = []
    for path in sorted(objects, key=lambda path: path.stat().st_mtime_ns):
        text = path.read_bytes().decode()
        assert text.endswith("\n")
        for row in csv.reader(io.StringIO(text, newline=""), strict=True):
            assert len(row) == 2, "a record was cut"
            generation, number = row[0].removeprefix("\ufeff").split("-")
            records.append((int(generation), int(number)))
    return records


@pytest.mark.parametrize("seed", [1])
def test_a_producer_that_is_killed_fifty_times_loses_nothing(
    home: Path, producers: ProducerProcesses, seed: int
) -> None:
    """A record may be delivered again, together with those behind it, but never behind a newer one alone."""
    file = GrowingFile(home / "sources" / "commerce", seed)
    checkpoint = home / "sources" / "commerce" / "producer" / "checkpoint.json"
    file.append()

    def written_at() -> int:
        return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0

    for _ in range(KILLS):
        before = written_at()
        child = producers.start()
        until(lambda before=before: written_at() != before, pause=0.002)  # it is running
        file.grow_for(file.random.uniform(0, 0.08))
        os.kill(child, signal.SIGKILL)
        assert producers.wait() == -signal.SIGKILL
    before_the_end = len(delivered(home))
    producers.start("--once")
    assert producers.wait() == 0

    records = delivered(home)
    assert len(set(records)) == file.written
    assert before_the_end > KILLS, "the producers were killed before they did anything"
    last: dict[int, int] = {}
    for generation, number in records:
        # The next record, or one that was delivered before: then all behind it follow again.
        assert number <= last.get(generation, -1) + 1
        last[generation] = number
    assert last == {generation: max(n for g, n in records if g == generation) for generation in last}


def test_a_stopped_producer_repeats_nothing(home: Path, producers: ProducerProcesses) -> None:
    file = GrowingFile(home / "sources" / "commerce", 2)
    file.append()
    for _ in range(10):
        child = producers.start()
        file.grow_for(file.random.uniform(0.02, 0.1))
        os.kill(child, signal.SIGTERM)
        assert producers.wait() in (0, -signal.SIGTERM)  # the latter before it has begun
    producers.start("--once")
    assert producers.wait() == 0
    records = delivered(home)
    assert len(records) == len(set(records)) == file.written
