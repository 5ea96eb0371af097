"""What everybody waits for: importing the code location, and one command on the sample."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .harness import Bar, Benchmark, Contender

_CLI = "from pipeline_assets.cli import main; main()"


def python(inputs: Path, folder: Path, code: str, words: tuple[str, ...] = ()) -> None:
    """Run code in an interpreter of its own, as a command line would."""
    home = {"PIPELINE_HOME": str(folder / "out" / "home")}
    result = subprocess.run([sys.executable, "-c", code, *words], env=os.environ | home, capture_output=True)
    if result.returncode:
        last = (result.stderr.decode(errors="replace").strip().splitlines() or ["no output"])[-1]
        raise RuntimeError(f"exit code {result.returncode}: {last}")


def land_sample(inputs: Path, folder: Path, **arguments: object) -> None:
    """The small sample of bookings in a new home."""
    from pipeline_assets.samples import write_samples
    from pipeline_assets_tests.support.bookings_lake import BUCKET

    write_samples("bookings", folder / "out" / "home" / "lake" / BUCKET, scale=1)


BENCHMARK = Benchmark(
    name="startup",
    title="Starting: imports, and one run on the sample",
    about="Whole processes, from start to exit. The last line is the command `pipeline-assets run bookings` on 4,000 "
    "sample bookings in a new home.",
    contenders=(
        Contender(
            "ours: `import pipeline_assets.definitions`",
            python,
            arguments={"code": "import pipeline_assets.definitions"},
        ),
        Contender("`import dagster`", python, arguments={"code": "import dagster"}, bar=Bar("at_most", 1.3)),
        Contender(
            "ours: `pipeline-assets run bookings`",
            python,
            prepare=land_sample,
            arguments={"code": _CLI, "words": ("run", "bookings")},
            bar=Bar("seconds", 4),
        ),
    ),
    rounds=7,
    quick_rounds=7,
)
