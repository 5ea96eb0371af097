"""What a pipeline is, and what is derived from it.

`value` is what a pipeline declares. `resolve` reads its contracts and SELECTs and derives the rest, `selects` reads and
rewrites SELECTs, `fetch` and `marts` generate the statements over published rows. Nothing here runs a statement.
"""

from pipeline_assets.pipeline.value import (
    Archive,
    ArchiveContents,
    Bucket,
    CsvExport,
    DeliveryStream,
    DoctorCheck,
    Examined,
    History,
    LakeTable,
    LandedFiles,
    ListColumn,
    Mart,
    Pipeline,
    Plot,
    Schedule,
    SeparateBatch,
    Step,
    Table,
    View,
    kind_of_source,
)

__all__ = [
    "Archive",
    "ArchiveContents",
    "Bucket",
    "CsvExport",
    "DeliveryStream",
    "DoctorCheck",
    "Examined",
    "History",
    "LakeTable",
    "LandedFiles",
    "ListColumn",
    "Mart",
    "Pipeline",
    "Plot",
    "Schedule",
    "SeparateBatch",
    "Step",
    "Table",
    "View",
    "kind_of_source",
]
