"""`stream`: the producer of streamed records, until it is stopped."""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_assets.commands.shared import prepared_settings
from pipeline_assets.console import say

if TYPE_CHECKING:
    from pipeline_assets.commerce.producer import Progress

_REPORT_SECONDS = {True: 0.2, False: 60.0}  # by whether stderr is a terminal


def stream(
    once: Annotated[bool, typer.Option("--once", help="Deliver what the files have now, and end.")] = False,
) -> None:
    """Tail the files of PIPELINE_COMMERCE_WATCH and deliver each record to its stream, until SIGTERM or Ctrl-C."""
    from pipeline_assets.commerce.pipeline import COMMERCE
    from pipeline_assets.commerce.producer import open_producer
    from pipeline_assets.lake.delivery import build_delivery

    settings = prepared_settings()
    logging.getLogger("pipeline_assets").setLevel(logging.INFO)
    with open_producer(build_delivery(settings), COMMERCE, once=once) as producer, _signals() as (received, wait):
        try:
            if once:
                producer.deliver_available(lambda: bool(received))
            else:
                producer.follow(wait, _reporter(sys.stderr.isatty()))
        finally:
            if sys.stderr.isatty() and not once:
                say("")
        for name, progress in producer.progress().items():
            print(f"{name}: {_delivered(progress)}")
    if signal.SIGINT in received:
        raise KeyboardInterrupt


@contextmanager
def _signals() -> Iterator[tuple[list[int], Callable[[float], bool]]]:
    """Catch SIGTERM and SIGINT: a list of those that arrived, and a function that waits for one for some seconds.

    The producer stops between two steps and delivers what is buffered; a second signal ends the process at once, which
    loses nothing either.
    """
    received: list[int] = []
    reader, writer = os.pipe()

    def note(number: int, _: object) -> None:
        received.append(number)
        os.write(writer, b".")
        signal.signal(number, before[signal.Signals(number)])

    def wait(seconds: float) -> bool:
        if not received:
            select.select([reader], [], [], seconds)
        return bool(received)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received, wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _reporter(is_terminal: bool) -> Callable[[Mapping[str, Progress]], None]:
    """Show progress: in a terminal one line that is rewritten, else a line now and then if something was delivered."""
    shown_at, shown = time.monotonic(), ""

    def report(streams: Mapping[str, Progress]) -> None:
        nonlocal shown_at, shown
        if time.monotonic() - shown_at < _REPORT_SECONDS[is_terminal]:
            return
        shown_at = time.monotonic()
        text = "; ".join(f"{name}: {_delivered(progress)}, {_behind(progress)}" for name, progress in streams.items())
        if is_terminal:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif text != shown:
            say(text)
        shown = text

    return report


def _delivered(progress: Progress) -> str:
    rejected = f", {progress.rejected} rejected" if progress.rejected else ""
    return f"{progress.records:,} records, {progress.bytes:,} bytes delivered{rejected}"


def _behind(progress: Progress) -> str:
    return f"{progress.bytes_behind:,} bytes and {progress.seconds_behind:.0f} s behind"
