"""Tailing files: appended, rotated, truncated, copied and replaced ones; restarts of the producer in between."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.commerce import tail
from pipeline_assets.lake.delivery_stream import MAX_RECORD_BYTES
from pipeline_assets_tests.support.watched_files import WatchedFiles

MINUTES = 120.0


@contextmanager
def before_calls(actions: list[tuple[int, Callable[[], object]]]) -> Iterator[list[tuple[int, Callable[[], object]]]]:
    """Act before the calls of these numbers that look at files; what was not reached is left in the list."""
    real = {name: getattr(os, name) for name in ("scandir", "open", "pread", "fstat")}
    count = 0

    def watch(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count = number = count + 1
            while actions and actions[0][0] == number:
                actions.pop(0)[1]()
            return function(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name, function in real.items():
            patch.setattr(os, name, watch(function))
        yield actions


@pytest.fixture
def watched(tmp_path: Path) -> WatchedFiles:
    return WatchedFiles(tmp_path)


def test_files_are_read_from_their_start_and_then_what_is_appended(watched: WatchedFiles) -> None:
    watched.append("1,a\n2,b\n")
    watched.session([None, lambda: watched.append("3,c\n"), None, None])
    assert watched.stored == [b"1,a", b"2,b", b"3,c"]


def test_a_restart_repeats_and_loses_nothing(watched: WatchedFiles) -> None:
    watched.append("1,a\n")
    watched.deliver()
    watched.append("2,b\n")
    assert watched.deliver() == watched.deliver() == [b"1,a", b"2,b"]


def test_what_the_stream_did_not_accept_is_delivered_after_a_kill(watched: WatchedFiles) -> None:
    watched.append("1,a\n2,b\n3,c\n")

    def accept_one() -> None:
        watched.writer.to_accept = 1

    watched.session([None, accept_one, None, None], stop=False)
    assert watched.stored == [b"1,a"]
    assert watched.deliver() == [b"1,a", b"2,b", b"3,c"]


def test_a_file_that_appears_later_is_delivered(watched: WatchedFiles) -> None:
    watched.session([None, lambda: watched.append("1,a\n"), None, None, None])
    assert watched.stored == [b"1,a"]


def test_files_of_other_names_and_packed_ones_are_left_alone(watched: WatchedFiles) -> None:
    watched.pattern = "customers*"
    watched.append("1,a\n", "orders.csv")
    watched.append("1,a\n", "customers.csv.gz")
    (watched.files / "customers.csv.d").mkdir()
    assert watched.deliver() == []


def test_older_files_come_first(watched: WatchedFiles) -> None:
    for name, age in (("customers-b.csv", 300), ("customers-a.csv", 100), ("customers-c.csv", 200)):
        watched.append(f"{name}\n", name)
        os.utime(watched.files / name, (1e9 - age, 1e9 - age))
    assert watched.deliver() == [b"customers-b.csv", b"customers-c.csv", b"customers-a.csv"]


def test_a_record_without_line_end_waits(watched: WatchedFiles) -> None:
    watched.append("1,a\n2,")
    with open(watched.files / "customers.csv", "ab") as file:  # its writer, which has not flushed the rest

        def complete() -> None:
            file.write(b"b\n")
            file.flush()

        def age() -> None:
            watched.skew += MINUTES

        watched.session([None, age, None, None, lambda: watched.writer.flush(), None])
        assert watched.stored == [b"1,a"]
        assert watched.deliver_once() == [b"1,a"]
        watched.session([None, complete, None, None])
    assert watched.stored == [b"1,a", b"2,b"]


def test_a_quoted_line_end_does_not_cut_a_record(watched: WatchedFiles) -> None:
    watched.append('1,"a\n')
    with open(watched.files / "customers.csv", "ab") as file:
        watched.deliver()
        assert watched.stored == []
        file.write(b'b"\n')
    assert watched.deliver() == [b'1,"a\nb"']


def test_the_last_record_of_a_file_that_nobody_writes_needs_no_line_end(watched: WatchedFiles) -> None:
    watched.append("1,a\n2,b")
    assert watched.deliver() == [b"1,a"]
    watched.skew += MINUTES
    assert watched.deliver() == [b"1,a", b"2,b"]


def test_once_takes_files_as_complete(watched: WatchedFiles) -> None:
    watched.append("1,a\n2,b")
    assert watched.deliver_once() == [b"1,a", b"2,b"]
    watched.append("\n3,c\n")
    assert watched.deliver_once() == [b"1,a", b"2,b", b"3,c"]


def test_a_byte_order_mark_travels_with_its_record(watched: WatchedFiles) -> None:
    watched.append(b'\xef\xbb\xbf"1\n1",a\n2,b\n')
    assert watched.deliver() == [b'\xef\xbb\xbf"1\n1",a', b"2,b"]


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize("new_name", ["customers.csv.1", "customers-1.csv"])
def test_a_renamed_file_is_read_to_its_end_before_its_successor(
    watched: WatchedFiles, is_running: bool, new_name: str
) -> None:
    watched.append("1,a\n")

    def rotate() -> None:
        watched.append("2,b\n")
        os.rename(watched.files / "customers.csv", watched.files / new_name)
        watched.append("4,d\n")
        watched.append("3,c\n", new_name)  # the writer opens the new file a little later

    if is_running:
        watched.session([None, None, rotate, None, None, None, None])
    else:
        watched.deliver()
        rotate()
        watched.deliver()
    assert watched.stored == [b"1,a", b"2,b", b"3,c", b"4,d"]


def test_a_deleted_file_is_read_to_its_end(watched: WatchedFiles) -> None:
    watched.append("1,a\n")

    def delete() -> None:
        watched.append("2,b\n3,c")
        (watched.files / "customers.csv").unlink()

    watched.session([None, None, delete, *[None] * 5])
    assert watched.stored == [b"1,a", b"2,b", b"3,c"]


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize("again", ["", "3,c\n", "3,c\n4,dddddddddddddddd\n"], ids=["empty", "shorter", "longer"])
def test_a_truncated_file_is_read_from_its_start(watched: WatchedFiles, is_running: bool, again: str) -> None:
    watched.append("1,a\n2,b\n")

    def truncate() -> None:
        (watched.files / "customers.csv").write_text(again)

    if is_running:
        watched.session([None, None, truncate, None, None, None])
    else:
        watched.deliver()
        truncate()
        watched.deliver()
    assert watched.stored == [b"1,a", b"2,b", *again.encode().splitlines()]


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize("copy", ["customers.csv.1", "customers-1.csv"])
def test_copytruncate_loses_and_repeats_nothing(watched: WatchedFiles, is_running: bool, copy: str) -> None:
    """The copy has what was appended since the last poll; the truncated file goes on from its start."""
    watched.append("1,a\n")

    def rotate() -> None:
        watched.append("2,b\n")
        shutil.copyfile(watched.files / "customers.csv", watched.files / copy)
        os.truncate(watched.files / "customers.csv", 0)
        watched.append("3,ccccccccccccccc\n")

    if is_running:
        watched.session([None, None, rotate, *[None] * 6])
    else:
        watched.deliver()
        rotate()
        watched.skew += MINUTES
        watched.deliver()
    assert sorted(watched.stored) == [b"1,a", b"2,b", b"3,ccccccccccccccc"]
    assert watched.stored.index(b"2,b") == 1


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("calls_between", [0, 3, 10])
def test_copytruncate_at_any_moment_loses_and_repeats_nothing(
    tmp_path: Path, is_known: bool, calls_between: int
) -> None:
    """A busy machine stops the producer anywhere: each of its looks at the files is once the one before the copy."""
    for call in itertools.count(1):
        watched = WatchedFiles(tmp_path / str(call))
        file = watched.files / "customers.csv"
        watched.append("1,a\n")
        if is_known:
            watched.deliver()
        watched.append("2,b\n")

        def copy(file: Path = file) -> None:
            shutil.copyfile(file, file.with_name("customers-1.csv"))

        def truncate(file: Path = file) -> None:
            file.write_text("3,ccccccccccccccc\n")

        with before_calls([(call, copy), (call + calls_between, truncate)]) as left:
            watched.session([None] * 6)
        if left:
            break
        watched.deliver()
        assert sorted(watched.stored) == [b"1,a", b"2,b", b"3,ccccccccccccccc"], f"copied before call {call}"
    assert call > 10


def test_a_copy_that_is_being_made_waits_for_the_truncation(watched: WatchedFiles) -> None:
    watched.append("1,a\n2,b\n")
    copy, file = watched.files / "customers-1.csv", watched.files / "customers.csv"
    part, whole = lambda: copy.write_bytes(b"1,a\n"), lambda: shutil.copyfile(file, copy)
    watched.session([None, None, part, None, whole, None, lambda: os.truncate(file, 0), None, None])
    assert watched.stored == [b"1,a", b"2,b"]


def test_a_copy_whose_original_stays_is_a_file_of_its_own(watched: WatchedFiles) -> None:
    """Somebody delivers the same records again, as a new file."""
    watched.append("1,a\n")
    watched.deliver()
    shutil.copyfile(watched.files / "customers.csv", watched.files / "customers-1.csv")
    watched.skew += MINUTES
    assert watched.deliver() == [b"1,a", b"1,a"]


def test_a_file_that_is_replaced_by_a_longer_one_goes_on(watched: WatchedFiles) -> None:
    """rsync and editors write a new file and rename it."""
    watched.append("1,a\n")
    watched.deliver()
    watched.append("1,a\n2,b\n", "new")
    os.replace(watched.files / "new", watched.files / "customers.csv")
    assert watched.deliver() == [b"1,a", b"2,b"]


def test_a_reused_inode_is_another_file(watched: WatchedFiles) -> None:
    watched.append("1,a\n2,b\n")
    watched.deliver()
    inode = (watched.files / "customers.csv").stat().st_ino
    # Truncating and renaming gives the same inode for certain, which deleting and creating only may do.
    (watched.files / "customers.csv").write_text("7,x\n8,y\n9,z\n")
    os.rename(watched.files / "customers.csv", watched.files / "customers-9.csv")
    assert (watched.files / "customers-9.csv").stat().st_ino == inode
    assert watched.deliver() == [b"1,a", b"2,b", b"7,x", b"8,y", b"9,z"]


def test_a_file_that_is_not_watched_is_not_read_for_its_inode(watched: WatchedFiles) -> None:
    watched.append("1,a\n")
    watched.deliver()
    (watched.files / "customers.csv").write_text("private notes\n")
    os.rename(watched.files / "customers.csv", watched.files / "notes.txt")
    assert watched.deliver() == [b"1,a"]


def test_a_file_that_cannot_be_read_does_not_stop_the_others(
    watched: WatchedFiles, caplog: pytest.LogCaptureFixture
) -> None:
    def loop() -> None:
        (watched.files / "customers-1.csv").symlink_to(watched.files / "customers-1.csv")
        watched.append("1,a\n")

    watched.session([None, loop, None, None, None])
    assert watched.stored == [b"1,a"]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message == f"{watched.files}/customers-1.csv cannot be read: Too many levels of symbolic links."


def test_a_file_that_is_rotated_while_the_producer_looks_at_it_is_delivered(
    watched: WatchedFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Between any listing and the first opening of its files, the start of a producer included."""
    find = tail.Tail._watched

    def find_and_rotate(self: tail.Tail, listing: tail.Listing) -> object:
        found = find(self, listing)
        for number, (path, _) in enumerate(found.values()):
            os.rename(path, watched.files / f"customers-{len(os.listdir(watched.files))}-{number}.csv")
        return found

    watched.append("1,a\n")
    monkeypatch.setattr(tail.Tail, "_watched", find_and_rotate)
    watched.session([None, None, monkeypatch.undo, None, None])
    assert watched.stored == [b"1,a"]
    assert not caplog.records


def test_a_missing_file_is_forgotten_after_a_week(watched: WatchedFiles) -> None:
    watched.append("1,a\n")
    watched.deliver()
    os.rename(watched.files / "customers.csv", watched.folder / "away")
    watched.deliver()
    os.rename(watched.folder / "away", watched.files / "customers.csv")
    assert watched.deliver() == [b"1,a"]
    os.rename(watched.files / "customers.csv", watched.folder / "away")
    watched.deliver()
    watched.skew += 8 * 24 * 3600
    watched.deliver()
    os.rename(watched.folder / "away", watched.files / "customers.csv")
    assert watched.deliver() == [b"1,a", b"1,a"]


def test_more_files_than_may_be_open_are_all_delivered(watched: WatchedFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "_MAX_OPEN_FILES", 2)
    for number in range(9):
        watched.append(f"{number},a\n", f"customers-{number}.csv")

    def append() -> None:
        for number in range(9):
            watched.append(f"{number},b\n", f"customers-{number}.csv")

    watched.session([*[None] * 12, append, *[None] * 12])
    assert sorted(watched.stored) == sorted(f"{number},{text}".encode() for number in range(9) for text in "ab")


@pytest.mark.parametrize("size", [MAX_RECORD_BYTES, 2 * MAX_RECORD_BYTES, 6 << 20], ids=["limit", "2 MB", "6 MB"])
def test_a_record_that_is_too_long_is_kept_and_named_and_the_others_go_on(
    watched: WatchedFiles, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    long = b"2," + b"s" * (size - 2)
    watched.append(b"1,a\n" + long + b"\n3,c\n")
    for _ in range(2):
        assert watched.deliver() == [b"1,a", b"3,c"]
    (kept,) = (watched.folder / "producer" / "rejected").glob("*.csv")
    assert kept.read_bytes() == long + b"\n"
    (message,) = [record.getMessage() for record in caplog.records]
    assert f"customers.csv, line 2: the record has {size + 1} bytes" in message
    assert "ssss" not in message


def test_the_longest_record_that_fits_is_delivered(watched: WatchedFiles) -> None:
    record = b"1," + b"x" * (MAX_RECORD_BYTES - 3)
    watched.append(record + b"\n")
    assert watched.deliver() == [record]


def test_progress_counts_what_is_delivered_and_what_is_behind(watched: WatchedFiles) -> None:
    watched.append("1,a\n2,b\n3,")
    with open(watched.files / "customers.csv", "ab"):
        watched.deliver()
    progress = watched.progress["customers"]
    assert (progress.records, progress.bytes, progress.bytes_behind, progress.seconds_behind) == (2, 8, 2, 0)
