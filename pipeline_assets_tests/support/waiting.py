"""Wait for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(
    condition: Callable[[], Found],
    seconds: float = 60,
    *,
    pause: float = 0.02,
    said: Callable[[], str] = lambda: "",
    ended: Callable[[], object] = lambda: False,
    not_yet: tuple[type[Exception], ...] = (),
) -> Found:
    """What a condition returns once it is true; `not_yet` are errors that it raises until then.

    The test fails after some seconds, or as soon as `ended` is true: nothing is left to wait for. It shows what was
    `said`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := condition():
                return found
        except not_yet:
            pass
        assert not ended(), said()
        assert time.monotonic() < deadline, said()
        time.sleep(pause)
