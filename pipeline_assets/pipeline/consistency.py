"""Rules between the sources and tables of a pipeline; a batch that broke one would write wrong tables."""

from __future__ import annotations

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline.resolved import (
    PROCESSED,
    PROCESSING,
    RECORD_COLUMNS,
    REJECTED,
    FileTable,
    ResolvedPipeline,
    Source,
    ancestry,
    partition_column,
)

# Prefixes of the relations that a batch defines beside the sources.
_RESERVED_PREFIXES = ("batch_", "published_", "lake_rows_", "lake_replaced_")


def require_consistent(pipeline: ResolvedPipeline) -> None:
    """Check a pipeline as a whole.

    Raises:
        ConfigurationError: a rule is broken, which would give wrong tables.
    """
    for source in pipeline.sources:
        _require_reader(pipeline, source)
        _require_complete(pipeline, source)
    for table in (*pipeline.tables, *pipeline.lake_outputs):
        _require_relationships(pipeline, table)
    for table in pipeline.lake_outputs:
        _require_partition(pipeline, table)
    _require_landing_apart(pipeline)


def _require_reader(pipeline: ResolvedPipeline, source: Source) -> None:
    """Every source needs a table: else the ledger would count its records as loaded, and no table would have them.

    With an open contract nothing was learnt yet, as each object is rejected or empty.
    """
    if not (pipeline.readers(source) or source.contract.is_open):
        raise ConfigurationError(
            f"{pipeline.name}: no table is made from {source.name}.",
            remedy=f"Add Table({source.name!r}), or leave the source out.",
        )
    if "__" in source.name or source.name.startswith(_RESERVED_PREFIXES):
        raise ConfigurationError(
            f"{pipeline.name}: the name {source.name} is reserved for relations of the platform.",
            remedy="Give the source another name.",
        )


def _require_complete(pipeline: ResolvedPipeline, source: Source) -> None:
    """Published rows that are written again, or joined, need every column that SELECTs read of them."""
    published = pipeline.published.get(source.name)
    parents = pipeline.joined_parents(source)
    if published is None or not (parents or pipeline.children(source)):
        return
    for table in pipeline.readers(source):
        if parents and source.items_relation in table.select.relations:
            raise ConfigurationError(
                f"{table.select.name} reads the list of {source.name}, whose rows are written again when "
                f"{parents[0][1].name} changes; published rows have no list.",
                remedy="Keep the parent out of the SELECT, or give the list a table of its own.",
            )
        available = {*published.columns, *RECORD_COLUMNS}
        unpublished = sorted(
            {c for relation, c in table.select.columns_read if relation == source.relation} - available
        )
        if unpublished:
            raise ConfigurationError(
                f"{table.select.name} reads {', '.join(f'{source.relation}.{name}' for name in unpublished)}, which "
                f"{published.table.contract.name} does not publish, so rows that are written again would lose them.",
                remedy=f"Select them as they are in {published.table.select.name}.",
            )


def _require_relationships(pipeline: ResolvedPipeline, table: FileTable) -> None:
    """A SELECT joins its grain source only with its list and its parents, on the columns that contracts name."""
    by_relation = {relation: source for source in pipeline.sources for relation in source.relations}
    sources_read = {by_relation[relation] for relation in table.select.relations}
    related = set(ancestry(table.grain))
    for other in sources_read - {table.grain}:
        conditions = [
            ((relation, column), (other.relation, other.contract.key[0]))
            for child in sources_read & related
            for column, parent in child.parents
            if parent is other
            for relation in child.relations
        ]
        if other not in related or not any(table.select.joined_on(child, parent) for child, parent in conditions):
            raise ConfigurationError(
                f"{table.select.name} joins {table.grain.name} with {other.name} without a relationship between them.",
                remedy=f"Declare it in the contract {table.grain.name} (relationships: [{{to: {other.name}.…}}]) and "
                "join on that column.",
            )


def _require_partition(pipeline: ResolvedPipeline, table: FileTable) -> None:
    """The partition of a row in the lake must be published, to find the files with an older version of it."""
    source = table.grain
    copy = table.select.copy_of(partition_column(table.contract))
    published = pipeline.published[source.name]
    if copy is None or copy[0] not in source.relations or copy[1] not in published.columns:
        raise ConfigurationError(
            f"{table.select.name}: {partition_column(table.contract)} decides the folder of a row and is not a column "
            f"of {source.name} that {published.table.contract.name} publishes.",
            remedy=f"Select a column of {source.name} as it is, here and in {published.table.select.name}.",
        )


def _require_landing_apart(pipeline: ResolvedPipeline) -> None:
    """A pipeline must not write into its own zones: its files would be processed as landed files."""
    written = [(pipeline.bucket, "staging/", "staging"), (pipeline.bucket, "locks/", "locks")]
    written += [(pipeline.bucket, export.declared.key, export.declared.name) for export in pipeline.exports]
    written += [(table.bucket, table.prefix, table.contract.name) for table in pipeline.lake_tables]
    written += [
        (source.zone.bucket, source.zone_prefix(zone), source.name)
        for source in pipeline.sources
        if source.declared.moved
        for zone in (PROCESSING, PROCESSED, REJECTED)
    ]
    written += [
        (s.declared.archive.bucket, s.declared.archive.prefix, s.name) for s in pipeline.sources if s.declared.archive
    ]
    for source in pipeline.sources:
        zone = source.zone.prefix
        for bucket, key, name in written:
            within = key.startswith(zone) or (key.endswith("/") and zone.startswith(key))
            if source.zone.bucket == bucket and within:
                raise ConfigurationError(
                    f"{pipeline.name} writes {name} to {bucket}/{key}, and {source.name} lands in {bucket}/{zone}.",
                    remedy="Let it land in a folder of its own, or write elsewhere.",
                )
