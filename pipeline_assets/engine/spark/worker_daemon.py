"""Starts the Python workers of Spark; run by Spark itself, see `spark.python.daemon.module` in `session`.

PySpark 3.5 invalidates Python's import caches before each task. Python 3.11 then reads the directory of pyspark.zip
again, once for each package that was imported from it: 0.1 s of processor time, more than a small task takes. The
archive does not change while Spark runs from it.

The workers are forked from this process: what it has imported, none of them has to import.
"""

from __future__ import annotations

from importlib import import_module
from zipimport import zipimporter

_OF_TASKS = ("duckdb", "pandas", "pyarrow", "pyspark.sql.pandas.serializers", "pipeline_assets.engine.spark.tasks")


def main() -> None:
    from pyspark import daemon

    zipimporter.invalidate_caches = lambda self: None  # type: ignore[method-assign]
    for module in _OF_TASKS:
        import_module(module)
    daemon.manager()


if __name__ == "__main__":
    main()
