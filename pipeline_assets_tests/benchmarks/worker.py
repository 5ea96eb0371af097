"""The fresh process of one measurement: import, start the clock, work, stop it.

A process of its own gives every contender the same cold start and makes its memory its own. Imports come before the
clock and are reported beside it, with what a contender opens then: a library takes as long to import for one row as
for four million.

The answer goes to a file, as contenders (Spark) print whatever they like.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path


def main(request: dict) -> dict:
    """Run the request's function; an exception becomes the answer's `failure`."""
    inputs, folder = Path(request["inputs"]), Path(request["folder"])
    try:
        started = time.perf_counter()
        for module in request["imports"]:
            importlib.import_module(module)
        work, opens = _function(request["work"]), request["opens"]
        with ExitStack() as stack:
            opened = [stack.enter_context(_function(opens)(folder))] if opens else []
            imported = time.perf_counter()
            rows = work(inputs, folder, *opened, **request["arguments"])
            ended, peak = time.perf_counter(), _peak_bytes()
    except Exception as error:  # noqa: BLE001 - whatever stopped a contender is its result
        return {"failure": f"{type(error).__name__}: {error}"}
    return {"seconds": ended - imported, "imports": imported - started, "peak": peak, "rows": rows}


def _function(name: str) -> Callable:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _peak_bytes() -> int:
    # Not ru_maxrss: after an exec that still counts the memory of the process that forked this one.
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    Path(asked["answer"]).write_text(json.dumps(main(asked)))
