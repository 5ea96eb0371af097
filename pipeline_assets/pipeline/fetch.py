"""The published rows that a batch has to see, as statements over the warehouse.

For each source: the rows of its own keys (versions are compared with them), the rows whose parents it changes (they are
written again), and the parents of both (they are joined). The number of statements follows from the pipeline alone.
The staged key tables (`resolve.key_table`) hold the keys and references that the batch brings.
"""

from __future__ import annotations

from pipeline_assets.contracts.ddl import stage_table
from pipeline_assets.pipeline.resolved import FileTable, ResolvedPipeline, Source, key_table
from pipeline_assets.pipeline.selects import PROVENANCE


def fetch_statement(pipeline: ResolvedPipeline, table: FileTable) -> str:
    """SELECT the published rows of a table that a batch has to see, its own columns and where they came from."""
    columns = ", ".join((*table.contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT"))
    source = table.grain
    wanted = [f"{_row(table.record_key)} IN ({_batch_keys(pipeline, source)})"]
    wanted += _written_again(pipeline, source, table)
    if pipeline.published[source.name].table is table:
        wanted += _joined_by_children(pipeline, source)
    # The engine takes JSON as text.
    return f"SELECT {columns}, TO_JSON(_RESCUED) AS _RESCUED FROM {table.qualified}\nWHERE " + "\n    OR ".join(wanted)


def keys_statement(source: Source) -> str:
    """SELECT the keys and references that a batch brings of a source, over its landed records."""
    columns = ", ".join(dict.fromkeys((*source.contract.key, *(column for column, _ in source.parents))))
    return f"SELECT DISTINCT {columns} FROM {source.relation}"


def published_records_statement(pipeline: ResolvedPipeline, source: Source, relation: str) -> str:
    """SELECT fetched rows as records of a source; columns that are not published are NULL."""
    published = pipeline.published[source.name]
    columns = ", ".join(
        f"{published.columns[c.name]} AS {c.name}"
        if c.name in published.columns
        else f"CAST(NULL AS {c.physical_type}) AS {c.name}"
        for c in source.contract.columns
    )
    return f"SELECT {columns}, {', '.join(PROVENANCE)} FROM {relation}"


def touched_condition(pipeline: ResolvedPipeline, source: Source, of: Source | None = None) -> str:
    """Which records of a source a batch has to write: new ones, and published ones whose parents are new.

    With `of`, those of a parent whose change changes what SELECTs over `of` yield.
    """
    wanted = ["_IS_NEW"]
    for column, parent in pipeline.joined_parents(source, of):
        (key,) = parent.contract.key
        condition = touched_condition(pipeline, parent, of or source)
        wanted.append(f"{column} IN (SELECT {key} FROM {parent.relation} WHERE {condition})")
    return " OR ".join(wanted)


def _batch_keys(pipeline: ResolvedPipeline, source: Source) -> str:
    return f"SELECT {', '.join(source.contract.key)} FROM {key_table(pipeline, source).qualified}"


def _written_again(pipeline: ResolvedPipeline, source: Source, table: FileTable, of: Source | None = None) -> list[str]:
    """Conditions on rows of a source, as `table` has them, whose parents a batch changes (see `joined_parents`)."""
    own = pipeline.published[source.name]
    if table is not own.table:
        # Only the published table is sure to have the references.
        rows = " OR ".join(_written_again(pipeline, source, own.table, of))
        keys = f"SELECT {', '.join(own.table.record_key)} FROM {own.table.qualified} WHERE {rows}"
        return [f"{_row(table.record_key)} IN ({keys})"] if rows else []
    wanted = []
    for column, parent in pipeline.joined_parents(source, of):
        changed = _batch_keys(pipeline, parent)
        published = pipeline.published[parent.name]
        if further := _written_again(pipeline, parent, published.table, of or source):
            key = published.columns[parent.contract.key[0]]
            changed += f" UNION SELECT {key} FROM {published.table.qualified} WHERE {' OR '.join(further)}"
        wanted.append(f"{own.columns[column]} IN ({changed})")
    return wanted


def _joined_by_children(pipeline: ResolvedPipeline, parent: Source) -> list[str]:
    """Conditions on the published rows of a parent that rows of its children refer to."""
    own = pipeline.published[parent.name]
    key = own.columns[parent.contract.key[0]] if parent.contract.key else ""
    wanted = []
    for column, child in pipeline.children(parent):
        wanted.append(f"{key} IN (SELECT {column} FROM {key_table(pipeline, child).qualified})")
        published = pipeline.published.get(child.name)
        if published is None or column not in published.columns:
            continue
        # A child that is written again because of this parent alone finds it among the batch's own keys.
        alone = len(pipeline.joined_parents(child)) <= 1 and not pipeline.joined_parents(parent, child)
        rows = [] if alone else _written_again(pipeline, child, published.table)
        rows += _joined_by_children(pipeline, child)
        if rows:
            wanted.append(
                f"{key} IN (SELECT {published.columns[column]} FROM {published.table.qualified} "
                f"WHERE {' OR '.join(rows)})"
            )
    return wanted


def _row(columns: tuple[str, ...]) -> str:
    return columns[0] if len(columns) == 1 else f"({', '.join(columns)})"


def staged_table(pipeline: ResolvedPipeline, source: Source) -> tuple[str, tuple[str, ...]]:
    """The staging table that holds every touched record of a source, and its key columns there."""
    table = pipeline.published[source.name].table
    return stage_table(table.contract).qualified, table.record_key
