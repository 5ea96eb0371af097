"""Run SELECTs over files: validate landed records, deduplicate versions, write results.

`interface` defines what every engine implements, `choice` selects the engine for a batch. `formats` reads CSV and JSON.
`duckdb` is the embedded engine. `distributed` collects the steps of a session as a plan and reads splits of files;
`spark` runs a plan in this process or on a cluster, `glue` as a Glue job. `lake_table_writer` writes lake tables.
Nothing here depends on the warehouse or the ledger.
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
    ValueCheck,
    Written,
    checked,
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
    "ValueCheck",
    "Written",
    "checked",
]
