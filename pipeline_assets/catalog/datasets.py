"""The datasets of the catalog, derived from contracts and SELECTs: their columns, and what each is computed from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.ddl import PROVENANCE
from pipeline_assets.orchestration.keys import database_key, source_key, table_key
from pipeline_assets.pipeline.landed_fields import origins_of_fields
from pipeline_assets.pipeline.resolved import (
    Export,
    FileTable,
    LakeCopy,
    MartTable,
    ResolvedPipeline,
    Source,
    ViewTable,
    lake_prefix,
)
from pipeline_assets.pipeline.selects import Select, Step
from pipeline_assets.pipeline.value import History

Kind = Literal["source", "table", "mart", "history", "view", "lake table", "export"]
# (relation, column) of a SELECT that comes from no contract, and what the page says of it.
_SET_BY_THE_PLATFORM = {name: meaning for name, (_, meaning) in PROVENANCE.items()} | {
    "_POSITION": "The position of the element in its list, from 1.",
    "_SOURCE_ETAG": "Version of the object that the row came from.",
}


@dataclass(frozen=True)
class ColumnEntry:
    """A column, the (dataset, column) pairs that it is computed from, and the expressions that compute it.

    `origin` says where the value stands in a landed file, or what the platform sets.
    """

    column: Column
    inputs: tuple[tuple[str, str], ...] = ()
    steps: tuple[Step, ...] = ()
    origin: str = ""


@dataclass(frozen=True)
class Dataset:
    """A dataset under the key of its asset, `<pipeline>/<name>`.

    `reads` are the keys of the datasets that its SELECT `sql` names; `location` is its table, or its bucket and keys.
    `write` is the write mode of a table, or which rows an export has. Nothing arrives in a source that is not landed:
    it is the database that files are extracted from.
    """

    key: str
    pipeline: str
    kind: Kind
    location: str
    contract: Contract
    columns: tuple[ColumnEntry, ...]
    reads: tuple[str, ...] = ()
    sql: str = ""
    sql_name: str = ""
    write: str = ""
    is_landed: bool = False

    @property
    def in_warehouse(self) -> bool:
        return self.kind not in ("source", "export")


def datasets_of(pipelines: Iterable[ResolvedPipeline]) -> list[Dataset]:
    """Every dataset of some pipelines, each behind those that it reads of its own pipeline.

    Raises:
        ConfigurationError: a SELECT is wrong.
    """
    return [dataset for pipeline in pipelines for dataset in _datasets(pipeline)]


def _datasets(pipeline: ResolvedPipeline) -> Iterator[Dataset]:
    relations: dict[str, str] = {}
    for source in pipeline.sources:
        key = source_key(source, pipeline.name).to_user_string()
        relations |= dict.fromkeys(source.relations, key)
        if source.declared.database:
            yield _database(pipeline, source)
        yield _source(pipeline, source, key)
    published: list[FileTable | MartTable | ViewTable] = [*pipeline.tables, *pipeline.marts, *pipeline.views]
    relations |= {table.qualified: table_key(pipeline, table.contract).to_user_string() for table in published}
    histories = {table.name for table in pipeline.value.tables if isinstance(table, History)}
    for table in published:
        is_history = table.contract.name in histories
        kind: Kind = "view" if isinstance(table, ViewTable) else "table" if isinstance(table, FileTable) else "mart"
        write = table.write if isinstance(table, FileTable) else ""
        yield _selected(
            pipeline,
            "history" if is_history else kind,
            table.contract,
            table.select,
            relations,
            location=table.qualified,
            write=write,
        )
    lake_outputs: list[FileTable | LakeCopy] = [*pipeline.lake_outputs, *pipeline.lake_copies]
    for output in lake_outputs:
        prefix = lake_prefix(output.declared)  # type: ignore[arg-type]
        location = f"{pipeline.bucket}/{prefix}"
        yield _selected(pipeline, "lake table", output.contract, output.select, relations, location=location)
    yield from (_export(pipeline, export) for export in pipeline.exports)


def _database(pipeline: ResolvedPipeline, source: Source) -> Dataset:
    """The table of a database that the landed files of a source are extracted from."""
    columns = tuple(
        ColumnEntry(column, origin="The column of the source's table.") for column in source.contract.columns
    )
    key = database_key(source, pipeline.name).to_user_string()
    return Dataset(key, pipeline.name, "source", f"{source.declared.database}: {source.name}", source.contract, columns)


def _source(pipeline: ResolvedPipeline, source: Source, key: str) -> Dataset:
    """Landed files, or the lists in a column of them; the columns of an element are beside those of its record."""
    contract, listed = source.contract, source.list_column
    origins = origins_of_fields(pipeline, source)
    columns = (*contract.columns, *(contract.items.columns if contract.items else ()))
    entries = [ColumnEntry(column, origin=origins[column.name]) for column in columns]
    reads: tuple[str, ...] = ()
    location = " | ".join(f"{source.zone.bucket}/{pattern}" for pattern in source.declared.pattern.split("|"))
    if listed:
        record = pipeline.record_of(source)
        reads = (source_key(record, pipeline.name).to_user_string(),)
        own = record.contract.column_names
        of_record = [each.column.name if each.column.name in own else listed.column for each in entries]
        entries = [replace(entry, inputs=((reads[0], name),)) for entry, name in zip(entries, of_record, strict=True)]
        location = f"Lists in {listed.column} of {listed.of}"
    if source.declared.database:
        reads = (database_key(source, pipeline.name).to_user_string(),)
        entries = [replace(entry, inputs=((reads[0], entry.column.name),)) for entry in entries]
    return Dataset(key, pipeline.name, "source", location, contract, tuple(entries), reads, is_landed=True)


def _selected(
    pipeline: ResolvedPipeline,
    kind: Kind,
    contract: Contract,
    select: Select,
    relations: Mapping[str, str],
    *,
    location: str,
    write: str = "",
) -> Dataset:
    return Dataset(
        table_key(pipeline, contract).to_user_string(),
        pipeline.name,
        kind,
        location,
        contract,
        tuple(_traced(column, select, relations.__getitem__) for column in contract.columns),
        tuple(dict.fromkeys(relations[relation] for relation in select.relations)),
        select.text,
        select.name,
        write,
    )


def _traced(column: Column, select: Select, key_of: Callable[[str], str]) -> ColumnEntry:
    sources = select.sources_of(column.name)
    inputs = [(key_of(relation), name) for relation, name in sources if not name.startswith("_")]
    platform = [name for _, name in sources if name.startswith("_")]
    origin = " ".join(f"{name}: {_SET_BY_THE_PLATFORM.get(name, 'set by the platform.')}" for name in platform)
    return ColumnEntry(column, tuple(dict.fromkeys(inputs)), tuple(select.steps_of(column.name)), origin)


def _export(pipeline: ResolvedPipeline, export: Export) -> Dataset:
    """A CSV of rows of a table: each of its columns is the table's."""
    contract, declared = export.table.contract, export.declared
    table = table_key(pipeline, contract).to_user_string()
    columns = tuple(ColumnEntry(c, ((table, c.name),), (Step("", c.name, c.name),)) for c in contract.columns)
    location = f"{pipeline.bucket}/{declared.key}"
    which = "only changed rows" if declared.only_changed else "written rows"
    key = f"{pipeline.name}/{declared.name}"
    return Dataset(key, pipeline.name, "export", location, contract, columns, (table,), write=which)
