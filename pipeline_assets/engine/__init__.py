"""Run SELECTs over files: validate landed records, settle versions, write results.

`interface` is what every engine keeps (DuckDB in process, Spark and Glue by the same plan), `delimited` knows CSV and
`documents` JSON as they really arrive, `duckdb_engine` is the embedded engine with a reader for each of them, and
`partitions` writes lake tables. Nothing here knows the warehouse or the ledger.
"""

from pipeline_assets.engine.interface import (
    BadRecord,
    Engine,
    FileOutcome,
    LakeFile,
    LakeLayout,
    RejectPolicy,
    Session,
    SourceFile,
)

__all__ = ["BadRecord", "Engine", "FileOutcome", "LakeFile", "LakeLayout", "RejectPolicy", "Session", "SourceFile"]
