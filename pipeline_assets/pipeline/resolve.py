"""Derive what a batch and its surroundings need from a pipeline's value, its contracts and its SELECTs.

docs/design.md has the rules: touched keys, published sources, parents and children. Every mistake that would give wrong
tables is an error here, in `resolve_over_tables` or in `consistency`, before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import get_args

from pipeline_assets import lake
from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.model import LAKE_DECIMAL
from pipeline_assets.errors import ConfigurationError, ContractError
from pipeline_assets.pipeline.consistency import require_consistent
from pipeline_assets.pipeline.declared_files import contract_of, refuse_missing_columns, select_of
from pipeline_assets.pipeline.history import refuse_unread_roles
from pipeline_assets.pipeline.resolve_over_tables import (
    reads_tables,
    resolve_lake_copy,
    resolve_marts,
    resolve_plots,
    resolve_views,
)
from pipeline_assets.pipeline.resolved import (
    BATCH_ID,
    LANDING,
    RECORD_COLUMNS,
    Export,
    FileTable,
    Published,
    ResolvedPipeline,
    Source,
)
from pipeline_assets.pipeline.selects import Select
from pipeline_assets.pipeline.value import (
    CsvExport,
    History,
    LakeTable,
    LandedFiles,
    ListColumn,
    Mart,
    Phase,
    Pipeline,
    PlotKind,
    RefreshMode,
    Table,
    WriteMode,
)

_SAFE_NAME = re.compile(r"[a-z][a-z0-9_]*")


@cache
def resolve(value: Pipeline) -> ResolvedPipeline:
    """As `derive`, once for each value: for the values of the registry, which live as long as the process."""
    return derive(value)


def derive(value: Pipeline) -> ResolvedPipeline:
    """Everything that is derived from a pipeline's value.

    Raises:
        ContractError: a contract is wrong, or asks for something that the platform does not do.
        ConfigurationError: the value or a SELECT is wrong; the message names it.
    """
    subject = f"The pipeline {value.name!r}"
    if not _SAFE_NAME.fullmatch(value.name):
        raise ConfigurationError(f"{subject} has no usable name.", remedy="Use small letters, digits and _.")
    _refuse_duplicate_names(subject, [*value.sources], "source")
    _refuse_duplicate_names(subject, [*value.tables, *value.lake_tables, *value.exports], "table, lake table or export")
    _refuse_duplicate_names(subject, [*value.plots], "plot")
    _require_known_words(value)
    sources = _sources(value)
    _refuse_shared_names(subject, "relation", [(name, source.name) for source in sources for name in source.relations])
    _refuse_shared_names(
        subject, "table", [(contract_of(value, table.name).table, table.name) for table in value.tables]
    )
    file_schema = _file_schema(sources)
    tables = tuple(_file_table(value, t, sources, file_schema) for t in value.tables if isinstance(t, Table))
    from_tables = {table.name for table in value.lake_tables if reads_tables(value, table)}
    lake_outputs = tuple(
        _file_table(value, t, sources, file_schema) for t in value.lake_tables if t.name not in from_tables
    )
    exports = tuple(_export(value, export, tables) for export in value.exports)
    marts = resolve_marts(value, tables)
    published = {s.name: p for s in sources if (p := _published(value, s, sources, tables, lake_outputs))}
    lake_copies = tuple(resolve_lake_copy(value, t, tables, marts) for t in value.lake_tables if t.name in from_tables)
    views = resolve_views(value, tables, marts)
    plots = resolve_plots(value, [*tables, *marts, *views])
    resolved = ResolvedPipeline(
        value, sources, tables, marts, lake_outputs, exports, published, lake_copies, views, plots
    )
    refuse_unread_roles(resolved.contracts, [table for table in value.tables if isinstance(table, History)])
    require_consistent(resolved)
    return resolved


def _require_known_words(value: Pipeline) -> None:
    """A misspelt write mode would upsert, a misspelt phase would never run."""
    for what, name, word, known in (
        *(("write", t.name, t.write, get_args(WriteMode)) for t in value.tables if isinstance(t, Table)),
        *(("refresh", t.name, t.refresh, get_args(RefreshMode)) for t in value.tables if isinstance(t, Mart)),
        *(("kind", f"the plot {plot.name}", plot.kind, get_args(PlotKind)) for plot in value.plots),
        *(("phase", "a step", step.phase, get_args(Phase)) for step in value.steps),
    ):
        if word not in known:
            raise ConfigurationError(f"{value.name}: {what}={word!r} of {name}.", remedy=f"Known: {', '.join(known)}.")


# --- sources -------------------------------------------------------------------------------------------------


def _sources(value: Pipeline) -> tuple[Source, ...]:
    declared = {source.name: source for source in value.sources}
    contracts = {name: contract_of(value, name) for name in declared}
    resolved: dict[str, Source] = {}

    def add(name: str, path: tuple[str, ...]) -> Source:
        if name in path:
            raise ContractError(f"{' -> '.join((*path, name))}: contracts refer to each other in a circle.")
        if name not in resolved:
            contract = contracts[name]
            parents = []
            for column in contract.columns:
                if column.reference is None:
                    continue
                parent = column.reference.dataset
                if parent not in declared:
                    raise ContractError(
                        f"{name}.{column.name} refers to {parent}, which is not a source of {value.name}.",
                        remedy=f"Its sources are {', '.join(declared)}.",
                    )
                if contracts[parent].key != (column.reference.column,):
                    raise ContractError(
                        f"{name}.{column.name} refers to {parent}.{column.reference.column}, which is not its key.",
                        remedy=f"The key of {parent} is {', '.join(contracts[parent].key) or 'none'}.",
                    )
                parents.append((column.name, add(parent, (*path, name))))
            resolved[name] = _source(value, declared[name], contract, tuple(parents))
        return resolved[name]

    for name in declared:
        add(name, ())
    return tuple(resolved.values())  # parents come before their children


def _source(
    value: Pipeline, declared: LandedFiles | ListColumn, contract: Contract, parents: tuple[tuple[str, Source], ...]
) -> Source:
    if isinstance(declared, ListColumn):
        # The records of a list come from the files; only these are extracted.
        files = replace(_files_with_list(value, declared, contract), database="")
        prefix, pattern = split_pattern(files.pattern)
        return Source(files, contract, lake.Zone(files.bucket or value.bucket, prefix, pattern), parents, declared)
    if contract.form not in ("csv", "json", "table"):
        raise ContractError(
            f"{contract.name}: landed files are csv or json, not {contract.form}.",
            remedy="Write csv for Parquet files: a source of csv reads objects that end in .parquet, too.",
        )
    if declared.version and declared.version not in contract.column_names:
        raise ConfigurationError(
            f"{value.name}: {contract.name} has no column {declared.version} to order versions by."
        )
    prefix, pattern = split_pattern(declared.pattern)
    if declared.moved and not prefix.endswith(f"/{LANDING}"):
        raise ConfigurationError(
            f"{value.name}: the objects of {declared.name} are moved, but lie in {prefix}.",
            remedy=f"Let them land in a folder whose name is {LANDING.rstrip('/')}, below another folder.",
        )
    if declared.examine and (declared.moved or declared.archive):
        raise ConfigurationError(
            f"{value.name}: the objects of {declared.name} are examined, and moved or archives.",
            remedy="Leave examine out, or let them stay where they land: an object that waits is not moved.",
        )
    beside_prefix, beside = split_pattern(declared.beside) if declared.beside else (prefix, "")
    if beside_prefix != prefix:
        raise ConfigurationError(
            f"{value.name}: the objects beside those of {declared.name} lie in {beside_prefix}, not in {prefix}.",
            remedy="Give beside the same folder as pattern.",
        )
    return Source(declared, contract, lake.Zone(declared.bucket or value.bucket, prefix, pattern, beside), parents)


def _files_with_list(value: Pipeline, declared: ListColumn, contract: Contract) -> LandedFiles:
    """The files in which the lists of a source are.

    Raises:
        ConfigurationError: there are no such files, no such column, or another source has the contract's form.
    """
    files = next((s for s in value.sources if isinstance(s, LandedFiles) and s.name == declared.of), None)
    if files is None or files.archive is None:
        raise ConfigurationError(
            f"{value.name}: {declared.name} is a list in {declared.of!r}, which is not a source of archives.",
            remedy="Name a source with an archive.",
        )
    record = contract_of(value, files.name)
    if declared.column not in record.column_names or contract.form != "csv" or not contract.dialect.header:
        raise ConfigurationError(
            f"{value.name}: {declared.name} is the list {declared.column!r} of {files.name}; its contract is csv with "
            "header.",
            remedy=f"The columns of {files.name} are {', '.join(record.column_names)}.",
        )
    return files


def split_pattern(pattern: str) -> tuple[str, str]:
    """The prefix that all alternatives of a pattern share, and the pattern behind it, packed forms included.

    Raises:
        ConfigurationError: the alternatives have no folder in common, or there is no pattern.
    """
    alternatives = pattern.split("|")
    prefixes = {re.split(r"[*?]", alternative, maxsplit=1)[0].rpartition("/")[0] for alternative in alternatives}
    if len(prefixes) > 1 or not all(alternatives):
        raise ConfigurationError(
            f"{pattern!r}: the alternatives lie in {' and '.join(sorted(p or 'no folder' for p in prefixes))}.",
            remedy="Give them one folder, or make them two sources.",
        )
    prefix = prefixes.pop()
    if not prefix:
        raise ConfigurationError(f"{pattern!r} has no folder.", remedy="Let files land in a folder of their own.")
    prefix += "/"
    names = [alternative.removeprefix(prefix) for alternative in alternatives]
    packed = [f"{name}.gz" for name in names if not name.lower().endswith(".gz") and f"{name}.gz" not in names]
    return prefix, "|".join((*names, *packed))


def _file_schema(sources: Sequence[Source]) -> dict[str, tuple[str, ...]]:
    schema: dict[str, tuple[str, ...]] = {}
    for source in sources:
        schema[source.relation] = (*source.contract.column_names, *RECORD_COLUMNS, BATCH_ID)
        if source.items and source.items_relation:
            columns = (*source.items.column_names, *source.contract.column_names, *RECORD_COLUMNS, "_POSITION")
            schema[source.items_relation] = columns
    return schema


# --- tables --------------------------------------------------------------------------------------------------


def _file_table(
    value: Pipeline, declared: Table | LakeTable, sources: Sequence[Source], schema: Mapping[str, Sequence[str]]
) -> FileTable:
    contract = contract_of(value, declared.name)
    expected = "parquet" if isinstance(declared, LakeTable) else "table"
    same_source = next((source for source in sources if source.name == declared.name), None)
    if contract.form != expected and not same_source:
        raise ContractError(
            f"{contract.name}: physicalType is {contract.form}, but the pipeline writes it as {expected}."
        )
    select = select_of(value, declared.name, contract, same_source, schema)
    by_relation = {relation: source for source in sources for relation in source.relations}
    if foreign := [relation for relation in select.relations if relation not in by_relation]:
        raise ConfigurationError(
            f"{select.name} reads {', '.join(foreign)}.", remedy="A Table reads landed files only; make it a Mart."
        )
    refuse_missing_columns(select, contract)
    key = _key_of(declared, contract)
    copies = {name: select.copy_of(name) for name in contract.column_names}
    relations = {copy[0] for name in key if (copy := copies[name])} or set(select.relations[:1])
    grains = {by_relation[relation] for relation in relations}
    if len(grains) != 1 or any(copies[name] is None for name in key):
        described = ", ".join(f"{name} is {'.'.join(c) if (c := copies[name]) else 'an expression'}" for name in key)
        raise ConfigurationError(
            f"{select.name}: the key of {contract.name} must repeat columns of one source, but {described}.",
            remedy="Select the key columns as they are.",
        )
    (grain,) = grains
    of_items = grain.items_relation in relations or (not key and select.relations[0] == grain.items_relation)
    record_key = _record_key(select, contract, grain, copies, declared)
    table = FileTable(declared, contract, select, grain, of_items, record_key)
    _require_write_mode(value, table)
    if exact := [c.name for c in contract.columns if expected == "parquet" and LAKE_DECIMAL.match(c.physical_type)]:
        raise ContractError(
            f"{contract.name}: {', '.join(exact)} is DECIMAL, which only a lake table over tables may have.",
            remedy="Use DOUBLE, or SELECT from a table.",
        )
    if table.write != "append" and any(column == BATCH_ID for _, column in select.columns_read):
        raise ConfigurationError(
            f"{select.name} reads {BATCH_ID}, which only a table with write mode append may do.",
            remedy=f"Leave it out: every table has its own {BATCH_ID}.",
        )
    return table


def _key_of(declared: Table | LakeTable, contract: Contract) -> tuple[str, ...]:
    if isinstance(declared, LakeTable):
        return tuple(column.name for column in contract.columns if column.keep_together)
    return contract.key


def _record_key(
    select: Select,
    contract: Contract,
    grain: Source,
    copies: Mapping[str, tuple[str, str] | None],
    declared: Table | LakeTable,
) -> tuple[str, ...]:
    """The columns of a table that repeat the key of the source record of a row, in the order of that key."""
    if isinstance(declared, Table) and declared.write != "upsert":
        return ()
    columns = []
    for name in grain.contract.key:
        copied_to = [c for c, copy in copies.items() if copy in {(relation, name) for relation in grain.relations}]
        if not copied_to:
            raise ConfigurationError(
                f"{select.name}: {contract.name} lacks {name}, the key of {grain.name}, so rows cannot be replaced.",
                remedy=f"Select {grain.relation}.{name} and add it to the contract.",
            )
        columns.append(next((c for c in copied_to if c in contract.key), copied_to[0]))
    return tuple(columns)


def _require_write_mode(value: Pipeline, table: FileTable) -> None:
    contract, select, grain = table.contract, table.select, table.grain
    if isinstance(table.declared, LakeTable):
        if len(grain.contract.key) != 1 or len(_key_of(table.declared, contract)) != 1:
            raise ContractError(
                f"{contract.name}: one column must keep rows together (keepTogether), the key of {grain.name}."
            )
        return
    if table.write == "upsert":
        if not contract.key or not grain.contract.key:
            raise ContractError(
                f"{contract.name if not contract.key else grain.name}: a table with write mode upsert needs a key.",
                remedy="Mark the key columns with primaryKey, or use append or full_refresh.",
            )
        if not table.of_items and set(contract.key) != set(table.record_key):
            raise ConfigurationError(
                f"{select.name}: the key of {contract.name} is {', '.join(contract.key)}, but the key of "
                f"{grain.name} is {', '.join(table.record_key)}.",
                remedy="The key of a table is the key of the source that its rows come from.",
            )
        return
    if len(select.relations) != 1 or table.of_items or select.grouping is not None:
        raise ConfigurationError(
            f"{select.name}: a table with write mode {table.write} must read the records of one source alone, "
            "without groups."
        )
    if table.write == "append" and contract.key:
        copies = {copy[1] for name in contract.key if (copy := select.copy_of(name))}
        if copies != set(grain.contract.key):
            raise ConfigurationError(
                f"{select.name}: the key of {contract.name} is {', '.join(contract.key)}, but the key of {grain.name} "
                f"is {', '.join(grain.contract.key) or 'none'}.",
                remedy="To keep one row for each key and object, mark the key of the source with primaryKey; to keep "
                "every record, write required instead.",
            )
    others = {t.write for t in value.tables if isinstance(t, Table)} - {table.write}
    if (
        table.write == "full_refresh"
        and "upsert" in others
        and any(t.name == grain.name for t in value.tables if isinstance(t, Table) and t.write == "upsert")
    ):
        raise ConfigurationError(f"{value.name}: {grain.name} cannot be upserted and refreshed as a whole at once.")


def _export(value: Pipeline, declared: CsvExport, tables: Sequence[FileTable]) -> Export:
    table = next((table for table in tables if table.contract.name == declared.of), None)
    if table is None or table.write != "upsert" or table.of_items:
        raise ConfigurationError(
            f"{value.name}: the export {declared.name} is of {declared.of!r}, "
            "which is not an upsert table with one row per record.",
            remedy=f"It has {', '.join(t.contract.name for t in tables if t.write == 'upsert')}.",
        )
    try:
        example = declared.key.format(batch_id="B", started_at="T")
    except (KeyError, IndexError, ValueError):
        example = ""
    if not example or "{batch_id}" not in declared.key:
        raise ConfigurationError(
            f"{value.name}: the key {declared.key!r} of the export {declared.name} is not unique for each batch.",
            remedy="Write {batch_id} into it; {started_at} is known as well.",
        )
    return Export(declared, table)


# --- published versions --------------------------------------------------------------------------------------


def _published(
    value: Pipeline,
    source: Source,
    sources: Sequence[Source],
    tables: Sequence[FileTable],
    lake_outputs: Sequence[FileTable],
) -> Published | None:
    """The table with the newest version of each record of a source; None if no table needs versions of it."""
    keyed = [
        t for t in (*tables, *lake_outputs) if t.write == "upsert" and set(source.relations) & set(t.select.relations)
    ]
    referring = [s.name for s in sources if any(parent is source for _, parent in s.parents)]
    if not keyed and not referring:
        return None
    candidates = []
    for table in tables:
        if table.grain is source and table.write == "upsert" and not (table.of_items or table.filtered):
            copies = {name: table.select.copy_of(name) for name in table.contract.column_names}
            columns = {copy[1]: name for name, copy in copies.items() if copy and copy[0] == source.relation}
            columns |= dict(zip(source.contract.key, table.record_key, strict=True))
            candidates.append(Published(table, columns))
    if not candidates:
        raise ConfigurationError(
            f"{value.name}: no table keeps the newest version of each record of {source.name}, so "
            + ("an old file would overwrite newer rows." if keyed else f"{', '.join(referring)} would miss it."),
            remedy=f"Add a table with one row per {', '.join(source.contract.key)} that is not filtered, "
            f"for example Table({source.name!r}).",
        )
    best = max(candidates, key=lambda p: (p.table.contract.name == source.name, len(p.columns)))
    if source.declared.version and source.declared.version not in best.columns:
        raise ConfigurationError(
            f"{best.table.select.name}: {source.declared.version} orders the versions of {source.name} and is not "
            f"published in {best.table.contract.name}.",
            remedy="Select it as it is.",
        )
    return best


def _refuse_duplicate_names(subject: str, declared: Sequence[object], kind: str) -> None:
    names = [str(getattr(entry, "name", "")) for entry in declared]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"{subject} lists {', '.join(duplicates)} twice.", remedy=f"One {kind} has one name.")
    if invalid := [name for name in names if not _SAFE_NAME.fullmatch(name)]:
        raise ConfigurationError(
            f"{subject}: {', '.join(invalid)}: not a valid name.", remedy="Use small letters, digits and _."
        )


def _refuse_shared_names(subject: str, kind: str, names: Sequence[tuple[str, str]]) -> None:
    """Refuse tables with the same physicalName, and sources with the same relation."""
    for number, (name, owner) in enumerate(names):
        if other := next((other for earlier, other in names[:number] if earlier == name), None):
            raise ConfigurationError(
                f"{subject}: {other} and {owner} have the same {kind}, {name}.",
                remedy="Give one of them another physicalName." if kind == "table" else "Rename one of them.",
            )
