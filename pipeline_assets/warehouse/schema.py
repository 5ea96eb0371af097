"""The tables that the platform itself keeps in schema OPS."""

from __future__ import annotations

from pipeline_assets.contracts.ddl import Table

_LEDGER = (
    ("PIPELINE", "VARCHAR(64)", True, "Pipeline that took the object."),
    ("DATASET", "VARCHAR(64)", True, "Dataset the object belongs to."),
    ("URI", "VARCHAR", True, "Where the object lies."),
    ("ETAG", "VARCHAR", True, "Version of the object by its store."),
    ("SIZE_BYTES", "NUMBER(38,0)", True, "Bytes as stored."),
    ("LAST_MODIFIED", "TIMESTAMP_NTZ(6)", True, "By the store's clock, UTC."),
    ("STATUS", "VARCHAR(16)", True, "loaded or rejected."),
    ("ROWS_READ", "NUMBER(38,0)", True, "Records in the object."),
    ("ROWS_LOADED", "NUMBER(38,0)", True, "Records that reached the tables."),
    ("ROWS_SUPERSEDED", "NUMBER(38,0)", True, "Records with a newer version elsewhere."),
    ("ROWS_QUARANTINED", "NUMBER(38,0)", True, "Records set aside, with the object or one by one."),
    ("BATCH_ID", "VARCHAR(64)", True, "Batch that published the object."),
    ("RUN_ID", "VARCHAR(64)", True, "Dagster run of that batch."),
    ("LOADED_AT", "TIMESTAMP_NTZ(6)", True, "When it was published, UTC."),
)
_QUARANTINE = (
    ("QUARANTINE_ID", "VARCHAR(64)", True, "Identifies the record in its object, the same in every run."),
    ("PIPELINE", "VARCHAR(64)", True, "Pipeline that set it aside."),
    ("DATASET", "VARCHAR(64)", True, "Dataset of the record."),
    ("SOURCE_URI", "VARCHAR", True, "Object it came in."),
    ("SOURCE_ETAG", "VARCHAR", True, "Version of that object."),
    ("LINE_NUMBER", "NUMBER(38,0)", False, "Line in the object, the header is 1; NULL for a whole object."),
    ("REASON_CODE", "VARCHAR(64)", True, "Short documented code."),
    ("REASON", "VARCHAR", True, "What was expected and what was found."),
    ("RAW_RECORD", "VARCHAR", False, "The record as it stood in the source."),
    ("RUN_ID", "VARCHAR(64)", True, "Dagster run that set it aside."),
    ("QUARANTINED_AT", "TIMESTAMP_NTZ(6)", True, "When, UTC."),
    ("REPLAYED_AT", "TIMESTAMP_NTZ(6)", False, "When it was loaded after all, UTC."),
    ("REPLAY_RUN_ID", "VARCHAR(64)", False, "Dagster run that loaded it after all."),
    ("SOURCE_MODIFIED_AT", "TIMESTAMP_NTZ(6)", True, "Version of the object, decides which row is newer."),
    ("SOURCE_COLUMNS", "VARCHAR", False, "Header the record stood under, a JSON list."),
)

FILE_LEDGER = Table("OPS", "FILE_LEDGER", "One row per object version that was taken.", _LEDGER)
QUARANTINE = Table("OPS", "QUARANTINE", "One row per record or object set aside.", _QUARANTINE)
BATCHES = Table(
    "OPS",
    "BATCHES",
    "One row per published batch.",
    (
        ("BATCH_ID", "VARCHAR(64)", True, "Identifies the batch; part of the names of its files."),
        ("PIPELINE", "VARCHAR(64)", True, "Pipeline of the batch."),
        ("RUN_ID", "VARCHAR(64)", True, "Dagster run of the batch."),
        ("PUBLISHED_AT", "TIMESTAMP_NTZ(6)", True, "When it was published, UTC."),
    ),
)
PIPELINES = Table(
    "OPS",
    "PIPELINES",
    "One row per pipeline; its update blocks other publications of the pipeline, in Snowflake of all.",
    (
        ("PIPELINE", "VARCHAR(64)", True, "Name of the pipeline."),
        ("PUBLISHED_BATCHES", "NUMBER(38,0)", True, "Batches published so far."),
    ),
)
LAKE_PARTITIONS = Table(
    "OPS",
    "LAKE_PARTITIONS",
    "One row per partition of a lake table that has files.",
    (
        ("TABLE_NAME", "VARCHAR(200)", True, "The lake table, with its schema."),
        ("PARTITION_VALUE", "VARCHAR(200)", True, "Value of the partition column."),
        ("LOCATION", "VARCHAR", True, "Folder of the partition."),
        ("FILES", "NUMBER(38,0)", True, "Files in it."),
        ("SIZE_BYTES", "NUMBER(38,0)", True, "Bytes of these files."),
        ("REGISTERED_AT", "TIMESTAMP_NTZ(6)", True, "When the partition was last written, UTC."),
    ),
)
MARTS = Table(
    "OPS",
    "MARTS",
    "One row per mart: which SELECT made its rows.",
    (
        ("TABLE_NAME", "VARCHAR(200)", True, "The mart, with its schema."),
        ("SELECT_DIGEST", "VARCHAR(64)", True, "Digest of the SELECT; if it changes, all rows are rebuilt."),
    ),
)
WATERMARKS = Table(
    "OPS",
    "WATERMARKS",
    "One row per state that a pipeline keeps between its batches; it is published with its batch.",
    (
        ("PIPELINE", "VARCHAR(64)", True, "Pipeline that keeps it."),
        ("NAME", "VARCHAR(200)", True, "What it is the state of."),
        ("VALUE", "VARCHAR", True, "The state, as the pipeline writes it."),
        ("BATCH_ID", "VARCHAR(64)", True, "Batch that published it."),
        ("MOVED_AT", "TIMESTAMP_NTZ(6)", True, "When it was published, UTC."),
    ),
)
STAGE_RELEASED = Table(
    "OPS",
    "STAGE_RELEASED",
    "Quarantined records that one batch loads after all.",
    (("QUARANTINE_ID", "VARCHAR(64)", False, "See OPS.QUARANTINE."),),
)


def staged(table: Table) -> Table:
    """The staging table of a platform table: the same columns without constraints."""
    columns = tuple((name, kind, False, comment) for name, kind, _, comment in table.columns)
    return Table(table.schema, f"STAGE_{table.name}", f"Rows of one batch on their way to {table.name}.", columns)


STAGE_FILE_LEDGER = staged(FILE_LEDGER)
STAGE_QUARANTINE = staged(QUARANTINE)
OPS_TABLES = (
    FILE_LEDGER,
    QUARANTINE,
    BATCHES,
    PIPELINES,
    LAKE_PARTITIONS,
    MARTS,
    WATERMARKS,
    STAGE_RELEASED,
    STAGE_FILE_LEDGER,
    STAGE_QUARANTINE,
)
