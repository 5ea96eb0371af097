"""Engines: the same work on DuckDB and on a Spark cluster as the input grows, to argue when `auto` takes which.

The cluster is Spark's standalone one on this machine, two workers of one core each: what it costs to hand work to
processes is real, what many machines would gain is not, and is calculated from the two lines that are measured.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .bookings import join_on
from .harness import PROJECT_ROOT, Benchmark, Contender
from .parts import ENGINE_IMPORTS

SCALES = (25, 100, 400, 1000)  # 1 is 4,000 bookings


def make_inputs(inputs: Path, folder: Path) -> None:
    """The samples, dirt included, at each size."""
    from pipeline_assets.samples import write_samples

    for scale in SCALES:
        write_samples("bookings", inputs / str(scale), scale=scale)


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A cluster of two workers, up before the clock runs; a run's own session is not."""
    from pipeline_assets_tests.support.spark_cluster import spark_cluster

    logs = Path(tempfile.mkdtemp(prefix="cluster-", dir=folder))
    # Few partitions, as there are few cores; an administrator's file, not a setting of ours.
    (logs / "spark-defaults.conf").write_text("spark.sql.shuffle.partitions 4\nspark.ui.enabled false\n")
    os.environ["SPARK_CONF_DIR"] = str(logs)
    with spark_cluster(logs, workers=2, cores=1, memory="3g") as master:
        yield master


def on_duckdb(inputs: Path, folder: Path, scale: int) -> int:
    from pipeline_assets.engine.duckdb.engine import DuckDBEngine

    return join_on(DuckDBEngine(), inputs / str(scale), folder)


def on_cluster(inputs: Path, folder: Path, master: str, scale: int) -> int:
    """A session on the cluster, from its start."""
    from pipeline_assets.engine.spark.engine import SparkEngine

    return join_on(SparkEngine(master=master, memory_limit="2GB"), inputs / str(scale), folder)


def _contenders(scales: tuple[int, ...]) -> tuple[Contender, ...]:
    found = []
    for scale in scales:
        bookings = f"{4 * scale:,},000 bookings"
        own = {"arguments": {"scale": scale}, "table": bookings, "imports": ENGINE_IMPORTS}
        found.append(Contender(f"DuckDB, {bookings}", on_duckdb, **own))
        found.append(Contender(f"Spark cluster, {bookings}", on_cluster, opens=cluster, **own))
    return tuple(found)


_ABOUT = """The bookings join, engine only, on the samples as they are, dirt included: read, validate, deduplicate,
join, one CSV, every bad record reported. The cluster is up before the clock runs; starting a session on it counts, as
every run starts one. Both engines have the same two cores."""

BENCHMARK = Benchmark(
    name="engines",
    title="Engines: DuckDB and a Spark cluster as the input grows",
    about=_ABOUT,
    make_inputs=make_inputs,
    inputs_from=(Path(__file__), *sorted((PROJECT_ROOT / "pipeline_assets" / "samples").glob("*.py"))),
    contenders=_contenders(SCALES),
    rounds=2,
    quick_rounds=1,
)
