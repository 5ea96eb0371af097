"""Run SELECTs over files: validate landed records, deduplicate versions, write results.

`interface` is what every engine keeps and `choice` says which one takes a batch. `delimited` knows CSV (its records:
`delimited_records`, those that wait: `waiting`) and `documents` JSON as they really arrive. `duckdb_engine` is the
embedded engine, with a reader for each of them; `planned_session` collects the steps of a session as a `plan` for Spark
(`spark_engine`, in this process) or Glue (`glue_engine`), and `spark_job` does them, its tasks reading `splits` and
`parts` of files wherever those lie (`places`). `partitions` writes lake tables. Nothing here knows the warehouse or the
ledger.
"""

from pipeline_assets.engine.interface import (
    BadRecord,
    Engine,
    FileOutcome,
    LakeFile,
    LakeTableChanges,
    RejectPolicy,
    Session,
    SourceFile,
    Written,
)

__all__ = [
    "BadRecord",
    "Engine",
    "FileOutcome",
    "LakeFile",
    "LakeTableChanges",
    "RejectPolicy",
    "Session",
    "SourceFile",
    "Written",
]
