"""Samples of any scale are written in bounded memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline_assets.samples import SOURCES

MEMORY_LIMIT_MB = 500
# 450,000 orders, about as many records as the others have at scale 100; and 40,000 movies, which have many columns.
LARGE_SCALES = {"commerce": "30", "movies": "20"}


@pytest.mark.parametrize("pipeline", sorted(SOURCES))
def test_memory_stays_bounded_at_a_large_scale(tmp_path, pipeline):
    # The peak of a child is measured from a process between: on Linux a child's own ru_maxrss starts at the
    # size of the process that forked it, and a test session may be larger than the limit.
    write = (
        "import sys, pathlib; from pipeline_assets.samples import write_samples; "
        "write_samples(sys.argv[1], pathlib.Path(sys.argv[2]), scale=float(sys.argv[3]))"
    )
    measure = (
        "import resource, subprocess, sys; "
        "subprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", measure, write, pipeline, str(tmp_path), LARGE_SCALES.get(pipeline, "100")],
        capture_output=True,
        text=True,
        check=True,
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < MEMORY_LIMIT_MB * 1024 * 1024
