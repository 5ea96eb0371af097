"""Try one mutant after the other in copies of the checkout.

The working tree is never written to: each worker has a copy in a temporary folder that goes with the process, and the
tests import the product from there. A fault is caught when a test fails, fails again alone, and passes alone in a copy
without the fault; so a test that fails now and then, or here anyway, catches nothing.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from . import targets
from .sampling import Mutant
from .sql_faults import normalized

CAUGHT, SURVIVED, TIMED_OUT = "caught", "survived", "timed out"
STAGE_SECONDS = 3600  # for what pytest-timeout cannot end; a test that hangs has met the fault
_LEFT_BEHIND = (".git", ".venv*", ".pipeline", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?\.py(?:::.*?)?)(?: - .*)?$", re.MULTILINE)
_NO_TESTS = 5  # pytest's exit code
_ALL_COLLECTED = "--collect-only"  # asked in the place of a test when pytest failed before it came to one


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant, and the test that caught it."""

    mutant: Mutant
    state: str
    test: str
    seconds: float


@dataclass
class Workshop:
    """Copies of the checkout, and what is known about tests without a fault."""

    root: Path
    folder: Path
    processes: set[subprocess.Popen] = field(default_factory=set)
    passes: dict[str, bool] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closed: bool = False

    def copy(self, name: str) -> Path:
        """A new copy of the checkout, its SQL written as mutants are.

        Bytecode of the product goes by the hash of its source: by time and size a fault of the same second and length
        would not be noticed.
        """
        copy = self.folder / name / "c"
        shutil.copytree(self.root, copy, ignore=shutil.ignore_patterns(*_LEFT_BEHIND))
        checked = py_compile.PycInvalidationMode.CHECKED_HASH
        compileall.compile_dir(copy / targets.PACKAGE, quiet=2, invalidation_mode=checked)
        for environment in self.root.glob(".venv*"):
            (copy / environment.name).symlink_to(environment.resolve())
        for file in targets.files(copy):
            if file.endswith(".sql"):
                path = copy / file
                path.write_text(normalized(path.read_text(encoding="utf-8")), encoding="utf-8")
        return copy

    def pytest(self, copy: Path, arguments: Sequence[str]) -> tuple[str, list[str]]:
        """(caught, survived or timed out, the tests that failed) of a run that stops at the first failure."""
        scratch = copy.parent / "t"
        options = ("-x", "-q", "-rfE", "-p", "no:cacheprovider", "--durations=0", "--durations-min=1000")
        options += ("--hypothesis-seed=0", f"--basetemp={scratch}")
        command = [sys.executable, "-m", "pytest", *options, *arguments]
        output = copy.parent / "output"  # a file: servers that outlive the tests would keep a pipe open
        with self.lock, open(output, "wb") as file:
            if self.closed:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                command,
                cwd=copy,
                env=_environment(copy, self.root),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.processes.add(process)
        try:
            process.wait(timeout=STAGE_SECONDS)
        except subprocess.TimeoutExpired:
            return TIMED_OUT, []
        finally:
            _end(process)
            self.processes.discard(process)
            shutil.rmtree(scratch, ignore_errors=True)
        if process.returncode in (0, _NO_TESTS):
            return SURVIVED, []
        said = output.read_text(encoding="utf-8", errors="replace")
        return (TIMED_OUT if "Failed: Timeout" in said else CAUGHT), _FAILED.findall(said)

    def passes_without(self, test: str) -> bool:
        """Whether a test passes alone in a copy without a fault; asked once."""
        with self.lock:
            known = self.passes.get(test)
        if known is None:
            known = self.pytest(self.folder / "clean" / "c", [test])[0] == SURVIVED
            with self.lock:
                self.passes[test] = known
        return known

    def close(self) -> None:
        """End what still runs."""
        with self.lock:
            self.closed = True
            for process in list(self.processes):
                _end(process)


@contextmanager
def workshop(root: Path = targets.ROOT) -> Iterator[Workshop]:
    """A folder for copies, gone afterwards."""
    with TemporaryDirectory(prefix="mutate-", ignore_cleanup_errors=True) as folder:
        made = Workshop(root, Path(folder))
        try:
            yield made
        finally:
            made.close()


def try_all(shop: Workshop, mutants: Sequence[Mutant], *, jobs: int, stages: int | None = None) -> Iterator[Outcome]:
    """Outcomes as they come, `jobs` mutants at a time; `stages` leaves the tests out that are further away.

    All mutants meet their nearest tests first, and only those left meet the next: most are caught in minutes.
    """
    copies: SimpleQueue[Path] = SimpleQueue()
    shop.copy("clean")
    for number in range(jobs):
        copies.put(shop.copy(str(number)))

    def work(before: Outcome, tests: Sequence[str]) -> Outcome:
        copy = copies.get()
        try:
            outcome = try_one(shop, copy, before.mutant, tests)
        finally:
            copies.put(copy)
        return replace(outcome, seconds=before.seconds + outcome.seconds)

    left = [(Outcome(mutant, SURVIVED, "", 0), targets.stages(mutant.file, shop.root)[:stages]) for mutant in mutants]
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while left:
                waiting = {pool.submit(work, outcome, tests): further for outcome, (tests, *further) in left}
                left = []
                for done in as_completed(waiting):
                    if done.result().state == SURVIVED and waiting[done]:
                        left.append((done.result(), waiting[done]))
                    else:
                        yield done.result()
        except BaseException:
            shop.close()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def try_one(shop: Workshop, copy: Path, mutant: Mutant, tests: Sequence[str]) -> Outcome:
    """Put a fault into a copy, ask tests, and take it out again."""
    began = time.monotonic()
    path = copy / mutant.file
    without = path.read_text(encoding="utf-8")
    path.write_text(mutant.text, encoding="utf-8")
    try:
        state, test = _asked(shop, copy, tests)
    finally:
        path.write_text(without, encoding="utf-8")
    return Outcome(mutant, state, test, time.monotonic() - began)


def _asked(shop: Workshop, copy: Path, tests: Sequence[str]) -> tuple[str, str]:
    unsteady: list[str] = []
    while True:
        state, failed = shop.pytest(copy, [*tests, *(f"--deselect={test}" for test in unsteady)])
        if state == SURVIVED:
            return state, ""
        test = failed[0] if failed else _ALL_COLLECTED
        if shop.passes_without(test) and shop.pytest(copy, [test])[0] != SURVIVED:
            return state, test
        if state == TIMED_OUT and not failed:
            return state, "a test that never ended"
        if test in (*unsteady, _ALL_COLLECTED):
            raise RuntimeError(f"The tests fail without a fault, too: {test}.")
        unsteady.append(test)


def _environment(copy: Path, root: Path) -> dict[str, str]:
    """Ours, with the copy in the place of the checkout."""
    others = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and Path(part) != root]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PIPELINE_"))}
    return kept | {"PYTHONPATH": os.pathsep.join([str(copy), *others])}


def _end(process: subprocess.Popen) -> None:
    """End a test run with all that it started; asked first, so that tests stop their servers."""
    with suppress(subprocess.TimeoutExpired):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
