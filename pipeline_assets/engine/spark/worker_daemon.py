"""Starts the Python workers of Spark; run by Spark itself, see `spark.python.daemon.module` in `session`.

PySpark 3.5 invalidates Python's import caches before each task. Python 3.11 then reads the directory of pyspark.zip
again, once for each package that was imported from it: 0.1 s of processor time, more than a small task takes. The
archive does not change while Spark runs from it.
"""

from __future__ import annotations

from zipimport import zipimporter


def main() -> None:
    from pyspark import daemon

    zipimporter.invalidate_caches = lambda self: None  # type: ignore[method-assign]
    daemon.manager()


if __name__ == "__main__":
    main()
