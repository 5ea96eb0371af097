"""Measure contenders fairly: fresh processes, interleaved rounds, medians.

Rounds run A B C A B C, so that a machine that slows down slows everybody down. The first round warms the page cache and
is thrown away. The contenders of a round share its folder and run in the order listed, so one may go on from
where an earlier one stopped; what a contender leaves in `out/` is deleted after it.

The surprising thing: the disk is flushed and free memory is touched before every measurement. Otherwise a contender
pays for writing back the result of the one before it, or for memory that the host of a virtual machine has taken back.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

PROJECT_ROOT = Path(__file__).parents[2]
ROUNDS = 3
QUICK_ROUNDS = 2
QUIET = 0.1
_SAMPLE_SECONDS = 0.05
_SERVERS = ("mariadbd",)  # that contenders read from: their memory is no contender's
_TICKS = os.sysconf("SC_CLK_TCK")
_TOUCHED = 2_000_000_000  # bytes, more than most contenders write and allocate
_TIME_LIMIT = 900


@dataclass(frozen=True)
class Bar:
    """What is asked of ours, beside one contender.

    `at_most`: ours takes at most `limit` times this contender's time. `faster`: ours is at least `limit` times as fast.
    `seconds`: this contender itself takes at most `limit` seconds.
    `peak`: this contender itself takes at most `limit` MB of memory, and at most `growth` times as much as ours.
    """

    kind: Literal["at_most", "faster", "seconds", "peak"]
    limit: float
    growth: float | None = None

    @property
    def alone(self) -> bool:
        """Whether the contender is judged without ours."""
        return self.kind in ("seconds", "peak") and self.growth is None

    @property
    def about(self) -> str:
        """The field of a measurement that is judged."""
        return "peak" if self.kind == "peak" else "seconds"

    def measured(self, ours: float, contender: float) -> float:
        if self.kind == "peak":
            return contender / 1e6
        return {"at_most": ours / contender, "faster": contender / ours, "seconds": contender}[self.kind]

    def met(self, ours: float, contender: float) -> bool:
        measured = self.measured(ours, contender)
        grown = self.growth is not None and contender > self.growth * ours
        return measured >= self.limit if self.kind == "faster" else measured <= self.limit and not grown


@dataclass(frozen=True)
class Contender:
    """A way to do the work.

    Functions are of a module (a fresh process finds them by name) and take (inputs, folder, **arguments). `work` is
    measured; `prepare` runs before it and `rows_of`, which counts the rows of the result, after it, both in another
    process; `work` may return the rows instead. Other than `expected_rows` is a failure: fast and wrong is not fast.
    `opens` is a context manager of the folder, entered before the clock; `work` takes what it gives as third argument.
    One that is measured `once` is so in the first round after the warm-up. A `table` of its own has a first line of its
    own, which is "ours" for the lines below it.
    """

    name: str
    work: Callable
    prepare: Callable | None = None
    rows_of: Callable | None = None
    opens: Callable | None = None
    expected_rows: int | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    bar: Bar | None = None
    once: bool = False
    table: str = ""


@dataclass(frozen=True)
class Benchmark:
    """Contenders for one job; the first is ours. The ratios refer to it, or to the contender named by `ratio_to`.

    `make_inputs` is a function (inputs, folder) that fills the folder `inputs` with files for all. They are made once;
    and again when the text of one of `inputs_from`, the source files that decide about them, has changed. `small` is
    measured in its place when time is short; its name is its own, as its inputs are.
    """

    name: str
    title: str
    about: str
    contenders: tuple[Contender, ...]
    make_inputs: Callable | None = None
    inputs_from: tuple[Path, ...] = ()
    rounds: int = ROUNDS
    quick_rounds: int = QUICK_ROUNDS
    ratio_to: str | None = None
    small: Benchmark | None = None

    def sized(self, *, quick: bool) -> Benchmark:
        return self.small if quick and self.small else self


@dataclass(frozen=True)
class Measurement:
    """One run of one contender; or why there is none.

    `seconds` are of the work, `imports` of what came before it, `cpu` of the whole process and its children. `peak` is
    in bytes. `foreign` is the share of the machine's processors that others had in the meantime, the host included.
    """

    seconds: float = 0.0
    imports: float = 0.0
    cpu: float = 0.0
    peak: int = 0
    foreign: float = 0.0
    rows: int | None = None
    failure: str | None = None


@dataclass
class Result:
    """All rounds of one contender."""

    contender: Contender
    runs: list[Measurement] = field(default_factory=list)
    failure: str | None = None

    @property
    def seconds(self) -> float | None:
        """Median seconds, or None when the contender failed."""
        return None if self.failure or not self.runs else self.median("seconds")

    def median(self, what: str) -> float:
        """Median of a field of the measurements."""
        return statistics.median(getattr(run, what) for run in self.runs)

    @property
    def disturbed(self) -> float:
        """The largest share of the processors that others had during one of the runs."""
        return max((run.foreign for run in self.runs), default=0.0)

    def add(self, run: Measurement, *, warm_up: bool) -> None:
        """Keep a run; the first failure is the contender's result, and ends its part in later rounds."""
        self.failure = self.failure or run.failure
        if not warm_up:
            self.runs.append(run)


@dataclass(frozen=True)
class Comparison:
    """A contender beside ours; a bar in seconds stands alone and has no ratio.

    `growth` is its peak memory in terms of ours. `disturbed` when others had so much of the processors in a run behind
    the verdict that it may be theirs; memory is not disturbed.
    """

    result: Result
    ratio: float | None = None
    measured: float | None = None
    met: bool | None = None
    growth: float | None = None
    disturbed: bool = False


def compare(results: list[Result], ratio_to: str | None = None) -> list[Comparison]:
    """Set every result beside the first; what was not measured has no ratio and meets no bar."""
    ours = results[0]
    base = next(result for result in results if ratio_to in (None, result.contender.name))
    return [_compared(result, ours, base) for result in results]


def _compared(result: Result, ours: Result, base: Result) -> Comparison:
    bar = result.contender.bar
    if result.seconds is None:
        return Comparison(result)
    has_ratio = base.seconds is not None and not (bar and bar.kind == "seconds")
    ratio = result.seconds / base.seconds if has_ratio and base.seconds else None
    reference = result if bar and bar.alone else ours
    if bar is None or reference.seconds is None:
        return Comparison(result, ratio)
    disturbed = bar.about == "seconds" and max(result.disturbed, ours.disturbed) > QUIET
    measured, beside = result.median(bar.about), reference.median(bar.about)
    growth = measured / beside if bar.growth is not None else None
    return Comparison(result, ratio, bar.measured(beside, measured), bar.met(beside, measured), growth, disturbed)


def measure(benchmark: Benchmark, *, quick: bool = False, say: Callable[[str], None] = print) -> list[Result]:
    """Run all rounds of a benchmark; a contender that fails is told as failed, never left out.

    Raises:
        RuntimeError: the input files could not be made.
    """
    inputs = _inputs(benchmark)
    results = [Result(contender) for contender in benchmark.contenders]
    rounds = benchmark.quick_rounds if quick else benchmark.rounds
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory(prefix="round-", dir=_cache()) as folder:
            for result in results:
                if result.failure is None and (number == 1 or not result.contender.once):
                    run = run_once(result.contender, inputs, Path(folder))
                    result.add(run, warm_up=number == 0)
                    say(_progress(number, rounds, result.contender, run))
    return results


def _progress(number: int, rounds: int, contender: Contender, run: Measurement) -> str:
    which = f"round {number}/{rounds}" if number else "warm-up"
    told = (
        f"failed: {run.failure}"
        if run.failure
        else f"{run.seconds:8.2f} s {run.peak / 1e6:8.0f} MB, others {run.foreign:4.0%}"
    )
    return f"  {which:<10} {contender.name:<60} {told}"


def run_once(contender: Contender, inputs: Path, folder: Path) -> Measurement:
    """Prepare and measure one contender in `folder`; what it wrote to out/ is gone afterwards."""
    out = folder / "out"
    out.mkdir(parents=True)
    try:
        if contender.prepare:
            prepared = _in_fresh_process(contender.prepare, inputs, folder, contender.arguments)
            if prepared.failure:
                return prepared
        os.sync()
        _touch_free_memory()
        run = _in_fresh_process(
            contender.work,
            inputs,
            folder,
            contender.arguments,
            contender.imports,
            contender.opens,
        )
        if run.failure is None and contender.rows_of:
            # In a process of its own, as what it takes to look at a result is not the contender's.
            counted = _in_fresh_process(contender.rows_of, inputs, folder, contender.arguments)
            run = counted if counted.failure else replace(run, rows=counted.rows)
    finally:
        shutil.rmtree(out)
    expected = contender.expected_rows
    if run.failure is None and expected is not None and run.rows != expected:
        return Measurement(failure=f"{run.rows} rows instead of {expected}")
    return run


def _touch_free_memory() -> None:
    """Take free memory and return it.

    The host of a virtual machine takes back memory that has been free for some seconds. The first contender to use it
    again, also as page cache, would pay for it: 1 to 3 s for each GB, four times as much as the contender after it.
    """
    free = os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE
    mmap.mmap(-1, min(_TOUCHED, free // 2), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def _in_fresh_process(
    function: Callable,
    inputs: Path,
    folder: Path,
    arguments: Mapping[str, object],
    imports: tuple[str, ...] = (),
    opens: Callable | None = None,
) -> Measurement:
    answer, log = folder / "answer.json", folder / "log.txt"
    answer.unlink(missing_ok=True)
    request = {
        "work": _name(function),
        "opens": _name(opens) if opens else None,
        "inputs": str(inputs),
        "folder": str(folder),
        "arguments": dict(arguments),
        "imports": imports,
        "answer": str(answer),
    }
    command = [sys.executable, "-m", "pipeline_assets_tests.benchmarks.worker", json.dumps(request)]
    with open(log, "w") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=_environment(folder), stdout=stream, stderr=stream, start_new_session=True
        )
        usage = _watch(process)
    if not usage.in_time:
        return Measurement(failure=f"not done after {_TIME_LIMIT} s")
    if not answer.exists():
        last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
        return Measurement(failure=f"the process ended with {process.returncode}: {last}")
    told = json.loads(answer.read_text())
    if "failure" in told:
        return Measurement(failure=told["failure"])
    peak = max(told["peak"], usage.peak)
    return Measurement(told["seconds"], told["imports"], usage.cpu, peak, usage.foreign, told["rows"])


def _name(function: Callable) -> str:
    return f"{function.__module__}:{function.__name__}"


def _environment(folder: Path) -> dict[str, str]:
    """Ours without the settings of this installation, and with temporary files in the round's folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIPELINE_", "DAGSTER_"))}
    return kept | {"PYTHONPATH": str(PROJECT_ROOT), "TMPDIR": str(folder)}


@dataclass(frozen=True)
class _Usage:
    peak: int
    cpu: float
    foreign: float
    in_time: bool


def _watch(process: subprocess.Popen) -> _Usage:
    """Wait, and look at the process and its descendants now and then.

    The worker adds its own exact peak; looking is for those that work in other processes, such as Spark's JVM.
    """
    started, in_time = time.monotonic(), True
    busy_before, children_before = _busy_seconds(), _children_seconds()
    peak, cpu = 0, {}
    try:
        while process.poll() is None and in_time:
            tree = _tree(process.pid)
            peak = max(peak, sum(map(_resident_bytes, tree)))
            cpu |= {pid: max(_cpu_seconds(pid), cpu.get(pid, 0.0)) for pid in tree}
            time.sleep(_SAMPLE_SECONDS)
            in_time = time.monotonic() - started < _TIME_LIMIT
    finally:
        _end_group(process)
    own = max(sum(cpu.values()), _children_seconds() - children_before)
    available = (time.monotonic() - started) * (os.cpu_count() or 1)
    return _Usage(peak, own, max(0.0, _busy_seconds() - busy_before - own) / available, in_time)


def _end_group(process: subprocess.Popen) -> None:
    """End what the worker (the leader of its own session) left running, such as a JVM."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


def _tree(pid: int) -> list[int]:
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += _children(found[-1])
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                children += map(int, file.read().split())
    except OSError:
        pass  # It ended while being looked at.
    return children


def _resident_bytes(pid: int) -> int:
    try:
        if Path(f"/proc/{pid}/comm").read_text().strip() in _SERVERS:
            return 0
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _cpu_seconds(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/stat") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
    except (OSError, ValueError):
        return 0.0
    return (int(user) + int(system)) / _TICKS


def _children_seconds() -> float:
    # Exact, but without those that nobody waited for, such as a JVM.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _busy_seconds() -> float:
    """Processor time that this machine has spent on anything, or lost to its host, since it was started."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def _cache() -> Path:
    cache = Path(tempfile.gettempdir()) / f"pipeline-assets-benchmarks-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    return cache


def _inputs(benchmark: Benchmark) -> Path:
    """The benchmark's input files, made when missing; older ones of the same benchmark are deleted."""
    key = hashlib.sha256(b"".join(source.read_bytes() for source in benchmark.inputs_from)).hexdigest()[:12]
    inputs = _cache() / f"inputs-{benchmark.name}-{key}"
    if inputs.exists() or benchmark.make_inputs is None:
        return inputs
    for old in _cache().glob(f"inputs-{benchmark.name}-*"):
        shutil.rmtree(old)
    with tempfile.TemporaryDirectory(prefix="making-", dir=_cache()) as folder:
        unfinished = Path(folder) / "inputs"
        unfinished.mkdir()
        made = _in_fresh_process(benchmark.make_inputs, unfinished, Path(folder), {})
        if made.failure:
            raise RuntimeError(f"The input files of {benchmark.name} could not be made: {made.failure}")
        unfinished.rename(inputs)
    return inputs
