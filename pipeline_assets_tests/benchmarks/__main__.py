"""`python -m pipeline_assets_tests.benchmarks`: measure, print, and write docs/benchmarks.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import archives, bookings, commerce, discovery, engines, history, orders, reviews, startup, stream
from .harness import PROJECT_ROOT, Benchmark, measure
from .report import machine, merged, section

BENCHMARKS: dict[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (startup, discovery, stream, archives, commerce, reviews, bookings, orders, history, engines)
}


def main() -> None:
    """Run the benchmarks asked for; each is written as soon as it is measured."""
    options = _options()
    for name in options.names or BENCHMARKS:
        benchmark = BENCHMARKS[name].sized(quick=options.quick)
        print(f"{benchmark.title} …", flush=True)
        measured_on = machine()
        results = measure(benchmark, quick=options.quick, say=lambda line: print(line, flush=True))
        written = section(benchmark, results, measured_on)
        print(f"\n{written}", flush=True)
        _write(options.output, written)


def _write(output: Path, written: str) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    before = output.read_text(encoding="utf-8") if output.exists() else ""
    output.write_text(merged(before, [written]), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline_assets_tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"which of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and smaller inputs where there are any")
    parser.add_argument("--output", type=Path, default=PROJECT_ROOT / "docs" / "benchmarks.md")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    return options


if __name__ == "__main__":
    main()
