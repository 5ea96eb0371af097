"""Read the tables of the pipelines from a notebook, as pandas or Arrow.

The role decides who sees personal data, by the rule of Snowflake's masking policies: the role of the pipelines does,
every other role gets masks. In Snowflake the policies mask. The embedded warehouse has no roles, so statements are
rewritten here; whoever may read the files of a home can read everything in them by other tools.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline_assets.contracts.ddl import PROVENANCE, literal, target_table
from pipeline_assets.contracts.masking import MASK
from pipeline_assets.contracts.names import sql_name
from pipeline_assets.deploy.snowflake.tables import personal_columns, readable_tables, tables
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipelines import pipelines
from pipeline_assets.settings import load_settings
from pipeline_assets.sqlfiles.masked import Readable, masked, require_select
from pipeline_assets.warehouse import EmbeddedWarehouse, SnowflakeWarehouse
from pipeline_assets.warehouse.columns import Present
from pipeline_assets.warehouse.migration import present_columns

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from pipeline_assets.contracts import Contract
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings
    from pipeline_assets.warehouse import Transaction, Warehouse

_NAMES = ("INFORMATION_SCHEMA.TABLES", "INFORMATION_SCHEMA.COLUMNS")  # names and types only


def connect(*, home: str | Path | None = None, profile: str | None = None, role: str | None = None) -> Connection:
    """A connection to the warehouse that only reads; settings are read as by the command line.

    Args:
        home: instead of PIPELINE_HOME.
        profile: instead of PIPELINE_PROFILE, `local` or `aws`.
        role: the role whose rights the connection has, by default PIPELINE_SNOWFLAKE_ANALYST_ROLE, which gets masks
            instead of personal data; PIPELINE_SNOWFLAKE_ROLE gets the data itself.

    Raises:
        ConfigurationError: a setting is wrong, the embedded warehouse has no such role, or nothing has run in the home.
        LakeError: Secrets Manager cannot be reached.
    """
    overrides: dict[str, Any] = {"home": home, "profile": profile}
    settings = load_settings(**{name: value for name, value in overrides.items() if value is not None})
    role = (role or settings.snowflake_analyst_role).upper()
    loader, analyst = settings.snowflake_role.upper(), settings.snowflake_analyst_role.upper()
    if settings.profile == "aws":
        as_role = settings.model_copy(update={"snowflake_role": role})
        return Connection(settings, SnowflakeWarehouse(as_role, schema="INFORMATION_SCHEMA"), sees_personal_data=None)
    if role not in (loader, analyst):
        raise ConfigurationError(
            f"The embedded warehouse has no role {role}.", remedy=f"{analyst} gets masks, {loader} sees personal data."
        )
    warehouse = EmbeddedWarehouse(settings.warehouse_root, settings.database, settings.warehouse_patience, str)
    if not warehouse.is_created:
        raise ConfigurationError(
            f"Nothing has run in {settings.home}.",
            remedy="Run a pipeline first, or name another home: connect(home=…).",
        )
    return Connection(settings, warehouse, sees_personal_data=role == loader)


class Connection:
    """Reads tables. Nothing is open between queries: batches run meanwhile, and a killed kernel leaves no lock.

    Within `with connect() as connection:` the queries share one sign-in to Snowflake.
    """

    def __init__(self, settings: Settings, warehouse: Warehouse, *, sees_personal_data: bool | None) -> None:
        """`sees_personal_data` is None if the warehouse itself masks."""
        self._settings = settings
        self._warehouse = warehouse
        self._sees_personal_data = sees_personal_data
        self._stack = ExitStack()
        self._signed_in: Transaction | None = None

    def __enter__(self) -> Self:
        if self._sees_personal_data is None:  # the embedded warehouse would be locked in between
            self._signed_in = self._stack.enter_context(self._warehouse.read_only())
        return self

    def __exit__(self, *_: object) -> None:
        self._signed_in = None
        self._stack.close()

    def query(self, sql: str) -> pd.DataFrame:
        """The rows of one SELECT in Snowflake SQL, in columns of Arrow types; see `arrow`."""
        import pandas as pd

        return self.arrow(sql).to_pandas(types_mapper=pd.ArrowDtype)

    def arrow(self, sql: str) -> pa.Table:
        """The rows of one SELECT in Snowflake SQL, each value as the warehouse has it.

        Whole numbers are int64 (decimals if one does not fit), other exact numbers decimals, times without a zone UTC.

        Raises:
            ConfigurationError: the statement does not only read, or, before it runs, reads what this role may not;
                two columns have the same name.
            WarehouseError: the warehouse refused the statement, or cannot be reached.
        """
        require_select(sql)
        with self._session() as session:
            if self._sees_personal_data is not None:
                sql = masked(sql, self._settings.database, self._readable(present_columns(session)))
            return _with_whole_numbers(session.arrow_table(sql))

    def tables(self) -> pd.DataFrame:
        """The tables and views that this role may read, with what one row is.

        Raises:
            WarehouseError: the warehouse cannot be reached.
        """
        import pandas as pd

        with self._session() as session:
            present = present_columns(session)
        readable = [name for name in self._readable(present) if not name.startswith("INFORMATION_SCHEMA.")]
        contracts = self._contracts()
        grains = [contracts[name].grain if name in contracts else "" for name in sorted(readable)]
        return pd.DataFrame({"TABLE": sorted(readable), "ROW": grains})

    def columns(self, table: str) -> pd.DataFrame:
        """The columns of a table, `SCHEMA.TABLE`: types, whether they are personal data, and their meaning.

        Raises:
            ConfigurationError: there is no such table, or this role may not read it.
            WarehouseError: the warehouse cannot be reached.
        """
        import pandas as pd

        with self._session() as session:
            present = present_columns(session)
        if table not in present or table not in self._readable(present):
            raise ConfigurationError(f"{table} cannot be read here.", remedy="`tables()` lists the tables.")
        contract = self._contracts().get(table)
        declared = {column.name: column for column in contract.columns} if contract else {}
        rows = []
        for name, kind in present[table].items():
            column = declared.get(name)
            meaning = column.description if column else PROVENANCE.get(name, ("", ""))[1]
            rows.append(
                (name, column.physical_type if column else kind, column is not None and column.personal, meaning)
            )
        return pd.DataFrame(rows, columns=["COLUMN", "TYPE", "PERSONAL", "DESCRIPTION"])

    @contextmanager
    def _session(self) -> Iterator[Transaction]:
        if self._signed_in is not None:
            yield self._signed_in
            return
        with self._warehouse.read_only() as session:
            yield session

    @cached_property
    def _pipelines(self) -> Sequence[ResolvedPipeline]:
        return list(pipelines(self._settings).values())

    def _contracts(self) -> dict[str, Contract]:
        """The contracts of tables and views, by the name of the table with its schema."""
        return {target_table(c).qualified: c for pipeline in self._pipelines for c in pipeline.contracts}

    def _readable(self, present: Present) -> dict[str, Readable]:
        if self._sees_personal_data is False:
            return readable_to_analysts(self._settings, self._pipelines, present)
        return dict.fromkeys((*present, *_NAMES), Readable({}))


def readable_to_analysts(
    settings: Settings, pipelines: Sequence[ResolvedPipeline], present: Present
) -> dict[str, Readable]:
    """What analysts may read of an embedded warehouse, as `deploy snowflake` grants and masks it.

    A column that no contract has is masked, as it may be personal data of an earlier contract.
    """
    prefix = f"{settings.database}."
    declared = {t.qualified.removeprefix(prefix): {name for name, *_ in t.columns} for t in tables(settings, pipelines)}
    masks: dict[str, dict[str, str]] = {}
    for table, name, kind in personal_columns(settings, pipelines, present):
        masks.setdefault(table.removeprefix(prefix), {})[name] = _mask(name, kind)
    learnt, _ = readable_tables(settings, pipelines, present)
    granted = [target_table(c).qualified for pipeline in pipelines for c in pipeline.targets if not c.is_open]
    readable = dict.fromkeys(_NAMES, Readable({}))
    for table in {*granted, *(name.removeprefix(prefix) for name in learnt)} & set(present):
        known = declared.get(table, set(present[table]))
        values = {name: sql_name(name) if name in known else _mask(name) for name in present[table]}
        readable[table] = Readable(values | masks.get(table, {}))
    for pipeline in pipelines:
        for lake_table in pipeline.lake_tables:
            readable[target_table(lake_table.contract).qualified] = Readable(_visible(lake_table.contract))
        for view in pipeline.views:
            readable[view.qualified] = Readable(_visible(view.contract), view.definition.select)
    return {name: each for name, each in readable.items() if name in present or name in _NAMES}


def _visible(contract: Contract) -> dict[str, str]:
    return {c.name: _mask(c.name, c.physical_type) if c.personal else sql_name(c.name) for c in contract.columns}


def _mask(name: str, kind: str = "") -> str:
    """A text is masked by a constant, other values by NULL of their type; so do Snowflake's policies."""
    if kind.startswith(("VARCHAR", "STRING")):
        return f"CASE WHEN {sql_name(name)} IS NULL THEN NULL ELSE {literal(MASK)} END"
    return f"CASE WHEN FALSE THEN {sql_name(name)} END"


def _with_whole_numbers(table: pa.Table) -> pa.Table:
    """Drivers choose the narrowest integers, in which sums and products would overflow."""
    import pyarrow as pa

    for number, field in enumerate(table.schema):
        if pa.types.is_integer(field.type) or (pa.types.is_decimal(field.type) and field.type.scale == 0):
            try:
                table = table.set_column(number, field.name, table.column(number).cast(pa.int64()))
            except pa.ArrowInvalid:
                continue
    return table
