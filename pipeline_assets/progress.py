"""The progress of long steps: `reporting` reports a line every few seconds, with amount, rate and time left.

A thread reports, as one statement of a database may take minutes. The interval is that of the run, not of a step, so
that thousands of short steps are reported as well. Without `reporting`, a step costs nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

REPORT_SECONDS = 5.0

Clock = Callable[[], float]


class Progress:
    """A step that is under way; `doing` says what it does, `unit` what it counts: `rows`, `bytes` or the like.

    `total` is None if it is not known; a step that counts nothing has no unit. `measure` returns the amount that is
    done, for a step that cannot call `advance`.
    """

    def __init__(
        self,
        doing: str,
        unit: str = "",
        total: int | None = None,
        measure: Callable[[], float] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._doing, self._unit, self._total, self._measure, self._clock = doing, unit, total, measure, clock
        self._started = clock()
        self._done = self._skipped = 0.0
        self._lock = threading.Lock()

    def skip(self, count: int) -> None:
        """Count what an earlier run has done; it does not enter the rate."""
        with self._lock:
            self._done += count
            self._skipped += count

    def advance(self, count: int = 1) -> None:
        """Count what is done; any thread may call it."""
        with self._lock:
            self._done += count

    def text(self) -> str:
        """For example `Asking the API: 1,200 of 5,000 titles, 20 a second, 3 minutes left`."""
        seconds = self._clock() - self._started
        if self._measure:
            self._done = max(self._done, self._measure())
        if not self._unit:
            return f"{self._doing}: {_duration(seconds)} so far"
        rate = (self._done - self._skipped) / seconds if seconds > 0 else 0.0
        shown, unit = (_megabytes, "MB") if self._unit == "bytes" else (_count, self._unit)
        done = f"{shown(self._done)} of {shown(self._total)} {unit}" if self._total else f"{shown(self._done)} {unit}"
        per = f"{'MB ' * (unit == 'MB')}a"
        speed = f"{shown(rate)} {per} second" if rate >= 1 else f"{shown(rate * 60)} {per} minute"
        if not (self._total and rate) or self._done >= self._total:
            return f"{self._doing}: {done}, {speed}"
        return f"{self._doing}: {done}, {speed}, {_duration((self._total - self._done) / rate)} left"


class _Steps:
    """The steps that are under way, the innermost last."""

    def __init__(self) -> None:
        self._steps: list[Progress] = []
        self._lock = threading.Lock()

    def begin(self, step: Progress) -> None:
        with self._lock:
            self._steps.append(step)

    def end(self, step: Progress) -> None:
        """Remove a step, once nobody measures it: the file that it measures may be deleted afterwards."""
        with self._lock:
            self._steps.remove(step)

    def text(self) -> str:
        """The line of the innermost step; empty if none is under way."""
        with self._lock:
            return self._steps[-1].text() if self._steps else ""


_steps: ContextVar[_Steps | None] = ContextVar("steps", default=None)


@contextmanager
def reporting(say: Callable[[str], None], seconds: float | None = None) -> Iterator[None]:
    """Call `say`, from a thread, with a line about the innermost step in the block every `seconds`.

    Blocks may be nested; each has its own interval, by default REPORT_SECONDS.
    """
    steps = _steps.get() or _Steps()
    ended, interval = threading.Event(), REPORT_SECONDS if seconds is None else seconds

    def report() -> None:
        while not ended.wait(interval):
            if line := steps.text():
                say(line)

    thread = threading.Thread(target=report, name="progress", daemon=True)
    token = _steps.set(steps)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _steps.reset(token)


@contextmanager
def progress(
    doing: str, unit: str = "", total: int | None = None, *, measure: Callable[[], float] | None = None
) -> Iterator[Progress]:
    """A step that `reporting` reports while the block runs; see `Progress`."""
    steps, step = _steps.get(), Progress(doing, unit, total, measure)
    if steps is None:
        yield step
        return
    steps.begin(step)
    try:
        yield step
    finally:
        steps.end(step)


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _megabytes(number: float) -> str:
    return f"{number / 1e6:,.1f}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(0, seconds):.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
