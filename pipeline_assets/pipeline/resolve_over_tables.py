"""Resolve what is made from tables of the warehouse, not from landed files: marts, views, lake copies and plots."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline_assets.contracts.ddl import PROVENANCE, target_table
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline.declared_files import contract_of, refuse_missing_columns, select_of, sql_folder
from pipeline_assets.pipeline.history import resolve_history
from pipeline_assets.pipeline.resolved import FileTable, LakeCopy, MartTable, PlotQuery, ViewTable, partition_column
from pipeline_assets.pipeline.selects import Select
from pipeline_assets.pipeline.value import History, LakeTable, Mart, Pipeline, PlotKind, View

_TIMES = ("_SOURCE_MODIFIED_AT", "_LOADED_AT")  # of each row, for plots of how late data is
# (columns, rows at most) of the SELECT of a plot; more rows cannot be read in a picture.
_PLOTTED: dict[PlotKind, tuple[tuple[int, ...], int]] = {
    "bar": ((2,), 40),
    "barh": ((2,), 40),
    "line": ((2, 3), 400),
    "intervals": ((3,), 40),
}


def resolve_marts(value: Pipeline, tables: Sequence[FileTable]) -> tuple[MartTable, ...]:
    """The marts of a pipeline; one that reads another is behind it.

    Raises:
        ConfigurationError: a SELECT reads landed files or lacks columns, or its rows cannot be refreshed.
    """
    declared = {mart.name: mart for mart in value.tables if isinstance(mart, (Mart, History))}
    contracts = {name: contract_of(value, name) for name in declared}
    schema = {t.qualified: tuple(name for name, *_ in t.target.columns) for t in tables}
    schema |= {target_table(c).qualified: (*c.column_names, *PROVENANCE) for c in contracts.values()}
    by_qualified = {target_table(contract).qualified: name for name, contract in contracts.items()}
    resolved: dict[str, MartTable] = {}

    def add(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ConfigurationError(f"{' -> '.join((*path, name))}: marts are made from each other in a circle.")
        if name in resolved:
            return
        mart = declared[name]
        if isinstance(mart, History):
            resolved[name] = resolve_history(value, mart, contracts[name], tables, schema)
            return
        select = select_of(value, name, contracts[name], None, schema)
        if any("." not in relation for relation in select.relations):
            raise ConfigurationError(f"{select.name} reads landed files.", remedy="Make it a Table, or name tables.")
        for relation in select.relations:
            if relation in by_qualified:
                add(by_qualified[relation], (*path, name))
        refuse_missing_columns(select, contracts[name])
        _require_refresh(mart, select)
        resolved[name] = MartTable(mart, contracts[name], select)

    for name in declared:
        add(name, ())
    return tuple(resolved.values())


def resolve_views(value: Pipeline, tables: Sequence[FileTable], marts: Sequence[MartTable]) -> tuple[ViewTable, ...]:
    """The views of a pipeline, in the order in which the value lists them.

    Raises:
        ConfigurationError: a SELECT reads no table, landed files or a later view, or lacks columns of its contract.
    """
    made: list[FileTable | MartTable] = [*tables, *marts]
    schema = {table.qualified: (*table.contract.column_names, *PROVENANCE) for table in made}
    resolved = []
    for declared in value.tables:
        if isinstance(declared, View):
            contract = contract_of(value, declared.name)
            select = select_of(value, declared.name, contract, None, schema)
            if not select.relations:
                raise ConfigurationError(
                    f"{select.name} reads no table.", remedy="Name tables, or views that stand before it, in FROM."
                )
            refuse_missing_columns(select, contract)
            resolved.append(ViewTable(declared, contract, select))
            schema = {**schema, resolved[-1].qualified: contract.column_names}
    return tuple(resolved)


def reads_tables(value: Pipeline, declared: LakeTable) -> bool:
    """Whether a lake table is made from tables of the warehouse, not from landed files."""
    if not (sql_folder(value) / f"{declared.name}.sql").exists():
        return False
    return select_of(value, declared.name, contract_of(value, declared.name), None, {}).reads_tables


def resolve_lake_copy(
    value: Pipeline, declared: LakeTable, tables: Sequence[FileTable], marts: Sequence[MartTable]
) -> LakeCopy:
    """A lake table with the rows of one table of the warehouse.

    Raises:
        ConfigurationError: the SELECT leaves rows out, or the partition column is not a required one of the table.
    """
    contract = contract_of(value, declared.name)
    made: list[FileTable | MartTable] = [*tables, *marts]
    by_qualified = {table.qualified: table.contract for table in made}
    schema = {name: (*copied.column_names, *PROVENANCE) for name, copied in by_qualified.items()}
    select = select_of(value, declared.name, contract, None, schema)
    refuse_missing_columns(select, contract)
    partition = partition_column(contract)
    copy = select.copy_of(partition)
    if (
        len(select.relations) != 1
        or not select.keeps_every_row
        or copy is None
        or copy[1] not in by_qualified[copy[0]].column_names
    ):
        raise ConfigurationError(
            f"{select.name}: a lake table over tables must have every row of one table, and repeat a column of it as "
            f"{partition}.",
            remedy="Make a mart of the rest of the SELECT.",
        )
    if not by_qualified[copy[0]].column(copy[1]).required:
        raise ConfigurationError(
            f"{select.name}: {copy[1]} may be NULL and names the folder of a row.",
            remedy=f"Make it required in {by_qualified[copy[0]].name}, or partition by another column.",
        )
    return LakeCopy(declared, contract, select)


def resolve_plots(value: Pipeline, made: Sequence[FileTable | MartTable | ViewTable]) -> tuple[PlotQuery, ...]:
    """The SELECTs of a pipeline's plots, over the columns of its tables and views, and the times that tables have.

    Raises:
        ConfigurationError: a SELECT does not read its table, reads a personal column, has another number of columns
            than the kind of plot, or may have more rows than a picture shows.
    """
    contracts = {table.qualified: table.contract for table in made}
    schema = {
        table.qualified: (*table.contract.column_names, *(() if isinstance(table, ViewTable) else _TIMES))
        for table in made
    }
    personal_columns = {
        (relation, column.name) for relation, of in contracts.items() for column in of.columns if column.personal
    }
    resolved = []
    for plot in value.plots:
        of = next((table for table in made if table.contract.name == plot.of), None)
        if of is None:
            raise ConfigurationError(
                f"{value.name}: the plot {plot.name} is of {plot.of!r}, which is not a table or view of the warehouse.",
                remedy=f"It has {', '.join(contract.name for contract in contracts.values())}.",
            )
        select = select_of(value, f"plots/{plot.name}", of.contract, None, schema)
        if of.qualified not in select.relations:
            raise ConfigurationError(
                f"{select.name} does not read {of.qualified}, whose changes it is drawn after.",
                remedy="Read it, or let the plot be of another table.",
            )
        if personal := sorted(".".join(read) for read in select.columns_read & personal_columns):
            raise ConfigurationError(
                f"{select.name} reads personal data: {', '.join(personal)}.",
                remedy="Leave it out: plots are not masked.",
            )
        numbers, most = _PLOTTED[plot.kind]
        if len(select.columns) not in numbers:
            raise ConfigurationError(
                f"{select.name} has {len(select.columns)} columns; a plot of kind {plot.kind} has "
                f"{' or '.join(map(str, numbers))}.",
                remedy="Select the columns that the docstring of Plot names.",
            )
        if select.most_rows is None or select.most_rows > most:
            raise ConfigurationError(
                f"{select.name} may have more rows than a plot of kind {plot.kind} shows.",
                remedy=f"End it with ORDER BY … LIMIT, at most {most}.",
            )
        resolved.append(PlotQuery(plot, select, of.qualified))
    return tuple(resolved)


def _require_refresh(mart: Mart, select: Select) -> None:
    columns = mart.refresh_columns
    if mart.refresh == "full":
        if columns:
            raise ConfigurationError(f"{select.name}: the mart {mart.name} has refresh_by and refresh='full'.")
        return
    grouping = select.grouping
    choices = select.columns if grouping is None else sorted(grouping)
    if not columns:
        raise ConfigurationError(
            f"{select.name}: the mart {mart.name} does not say which of its rows a batch rebuilds.",
            remedy=f"Set refresh_by to some of {', '.join(choices)}; or refresh='full'."
            if choices
            else "refresh='full'.",
        )
    if invalid := [name for name in columns if name not in choices]:
        raise ConfigurationError(
            f"{select.name}: refresh_by of {mart.name} names {', '.join(invalid)}, which its rows are not grouped by.",
            remedy=f"Use {' or '.join(choices)}, or refresh='full'." if choices else "Use refresh='full'.",
        )
