"""A pipeline with everything that is derived from it: sources, tables, marts and exports, and how they are related.

Values only; `resolve` creates them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pipeline_assets import lake
from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import Table as WarehouseTable
from pipeline_assets.contracts.ddl import View as WarehouseView
from pipeline_assets.contracts.ddl import (
    distinct_key,
    observation_key,
    staging_table,
    table_for_write_mode,
    target_table,
    view_of,
)
from pipeline_assets.contracts.model import QualityRule
from pipeline_assets.contracts.names import sql_name
from pipeline_assets.errors import ContractError
from pipeline_assets.pipeline.selects import Select
from pipeline_assets.pipeline.value import (
    CsvExport,
    History,
    LakeTable,
    LandedFiles,
    ListColumn,
    Mart,
    Pipeline,
    Plot,
    Table,
    View,
    WriteMode,
)

RECORD_COLUMNS = ("_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_RESCUED", "_IS_NEW")
# The zones of a source whose objects are moved.
LANDING, PROCESSING, PROCESSED, REJECTED = "landing/", "processing/", "processed/", "rejected/"
BATCH_ID = "_BATCH_ID"  # of the running batch; tables that append may select it


@dataclass(frozen=True, eq=False)
class Source:
    """Landed files of one shape, and how they relate to the other sources of their pipeline.

    `parents` are (column of this source, parent), one for each relationship in the contract. The records of a source
    with a `list_column` are the elements of lists in another source's files, whose `declared` and `zone` it has.
    """

    declared: LandedFiles
    contract: Contract
    zone: lake.Zone
    parents: tuple[tuple[str, Source], ...]
    list_column: ListColumn | None = None

    @property
    def name(self) -> str:
        return self.contract.name

    @property
    def relation(self) -> str:
        """The name of its records in SELECTs."""
        return sql_name(self.contract.name.upper())

    def zone_prefix(self, zone: str, batch_id: str = "") -> str:
        """The prefix of another zone of a moved source, or of a batch in it, such as `…/processed/<batch>/`."""
        return self.zone.prefix.removesuffix(LANDING) + zone + (f"{batch_id}/" if batch_id else "")

    def has_delivery_time(self, in_s3: bool) -> bool:
        """Whether the time of its objects is that of their delivery.

        A key may contain it. Else S3 has it; a file below PIPELINE_HOME may have been copied with an old time. An
        archive's files and examined objects have the time that orders their versions.
        """
        declared = self.declared
        return declared.dated_keys or (in_s3 and declared.archive is None and declared.examine is None)

    @property
    def has_keys(self) -> bool:
        """Whether published rows are fetched by its keys or references."""
        return bool(self.contract.key or self.parents)

    @property
    def items(self) -> Contract | None:
        return self.contract.items

    @property
    def items_relation(self) -> str | None:
        """The name of the elements of the list in its records, in SELECTs."""
        return sql_name(self.items.name.upper()) if self.items else None

    @property
    def relations(self) -> tuple[str, ...]:
        return (self.relation, self.items_relation) if self.items_relation else (self.relation,)


@dataclass(frozen=True, eq=False)
class FileTable:
    """A table of the warehouse or of the lake, computed by a SELECT over landed files.

    A row is a record of the source `grain`, or, if `of_items`, an element of the list in such a record. `record_key`
    are the columns that repeat the key of that record.
    """

    declared: Table | LakeTable
    contract: Contract
    select: Select
    grain: Source
    of_items: bool
    record_key: tuple[str, ...]

    @property
    def write(self) -> WriteMode:
        return self.declared.write if isinstance(self.declared, Table) else "upsert"

    @property
    def filtered(self) -> bool:
        return isinstance(self.declared, Table) and self.declared.filtered

    @property
    def row_key(self) -> tuple[str, ...]:
        """The columns that no two rows have in common; empty if there are none."""
        if self.write == "append_distinct":
            return distinct_key(self.contract)
        return observation_key(self.contract) if self.write == "append" else self.contract.key

    @property
    def target(self) -> WarehouseTable:
        return table_for_write_mode(self.contract, self.write)

    @property
    def qualified(self) -> str:
        return self.target.qualified

    @property
    def grain_relation(self) -> str:
        return str(self.grain.items_relation) if self.of_items else self.grain.relation


@dataclass(frozen=True, eq=False)
class MartTable:
    """A table of the warehouse, computed by a SELECT over tables.

    A generated SELECT comes with `keys`, which selects the values of the refresh columns from its table, and with the
    `rules` that its rows follow.
    """

    declared: Mart
    contract: Contract
    select: Select
    keys: Select | None = None
    rules: tuple[QualityRule, ...] = ()

    @property
    def refresh_select(self) -> Select:
        """The SELECT to derive from which values of the refresh columns rows of a table give."""
        return self.keys or self.select

    @property
    def grouping(self) -> frozenset[str] | None:
        """See `Select.grouping`."""
        return frozenset(self.declared.refresh_columns) if self.keys else self.select.grouping

    @property
    def qualified(self) -> str:
        return target_table(self.contract).qualified


@dataclass(frozen=True, eq=False)
class ViewTable:
    """A view of the warehouse."""

    declared: View
    contract: Contract
    select: Select

    @property
    def definition(self) -> WarehouseView:
        return view_of(self.contract, self.select.text)

    @property
    def qualified(self) -> str:
        return self.definition.qualified


@dataclass(frozen=True, eq=False)
class LakeCopy:
    """A lake table with every row of one table of the warehouse."""

    declared: LakeTable
    contract: Contract
    select: Select


@dataclass(frozen=True, eq=False)
class PlotQuery:
    """The rows of a picture; `of` is the qualified name of the table or view that it is a picture of."""

    declared: Plot
    select: Select
    of: str


@dataclass(frozen=True, eq=False)
class Published:
    """The table with the newest version of a source's records; `columns` maps the source's columns to the table's."""

    table: FileTable
    columns: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Export:
    """A CSV file with rows of a table."""

    declared: CsvExport
    table: FileTable


@dataclass(frozen=True, eq=False)
class ResolvedPipeline:
    """A pipeline with everything derived from its value; parents are first in `sources`, dependents last in `marts`.

    `lake_outputs` are made from landed files within a batch, `lake_copies` from tables after its commit.
    """

    value: Pipeline
    sources: tuple[Source, ...]
    tables: tuple[FileTable, ...]
    marts: tuple[MartTable, ...]
    lake_outputs: tuple[FileTable, ...]
    exports: tuple[Export, ...]
    published: Mapping[str, Published]
    lake_copies: tuple[LakeCopy, ...] = ()
    views: tuple[ViewTable, ...] = ()
    plots: tuple[PlotQuery, ...] = ()

    @property
    def name(self) -> str:
        return self.value.name

    @property
    def bucket(self) -> str:
        return self.value.bucket

    @cached_property
    def targets(self) -> tuple[Contract, ...]:
        """The contracts of its tables in the warehouse, in the order in which the value lists them."""
        made: list[FileTable | MartTable] = [*self.tables, *self.marts]
        by_name = {table.contract.name: table.contract for table in made}
        return tuple(by_name[declared.name] for declared in self.value.tables if declared.name in by_name)

    @cached_property
    def landed_sources(self) -> tuple[Source, ...]:
        """The sources whose objects are listed: all but the lists in the files of another one."""
        return tuple(source for source in self.sources if source.list_column is None)

    def list_sources(self, of: Source) -> list[Source]:
        """The sources whose records are lists in the files of a source."""
        return [source for source in self.sources if source.list_column and source.list_column.of == of.name]

    def record_of(self, listed: Source) -> Source:
        """The source whose records have the lists that are the records of another."""
        return next(each for each in self.sources if listed.list_column and each.name == listed.list_column.of)

    @property
    def has_dated_keys(self) -> bool:
        """Whether a source has the time of delivery in its keys."""
        return any(source.declared.dated_keys for source in self.sources)

    @cached_property
    def lake_tables(self) -> tuple[lake.LakeTable, ...]:
        outputs: list[FileTable | LakeCopy] = [*self.lake_outputs, *self.lake_copies]
        return tuple(
            lake.LakeTable(
                table.contract,
                self.bucket,
                lake_prefix(table.declared),
                table.declared.file_prefix or self.name,
            )
            for table in outputs
            if isinstance(table.declared, LakeTable)
        )

    @cached_property
    def contracts(self) -> tuple[Contract, ...]:
        """Every contract of the pipeline, once."""
        contracts = [source.contract for source in self.sources]
        contracts += [*self.targets, *(view.contract for view in self.views)]
        contracts += [table.contract for table in self.lake_tables]
        return tuple({contract.name: contract for contract in contracts}.values())

    @cached_property
    def warehouse_tables(self) -> tuple[WarehouseTable, ...]:
        """The tables that must exist in the warehouse before a batch: published, staged, and keys of sources.

        Those of open contracts are left out, as their columns are not known yet.
        """
        tables = [table.target for table in self.tables if not table.contract.is_open]
        tables += self.load_stages
        tables += [target_table(mart.contract) for mart in self.marts if not mart.contract.is_open]
        keyed = [source for source in self.sources if source.has_keys and not source.contract.is_open]
        return (*tables, *(key_table(self, source) for source in keyed))

    @cached_property
    def warehouse_views(self) -> tuple[WarehouseView, ...]:
        """The views that must exist in the warehouse, in the order in which they can be created."""
        return tuple(view.definition for view in self.views)

    @cached_property
    def load_stages(self) -> list[WarehouseTable]:
        """For each table that a batch loads, the table that its rows are staged in."""
        return [staging_table(table.contract, table.write) for table in self.tables if not table.contract.is_open]

    def tables_of_batch(self, name: str) -> set[str]:
        """The tables of a separate batch: the table of its name, and the history of it or what it is the history of."""
        histories = [{table.name, table.of} for table in self.value.tables if isinstance(table, History)]
        return {name}.union(*(pair for pair in histories if name in pair))

    def children(self, parent: Source) -> list[tuple[str, Source]]:
        """The (column, source) pairs that refer to a source."""
        return [
            (column, child) for child in self.sources for column, referenced in child.parents if referenced is parent
        ]

    def joined_parents(self, source: Source, of: Source | None = None) -> list[tuple[str, Source]]:
        """The parents of a source that SELECTs over `of` join: if one changes, rows of `of` are written again.

        `of` is the source itself by default, else a source that refers to it, directly or not: a payment joins its
        account and the account's customer, though no table of accounts has the customer's name.
        """
        grain = of or source
        relations_read = {
            relation
            for table in (*self.tables, *self.lake_outputs)
            if table.grain is grain and table.write == "upsert"
            for relation in table.select.relations
        }
        joined_columns = set()
        for column, parent in source.parents:
            if relations_read & {relation for ancestor in ancestry(parent) for relation in ancestor.relations}:
                joined_columns.add(column)
        return [(column, parent) for column, parent in source.parents if column in joined_columns]

    def readers(self, source: Source) -> list[FileTable]:
        """The tables whose SELECTs read a source."""
        return [t for t in (*self.tables, *self.lake_outputs) if set(source.relations) & set(t.select.relations)]


def lake_prefix(table: LakeTable) -> str:
    """The prefix of the files of a lake table, with its slash."""
    return (table.prefix or table.name).rstrip("/") + "/"


def key_table(pipeline: ResolvedPipeline, source: Source) -> WarehouseTable:
    """The staging table for the keys and references of a source in one batch."""
    contract = source.contract
    names = dict.fromkeys((*contract.key, *(column for column, _ in source.parents)))
    columns = tuple((name, contract.column(name).physical_type, False, "") for name in names)
    name = f"KEYS_{pipeline.name}_{source.name}".upper()
    return WarehouseTable("OPS", name, f"Keys of {source.name} in one batch, to fetch published rows by.", columns)


def partition_column(contract: Contract) -> str:
    """The column of a lake table that names the folder of a row."""
    columns = [column.name for column in contract.columns if column.partition]
    if len(columns) != 1:
        raise ContractError(f"{contract.name}: one column must be partitioned, not {len(columns)}.")
    if not columns[0].isidentifier():
        raise ContractError(
            f"{contract.name}: {columns[0]!r} cannot be a part of the keys of files.", remedy="Rename it."
        )
    return columns[0]


def ancestry(source: Source) -> list[Source]:
    """A source and all that it refers to, directly or not."""
    return [source, *(ancestor for _, parent in source.parents for ancestor in ancestry(parent))]
