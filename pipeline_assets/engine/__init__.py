"""Run SELECTs over files: validate landed records, settle versions, write results.

`interface` is what every engine keeps (DuckDB in process, Spark and Glue by the same plan), `delimited` knows
CSV as it really arrives, `duckdb_engine` is the embedded engine. Nothing here knows the warehouse or the ledger.
"""

from pipeline_assets.engine.interface import (
    BadRecord,
    Engine,
    FileOutcome,
    RejectPolicy,
    Session,
    SourceFile,
)

__all__ = ["BadRecord", "Engine", "FileOutcome", "RejectPolicy", "Session", "SourceFile"]
