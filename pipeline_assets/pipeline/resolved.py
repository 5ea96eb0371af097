"""A pipeline with everything that follows from it: sources, tables, marts and exports, and how they hang together.

Values only; `resolve` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pipeline_assets import lake
from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import Table as WarehouseTable
from pipeline_assets.contracts.ddl import published_table, stage_table, target_table
from pipeline_assets.errors import ContractError
from pipeline_assets.pipeline.selects import Select
from pipeline_assets.pipeline.value import CsvExport, LakeTable, LandedFiles, Mart, Pipeline, Table

RECORD_COLUMNS = ("_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_RESCUED", "_IS_NEW")


@dataclass(frozen=True, eq=False)
class Source:
    """Landed files of one shape, and how they relate to the other sources of their pipeline.

    `parents` are (column of this source, parent): what contracts call a relationship. `joined_parents` are those that
    a SELECT over this source joins, so that their change changes its rows.
    """

    declared: LandedFiles
    contract: Contract
    zone: lake.Zone
    parents: tuple[tuple[str, Source], ...]

    @property
    def name(self) -> str:
        return self.contract.name

    @property
    def relation(self) -> str:
        """What SELECTs call its records."""
        return self.contract.name.upper()

    @property
    def has_keys(self) -> bool:
        """Whether published rows are fetched by something that a batch brings of it."""
        return bool(self.contract.key or self.parents)

    @property
    def items(self) -> Contract | None:
        return self.contract.items

    @property
    def items_relation(self) -> str | None:
        """What SELECTs call the elements of the list in its records."""
        return self.items.name.upper() if self.items else None

    @property
    def relations(self) -> tuple[str, ...]:
        return (self.relation, self.items_relation) if self.items_relation else (self.relation,)


@dataclass(frozen=True, eq=False)
class FileTable:
    """A table of the warehouse or of the lake that a SELECT makes from landed files.

    `grain` is the source whose records or list elements its rows are, `record_key` the columns that repeat the key of
    that record. `of_items` says that a row is an element of the record's list.
    """

    declared: Table | LakeTable
    contract: Contract
    select: Select
    grain: Source
    of_items: bool
    record_key: tuple[str, ...]

    @property
    def write(self) -> str:
        return self.declared.write if isinstance(self.declared, Table) else "upsert"

    @property
    def filtered(self) -> bool:
        return isinstance(self.declared, Table) and self.declared.filtered

    @property
    def qualified(self) -> str:
        return target_table(self.contract).qualified

    @property
    def grain_relation(self) -> str:
        return str(self.grain.items_relation) if self.of_items else self.grain.relation


@dataclass(frozen=True, eq=False)
class MartTable:
    """A table of the warehouse that a SELECT makes from tables."""

    declared: Mart
    contract: Contract
    select: Select

    @property
    def qualified(self) -> str:
        return target_table(self.contract).qualified


@dataclass(frozen=True, eq=False)
class Published:
    """Where the newest version of a source's records is published, and under which of its columns."""

    table: FileTable
    columns: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Export:
    """A CSV with rows of a table."""

    declared: CsvExport
    table: FileTable


@dataclass(frozen=True, eq=False)
class ResolvedPipeline:
    """A pipeline with everything that follows from its value. `sources` come parents first, `marts` dependents last."""

    value: Pipeline
    sources: tuple[Source, ...]
    tables: tuple[FileTable, ...]
    marts: tuple[MartTable, ...]
    lake_outputs: tuple[FileTable, ...]
    exports: tuple[Export, ...]
    published: Mapping[str, Published]

    @property
    def name(self) -> str:
        return self.value.name

    @property
    def bucket(self) -> str:
        return self.value.bucket

    @cached_property
    def targets(self) -> tuple[Contract, ...]:
        """The contracts of its tables in the warehouse, in the order in which the value lists them."""
        by_name = {table.contract.name: table.contract for table in (*self.tables, *self.marts)}
        return tuple(by_name[declared.name] for declared in self.value.tables)

    @cached_property
    def lake_tables(self) -> tuple[lake.LakeTable, ...]:
        return tuple(
            lake.LakeTable(
                table.contract,
                self.bucket,
                lake_prefix(table.declared),
                table.declared.file_prefix or self.name,
            )
            for table in self.lake_outputs
            if isinstance(table.declared, LakeTable)
        )

    @cached_property
    def contracts(self) -> tuple[Contract, ...]:
        """Every contract of the pipeline, once."""
        found = [source.contract for source in self.sources]
        found += [*self.targets, *(table.contract for table in self.lake_outputs)]
        return tuple({contract.name: contract for contract in found}.values())

    @cached_property
    def staging_tables(self) -> tuple[WarehouseTable, ...]:
        """The tables that must exist in the warehouse before a batch: published, staged, and keys of sources."""
        made = [published_table(table.contract, table.write) for table in self.tables]
        made += self.load_stages
        made += [target_table(mart.contract) for mart in self.marts]
        return (*made, *(key_table(self, source) for source in self.sources if source.has_keys))

    @cached_property
    def load_stages(self) -> list[WarehouseTable]:
        """Where the rows of a batch wait, for each table that it loads."""
        return [stage_table(table.contract, table.write) for table in self.tables]

    def children(self, parent: Source) -> list[tuple[str, Source]]:
        """(column, source) that refer to a source."""
        return [(column, child) for child in self.sources for column, found in child.parents if found is parent]

    def joined_parents(self, source: Source, of: Source | None = None) -> list[tuple[str, Source]]:
        """The parents of a source that SELECTs over `of` join, so that their change writes rows of `of` again.

        `of` is the source itself by default, else one that refers to it, directly or not: a payment joins its account
        and the account's customer, though no table of accounts has the customer's name.
        """
        grain = of or source
        read = {
            relation
            for table in (*self.tables, *self.lake_outputs)
            if table.grain is grain and table.write == "upsert"
            for relation in table.select.relations
        }
        wanted = set()
        for column, parent in source.parents:
            if read & {relation for ancestor in ancestry(parent) for relation in ancestor.relations}:
                wanted.add(column)
        return [(column, parent) for column, parent in source.parents if column in wanted]

    def readers(self, source: Source) -> list[FileTable]:
        """The tables whose SELECTs read a source."""
        return [t for t in (*self.tables, *self.lake_outputs) if set(source.relations) & set(t.select.relations)]


def lake_prefix(table: LakeTable) -> str:
    """The prefix that the files of a lake table lie under, with its slash."""
    return (table.prefix or table.name).rstrip("/") + "/"


def key_table(pipeline: ResolvedPipeline, source: Source) -> WarehouseTable:
    """The staging table of the keys, and references, that a batch brings of a source."""
    contract = source.contract
    names = dict.fromkeys((*contract.key, *(column for column, _ in source.parents)))
    columns = tuple((name, contract.column(name).physical_type, False, "") for name in names)
    name = f"KEYS_{pipeline.name.upper()}_{source.relation}"
    return WarehouseTable("OPS", name, f"Keys of {source.name} in one batch, to fetch published rows by.", columns)


def partition_column(contract: Contract) -> str:
    """The column of a lake table that names the folder of a row."""
    found = [column.name for column in contract.columns if column.partition]
    if len(found) != 1:
        raise ContractError(f"{contract.name}: one column has to be partitioned, not {len(found)}.")
    return found[0]


def ancestry(source: Source) -> list[Source]:
    """A source and all that it refers to, directly or not."""
    return [source, *(ancestor for _, parent in source.parents for ancestor in ancestry(parent))]
