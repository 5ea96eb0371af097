"""Progress lines: what they say, and when there is one."""

from __future__ import annotations

import threading
import time
from queue import Queue

import pytest

from pipeline_assets.progress import Progress, progress, reporting


@pytest.mark.parametrize(
    ("unit", "total", "skipped", "done", "seconds", "text"),
    [
        ("titles", 5000, 0, 1200, 60, "1,200 of 5,000 titles, 20 a second, 3 minutes left"),
        ("titles", 5000, 1000, 200, 10, "1,200 of 5,000 titles, 20 a second, 3 minutes left"),
        ("rows", 100, 0, 40, 4, "40 of 100 rows, 10 a second, 6 seconds left"),
        ("rows", 2000, 0, 10, 40, "10 of 2,000 rows, 15 a minute, 2.2 hours left"),
        ("rows", None, 0, 40, 4, "40 rows, 10 a second"),
        ("rows", 100, 0, 0, 0, "0 of 100 rows, 0 a minute"),
        ("rows", 100, 0, 120, 4, "120 of 100 rows, 30 a second"),
        ("bytes", 1_000_000_000, 0, 250_000_000, 5, "250.0 of 1,000.0 MB, 50.0 MB a second, 15 seconds left"),
        ("bytes", None, 0, 1_500_000, 5, "1.5 MB, 0.3 MB a second"),
        ("bytes", None, 0, 0, 10, "0.0 MB, 0.0 MB a minute"),
        ("", None, 0, 0, 12, "12 seconds so far"),
    ],
)
def test_a_line_has_the_amount_the_rate_and_the_time_left(
    unit: str, total: int | None, skipped: int, done: int, seconds: float, text: str
) -> None:
    now = [0.0]
    step = Progress("Extracting books", unit, total, clock=lambda: now[0])
    step.skip(skipped)
    now[0] = seconds
    step.advance(done)
    assert step.text() == f"Extracting books: {text}"


def test_a_measured_amount_never_goes_back() -> None:
    amounts, now = iter([10.0, 4.0]), [0.0]
    step = Progress("Reading", "rows", measure=lambda: next(amounts), clock=lambda: now[0])
    now[0] = 1
    assert [step.text(), step.text()] == ["Reading: 10 rows, 10 a second"] * 2


def test_the_innermost_step_is_reported_until_it_ends() -> None:
    lines: Queue[str] = Queue()
    with reporting(lines.put, 0.001), progress("Opening"):
        assert lines.get(timeout=10).startswith("Opening: ")
        with progress("Unpacking", "bytes"):
            while not lines.get(timeout=10).startswith("Unpacking: "):
                pass
        while not lines.get(timeout=10).startswith("Opening: "):
            pass


def test_nothing_is_reported_between_steps_and_before_the_interval() -> None:
    lines: list[str] = []
    with reporting(lines.append, 60), progress("Reading"):
        pass
    with reporting(lines.append, 0.001):
        pass
    assert lines == []


def test_each_of_two_reports_has_every_step() -> None:
    one: Queue[str] = Queue()
    other: Queue[str] = Queue()
    with reporting(one.put, 0.001), reporting(other.put, 0.001), progress("Reading"):
        assert one.get(timeout=10).startswith("Reading: ")
        assert other.get(timeout=10).startswith("Reading: ")


def test_no_thread_is_left_whatever_ends_the_block() -> None:
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), reporting(lambda line: None), progress("Reading"):
        raise KeyboardInterrupt
    assert threading.active_count() == before


def test_any_thread_may_count() -> None:
    step = Progress("Copying", "objects")
    threads = [threading.Thread(target=lambda: [step.advance() for _ in range(10_000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert step.text().startswith("Copying: 80,000 objects")


def test_a_step_is_not_measured_after_its_end() -> None:
    """What it measures may be closed or moved by then."""
    measured, is_open = threading.Event(), [True]
    seen: list[bool] = []

    def measure() -> float:
        measured.set()
        time.sleep(0.05)  # a slow measurement is under way when the step ends
        seen.append(is_open[0])
        return 1

    with reporting(lambda line: None, 0.001):
        with progress("Reading", "rows", measure=measure):
            assert measured.wait(10)
        is_open[0] = False
    assert all(seen)
