"""The statements of `deploy snowflake`, in order, computed without a connection.

`PLAN` lists the SQL files of sql/platform/ with the role that runs them, the objects that they are run for, and the
entries that must succeed before. `objects_by_kind` computes those objects (roles, schemas, tables, columns, …) from the
settings, the pipelines and their contracts, each as the parameters that fill in a file. `table` and `recreate_table`
have no file, as the contracts provide their DDL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_assets.contracts.ddl import Table, target_table
from pipeline_assets.contracts.masking import MASK
from pipeline_assets.contracts.names import sql_name
from pipeline_assets.deploy.snowflake.tables import open_domains, personal_columns, readable_tables, schemas, tables
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.lake import S3Lake
from pipeline_assets.pipeline.marts import rebuild_statements
from pipeline_assets.sqlfiles import load_sql
from pipeline_assets.sqlfiles.parameters import Kind, Name, Null, Number, Parameter, Text, Texts, render
from pipeline_assets.warehouse import SnowflakeWarehouse
from pipeline_assets.warehouse.columns import Present, changes
from pipeline_assets.warehouse.snowpipe import pipe_name, piped_table

if TYPE_CHECKING:
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings

ACCOUNTADMIN, SECURITYADMIN = "ACCOUNTADMIN", "SECURITYADMIN"
SYSADMIN, USERADMIN = "SYSADMIN", "USERADMIN"
OWNER = "owner"  # the role in PIPELINE_SNOWFLAKE_ADMIN_ROLE
INTEGRATION, MONITOR = "PIPELINE_LAKE", "PIPELINE_MONTHLY"
PERSONAL = "personal"
PUBLIC_KEY = "<public half of PIPELINE_SNOWFLAKE_PRIVATE_KEY>"

Parameters = Mapping[str, Parameter]  # the values of one statement, by the name of their placeholder


@dataclass(frozen=True)
class Entry:
    """One kind of statement: the file `sql` of sql/platform/, run by `role` for each of the `objects` (a kind).

    `needs` are the entries that must succeed before it; `privilege` is what the role must have for it.
    """

    sql: str
    objects: str
    role: str
    privilege: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One statement, what it does to which object, and the role that runs it."""

    entry: Entry
    what: str
    role: str
    sql: str

    @property
    def privilege(self) -> str:
        return self.entry.privilege


_MANAGE = "MANAGE GRANTS ON ACCOUNT"
_IN_SCHEMA = "OWNERSHIP of the schema"
_OF_TABLE = "OWNERSHIP of the table"
_OF_TASK = "OWNERSHIP of the task"
PLAN = (
    Entry("role", "roles", USERADMIN, "CREATE ROLE ON ACCOUNT"),
    Entry("grant_role", "role_parents", SECURITYADMIN, _MANAGE, ("role",)),
    Entry("warehouse", "warehouse", SYSADMIN, "CREATE WAREHOUSE ON ACCOUNT"),
    Entry("warehouse_limits", "warehouse", SYSADMIN, "MODIFY ON the warehouse", ("warehouse",)),
    Entry("grant_warehouse", "warehouse_users", SECURITYADMIN, _MANAGE, ("role", "warehouse")),
    Entry("resource_monitor", "monitor", ACCOUNTADMIN, "the role ACCOUNTADMIN"),
    Entry("resource_monitor_quota", "monitor", ACCOUNTADMIN, "the role ACCOUNTADMIN", ("resource_monitor",)),
    Entry("warehouse_monitor", "monitor", ACCOUNTADMIN, "the role ACCOUNTADMIN", ("resource_monitor", "warehouse")),
    Entry("database", "database", SYSADMIN, "CREATE DATABASE ON ACCOUNT"),
    Entry("grant_create_schema", "owners", SECURITYADMIN, _MANAGE, ("role", "database")),
    Entry("grant_database", "readers", SECURITYADMIN, _MANAGE, ("role", "database")),
    Entry("schema", "schemas", OWNER, "CREATE SCHEMA ON the database", ("grant_role", "grant_create_schema")),
    Entry("grant_schema", "visible_schemas", SECURITYADMIN, _MANAGE, ("schema",)),
    Entry("grant_write_future", "written_schemas", SECURITYADMIN, _MANAGE, ("schema",)),
    # Runs create the views themselves, as a view of another role could not be replaced when its SELECT changes.
    Entry("grant_create_view", "view_schemas", SECURITYADMIN, _MANAGE, ("schema",)),
    # The grants of a time when the schema had no open contract would show unmasked columns of what runs create.
    Entry("revoke_read_future", "open_schemas", SECURITYADMIN, _MANAGE, ("schema",)),
    Entry("revoke_read_views_future", "open_schemas", SECURITYADMIN, _MANAGE, ("schema",)),
    # Runs create the tables of open contracts, and the staging tables of these.
    Entry(
        "grant_create_table",
        "created_schemas",
        SECURITYADMIN,
        _MANAGE,
        ("schema", "revoke_read_future", "revoke_read_views_future"),
    ),
    Entry("grant_read_future", "masked_schemas", SECURITYADMIN, _MANAGE, ("schema",)),
    Entry("grant_read_views_future", "masked_schemas", SECURITYADMIN, _MANAGE, ("schema",)),
    Entry("storage_integration", "integration", ACCOUNTADMIN, "CREATE INTEGRATION ON ACCOUNT"),
    Entry(
        "storage_integration_locations",
        "integration",
        ACCOUNTADMIN,
        "OWNERSHIP of the integration",
        ("storage_integration",),
    ),
    Entry("grant_integration", "integration", SECURITYADMIN, _MANAGE, ("role", "storage_integration")),
    Entry("stage", "stages", OWNER, "USAGE ON the integration", ("schema", "grant_integration")),
    Entry("stage_url", "stages", OWNER, "OWNERSHIP of the stage", ("stage",)),
    Entry("grant_stage", "stages", SECURITYADMIN, _MANAGE, ("stage",)),
    Entry("file_format", "file_format", OWNER, _IN_SCHEMA, ("schema",)),
    Entry("masking_policy", "policies", OWNER, _IN_SCHEMA, ("schema",)),
    Entry("masking_policy_body", "policies", OWNER, "OWNERSHIP of the policy", ("masking_policy",)),
    Entry("tag", "tag", OWNER, _IN_SCHEMA, ("schema",)),
    Entry("table", "tables", OWNER, _IN_SCHEMA, ("schema",)),
    # Replaces empty tables with a column of another type; masks are set again below, before a pipeline fills them.
    Entry("recreate_table", "recreated_tables", OWNER, _OF_TABLE, ("table",)),
    Entry("table_column", "gained_columns", OWNER, _OF_TABLE, ("table",)),
    Entry("table_column_type", "widened_columns", OWNER, _OF_TABLE, ("table",)),
    Entry("column_mask", "personal_columns", OWNER, f"{_OF_TABLE} and of the policy", ("table", "masking_policy")),
    Entry("column_tag", "personal_columns", OWNER, f"{_OF_TABLE} and of the tag", ("table", "tag")),
    # A new table is empty until a pipeline fills it, so nobody can read unmasked rows.
    Entry("grant_write", "written_schemas", SECURITYADMIN, _MANAGE, ("table",)),
    Entry("grant_read", "masked_schemas", SECURITYADMIN, _MANAGE, ("column_mask",)),
    Entry("grant_read_views", "read_schemas", SECURITYADMIN, _MANAGE, ("column_mask",)),
    Entry("grant_read_table", "read_tables", SECURITYADMIN, _MANAGE, ("column_mask",)),
    Entry("revoke_read_table", "incomplete_tables", SECURITYADMIN, _MANAGE, ("schema",)),
    Entry("history_stream", "captures", OWNER, _IN_SCHEMA, ("table",)),
    Entry("grant_execute_task", "task_owners", ACCOUNTADMIN, "the role ACCOUNTADMIN", ("role",)),
    Entry("history_task", "captures", OWNER, _IN_SCHEMA, ("history_stream", "grant_warehouse")),
    Entry("history_task_suspend", "captures", OWNER, _OF_TASK, ("history_task",)),
    Entry("history_task_body", "captures", OWNER, _OF_TASK, ("history_task_suspend",)),
    Entry("history_task_resume", "captures", OWNER, _OF_TASK, ("history_task_body", "grant_execute_task")),
    Entry("pipe", "pipes", OWNER, _IN_SCHEMA, ("table", "stage", "file_format")),
    Entry("grant_pipe", "pipes", SECURITYADMIN, _MANAGE, ("pipe",)),
    Entry("user", "user", USERADMIN, "CREATE USER ON ACCOUNT"),
    Entry("user_defaults", "user", USERADMIN, "OWNERSHIP of the user", ("user", "role", "warehouse")),
    Entry("user_key", "user", USERADMIN, "OWNERSHIP of the user", ("user",)),
    Entry("grant_role_to_user", "user", SECURITYADMIN, _MANAGE, ("role", "user")),
)


def steps(
    settings: Settings,
    pipelines: Sequence[ResolvedPipeline],
    *,
    public_key: str = PUBLIC_KEY,
    present: Present | None = None,
    recreated: Sequence[Table] = (),
) -> Iterator[Step]:
    """Every statement, in order.

    Args:
        public_key: of the service user; the default is a placeholder for a dry run.
        present: the tables that exist, to find missing columns, columns that are too narrow, and tables that runs made.
        recreated: those of them that are replaced by an empty table.

    Raises:
        ConfigurationError: a name in the settings is invalid, or two buckets would share a stage.
    """
    objects = objects_by_kind(settings, pipelines, public_key, present or {}, recreated)
    for entry in PLAN:
        role = settings.snowflake_admin_role if entry.role == OWNER else entry.role
        for parameters in objects[entry.objects]:
            yield Step(entry, _subject(entry, parameters), Name(role).sql(), _statement(entry, parameters))


def objects_by_kind(
    settings: Settings,
    pipelines: Sequence[ResolvedPipeline],
    public_key: str,
    present: Present,
    recreated: Sequence[Table] = (),
) -> dict[str, list[Parameters]]:
    """The objects that entries of the plan are run for, by kind; each as the parameters of its statements."""
    database = Name(settings.database)
    owner, loader, analyst = (
        Name(settings.snowflake_admin_role),
        Name(settings.snowflake_role),
        Name(settings.snowflake_analyst_role),
    )
    if len({role.sql() for role in (owner, loader, analyst)}) < 3:
        raise ConfigurationError("Two of the Snowflake roles have one name.", remedy="Give each its own.")
    warehouse = {"warehouse": Name(settings.snowflake_warehouse)}
    by_name = schemas(settings, pipelines)
    domains = [name for name in by_name if name != "OPS"]
    learnt = open_domains(pipelines)
    readable, incomplete = readable_tables(settings, pipelines, present)
    stages = _stages(settings, pipelines)
    personal = personal_columns(settings, pipelines, present)
    policies = _policies(settings, {kind for *_, kind in personal})
    monitor = {"monitor": Name(MONITOR), "credits": Number(settings.snowflake_monthly_credits)} | warehouse
    integration = {
        "integration": Name(INTEGRATION),
        "role": owner,
        "role_arn": Text(settings.snowflake_storage_role_arn or "<PIPELINE_SNOWFLAKE_STORAGE_ROLE_ARN>"),
        "locations": Texts(tuple(sorted(stages.values()))),
    }
    user = {
        "user": Name(settings.snowflake_user or "PIPELINE_SERVICE"),
        "role": loader,
        **warehouse,
        "namespace": Text(f"{settings.database}.OPS"),
        "public_key": Text(public_key),
    }
    file_format = f"{settings.database}.OPS.LAKE_PARQUET"
    captures = _captures(settings, pipelines) if settings.snowflake_change_capture else []
    changed = {
        table.qualified: changes(table, present[table.qualified.partition(".")[2]])
        for table in tables(settings, pipelines)
        if table.qualified.partition(".")[2] in present and table not in recreated
    }
    return {
        "roles": [
            {"role": owner, "comment": Text("Owns the schemas and tables of the pipelines.")},
            {"role": loader, "comment": Text("Loads and merges; sees personal data.")},
            {"role": analyst, "comment": Text("Reads the tables of the pipelines; personal data is masked.")},
        ],
        "role_parents": [
            {"role": loader, "parent": owner},
            {"role": analyst, "parent": owner},
            {"role": owner, "parent": Name(SYSADMIN)},
        ],
        "warehouse": [warehouse],
        "warehouse_users": [warehouse | {"role": role} for role in (owner, loader)],
        "monitor": [monitor],
        "database": [{"database": database}],
        "owners": [{"database": database, "role": owner}],
        "readers": [{"database": database, "role": role} for role in (loader, analyst)],
        "schemas": [
            {"schema": schema, "comment": Text("Tables of the platform." if name == "OPS" else f"Tables of {name}.")}
            for name, schema in by_name.items()
        ],
        "visible_schemas": [
            *({"schema": schema, "role": loader} for schema in by_name.values()),
            *({"schema": by_name[name], "role": analyst} for name in domains),
        ],
        "written_schemas": [{"schema": schema, "role": loader} for schema in by_name.values()],
        "view_schemas": [
            {"schema": by_name[name], "role": loader}
            for name in sorted({view.schema for pipeline in pipelines for view in pipeline.warehouse_views})
        ],
        "created_schemas": [{"schema": by_name[name], "role": loader} for name in (("OPS", *learnt) if learnt else ())],
        "open_schemas": [{"schema": by_name[name], "role": analyst} for name in learnt],
        "masked_schemas": [{"schema": by_name[name], "role": analyst} for name in domains if name not in learnt],
        "read_schemas": [{"schema": by_name[name], "role": analyst} for name in domains],
        "read_tables": [{"table": Name(table), "role": analyst} for table in readable],
        "incomplete_tables": [{"table": Name(table), "role": analyst} for table in incomplete],
        "integration": [integration],
        "stages": [
            {"stage": Name(f"{settings.database}.{stage}"), "url": Text(url), "role": loader}
            | {"integration": Name(INTEGRATION)}
            for stage, url in stages.items()
        ],
        "file_format": [{"file_format": Name(file_format), "null_texts": Texts(())}],
        "policies": list(policies.values()),
        "tag": [{"tag": _tag(settings)}],
        "tables": [
            {"table": Name(table.qualified), "definition": _Statement(table.create())}
            for table in tables(settings, pipelines)
        ],
        "recreated_tables": [
            {"table": Name(table.qualified), "definition": _Statement(table.create_anew())} for table in recreated
        ],
        "gained_columns": [
            {"table": Name(table), "column": Name(sql_name(name)), "type": Kind(kind)}
            for table, needed in changed.items()
            for name, kind in needed.gained
        ],
        "widened_columns": [
            {"table": Name(table), "column": Name(sql_name(name)), "type": Kind(kind)}
            for table, needed in changed.items()
            for name, kind in needed.widened
        ],
        "personal_columns": [
            {"table": Name(table), "column": Name(sql_name(column)), "tag": _tag(settings), "value": Text(PERSONAL)}
            | {"policy": policies[kind]["policy"]}
            for table, column, kind in personal
        ],
        "captures": captures,
        "task_owners": [{"role": owner}] if captures else [],
        "pipes": [
            {
                "pipe": Name(f"{settings.database}.{pipe_name(stage)}"),
                "table": Name(f"{settings.database}.{piped_table(stage).qualified}"),
                "stage": Name(f"{settings.database}.{_stage(settings, pipeline.bucket)}"),
                "file_format_name": Text(file_format),
                "role": loader,
            }
            for pipeline in pipelines
            for stage in pipeline.load_stages
            if settings.snowflake_load == "snowpipe"
        ],
        "user": [user],
    }


@dataclass(frozen=True)
class _Statement(Parameter):
    """A whole statement that a contract provides."""

    text: str

    def sql(self) -> str:
        return self.text


def _statement(entry: Entry, parameters: Parameters) -> str:
    if "definition" in parameters:
        return parameters["definition"].sql()
    return render(load_sql(f"platform/{entry.sql}").statement, parameters)


def _subject(entry: Entry, parameters: Parameters) -> str:
    """What a statement does to which object: the entry and the first name among its parameters."""
    names = [value.sql() for value in parameters.values() if isinstance(value, Name)]
    words = [entry.sql.replace("_", " "), names[0]]
    if "column" in parameters:
        words.append(parameters["column"].sql())
    if entry.sql.startswith("grant"):
        words += ["to", parameters.get("parent", parameters.get("user", parameters["role"])).sql()]
        words[1] = parameters["role"].sql() if "user" in parameters else words[1]
    elif entry.sql.startswith("revoke"):
        words += ["from", parameters["role"].sql()]
    return " ".join(words)


def _stage(settings: Settings, bucket: str) -> str:
    return SnowflakeWarehouse(settings).stage(bucket)


def _captures(settings: Settings, pipelines: Sequence[ResolvedPipeline]) -> list[Parameters]:
    """For each history the stream of its observations, and the task that rebuilds it."""
    captures: list[Parameters] = []
    histories = [m for pipeline in pipelines for m in pipeline.marts if m.keys and not m.contract.is_open]
    for mart in histories:
        target = target_table(mart.contract)
        stream, task = (f"{target.schema}.{sql_name(target.name + end)}" for end in ("_CHANGES", "_REBUILD"))
        delete, insert = rebuild_statements(mart, stream)
        captures.append(
            {
                "task": Name(f"{settings.database}.{task}"),
                "stream": Name(f"{settings.database}.{stream}"),
                "stream_name": Text(f"{settings.database}.{stream}"),
                "table": Name(f"{settings.database}.{mart.select.relations[0]}"),
                "warehouse": Name(settings.snowflake_warehouse),
                "delete": _Statement(delete),
                "insert": _Statement(insert),
            }
        )
    return captures


def _stages(settings: Settings, pipelines: Sequence[ResolvedPipeline]) -> dict[str, str]:
    """Stage -> url, for the buckets with staged files; Snowflake does not read the landing buckets."""
    lake = S3Lake(
        region=settings.aws_region, endpoint_url=settings.s3_endpoint_url, bucket_prefix=settings.bucket_prefix
    )
    urls: dict[str, str] = {}
    for bucket in sorted({pipeline.bucket for pipeline in pipelines}):
        stage, url = _stage(settings, bucket), lake.stage_url(bucket)
        if urls.setdefault(stage, url) != url:
            raise ConfigurationError(f"{urls[stage]} and {url} would share the stage {stage}.")
    return urls


def _tag(settings: Settings) -> Name:
    return Name(f"{settings.database}.OPS.CLASSIFICATION")


def _policies(settings: Settings, kinds: Iterable[str]) -> dict[str, Parameters]:
    """A masking policy for each type of personal column: text is masked by a constant, other types by NULL."""
    policies: dict[str, Parameters] = {}
    for kind in sorted(kinds):
        name = "".join(c if c.isalnum() else "_" for c in kind).rstrip("_")
        policies[kind] = {
            "policy": Name(f"{settings.database}.OPS.MASK_{name}"),
            "type": Kind(kind),
            "role_name": Text(settings.snowflake_role.upper()),
            "masked": Text(MASK) if kind == "VARCHAR" else Null(),
        }
    return policies
