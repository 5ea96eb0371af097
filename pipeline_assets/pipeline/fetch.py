"""Statements over the warehouse for the published rows that a batch needs.

For each source: the rows of its own keys (their versions are compared), the rows whose parents change (they are written
again), and the parents of both (they are joined). The number of statements depends on the pipeline alone. The staged
key tables (`resolved.key_table`) hold the keys and references in the batch.
"""

from __future__ import annotations

from pipeline_assets.contracts.ddl import staging_table
from pipeline_assets.contracts.names import sql_name, sql_names
from pipeline_assets.pipeline.resolved import FileTable, ResolvedPipeline, Source, key_table
from pipeline_assets.pipeline.selects import PROVENANCE


def fetch_statement(pipeline: ResolvedPipeline, table: FileTable) -> str:
    """SELECT the published rows of a table that a batch needs, with their provenance."""
    columns = sql_names((*table.contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT"))
    source = table.grain
    conditions = [f"{_row_value(table.record_key)} IN ({_batch_keys(pipeline, source)})"]
    conditions += _changed_parent_conditions(pipeline, source, table)
    if pipeline.published[source.name].table is table:
        conditions += _child_reference_conditions(pipeline, source)
    # The engine reads JSON as text.
    return f"SELECT {columns}, TO_JSON(_RESCUED) AS _RESCUED FROM {table.qualified}\nWHERE " + "\n    OR ".join(
        conditions
    )


def keys_statement(source: Source) -> str:
    """SELECT the keys and references of a source's landed records."""
    columns = sql_names(dict.fromkeys((*source.contract.key, *(column for column, _ in source.parents))))
    return f"SELECT DISTINCT {columns} FROM {source.relation}"


def published_records_statement(pipeline: ResolvedPipeline, source: Source, relation: str) -> str:
    """SELECT fetched rows as records of a source; columns that are not published are NULL."""
    published = pipeline.published[source.name]
    columns = ", ".join(
        f"{sql_name(published.columns[c.name])} AS {sql_name(c.name)}"
        if c.name in published.columns
        else f"CAST(NULL AS {c.physical_type}) AS {sql_name(c.name)}"
        for c in source.contract.columns
    )
    return f"SELECT {columns}, {', '.join(PROVENANCE)} FROM {relation}"


def touched_condition(pipeline: ResolvedPipeline, source: Source, of: Source | None = None) -> str:
    """Which records of a source a batch has to write: new ones, and published ones whose parents are new.

    With `of`: the records of a parent whose change alters what SELECTs over `of` yield.
    """
    conditions = ["_IS_NEW"]
    for column, parent in pipeline.joined_parents(source, of):
        (key,) = parent.contract.key
        condition = touched_condition(pipeline, parent, of or source)
        conditions.append(f"{sql_name(column)} IN (SELECT {sql_name(key)} FROM {parent.relation} WHERE {condition})")
    return " OR ".join(conditions)


def _batch_keys(pipeline: ResolvedPipeline, source: Source) -> str:
    return f"SELECT {sql_names(source.contract.key)} FROM {key_table(pipeline, source).qualified}"


def _changed_parent_conditions(
    pipeline: ResolvedPipeline, source: Source, table: FileTable, of: Source | None = None
) -> list[str]:
    """Conditions on the rows of `table` whose parents a batch changes (see `joined_parents`)."""
    own_published = pipeline.published[source.name]
    if table is not own_published.table:
        # Only the published table certainly has the references.
        rows = " OR ".join(_changed_parent_conditions(pipeline, source, own_published.table, of))
        keys = f"SELECT {sql_names(own_published.table.record_key)} FROM {own_published.table.qualified} WHERE {rows}"
        return [f"{_row_value(table.record_key)} IN ({keys})"] if rows else []
    conditions = []
    for column, parent in pipeline.joined_parents(source, of):
        changed = _batch_keys(pipeline, parent)
        published = pipeline.published[parent.name]
        if grandparent_conditions := _changed_parent_conditions(pipeline, parent, published.table, of or source):
            key = sql_name(published.columns[parent.contract.key[0]])
            changed += (
                f" UNION SELECT {key} FROM {published.table.qualified} WHERE {' OR '.join(grandparent_conditions)}"
            )
        conditions.append(f"{sql_name(own_published.columns[column])} IN ({changed})")
    return conditions


def _child_reference_conditions(pipeline: ResolvedPipeline, parent: Source) -> list[str]:
    """Conditions on the published rows of a parent that its children refer to."""
    own_published = pipeline.published[parent.name]
    key = sql_name(own_published.columns[parent.contract.key[0]]) if parent.contract.key else ""
    conditions = []
    for column, child in pipeline.children(parent):
        conditions.append(f"{key} IN (SELECT {sql_name(column)} FROM {key_table(pipeline, child).qualified})")
        published = pipeline.published.get(child.name)
        if published is None or column not in published.columns:
            continue
        # If this parent alone can rewrite a child, the parent is among the batch's own keys.
        covered_by_keys = len(pipeline.joined_parents(child)) <= 1 and not pipeline.joined_parents(parent, child)
        rows = [] if covered_by_keys else _changed_parent_conditions(pipeline, child, published.table)
        rows += _child_reference_conditions(pipeline, child)
        if rows:
            conditions.append(
                f"{key} IN (SELECT {sql_name(published.columns[column])} FROM {published.table.qualified} "
                f"WHERE {' OR '.join(rows)})"
            )
    return conditions


def _row_value(columns: tuple[str, ...]) -> str:
    return sql_names(columns) if len(columns) == 1 else f"({sql_names(columns)})"


def touched_records_table(pipeline: ResolvedPipeline, source: Source) -> tuple[str, tuple[str, ...]]:
    """The staging table that holds every touched record of a source, and its key columns there."""
    table = pipeline.published[source.name].table
    return staging_table(table.contract).qualified, table.record_key
